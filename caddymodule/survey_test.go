package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// A name that leads to a forbidden address is no error of the configuration, since names
// change; but it is said at once, and not when the first event fails. So is that of a server
// that issues tokens.
func TestForbiddenDestinationIsSeenAfterTheStart(t *testing.T) {
	t.Setenv("SECRET", "open-sesame")
	c := startCaddy(t)
	c.load(config{subscriptions: `[{"name": "crm", "url": "http://localhost:4000/", "allow_hosts": ["localhost"]},
		{"name": "erp", "url": "http://93.184.215.14/", "allow_hosts": ["localhost"], ` + strings.ReplaceAll(oauth2Settings, "https://login.example.com", "http://localhost:4001") + `}]`})
	c.wantLog(`subscription \"crm\": deliveries would fail or be held now`)
	c.wantLog(`subscription \"erp\": deliveries would fail or be held now`)
	running, err := caddy.ActiveContext().AppIfConfigured("relay")
	if err != nil {
		t.Fatal(err)
	}
	s := &running.(*App).survey
	eventually(t, func() bool { return s.warning("crm") != "" }, func() string { return "no warning" })
	if w := s.warning("crm"); !strings.Contains(w, "localhost") || !strings.Contains(w, "allow_ips") {
		t.Errorf("the warning is %q", w)
	}
	if w := s.warning("erp"); !strings.HasPrefix(w, "auth: ") || !strings.Contains(w, "allow_ips") {
		t.Errorf("the warning about the server of tokens is %q", w)
	}
	if w := s.warning("nobody"); w != "" {
		t.Errorf("a warning about nobody: %q", w)
	}
}
