package egresslist_test

import (
	"strings"
	"testing"
)

func TestMessage(t *testing.T) {
	r := &relay{t: t, now: start}
	r.load(region("eu", entry("192.0.2.10", "until", 60*day), entry("203.0.113.0/28"), entry("192.0.2.11", "from", 30*day)), region("us", entry("198.51.100.20")))
	m := r.state.Message("eu", "https://relay.example.com/")
	if m.Subject != "The addresses of our webhooks change on 2026-12-22" {
		t.Errorf("%q", m.Subject)
	}
	want := `Hello,

our webhooks to you come from fixed addresses. In use now:

    192.0.2.10
    203.0.113.0/28

This will change:

    from 2026-12-22T10:00:00.5Z on  they also come from 192.0.2.11
    from 2027-01-21T10:00:00.5Z on  they no longer come from 192.0.2.10

If a firewall of yours lets in our addresses only: please let new ones in before their
time, and keep old ones until theirs. Nothing else changes. Until the next change each
request carries its moment in the header Relay-Egress-Change.

The list for machines, with its changes: https://relay.example.com/egress.json?region=eu
One prefix a line, with those to come: https://relay.example.com/egress.txt?region=eu&scheduled=true
A feed of changes: https://relay.example.com/egress.atom?region=eu
`
	if m.Body != want {
		t.Errorf("got:\n%s\nwant:\n%s", m.Body, want)
	}

	m = r.state.Message("us", "")
	if m.Subject != "The addresses of our webhooks" || strings.Contains(m.Body, "change") || strings.Contains(m.Body, "egress.") ||
		!strings.Contains(m.Body, "    198.51.100.20\n") {
		t.Errorf("%s\n%s", m.Subject, m.Body)
	}
	if m := r.state.Message("ap", ""); m.Body != "" {
		t.Errorf("%+v", m)
	}
}
