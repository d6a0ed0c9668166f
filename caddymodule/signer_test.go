package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// signed is the configuration of one subscription with these signers.
func signed(signers string) string {
	return `{"regions": [{"name": "eu", "egress": [{"address": "192.0.2.10"}]}],
		"subscriptions": [{"name": "crm", "url": "https://crm.example.com/", "sign": [` + signers + `]}]}`
}

// schemeSecrets sets a variable for each scheme to a secret of its form.
func schemeSecrets(t *testing.T) (public string) {
	t.Helper()
	newSecret(t, "STANDARD")
	private, public := signature.NewEd25519Pair()
	t.Setenv("ED25519", private)
	t.Setenv("CONTENTFUL", strings.Repeat("c", 64))
	t.Setenv("TEXT", "a text of enough characters")
	return public
}

var oneOfEach = []string{
	`{"scheme": "standard", "secrets": [{"secret": "{env.STANDARD}"}]}`,
	`{"scheme": "standard_ed25519", "secrets": [{"secret": "{env.ED25519}"}]}`,
	`{"scheme": "contentful", "secrets": [{"secret": "{env.CONTENTFUL}"}]}`,
	`{"scheme": "github", "secrets": [{"secret": "{env.TEXT}"}]}`,
	`{"scheme": "stripe", "secrets": [{"secret": "{env.TEXT}"}]}`,
	`{"scheme": "hmac", "header": "x-one", "secrets": [{"secret": "{env.TEXT}"}]}`,
	`{"scheme": "hmac", "header": "x-two", "over": "standard", "encoding": "base64", "algorithm": "sha1", "prefix": "v0=", "secrets": [{"secret": "{env.TEXT}"}]}`,
}

// Several schemes sign one request, each with fields of its own.
func TestSchemesSignSideBySide(t *testing.T) {
	schemeSecrets(t)
	a := mustProvision(t, signed(strings.Join(oneOfEach, ",")))
	crm := a.plan.Subscription("crm")
	h := http.Header{"Content-Type": {"application/json"}}
	for _, s := range crm.Signers {
		m := signature.Message{ID: "evt_1", Time: time.Unix(1614265330, 0), Body: []byte("{}"), Method: "POST", URL: crm.URL}
		if err := s.Sign(h, m); err != nil {
			t.Fatal(err)
		}
	}
	for _, field := range []string{
		"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-Contentful-Signature", "X-Contentful-Signed-Headers",
		"X-Contentful-Timestamp", "X-Hub-Signature-256", "Stripe-Signature", "X-One", "X-Two",
	} {
		if len(h[field]) != 1 || h[field][0] == "" {
			t.Errorf("%s: %q", field, h[field])
		}
	}
	if n := len(strings.Fields(h.Get("Webhook-Signature"))); n != 2 {
		t.Errorf("webhook-signature: %q; want v1 and v1a", h.Get("Webhook-Signature"))
	}
	for _, text := range a.warnings() {
		t.Errorf("warning: %s", text)
	}
}

