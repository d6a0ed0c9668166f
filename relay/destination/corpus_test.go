package destination

import (
	"errors"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
)

// row is a line of testdata/destinations.tsv; its head explains the columns.
type row struct{ kind, url, resolvesTo, verdict, why string }

func corpus(t testing.TB) []row {
	t.Helper()
	text, err := os.ReadFile("testdata/destinations.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "kind\t") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 5 {
			t.Fatalf("a row has %d columns, not 5: %.100q", len(f), line)
		}
		rows = append(rows, row{f[0], f[1], f[2], f[3], f[4]})
	}
	return rows
}

func mustNew(t testing.TB, rules Rules) *Guard {
	t.Helper()
	g, err := New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// What a row's kind leaves to others is judged there: the answers of "dns" rows
// in package egress, the replies of "reply" rows where deliveries are made. Here
// their text has to pass.
func TestCorpusOfURLs(t *testing.T) {
	g := mustNew(t, Rules{})
	count := map[string]int{}
	for _, r := range corpus(t) {
		count[r.kind]++
		u, err := g.CheckURL(r.url)
		accept := r.verdict == "allow"
		switch r.kind {
		case "url":
		case "dns", "reply":
			accept = true
		default:
			t.Errorf("%.100s: kind %q is unknown", r.url, r.kind)
			continue
		}
		var blocked *BlockedError
		switch {
		case accept && err != nil:
			t.Errorf("%.100s (%s): refused: %v", r.url, r.why, err)
		case !accept && err == nil:
			t.Errorf("%.100s (%s): accepted as %s", r.url, r.why, u)
		case !accept && !errors.As(err, &blocked):
			t.Errorf("%.100s: the error is a %T", r.url, err)
		}
	}
	if count["url"] < 250 || count["dns"] < 75 || count["reply"] < 12 {
		t.Errorf("the corpus has shrunk: %v", count)
	}
}

// The corpus has to catch guards that look right.
func TestCorpusCatchesAWeakGuard(t *testing.T) {
	weak := func(raw string) bool {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "localhost" {
			return false
		}
		addr, err := netip.ParseAddr(u.Hostname())
		return err != nil || addr.IsGlobalUnicast() && !addr.IsPrivate()
	}
	passed := 0
	for _, r := range corpus(t) {
		if r.kind == "url" && r.verdict == "reject" && weak(r.url) {
			passed++
		}
	}
	if passed < 100 {
		t.Errorf("a guard of netip's predicates wrongly lets only %d rows through", passed)
	}
}

// Every special range ends exactly where its registry says.
func TestEdgesOfRanges(t *testing.T) {
	g := mustNew(t, Rules{})
	for _, tt := range []struct{ first, last, before, after string }{
		{"0.0.0.0", "0.255.255.255", "", "1.0.0.0"},
		{"10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"},
		{"100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0"},
		{"127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0"},
		{"169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0"},
		{"172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0"},
		{"192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"},
		{"192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"},
		{"192.31.196.0", "192.31.196.255", "192.31.195.255", "192.31.197.0"},
		{"192.52.193.0", "192.52.193.255", "192.52.192.255", "192.52.194.0"},
		{"192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0"},
		{"192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0"},
		{"192.175.48.0", "192.175.48.255", "192.175.47.255", "192.175.49.0"},
		{"198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0"},
		{"198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0"},
		{"203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0"},
		{"224.0.0.0", "255.255.255.255", "223.255.255.255", ""},
		{"168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17"},
		{"::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "2000::"},
		{"2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff::", "2001:200::"},
		{"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff::", "2001:db9::"},
		{"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff::", "2003::"},
		{"2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "2620:4f:7fff::", "2620:4f:8001::"},
		{"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe:ffff::", "3fff:1000::"},
		{"4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:ffff::", ""},
	} {
		for _, a := range []string{tt.first, tt.last} {
			if err := g.CheckAddr(netip.MustParseAddr(a)); err == nil {
				t.Errorf("%s is let through", a)
			}
		}
		for _, a := range []string{tt.before, tt.after} {
			if a == "" {
				continue
			}
			if err := g.CheckAddr(netip.MustParseAddr(a)); err != nil {
				t.Errorf("%s: %v", a, err)
			}
		}
	}
}
