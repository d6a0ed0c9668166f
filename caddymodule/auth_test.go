package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/auth"
)

// withAuth is the configuration of one subscription with these fields.
func withAuth(fields string) string {
	return `{"regions": [{"name": "eu", "egress": [{"address": "192.0.2.10"}]}], "subscriptions": [{"name": "crm", "url": "https://crm.example.com/", ` + fields + `}]}`
}

const oauth2Settings = `"auth": {"scheme": "oauth2", "token_url": "https://login.example.com/token", "client_id": "relay", "client_secret": "{env.SECRET}", "scopes": ["a"]}`

func TestCredentialsAreResolvedInProvision(t *testing.T) {
	t.Setenv("SECRET", "open-sesame")
	for fields, want := range map[string]string{
		`"auth": {"scheme": "basic", "username": "relay", "password": "{env.SECRET}"}`: "Basic cmVsYXk6b3Blbi1zZXNhbWU=",
		`"auth": {"scheme": "bearer", "token": "{env.SECRET}"}`:                        "Bearer open-sesame",
	} {
		a := mustProvision(t, withAuth(fields))
		h := http.Header{}
		if err := a.plan.Subscription("crm").Auth.Authorize(context.Background(), h); err != nil || h.Get("Authorization") != want {
			t.Errorf("%v, %v; want %s", h, err, want)
		}
		shown, err := json.Marshal(a)
		if err != nil || strings.Contains(string(shown), "sesame") {
			t.Errorf("%s, %v", shown, err)
		}
		for _, text := range a.warnings() {
			if strings.Contains(text, "auth") {
				t.Error(text)
			}
		}
	}
	if mustProvision(t, withAuth(`"method": "PUT"`)).plan.Subscription("crm").Auth != nil {
		t.Error("a subscription without auth has credentials")
	}
}

func TestCredentialsAreJudgedInProvision(t *testing.T) {
	t.Setenv("SECRET", "open-sesame")
	t.Setenv("SPACED", "open sesame")
	t.Setenv("LINES", "open\nsesame")
	t.Setenv("BEARER", "Bearer sesame")
	t.Setenv("PRIVATE", "https://10.0.0.1/token")
	with := func(changes ...string) string {
		text := oauth2Settings
		for i := 0; i < len(changes); i += 2 {
			text = strings.ReplaceAll(text, changes[i], changes[i+1])
		}
		return text
	}
	for _, tt := range []struct{ fields, want string }{
		{`"auth": {"scheme": "basic", "username": "a:b", "password": "{env.SECRET}"}`, "auth basic: user: a colon cannot stand in a user name"},
		{`"auth": {"scheme": "basic", "username": "a", "password": "{env.LINES}"}`, "auth basic: password: it has a control character"},
		{`"auth": {"scheme": "basic", "username": "a", "password": "{env.UNSET}"}`, "auth basic: password: {env.UNSET} is not set"},
		{`"auth": {"scheme": "basic", "password": "{env.SECRET}"}`, "auth basic: user: the value is empty"},
		{`"auth": {"scheme": "bearer", "token": "{env.SPACED}"}`, "auth bearer: token: it has white space"},
		{`"auth": {"scheme": "bearer", "token": "{env.BEARER}"}`, "auth bearer: token: write it without the word Bearer"},
		{`"auth": {"scheme": "bearer"}`, "auth bearer: token: the value is empty"},
		{`"auth": {"scheme": "digest"}`, `auth: unknown module "digest"`},
		{with("https://login", "http://localhost/x?"), "auth oauth2: token_url: destination localhost is refused"},
		{with("https://login.example.com/token", "{env.PRIVATE}"), "auth oauth2: token_url: destination 10.0.0.1 is refused"},
		{with("https://login.example.com/token", "https://[2001:db8:1::1]/token", `"method"`, ""), "auth oauth2: token_url: "},
		{with("{env.SECRET}", "{env.UNSET}"), "auth oauth2: client_secret: {env.UNSET} is not set"},
		{with("relay", ""), "auth oauth2: client_id missing"},
		{with(`["a"]`, `["a b"]`), `auth oauth2: scopes: "a b" is no scope`},
		{oauth2Settings + `, "header": [{"field": "authorization", "value": "x"}]`, "auth: a header line sets Authorization, too"},
		{oauth2Settings + `, "secret_header": [{"field": "Authorization", "value": "x"}]`, "auth: a header line sets Authorization, too"},
	} {
		_, err := provision(t, withAuth(tt.fields))
		if err == nil || !strings.HasPrefix(err.Error(), `subscription "crm": `) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\ngot:  %v\nwant: %s", tt.fields, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	mustProvision(t, withAuth(oauth2Settings+`, "header": [{"op": "remove", "field": "Authorization"}]`))
	mustProvision(t, withAuth(with("https://login.example.com", "https://10.0.0.1")+`, "allow_ips": ["10.0.0.1"]`))
}

// Subscriptions with the same lines on the same route share their tokens; others do not.
func TestTokensAreSharedByEqualSettings(t *testing.T) {
	t.Setenv("SECRET", "open-sesame")
	t.Setenv("OTHER", "open-sesame")
	certificate, key := pair(t, certificateEnd())
	a := mustProvision(t, `{"regions": [{"name": "eu", "egress": [{"address": "192.0.2.10"}]}, {"name": "us", "egress": [{"address": "192.0.2.11"}]}],
		"defaults": {"region": "eu"}, "subscriptions": [
		{"name": "a", "url": "https://a.example.com/", `+oauth2Settings+`},
		{"name": "b", "url": "https://b.example.com/", `+oauth2Settings+`, "tls_client_auth": {"certificate_file": `+quote(t, certificate)+`, "key_file": `+quote(t, key)+`}},
		{"name": "us", "url": "https://a.example.com/", "region": "us", `+oauth2Settings+`},
		{"name": "other", "url": "https://a.example.com/", `+strings.ReplaceAll(oauth2Settings, "SECRET", "OTHER")+`}]}`)
	of := func(name string) auth.Authorizer { return a.plan.Subscription(name).Auth }
	if of("a") != of("b") {
		t.Error("equal settings have tokens of their own")
	}
	if of("a") == of("us") || of("a") == of("other") {
		t.Error("tokens are shared with another region, or by another secret")
	}
}

func TestLiteralCredentialsAreAWarning(t *testing.T) {
	for fields, want := range map[string]string{
		`"auth": {"scheme": "basic", "username": "relay", "password": "p"}`:                                      "auth basic: a secret is written in clear",
		`"auth": {"scheme": "bearer", "token": "t"}`:                                                             "auth bearer: a secret is written in clear",
		strings.ReplaceAll(oauth2Settings, "{env.SECRET}", "s"):                                                  "auth oauth2: client_secret: a secret is written in clear",
		strings.ReplaceAll(strings.ReplaceAll(oauth2Settings, "https://", "http://"), "{env.SECRET}", "{env.S}"): "auth oauth2: token_url is not https",
	} {
		t.Setenv("S", "secret")
		found := false
		for _, text := range mustProvision(t, withAuth(fields)).warnings() {
			found = found || strings.HasPrefix(text, `subscription "crm": `+want)
		}
		if !found {
			t.Errorf("%s: no warning %q", fields, want)
		}
	}
}