// What is wrong with a secret is told with the subscription and the scheme, and not shown.
func TestSchemesJudgeSecretsInProvision(t *testing.T) {
	schemeSecrets(t)
	t.Setenv("SHORT", "short")
	t.Setenv("EMPTY", "")
	for _, tt := range []struct{ signer, want string }{
		{`{"scheme": "github", "secrets": [{"secret": "{env.SHORT}"}]}`, `subscription "crm": sign github: the secret is too short: it has 5 characters, and at least 16 are needed; make one with: openssl rand -base64 48`},
		{`{"scheme": "github", "secrets": [{"secret": "{env.EMPTY}"}]}`, `subscription "crm": sign github: secret: {env.EMPTY} is set, but empty`},
		{`{"scheme": "stripe", "secrets": [{"secret": "{env.ED25519}"}]}`, `sign stripe: the secret begins with whsk_`},
		{`{"scheme": "contentful", "secrets": [{"secret": "{env.TEXT}"}]}`, `sign contentful: the secret has 27 characters, and Contentful's have exactly 64`},
		{`{"scheme": "standard", "secrets": [{"secret": "{env.ED25519}"}]}`, `sign standard: the secret begins with whsk_: that is a private key for ed25519`},
		{`{"scheme": "standard_ed25519", "secrets": [{"secret": "{env.STANDARD}"}]}`, `sign standard_ed25519: the key begins with whsec_`},
		{`{"scheme": "standard_ed25519", "secrets": [{"secret": "{env.STANDARD}"}, {"secret": "{env.ED25519}"}]}`, `sign standard_ed25519: secret 1 of 2:`},
		{`{"scheme": "hmac", "header": "X-A", "secrets": [{"secret": "{env.SHORT}"}]}`, `sign hmac: the secret is too short`},
		{`{"scheme": "hmac", "secrets": [{"secret": "{env.TEXT}"}]}`, `sign hmac: header missing`},
		{`{"scheme": "hmac", "header": "Host", "secrets": [{"secret": "{env.TEXT}"}]}`, `sign hmac: header: Host cannot be changed`},
		{`{"scheme": "hmac", "header": "X-A", "algorithm": "md5", "secrets": [{"secret": "{env.TEXT}"}]}`, `sign hmac: algorithm: "md5" is not possible`},
		{`{"scheme": "hmac", "header": "X-A"}`, `sign hmac: secret missing`},
		{`{"scheme": "github"}`, `sign github: secret missing`},
		{`{"scheme": "stripe", "secrets": [{"secret": "{env.TEXT}", "from": "2027-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}]}`, `sign stripe: secret: it is never valid`},
		{oneOfEach[5] + "," + oneOfEach[5], `sign hmac: two of them write the field X-One`},
		{oneOfEach[3] + `, {"scheme": "hmac", "header": "x-hub-signature-256", "secrets": [{"secret": "{env.TEXT}"}]}`, `sign hmac: the field X-Hub-Signature-256 is that of sign github`},
	} {
		_, err := provision(t, signed(tt.signer))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\ngot:  %v\nwant: %s", tt.signer, err, tt.want)
		}
	}
}

func TestLiteralSecretsAreAWarningInEachScheme(t *testing.T) {
	schemeSecrets(t)
	for _, signer := range oneOfEach {
		for name, value := range map[string]string{
			"STANDARD": signature.NewStandardSecret(), "CONTENTFUL": strings.Repeat("c", 64), "TEXT": "a text of enough characters",
		} {
			signer = strings.ReplaceAll(signer, "{env."+name+"}", value)
		}
		private, _ := signature.NewEd25519Pair()
		signer = strings.ReplaceAll(signer, "{env.ED25519}", private)
		var scheme struct{ Scheme string }
		if err := json.Unmarshal([]byte(signer), &scheme); err != nil {
			t.Fatal(err)
		}
		got := mustProvision(t, signed(signer)).warnings()
		if want := `subscription "crm": sign ` + scheme.Scheme + ": a secret is written in clear"; len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("got %q; want %s", got, want)
		}
	}
}

func TestSecretCommandMakesAPair(t *testing.T) {
	out, err := command(t, "", "secret", "--ed25519")
	if err != nil {
		t.Fatal(err)
	}
	var private, public string
	if _, err := fmt.Sscanf(out, "private %s\npublic  %s\n", &private, &public); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	key, err := signature.ParseEd25519Key(private)
	if err != nil || key.Public() != public {
		t.Errorf("%s: %v", out, err)
	}
	var pair struct{ Private, Public string }
	out, err = command(t, "", "secret", "--ed25519", "--json")
	if err != nil || json.Unmarshal([]byte(out), &pair) != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if key, err = signature.ParseEd25519Key(pair.Private); err != nil || key.Public() != pair.Public {
		t.Errorf("%s: %v", out, err)
	}
}

