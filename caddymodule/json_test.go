package caddymodule

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const jsonPage = "../docs/json.md"

// jsonBlocks are the blocks of JSON of the page, with what stands around each.
func jsonBlocks(t *testing.T, page string) (before, blocks []string, after string) {
	t.Helper()
	const begin = fence + "json\n"
	for {
		text, rest, ok := strings.Cut(page, begin)
		if !ok {
			break
		}
		block, rest, closed := strings.Cut(rest, fence)
		if !closed {
			t.Fatal("a block of JSON is not closed")
		}
		before, blocks, page = append(before, text), append(blocks, block), rest
	}
	if len(blocks) != 2 {
		t.Fatalf("%s has %d blocks of JSON", jsonPage, len(blocks))
	}
	return before, blocks, page
}

// TestDocumentedJSONIsWhatTheCaddyfileBecomes: the page shows one configuration three
// times, and all are the same. UPDATE=1 writes what caddy adapt makes.
func TestDocumentedJSONIsWhatTheCaddyfileBecomes(t *testing.T) {
	page, err := os.ReadFile(jsonPage)
	if err != nil {
		t.Fatal(err)
	}
	before, blocks, after := jsonBlocks(t, string(page))
	adapted := mustAdapt(t, caddyfileBlocks(t, jsonPage)[0].text)
	if want := indent(t, adapted) + "\n"; blocks[0] != want {
		if os.Getenv("UPDATE") == "" {
			t.Fatalf("%s does not show what caddy adapt makes; write it with: UPDATE=1 go test ./caddymodule -run DocumentedJSON", jsonPage)
		}
		whole := before[0] + fence + "json\n" + want + fence + before[1] + fence + "json\n" + blocks[1] + fence + after
		if err := os.WriteFile(jsonPage, []byte(whole), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, config := range []string{adapted, app(blocks[1])} {
		if err := validate(supply(t, config)); err != nil {
			t.Error(err)
		}
	}
	if got, want := relayApp(t, app(blocks[1])), relayApp(t, adapted); !reflect.DeepEqual(got, want) {
		t.Errorf("by hand:\n%+v\nadapted:\n%+v", got, want)
	}
	if strings.Contains(indent(t, adapted), "null") {
		t.Error("what caddy adapt makes holds what nobody said")
	}
}

// relayApp is the app of a configuration, with its modules' JSON made alike.
func relayApp(t *testing.T, config string) *App {
	t.Helper()
	var whole struct {
		Apps struct{ Relay json.RawMessage }
	}
	if err := json.Unmarshal([]byte(config), &whole); err != nil {
		t.Fatal(err)
	}
	var alike any
	if err := json.Unmarshal(whole.Apps.Relay, &alike); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(alike) // the names of each object in order
	if err != nil {
		t.Fatal(err)
	}
	a := new(App)
	if err := caddy.StrictUnmarshalJSON(raw, a); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestEveryWordHasItsJSON: the page says of each word what becomes of it, or the word has a
// field of its own name.
func TestEveryWordHasItsJSON(t *testing.T) {
	page, err := os.ReadFile(jsonPage)
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]bool)
	for line := range bytes.Lines(page) {
		cells := strings.Split(string(line), "|")
		if len(cells) < 4 {
			continue
		}
		for _, word := range strings.Split(cells[1], ",") {
			word, _, _ = strings.Cut(strings.TrimSpace(word), " ")
			said[strings.Trim(word, "`")] = true
		}
	}
	d := caddyfile.NewTestDispenser("")
	for _, of := range []struct {
		words  vocabulary
		fields reflect.Type
	}{
		{(&optionParser{d: d}).words(), reflect.TypeFor[App]()},
		{settingsWords(d, new(Settings), nil), reflect.TypeFor[Settings]()},
		{new(Region).words(d), reflect.TypeFor[Region]()},
		{new(BadgerStorage).words(), reflect.TypeFor[BadgerStorage]()},
		{new(PostgresStorage).words(), reflect.TypeFor[PostgresStorage]()},
		{new(EgressList).words(), reflect.TypeFor[EgressList]()},
	} {
		fields := jsonNames(of.fields)
		for word := range of.words {
			if !said[word] && !slices.Contains(fields, word) {
				t.Errorf("%s does not say what becomes of %q, and %s has no such field", jsonPage, word, of.fields.Name())
			}
		}
	}
}

func jsonNames(of reflect.Type) (names []string) {
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// TestSubscriptionsAreChangedByCaddysAPI does what the page says of programs.
func TestSubscriptionsAreChangedByCaddysAPI(t *testing.T) {
	c := startSteered(t)
	c.load(`{"name": "crm", "url": "https://crm.example.com/hooks"}`)
	c.want(http.StatusOK, "POST /config/apps/relay/subscriptions",
		`{"@id": "acme", "name": "acme", "url": "https://acme.example.com/hooks", "topics": ["invoice.*"]}`, nil)
	url := func() string {
		t.Helper()
		var shown struct{ URL string }
		c.want(http.StatusOK, "GET /relay/subscriptions/acme", "", &shown)
		return shown.URL
	}
	if got := url(); got != "https://acme.example.com/hooks" {
		t.Errorf("added with %q", got)
	}
	c.want(http.StatusOK, "POST /id/acme/url", `"https://hooks.acme.example.com/v2"`, nil)
	if got := url(); got != "https://hooks.acme.example.com/v2" {
		t.Errorf("changed to %q", got)
	}
	c.refused(http.StatusInternalServerError, "POST /id/acme/url", `"https://10.0.0.1/"`, "private")
	if got := url(); got != "https://hooks.acme.example.com/v2" {
		t.Errorf("what was refused changed it to %q", got)
	}
	c.want(http.StatusOK, "DELETE /id/acme", "", nil)
	c.refused(http.StatusNotFound, "GET /relay/subscriptions/acme", "", "acme")
}
