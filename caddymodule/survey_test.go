package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// A name that leads to a forbidden address is no error of the configuration, since names
// change; but it is said at once, and not when the first event fails.
func TestForbiddenDestinationIsSeenAfterTheStart(t *testing.T) {
	c := startCaddy(t)
	c.load(config{subscriptions: `[{"name": "crm", "url": "http://localhost:4000/", "allow_hosts": ["localhost"]}]`})
	c.wantLog(`subscription \"crm\": deliveries would fail or be held now`)
	running, err := caddy.ActiveContext().AppIfConfigured("relay")
	if err != nil {
		t.Fatal(err)
	}
	s := &running.(*App).survey
	eventually(t, func() bool { return s.warning("crm") != "" }, func() string { return "no warning" })
	if w := s.warning("crm"); !strings.Contains(w, "localhost") || !strings.Contains(w, "allow_ips") {
		t.Errorf("the warning is %q", w)
	}
	if w := s.warning("nobody"); w != "" {
		t.Errorf("a warning about nobody: %q", w)
	}
}