// caddy relay verify knows each scheme by its fields, and says what is wrong.
func TestVerifyCommand(t *testing.T) {
	public := schemeSecrets(t)
	const body = `{"order":1}`
	request := func(signer string, at time.Time) []string {
		crm := mustProvision(t, signed(signer)).plan.Subscription("crm")
		h := http.Header{"Content-Type": {"application/json"}}
		u := &url.URL{Scheme: "https", Host: "crm.example.com", Path: "/in", RawQuery: "a=b"}
		if err := crm.Signers[0].Sign(h, signature.Message{ID: "evt_1", Time: at, Body: []byte(body), Method: "PUT", URL: u}); err != nil {
			t.Fatal(err)
		}
		var args []string
		for field, values := range h {
			args = append(args, "--header", field+": "+values[0])
		}
		return args
	}
	env := func(name string) string {
		secret, err := resolve("{env." + name + "}")
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	secrets := []string{env("STANDARD"), public, env("CONTENTFUL"), env("TEXT"), env("TEXT"), env("TEXT"), env("TEXT")}
	extra := [][]string{
		nil, nil,
		{"--method", "PUT", "--url", "https://crm.example.com/in?a=b"},
		nil, nil,
		{"--field", "X-One"},
		{"--scheme", "hmac", "--field", "X-Two", "--over", "standard", "--encoding", "base64", "--algorithm", "sha1", "--prefix", "v0="},
	}
	for i, signer := range oneOfEach {
		args := append([]string{"verify", "--secret", secrets[i]}, extra[i]...)
		right := append(args, request(signer, time.Now())...)
		if out, err := command(t, body, right...); err != nil || !strings.HasPrefix(out, "verified (") {
			t.Errorf("%s\n%q: %v", signer, out, err)
		}
		if _, err := command(t, `{"order":2}`, right...); err == nil || !strings.Contains(err.Error(), "the secret is another one, or") {
			t.Errorf("%s, another body: %v", signer, err)
		}
		var verdict struct {
			Verified    bool
			Part, Error string
		}
		out, err := command(t, body+"\n", append(right, "--json")...)
		if err == nil || json.Unmarshal([]byte(out), &verdict) != nil || verdict.Verified || verdict.Part != "content" || !strings.Contains(verdict.Error, "line break") {
			t.Errorf("%s\n%s: %v", signer, out, err)
		}
		old := append(args, request(signer, time.Now().Add(-time.Hour))...)
		timed := !strings.Contains(signer, "github") && !strings.Contains(signer, "x-one")
		if _, err := command(t, body, old...); (err != nil) != timed || timed && !strings.Contains(err.Error(), "1h0m") {
			t.Errorf("%s, old: %v", signer, err)
		}
		if timed {
			if _, err := command(t, body, old...); !strings.Contains(err.Error(), "all else is right (--tolerance 0") {
				t.Errorf("%s, old: %v", signer, err)
			}
			if _, err := command(t, body, append(old, "--tolerance", "0s")...); err != nil {
				t.Errorf("%s, old, any age: %v", signer, err)
			}
		}
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "--secret is missing"},
		{[]string{"--secret", env("STANDARD")}, "webhook-id is wrong: it is missing"},
		{[]string{"--secret", env("STANDARD"), "--header", "nonsense"}, `--header "nonsense": write it as 'name: value'`},
		{[]string{"--secret", "short", "--header", "x-hub-signature-256: sha256=00"}, "too short"},
		{[]string{"--secret", "short", "--scheme", "standrad"}, `there is no "standrad" — did you mean "standard"?`},
		{[]string{"--secret", env("TEXT"), "--scheme", "hmac"}, "--field is missing"},
	} {
		if _, err := command(t, body, append([]string{"verify"}, tt.args...)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want %s", tt.args, err, tt.want)
		}
	}
}
