package caddymodule

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay/spelling"
)

func TestExampleIsFormattedAndValid(t *testing.T) {
	raw, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	if formatted := caddyfile.Format(raw); string(formatted) != string(raw) {
		t.Errorf("not formatted; caddy fmt makes of it:\n%s", formatted)
	}
	if err := validate(supply(t, mustAdapt(t, string(raw)))); err != nil {
		t.Error(err)
	}
}

// TestExampleShowsEveryWord keeps the example and the parser together.
func TestExampleShowsEveryWord(t *testing.T) {
	raw, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	first := make(map[string]bool)
	for line := range strings.Lines(string(raw)) {
		// A line may be there as a comment, where it is not for everybody.
		if fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "# ")); len(fields) > 0 {
			first[fields[0]] = true
		}
	}
	d := caddyfile.NewTestDispenser("")
	words := []string{
		"egress", "delivered", "failed", "idempotency_keys", "secret", "jitter", "on_status", "give_up_after",
		"token", "max_event_size", "default_source", "type_from", "key_from", "accept", "hosts",
		"relay_sink", "relay_intake", "relay_egress", "fail", "delay",
	}
	for w := range new(EgressList).words() {
		words = append(words, w)
	}
	for w := range (&optionParser{d: d}).words() {
		words = append(words, w)
	}
	for w := range settingsWords(d, new(Settings), nil) {
		words = append(words, w)
	}
	for _, w := range words {
		if !first[w] {
			t.Errorf("the example does not show %q", w)
		}
	}
}

// TestOrderOfLinesDoesNotMatter shuffles the lines of a block that has every word: a
// word that ate the line after it would be found.
func TestOrderOfLinesDoesNotMatter(t *testing.T) {
	entries := map[string][]string{
		"subscription": {
			"description x", "contact mailto:a@example.com", "topics order.*", "region eu",
			"filter not a.b equals x", "filter c exists", "filters []", "expression event.data.total > 100", "method PUT",
			"header X-A b", "header -X-C", "secret_header X-B {env.B}", "sign standard {\nsecret {env.A}\nsecret {env.B} until 2027-01-01T00:00:00Z\n}",
			"retry 1s {\njitter 0\non_status 5xx\n}", "timeout 1s", "connect_timeout 1s", "max_in_flight 1",
			"rate_limit 50 1s", "order_by {event.subject}", "debounce 5s {event.subject}",
			"wait_for https://cdn.example.com/ {\nuntil true\n}", "auth basic a {env.B}", "transform jq .data", "format binary",
			"tls_client_auth a.crt a.key", "tls_trust_pool file a.pem", "tls_server_name a.example.com", "breaker 0.5 20 1m 10s", "disable_after 2d",
			"allow_ips 10.0.0.1", "allow_hosts a.internal", "paused x",
		},
		"relay": {
			"storage badger /x", "retention {\ndelivered 1d\n}", "region eu 192.0.2.1", "region us {\negress 192.0.2.2\n}",
			"notice 10d", "event order.paid {\ndescription x\n}", "defaults {\nregion eu\n}", "subscription a https://a.example.com/", "subscription b https://b.example.com/ x {\nretry off\n}",
		},
		"retry": {"jitter 0", "on_status 5xx", "on_status 429", "give_up_after 1d"},
		"intake": {
			"token {env.A}", "token {env.B}", "max_event_size 1KiB", "max_batch 5", "default_source /x", "type_from json a",
			"key_from header X-A", "accept phraseanet", "accept contentful", "hosts a b",
		},
		"wait_for": {
			"until response.status == 200", "interval 1s 5s", "timeout 1m", "on_timeout fail", "header X-A b", "header -User-Agent",
			"secret_header X-B {env.B}",
		},
		"sink":    {"secret {env.A}", "fail 0.5", "delay 1s"},
		"console": {"read_only", "redact a.b c", "redact d", "hosts a b"},
		"egress":  {"url https://a.example.com/"},
	}
	d := caddyfile.NewTestDispenser("")
	for name, words := range map[string]vocabulary{
		"subscription": settingsWords(d, new(Settings), nil), "relay": (&optionParser{d: d}).words(), "intake": new(Intake).words(),
		"sink": new(Sink).words(), "console": new(Console).words(), "egress": new(EgressList).words(),
	} {
		for word := range words {
			if !slices.ContainsFunc(entries[name], func(line string) bool { return strings.Fields(line)[0] == word }) {
				t.Errorf("no line of %s has the word %q", name, word)
			}
		}
	}
	wrap := map[string]func(lines string) string{
		"subscription": func(l string) string {
			return option("region eu 192.0.2.1\nregion us 192.0.2.2\nsubscription crm https://crm.example.com/ {\n" + l + "\n}")
		},
		"relay": option,
		"retry": func(l string) string {
			return option("subscription crm https://crm.example.com/ {\nretry 1s {\n" + l + "\n}\n}")
		},
		"wait_for": func(l string) string {
			return option("subscription crm https://crm.example.com/ {\nwait_for https://cdn.example.com/ {\n" + l + "\n}\n}")
		},
		"console": func(l string) string { return "http://:4665 {\nrelay_console {\n" + l + "\n}\n}" },
		"egress":  func(l string) string { return "http://:4665 {\nrelay_egress {\n" + l + "\n}\n}" },
		"intake":  func(l string) string { return "http://:4665 {\nrelay_intake {\n" + l + "\n}\n}" },
		"sink":    func(l string) string { return "http://:4665 {\nrelay_sink {\n" + l + "\n}\n}" },
	}
	random := rand.New(rand.NewPCG(1, 2))
	for name, lines := range entries {
		for range 50 {
			random.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
			if _, err := adapt(wrap[name](strings.Join(lines, "\n"))); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, strings.Join(lines, "\n"))
			}
		}
	}
}

