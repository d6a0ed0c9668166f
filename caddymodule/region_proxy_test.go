package caddymodule

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// What placeholders in user name and password stand for needs no escapes, whatever it is.
func TestProxyURLsOfPlaceholders(t *testing.T) {
	const odd = "a/b+c@d:e%f?g#h"
	file := filepath.Join(t.TempDir(), "p@ss:word")
	if err := os.WriteFile(file, []byte(odd+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PASSWORD", odd)
	t.Setenv("WHOLE", "https://me:a%2Fb@proxy.example.com:8443")
	t.Setenv("HOST", "proxy.example.com")
	for _, tt := range []struct{ text, host, user, password string }{
		{"http://proxy.example.com:3128", "proxy.example.com:3128", "", ""},
		{"http://me@proxy.example.com", "proxy.example.com", "me", ""},
		{"http://me:a%2Fb@proxy.example.com", "proxy.example.com", "me", "a/b"},
		{"http://me:{env.PASSWORD}@proxy.example.com", "proxy.example.com", "me", odd},
		{"http://{env.PASSWORD}:{file." + file + "}@{env.HOST}:1", "proxy.example.com:1", odd, odd},
		{"{env.WHOLE}", "proxy.example.com:8443", "me", "a/b"},
	} {
		u, err := parseProxyURL(tt.text, resolve)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		password, _ := u.User.Password()
		if u.Host != tt.host || u.User.Username() != tt.user || password != tt.password {
			t.Errorf("%s: %s by %q %q", tt.text, u.Host, u.User.Username(), password)
		}
	}
}

func TestErrorsOfProxyURLsShowNothing(t *testing.T) {
	t.Setenv("BROKEN", "http://me:s3cret/@proxy")
	t.Setenv("PORT", "http://me:s3cret")
	for _, text := range []string{"{env.BROKEN}", "{env.PORT}", "http://me:%zzs3cret@proxy.example.com", "http://me:s3cret@proxy%zz"} {
		if _, err := parseProxyURL(text, resolve); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// chooser is a guest of another author, which chooses by the request.
type chooser struct{}

func (chooser) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: proxyNamespace + ".relay_test", New: func() caddy.Module { return new(chooser) }}
}

func (chooser) ProxyFunc() func(*http.Request) (*url.URL, error) {
	return func(req *http.Request) (*url.URL, error) {
		repl := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if req.URL.Hostname() != "crm.example.com" {
			return nil, nil
		}
		return url.Parse("http://" + repl.ReplaceAll("{env.CHOSEN}", "") + ":3128")
	}
}

func init() { caddy.RegisterModule(chooser{}) }

func TestOtherGuestsChooseTheProxy(t *testing.T) {
	t.Setenv("CHOSEN", "proxy.example.com")
	a := mustProvision(t, `{"regions": [
		{"name": "eu", "egress": [{"address": "192.0.2.10"}], "network_proxy": {"from": "relay_test"}},
		{"name": "us", "egress": [{"address": "192.0.2.11"}], "network_proxy": {"from": "none"}}
	]}`)
	for target, want := range map[string]string{"https://crm.example.com:443": "http://proxy.example.com:3128", "https://erp.example.com:443": ""} {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Regions[0].proxy(context.Background(), u)
		if err != nil || want == "" && got != nil || want != "" && (got == nil || got.String() != want) {
			t.Errorf("%s: %v, %v", target, got, err)
		}
	}
	if a.Regions[1].proxy != nil {
		t.Error("none is a proxy")
	}
}
