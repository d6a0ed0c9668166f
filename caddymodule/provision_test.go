package caddymodule

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// provision returns the app of a configuration, after Provision.
func provision(t *testing.T, appJSON string) (*App, error) {
	t.Helper()
	a := new(App)
	if err := caddy.StrictUnmarshalJSON([]byte(appJSON), a); err != nil {
		t.Fatalf("%v in %s", err, appJSON)
	}
	ctx, cancel := caddy.NewContext(quiet(t))
	t.Cleanup(cancel)
	return a, a.Provision(ctx)
}

// quiet is a context whose log goes nowhere. One without a configuration would log to the
// standard error, each warning with a stack trace, which looks like a panic.
func quiet(t *testing.T) caddy.Context {
	t.Helper()
	log := &caddy.CustomLog{BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output": "discard"}`)}}
	ctx, err := caddy.ProvisionContext(&caddy.Config{Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": log}}})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func mustProvision(t *testing.T, appJSON string) *App {
	t.Helper()
	a, err := provision(t, appJSON)
	if err != nil {
		t.Fatalf("provisioning: %v", err)
	}
	return a
}

func TestProvisionTouchesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", filepath.Join(dir, "data"))
	t.Setenv("RELAY_DIR", filepath.Join(dir, "relay"))
	for _, storage := range []string{``, `"storage": {"engine": "badger"},`, `"storage": {"engine": "badger", "directory": "{env.RELAY_DIR}/store"},`} {
		err := validate(app(`{` + storage + `"subscriptions": [{"name": "crm", "url": "https://crm.example.com/"}]}`))
		if err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir && strings.Contains(path, "relay") {
			t.Errorf("validating made %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := countEngines(); n != 0 {
		t.Errorf("%d engines run", n)
	}
}

func countEngines() (n int) {
	engines.Range(func(_, _ any) bool { n++; return true })
	return n
}

func TestJSONBuildsThePlan(t *testing.T) {
	newSecret(t, "SECRET")
	t.Setenv("KEY", "k-1")
	t.Setenv("CRM_HOST", "CRM.example.com:443")
	a := mustProvision(t, `{
		"retention": {"delivered": "3d"},
		"regions": [{"name": "eu", "egress": [{"address": "192.0.2.10"}]}],
		"defaults": {
			"timeout": "20s",
			"retry": {"delays": ["1s"], "jitter": 0.5},
			"rate_limit": {"events": 50, "window": "1s"},
			"order_by": "{event.data.customer.id}",
			"breaker": {"failure_ratio": 0.5, "pause": "10s"},
			"disable_after": "2d",
			"header": [{"field": "x-sender", "value": "shop"}],
			"sign": [{"scheme": "standard", "secrets": [{"secret": "{env.SECRET}"}]}]
		},
		"subscriptions": [
			{"name": "crm", "url": "https://{env.CRM_HOST}/hooks", "topics": ["order.*"],
			 "secret_header": [{"field": "X-Api-Key", "value": "{env.KEY}"}], "contacts": ["mailto:a@example.com"]},
			{"name": "erp", "url": "https://erp.example.com", "method": "PUT", "timeout": "1s", "max_in_flight": 3,
			 "retry": {"off": true}, "header": [{"op": "remove", "field": "User-Agent"}], "paused": true, "paused_reason": "moving",
			 "rate_limit": {"events": 1, "window": "1m"}, "order_by": "{event.subject}", "breaker": {"off": true}, "disable_after": "1h"}
		]}`)
	if got := a.plan.Retention(); got.Delivered != 72*time.Hour || got.Failed != relay.DefaultRetention.Failed {
		t.Errorf("retention: %+v", got)
	}
	crm, erp := a.plan.Subscription("crm"), a.plan.Subscription("erp")
	if crm.URL.String() != "https://crm.example.com/hooks" || crm.Region != "eu" || crm.Timeout != 20*time.Second || crm.Method != http.MethodPost {
		t.Errorf("crm: %+v", crm)
	}
	if crm.Retry.Jitter != 0.5 || !slices.Equal(crm.Retry.Delays, []time.Duration{time.Second}) || crm.MaxInFlight != relay.DefaultMaxInFlight {
		t.Errorf("crm: %+v", crm)
	}
	want := []relay.HeaderRule{{Op: '=', Field: "X-Sender", Value: "shop"}, {Op: '=', Field: "X-Api-Key", Value: "k-1", Secret: true}}
	if !slices.Equal(crm.Header, want) {
		t.Errorf("crm: header %+v; want %+v", crm.Header, want)
	}
	if len(crm.Signers) != 1 || len(erp.Signers) != 1 {
		t.Errorf("signers: %d and %d; want the one of the defaults for both", len(crm.Signers), len(erp.Signers))
	}
	if !erp.Retry.Off || erp.Timeout != time.Second || erp.MaxInFlight != 3 || !erp.Paused || erp.PausedReason != "moving" {
		t.Errorf("erp: %+v", erp)
	}
	halved := relay.BreakerPolicy{Ratio: 0.5, Least: relay.DefaultBreaker.Least, Window: relay.DefaultBreaker.Window, Pause: 10 * time.Second}
	if crm.RateLimit != (relay.RateLimit{Events: 50, Window: time.Second}) || crm.Breaker != halved || crm.DisableAfter != 48*time.Hour ||
		crm.OrderBy == nil || crm.OrderBy.String() != "{event.data.customer.id}" {
		t.Errorf("crm: %+v", crm)
	}
	if erp.RateLimit != (relay.RateLimit{Events: 1, Window: time.Minute}) || !erp.Breaker.Off || erp.DisableAfter != time.Hour ||
		erp.OrderBy == nil || erp.OrderBy.String() != "{event.subject}" {
		t.Errorf("erp: %+v", erp)
	}
	if !slices.Equal(erp.Header, []relay.HeaderRule{{Op: '-', Field: "User-Agent"}}) {
		t.Errorf("erp: header %+v; its own replace those of the defaults", erp.Header)
	}
}

func TestLimitsHaveDefaults(t *testing.T) {
	s := mustProvision(t, `{"subscriptions": [{"name": "crm", "url": "https://crm.example.com/"}]}`).plan.Subscription("crm")
	if s.Breaker != relay.DefaultBreaker || s.DisableAfter != relay.DefaultDisableAfter || s.RateLimit != (relay.RateLimit{}) || s.OrderBy != nil {
		t.Errorf("%+v", s)
	}
}

// TestErrorsOfJSON holds what only JSON can say, and what only Provision can judge.
func TestErrorsOfJSON(t *testing.T) {
	t.Setenv("EMPTY", "")
	t.Setenv("NO_PROXY_URL", "ftp://me:token-abc@proxy.example.com")
	t.Setenv("PRIVATE", "http://10.9.8.7/token-abc")
	t.Setenv("SHORT", "whsec_c2hvcnQ=")
	t.Setenv("BROKEN", "a\nb")
	dir := t.TempDir()
	blank := filepath.Join(dir, "blank")
	if err := os.WriteFile(blank, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sub := func(fields string) string {
		return `{"subscriptions": [{"name": "crm", "url": "https://crm.example.com/" ` + fields + `}]}`
	}
	sign := func(secret string) string {
		return sub(`, "sign": [{"scheme": "standard", "secrets": [{"secret": "` + secret + `"}]}]`)
	}
	for _, c := range []struct{ app, want string }{
		{`{"subscriptions": [{"name": "a", "url": "https://a.example.com/"}, {"name": "a", "url": "https://b.example.com/"}]}`, `subscription "a" is declared twice`},
		{`{"regions": [{"name": "a", "egress": [{"address": "192.0.2.1"}]}, {"name": "a", "egress": [{"address": "192.0.2.2"}]}]}`, `region "a" is declared twice`},
		{`{"regions": [{"name": "a"}]}`, `region "a": no address`},
		{`{"regions": [{"name": "a", "egress": [{"address": ""}]}]}`, `region "a": egress: "" is no IP address`},
		{`{"regions": [{"name": "a", "egress": [{"address": "192.0.2.1"}], "prefer": "4"}]}`, `region "a": prefer: "4" is no family`},
		{`{"regions": [{"name": "a", "egress": [{"address": "10.0.0.1", "as": "10.0.0.2"}]}]}`, `region "a": 10.0.0.1 as 10.0.0.2: as names the address that receivers see`},
		{`{"regions": [{"name": "a", "egress": [{"address": "auto", "as": "2001:db8::1%eth0"}]}]}`, `region "a": egress: auto as "2001:db8::1%eth0": that is no IP address and no prefix`},
		{`{"regions": [{"name": "a", "egress": [{"address": "192.0.2.1", "from": "2027-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}]}]}`, `region "a": 192.0.2.1 is never used`},
		{`{"regions": [{"name": "a", "egress": [{"address": "192.0.2.1"}]}, {"name": "b", "egress": [{"address": "192.0.2.1"}]}]}`, `region "b": the address 192.0.2.1 is also one of region "a"`},
		{`{"regions": [{"name": "a", "egress": [{"address": "192.0.2.1"}], "resolvers": ["192.0.2.53:x"]}]}`, `region "a": resolvers: "192.0.2.53:x" is no address of a DNS server`},
		{`{"regions": [{"name": "a", "egress": [{"address": "192.0.2.1"}], "resolvers": ["2001:db8::53"]}]}`, `region "a": the resolver 2001:db8::53 cannot be asked: the region has no IPv6 address`},
		{`{"regions": [{"name": "a", "egress": [{"address": "192.0.2.1"}], "network_proxy": {"from": "nope"}}]}`, `region "a": network_proxy: `},
		{`{"regions": [{"name": "a", "egress": [{"address": "192.0.2.1"}], "network_proxy": {"from": "url"}}]}`, `region "a": network_proxy url: the URL is missing`},
		{`{"regions": [{"name": "a", "egress": [{"address": "192.0.2.1"}], "network_proxy": {"from": "url", "url": "{env.NO_SUCH_VARIABLE}"}}]}`, `region "a": network_proxy url: {env.NO_SUCH_VARIABLE} is not set`},
		{`{"regions": [{"name": "a", "egress": [{"address": "192.0.2.1"}], "network_proxy": {"from": "url", "url": "{env.NO_PROXY_URL}"}}]}`, `region "a": network_proxy url: a proxy is spoken to by http, https or socks5, and not by "ftp"`},
		{`{"retention": {"failed": -1}}`, `retention: failed: -1ns is not longer than zero`},
		{`{"defaults": {"region": "eu"}}`, `defaults: region: there is no region "eu"`},
		{`{"defaults": {"method": "HEAD"}}`, `defaults: method: "HEAD" is not possible`},
		{`{"subscriptions": [{"name": "crm"}]}`, `subscription "crm": URL missing`},
		{`{"subscriptions": [{"url": "https://a.example.com/"}]}`, `subscription: name missing`},
		{`{"subscriptions": [{"name": "crm", "url": "{env.NO_SUCH_VARIABLE}"}]}`, `subscription "crm": URL: {env.NO_SUCH_VARIABLE} is not set`},
		{`{"subscriptions": [{"name": "crm", "url": "{env.PRIVATE}"}]}`, `subscription "crm": destination 10.9.8.7 is refused`},
		{sub(`, "topics": ["a..b"]`), `the topic "a..b"`},
		{sub(`, "header": [{"op": "replace", "field": "X-A", "value": "b"}]`), `header X-A: the operation "replace"`},
		{sub(`, "header": [{"field": "X-A", "value": "{env.BROKEN}"}]`), `subscription "crm": header X-A: the value has a control character`},
		{sub(`, "header": [{"field": "X-A", "value": "{http.request.uri}"}]`), `subscription "crm": header X-A: unrecognized placeholder {http.request.uri}`},
		{sub(`, "secret_header": [{"field": "X-A", "value": "{env.EMPTY}"}]`), `subscription "crm": secret_header X-A: {env.EMPTY} is set, but empty`},
		{sub(`, "secret_header": [{"field": "X-A"}]`), `secret_header X-A: the value is missing`},
		{sub(`, "retry": {"off": true, "delays": ["1s"]}`), `retry off: one attempt needs no delays`},
		{sub(`, "retry": {"jitter": 2}`), `jitter: 2 is not possible`},
		{sub(`, "retry": {"on_status": [2]}`), `on_status: 2 is not possible`},
		{sub(`, "timeout": -1`), `timeout: -1ns is not longer than zero`},
		{sub(`, "max_in_flight": 1001`), `max_in_flight: 1001 is not possible`},
		{sub(`, "rate_limit": {"window": "1s"}`), `rate_limit: 0 events are not possible`},
		{sub(`, "rate_limit": {"events": 1}`), `rate_limit: 0s is not longer than zero`},
		{sub(`, "order_by": "{event.data.}"`), `order_by: {event.data.}: the path`},
		{sub(`, "order_by": "{env.SHORT}"`), `order_by: "{env.SHORT}" is no placeholder of an event`},
		{sub(`, "breaker": {"off": true, "pause": "1s"}`), `breaker off: nothing else can be said`},
		{sub(`, "breaker": {"failure_ratio": -0.1}`), `breaker: a failure ratio of -0.1 is not possible`},
		{sub(`, "breaker": {"least_attempts": -1}`), `breaker: -1 attempts are not possible`},
		{sub(`, "breaker": {"window": -1}`), `breaker: window: -1ns is not longer than zero`},
		{sub(`, "breaker": {"pause": -1}`), `breaker: pause: -1ns is not longer than zero`},
		{sub(`, "disable_after": -1`), `disable_after: -1ns is not longer than zero`},
		{sub(`, "allow_ips": ["x"]`), `allow_ips x: this is neither`},
		{sub(`, "allow_hosts": ["a*"]`), `allow_hosts a*`},
		{sub(`, "paused_reason": "x"`), `paused_reason stands without paused`},
		{sub(`, "sign": [{"scheme": "nope"}]`), `subscription "crm": sign: unknown module "nope"`},
		{sub(`, "sign": [{"scheme": "standard"}]`), `subscription "crm": sign standard: secret missing`},
		{sub(`, "sign": [{"scheme": "standard"}, {"scheme": "standard"}]`), `sign standard: stands twice`},
		{sign("{env.NO_SUCH_VARIABLE}"), `subscription "crm": sign standard: secret: {env.NO_SUCH_VARIABLE} is not set; set the variable where Caddy is started`},
		{sign("{env.EMPTY}"), `{env.EMPTY} is set, but empty`},
		{sign("{env.SHORT}"), `subscription "crm": sign standard: the secret is too short`},
		{sign("{file." + dir + "/missing}"), `/missing} cannot be read: there is no such file`},
		{sign("{file." + blank + "}"), `/blank} is empty; write the value into the file`},
		{sign("{file." + dir + "}"), `cannot be read by user`},
		{`{"storage": {"engine": "badger", "directory": "{env.EMPTY}"}}`, `storage badger: directory: {env.EMPTY} is set, but empty`},
		{`{"storage": {"engine": "nope"}}`, `nope`},
	} {
		_, err := provision(t, c.app)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot:  %v\nwant: %s", c.app, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "token-abc") {
			t.Errorf("the error shows a URL that came from a placeholder: %v", err)
		}
	}
}

func TestUnreadableSecretFileSaysWhoCannotReadIt(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything")
	}
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("x"), 0o000); err != nil {
		t.Fatal(err)
	}
	_, err := resolve("{file." + path + "}")
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("got %v", err)
	}
}

func TestSecretsAreNeverMarshalled(t *testing.T) {
	secret := newSecret(t, "SECRET")
	t.Setenv("KEY", "k-0123456789")
	path := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(path, []byte("https://hooks.example.com/t-0123456789\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	caddyfile := option(`
		subscription crm {file.` + path + `} {
			sign standard {env.SECRET}
			secret_header X-Api-Key {env.KEY}
			header X-Other {env.KEY}
		}`)
	adapted := mustAdapt(t, caddyfile)
	var config struct {
		Apps struct{ Relay json.RawMessage }
	}
	if err := json.Unmarshal([]byte(adapted), &config); err != nil {
		t.Fatal(err)
	}
	a := mustProvision(t, string(config.Apps.Relay))
	after, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"caddy adapt": adapted, "the app after Provision": string(after)} {
		for _, hidden := range []string{secret, strings.TrimPrefix(secret, "whsec_"), "k-0123456789", "t-0123456789"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s shows %s: %s", name, hidden, text)
			}
		}
	}
	if got := a.plan.Subscription("crm").URL.String(); got != "https://hooks.example.com/t-0123456789" {
		t.Errorf("the plan has the URL %s", got)
	}
}

func TestSignatureIsThatOfTheSecret(t *testing.T) {
	secret := newSecret(t, "SECRET")
	a := mustProvision(t, `{"subscriptions": [{"name": "crm", "url": "https://crm.example.com/",
		"sign": [{"scheme": "standard", "secrets": [{"secret": "{env.SECRET}"}]}]}]}`)
	parsed, err := signature.ParseStandardSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	header, now := http.Header{}, time.Now()
	err = a.plan.Subscription("crm").Signers[0].Sign(header, signature.Message{ID: "evt_1", Time: now, Body: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	if err := signature.Verify(parsed, header, []byte("{}"), now, time.Minute); err != nil {
		t.Error(err)
	}
}
