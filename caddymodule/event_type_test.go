package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// schemaNamed writes a schema and returns its path.
func schemaNamed(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCatalogueIsReadWhenProvisioned(t *testing.T) {
	path := schemaNamed(t, "order.json", `{"type":"object"}`)
	t.Setenv("SCHEMAS", filepath.Dir(path))
	a := mustProvision(t, `{"event_types": [
		{"type": "order.paid", "schema": "{env.SCHEMAS}/order.json"}, {"type": "order.seen", "description": "somebody looked"}
	]}`)
	if got := string(a.catalogue.JSON()); got != `{"items":[{"type":"order.paid","schema":{"type":"object"}},{"type":"order.seen","description":"somebody looked"}],"next":""}` {
		t.Error(got)
	}
	if !a.catalogue.HasSchema("Order.Paid") || a.catalogue.HasSchema("order.seen") {
		t.Error("the wrong types have a schema")
	}
	for declared, want := range map[string]string{
		`{"type": ""}`:           "event: the event type is missing",
		`{"type": "a..b"}`:       `event: the event type "a..b" has an empty segment`,
		`{"type": "relay.x"}`:    "is reserved",
		`{"type": "order.*"}`:    `event "order.*" is a pattern`,
		`{"type": "ORDER.seen"}`: `event "ORDER.seen" is declared twice`,
		`{"type": "a", "schema": "{env.NO_SUCH_VARIABLE}/a.json"}`:                                       `event "a": schema: {env.NO_SUCH_VARIABLE} is not set`,
		`{"type": "a", "schema": "/no/such/file.json"}`:                                                  `event "a": schema /no/such/file.json: open /no/such/file.json: no such file or directory`,
		`{"type": "a", "schema": "` + schemaNamed(t, "a.json", "{") + `"}`:                               `a.json is not JSON`,
		`{"type": "a", "schema": "` + schemaNamed(t, "a.json", `{"$ref":"http://example.com/a"}`) + `"}`: `refers to http://example.com/a, and schemas are not fetched over the network`,
	} {
		if _, err := provision(t, `{"event_types": [{"type": "order.seen"}, `+declared+`]}`); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot:  %v\nwant: %s", declared, err, want)
		}
	}
}

func TestTopicsThatNothingMatchesAreAWarning(t *testing.T) {
	const subscriptions = `"defaults": {"topics": ["order.late"]}, "subscriptions": [
		{"name": "a", "url": "https://a.example.com/", "topics": ["order.*", "*", "Entry.*", "relay.*", "ORDER.PAID"]},
		{"name": "b", "url": "https://b.example.com/", "topics": ["order.*", "invoice.*", "order.payd"]},
		{"name": "c", "url": "https://c.example.com/"}
	]`
	undeclared := func(app string) []string {
		return slices.DeleteFunc(mustProvision(t, app).warnings(), func(text string) bool { return !strings.Contains(text, "no type that event declares") })
	}
	if got := undeclared(`{` + subscriptions + `}`); len(got) != 0 {
		t.Errorf("without a catalogue: %q", got)
	}
	got := undeclared(`{"event_types": [{"type": "order.paid"}, {"type": "ContentManagement.Entry.publish"}], ` + subscriptions + `}`)
	want := []string{
		`subscription "b": no type that event declares matches the topic invoice.*`, `subscription "b": no type that event declares matches the topic order.payd`,
		`subscription "c": no type that event declares matches the topic order.late`,
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got:  %q\nwant: %q", got, want)
	}
}

func TestDeclaredSchemasAreDocumentedByAFile(t *testing.T) {
	path, err := filepath.Abs("../docs/schemas/new_feed_entry.json")
	if err != nil {
		t.Fatal(err)
	}
	config := mustAdapt(t, option(fmt.Sprintf("event new_feed_entry {\nschema %s\n}\nsubscription press https://press.example.com/ new_feed_entry", path)))
	if err := validate(config); err != nil {
		t.Error(err)
	}
}
