package caddymodule

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// settingFields are the JSON names of the fields of Settings, in their order, with their
// indexes.
func settingFields() (names []string, index map[string]int) {
	index = make(map[string]int)
	for i := range reflect.TypeFor[Settings]().NumField() {
		f := reflect.TypeFor[Settings]().Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); f.IsExported() && name != "" {
			names = append(names, name)
			index[name] = i
		}
	}
	return names, index
}

// TestEverySettingIsShown: a field of Settings, or a word, that has no row in allSettings
// would be missing in "caddy relay show" and in the reference.
func TestEverySettingIsShown(t *testing.T) {
	var shown []string
	words := settingsWords(caddyfile.NewTestDispenser(""), new(Settings), nil)
	for _, row := range allSettings {
		shown = append(shown, row.fields...)
		if _, ok := words[row.word]; !ok {
			t.Errorf("allSettings has a row for %q, which is no word of a subscription", row.word)
		}
		delete(words, row.word)
		if row.otherwise == "" || row.show == nil {
			t.Errorf("the row of %q in allSettings is not complete", row.word)
		}
		if got := row.show(new(Settings)); len(got) != 0 {
			t.Errorf("%q of no settings is shown as %q", row.word, got)
		}
	}
	for word := range words {
		t.Errorf("allSettings, in setting.go, has no row for the word %q: write one", word)
	}
	if fields, _ := settingFields(); !slices.Equal(shown, fields) {
		t.Errorf("allSettings has rows for\n%s\nthe fields of Settings are, in their order,\n%s", strings.Join(shown, " "), strings.Join(fields, " "))
	}
}

// fullSettings are those of the JSON in the documentation, which is said to have every
// field.
func fullSettings(t *testing.T) Settings {
	t.Helper()
	raw, err := os.ReadFile("../docs/caddyfile.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), fence+"json\n")
	text, _, closed := strings.Cut(rest, fence)
	if !ok || !closed {
		t.Fatal("caddyfile.md has no block of JSON")
	}
	var config struct {
		Apps struct{ Relay App }
	}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatalf("the JSON in caddyfile.md: %v", err)
	}
	if len(config.Apps.Relay.Subscriptions) != 1 {
		t.Fatalf("the JSON in caddyfile.md has %d subscriptions", len(config.Apps.Relay.Subscriptions))
	}
	s := config.Apps.Relay.Subscriptions[0].Settings
	if err := s.check(); err != nil {
		t.Errorf("the JSON in caddyfile.md: %v", err)
	}
	return s
}

func TestDocumentedJSONHasEveryField(t *testing.T) {
	s := fullSettings(t)
	names, index := settingFields()
	for _, name := range names {
		if reflect.ValueOf(s).Field(index[name]).IsZero() {
			t.Errorf("the JSON in caddyfile.md does not show %q", name)
		}
	}
	for _, row := range allSettings {
		if len(row.show(&s)) == 0 {
			t.Errorf("%q is not shown where it is set", row.word)
		}
	}
}

// TestDefaultsReachEveryField: what a subscription does not say it has from the defaults.
func TestDefaultsReachEveryField(t *testing.T) {
	defaults := fullSettings(t)
	got := Settings{}.over(&defaults)
	names, index := settingFields()
	for _, name := range names {
		if !reflect.DeepEqual(reflect.ValueOf(got).Field(index[name]).Interface(), reflect.ValueOf(defaults).Field(index[name]).Interface()) {
			t.Errorf("%q of defaults does not reach a subscription; see Settings.over", name)
		}
	}
	if got.condition != defaults.condition || got.condition == nil {
		t.Error("the compiled expression does not reach a subscription")
	}
	own := Settings{Expression: "true"}
	if err := own.check(); err != nil {
		t.Fatal(err)
	}
	if got := own.over(&defaults); got.condition.String() != "true" || got.Expression != "true" {
		t.Errorf("an expression of its own: %s", got.condition)
	}
}