// TestJSONIsJudgedAsTheCaddyfileIs takes what the Caddyfile refuses through JSON.
func TestJSONIsJudgedAsTheCaddyfileIs(t *testing.T) {
	for _, c := range []struct{ line, field string }{
		{"contact nobody", `"contacts": ["nobody"]`},
		{"topics a..b", `"topics": ["a..b"]`},
		{"filter currency equal EUR", `"filter": [{"path": "currency", "operator": "equal", "values": ["EUR"]}]`},
		{"filter not a..b exists", `"filter": [{"not": true, "path": "a..b", "operator": "exists"}]`},
		{"filter id regexp (", `"filter": [{"path": "id", "operator": "regexp", "values": ["("]}]`},
		{"filters `[{}]`", `"filters": [{}]`},
		{"expression `event.typ == 1`", `"expression": "event.typ == 1"`},
		{"region nowhere", `"region": "nowhere"`},
		{"method HEAD", `"method": "HEAD"`},
		{"header Host x", `"header": [{"field": "Host", "value": "x"}]`},
		{"secret_header Relay-X x", `"secret_header": [{"field": "Relay-X", "value": "x"}]`},
		{"sign nope x", `"sign": [{"scheme": "nope"}]`},
		{"retry -1s", `"retry": {"delays": ["-1s"]}`},
		{"timeout -1s", `"timeout": "-1s"`},
		{"connect_timeout -1s", `"connect_timeout": "-1s"`},
		{"max_in_flight 5000", `"max_in_flight": 5000`},
		{"rate_limit 0 1s", `"rate_limit": {"events": 0, "window": "1s"}`},
		{"rate_limit 1 -1s", `"rate_limit": {"events": 1, "window": "-1s"}`},
		{"order_by subject", `"order_by": "subject"`},
		{"order_by {event.data.}", `"order_by": "{event.data.}"`},
		{"debounce 0s {event.subject}", `"debounce": {"window": 0, "by": "{event.subject}"}`},
		{"debounce 1s subject", `"debounce": {"window": "1s", "by": "subject"}`},
		{"wait_for cdn.example.com", `"wait_for": {"url": "cdn.example.com", "until": "true"}`},
		{"wait_for https://10.0.0.1/ {\nuntil true\n}", `"wait_for": {"url": "https://10.0.0.1/", "until": "true"}`},
		{"wait_for https://cdn.example.com/", `"wait_for": {"url": "https://cdn.example.com/"}`},
		{"wait_for https://cdn.example.com/ {\nuntil `response.stat == 1`\n}", `"wait_for": {"url": "https://cdn.example.com/", "until": "response.stat == 1"}`},
		{"wait_for https://cdn.example.com/ {\nuntil true\ninterval 10ms\n}", `"wait_for": {"url": "https://cdn.example.com/", "until": "true", "interval": "10ms"}`},
		{"wait_for https://cdn.example.com/ {\nuntil true\ninterval 5s 1s\n}", `"wait_for": {"url": "https://cdn.example.com/", "until": "true", "interval": "5s", "longest_interval": "1s"}`},
		{"wait_for https://cdn.example.com/ {\nuntil true\ntimeout -1s\n}", `"wait_for": {"url": "https://cdn.example.com/", "until": "true", "timeout": "-1s"}`},
		{"wait_for https://cdn.example.com/ {\nuntil true\non_timeout retri\n}", `"wait_for": {"url": "https://cdn.example.com/", "until": "true", "on_timeout": "retri"}`},
		{"wait_for https://cdn.example.com/ {\nuntil true\nheader Host x\n}", `"wait_for": {"url": "https://cdn.example.com/", "until": "true", "header": [{"field": "Host", "value": "x"}]}`},
		{"breaker 2 10 5m", `"breaker": {"failure_ratio": 2, "least_attempts": 10, "window": "5m"}`},
		{"disable_after -1s", `"disable_after": "-1s"`},
		{"allow_ips x", `"allow_ips": ["x"]`},
		{"allow_hosts *", `"allow_hosts": ["*"]`},
	} {
		_, inCaddyfile := adapt(option("subscription crm https://crm.example.com/ {\n" + c.line + "\n}"))
		_, inJSON := provision(t, `{"subscriptions": [{"name": "crm", "url": "https://crm.example.com/", `+c.field+`}]}`)
		if inCaddyfile == nil || inJSON == nil {
			t.Errorf("%s: Caddyfile: %v; JSON: %v", c.line, inCaddyfile, inJSON)
			continue
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(inCaddyfile.Error(), "parsing caddyfile tokens for 'relay': "), ", at Caddyfile:")
		if text != inJSON.Error() {
			t.Errorf("the same mistake has two texts:\n%s\n%s", text, inJSON)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"subscription", "storage", "region", "retention", "defaults"}
	for word, want := range map[string]string{
		"subscriptien": "subscription", "regoin": "region", "Region": "region", "storag": "storage",
		"default": "defaults", "retntion": "retention", "xyz": "", "": "", "in": "",
	} {
		if got := spelling.Nearest(word, words); got != want {
			t.Errorf("nearest(%q) = %q; want %q", word, got, want)
		}
	}
}

func FuzzOption(f *testing.F) {
	for _, lines := range []string{
		"subscription crm https://crm.example.com/ a.* {\nsign standard {env.A}\nretry 1s {\njitter 0\n}\n}",
		"subscription crm https://crm.example.com/ {\nrate_limit 50 1s\norder_by {event.data.a}\nbreaker 0.5 20 1m 10s\ndisable_after 2d\n}",
		"region eu 192.0.2.1 {\negress ::1\n}",
		"region eu {\negress 10.0.0.5 as 192.0.2.1 from 2027-01-01T00:00:00Z until 2028-01-01T00:00:00+01:00\negress auto as 2001:db8::/48\nprefer ipv6\nresolvers 192.0.2.53 192.0.2.54:5353\nnetwork_proxy url http://me:pw@proxy.example.com:3128\n}",
		"subscription crm https://crm.example.com/ {\nfilter not a.b in x 1\nfilters `[{\"equals\":[{\"doc\":\"a\"},\"x\"]}]`\nexpression event.data.a > 1\n}",
		"storage badger {\n}", "defaults {\nheader -X\n}", "retention {\nfailed 1d\n}",
	} {
		f.Add(lines)
	}
	f.Fuzz(func(t *testing.T, lines string) {
		out, err := adapt(option(lines))
		if err != nil {
			return
		}
		var config struct {
			Apps struct{ Relay json.RawMessage }
		}
		if err := json.Unmarshal([]byte(out), &config); err != nil || config.Apps.Relay == nil {
			return
		}
		// What is accepted as text is accepted as JSON, but for what needs the machine.
		_, err = provision(t, string(config.Apps.Relay))
		if err == nil {
			return
		}
		for _, later := range []string{"placeholder", "{env.", "{file.", "secret", "machine", "control character"} {
			if strings.Contains(err.Error(), later) {
				return
			}
		}
		t.Errorf("%s\nis accepted in a Caddyfile, and not as JSON: %v", lines, err)
	})
}