func TestEffectiveSettingsSayWhereTheyComeFrom(t *testing.T) {
	newSecret(t, "A")
	t.Setenv("TOKEN", "t-0123456789")
	a := mustProvision(t, `{
		"regions": [{"name": "eu", "egress": [{"address": "192.0.2.10"}]}],
		"defaults": {
			"timeout": "90s", "contacts": ["mailto:a@example.com"], "filter": [{"path": "test", "operator": "equals", "values": ["a b"]}],
			"retry": {"delays": ["90s", "36h", "72h"], "jitter": 0, "on_status": [429, 5], "give_up_after": "10d"}
		},
		"subscriptions": [{
			"name": "crm", "url": "https://crm.example.com/{env.TOKEN}", "topics": ["order.*", "Entry.publish"],
			"filter": [{"path": "currency", "operator": "in", "values": ["EUR", "USD"]}, {"not": true, "path": "x", "operator": "exists"}],
			"filters": [ {"equals": [{"doc": "a"}, 1]} ], "expression": "event.type != \"\"\n\t|| true",
			"header": [{"field": "X-A", "value": "b"}, {"op": "remove", "field": "User-Agent"}, {"field": "Authorization", "value": "t-0123456789"}],
			"secret_header": [{"field": "X-B", "value": "Bearer {env.TOKEN}"}, {"field": "X-C", "value": "t-0123456789"}],
			"sign": [{"scheme": "standard", "secrets": [{"secret": "{env.A}", "until": "2099-01-01T00:00:00Z"}]}],
			"paused": true, "paused_reason": "until Monday"
		}]
	}`)
	var got []string
	for _, e := range a.effective(a.Subscriptions[0]) {
		got = append(got, e.From+": "+e.Word+" "+strings.Join(e.Values, " | "))
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{
		"subscription: topics order.* Entry.publish", "subscription: filter currency in EUR USD | not x exists",
		`subscription: filters [{"equals":[{"doc":"a"},1]}]`, "subscription: expression event.type != \"\" | \t|| true",
		"subscription: header X-A b | -User-Agent | Authorization ***", "subscription: secret_header X-B ***{env.TOKEN} | X-C ***",
		"subscription: sign standard secret={env.A} until=2099-01-01T00:00:00Z", "subscription: paused yes until Monday",
		"defaults: timeout 1m30s", "defaults: contact mailto:a@example.com",
		"defaults: retry 1m30s 36h 3d jitter 0 on_status 429 5xx give_up_after 10d",
		"built-in: region eu", "built-in: method POST", "built-in: connect_timeout 5s", "built-in: max_in_flight 16",
		"built-in: rate_limit ", "built-in: breaker 0.7 10 5m 30s", "built-in: disable_after 5d", "built-in: allow_ips only what is public",
	} {
		if !slices.Contains(strings.Split(text, "\n"), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "0123456789") {
		t.Errorf("a secret is shown:\n%s", text)
	}
}

func TestSpell(t *testing.T) {
	for d, want := range map[time.Duration]string{
		5 * time.Minute: "5m", 90 * time.Minute: "1h30m", 2 * time.Hour: "2h", 500 * time.Millisecond: "500ms", 48 * time.Hour: "2d",
		90 * time.Second: "1m30s", 36 * time.Hour: "36h", 0: "0s", 10 * time.Second: "10s", 10 * time.Minute: "10m", 30 * time.Hour: "30h",
	} {
		if got := spell(d); got != want {
			t.Errorf("spell(%v) = %s; want %s", d, got, want)
		}
	}
	if got, want := spellRetry(nil), "5s 5m 30m 2h 5h 10h 14h 20h 24h jitter 0.2"; got != want {
		t.Errorf("the default retry is spelled %s", got)
	}
	if got := spellRetry(&Retry{Off: true}); got != "off" {
		t.Errorf("retry off is spelled %s", got)
	}
	if got := spellBreaker(&Breaker{Off: true}); got != "off" {
		t.Errorf("breaker off is spelled %s", got)
	}
}

func TestGuestsAreShownWithoutSecrets(t *testing.T) {
	for raw, want := range map[string]string{
		`{"scheme":"hmac","header":"X-Sig","algorithm":"sha256","secrets":[{"secret":"literal"},{"secret":"{env.A}","from":"2026-01-01T00:00:00Z"}]}`: "hmac algorithm=sha256 header=X-Sig secret=*** from=2026-01-01T00:00:00Z secret={env.A}",
		`{"scheme":"own","pin":1234,"deep":{"note":"a{file./x}b"},"on":true,"scopes":["a b"]}`:                                                        `own note=***{file./x}*** on=true pin=*** scopes="a b"`,
		`{"scheme":"own","secret":"{x}"}`: "own secret=***",
		`[]`:                              "***",
	} {
		if got := showGuest(json.RawMessage(raw), "scheme"); got != want {
			t.Errorf("%s is shown as %s; want %s", raw, got, want)
		}
	}
}

func TestShowSubscriptionSaysWhatHoldsAndWhy(t *testing.T) {
	r := newReceiver(t)
	c := startSteered(t)
	c.load(r.subscription("crm", picky))
	out := c.mustRun("show", "crm")
	for _, line := range []string{"WORD", "url ", "filter           subscription  currency in EUR USD", "method           built-in      POST", "rate_limit       built-in      none"} {
		if !strings.Contains(out, line) {
			t.Errorf("show lacks %q:\n%s", line, out)
		}
	}
	var details subscriptionDetails
	c.want(200, "GET /relay/subscriptions/crm", "", &details)
	if details.Name != "crm" || details.State != "active" || details.URL != r.URL || len(details.Settings) != len(allSettings) {
		t.Errorf("%+v", details)
	}
	c.refused(404, "GET /relay/subscriptions/crn", "", `there is no subscription named "crn" — did you mean "crm"?`)
	if _, err := c.run("show", "crn"); err == nil || !strings.Contains(err.Error(), `did you mean "crm"?`) {
		t.Errorf("showing what is not there: %v", err)
	}

	// What is gone from the configuration has nothing that could hold.
	r.status.Store(500)
	c.post("order.paid")
	c.postData("order.paid", `{"currency":"EUR","test":false,"total":101}`)
	c.load()
	if out := c.mustRun("show", "crm"); !strings.Contains(out, "gone") || strings.Contains(out, "WORD") {
		t.Errorf("show of what is gone:\n%s", out)
	}
}
