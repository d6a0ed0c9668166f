package caddymodule

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/transfer"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// answered has the names of the fields that the admin API and the command answer in JSON, each
// with a type that has it.
func answered(t *testing.T) map[string]reflect.Type {
	t.Helper()
	names := make(map[string]reflect.Type)
	seen := make(map[reflect.Type]bool)
	var walk func(reflect.Type)
	walk = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(of.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		if seen[of] {
			return
		}
		seen[of] = true
		for i := range of.NumField() {
			field := of.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			shown := name != "" && name != "-"
			if shown {
				names[name] = of
			}
			if shown || field.Anonymous {
				walk(field.Type)
			}
		}
	}
	for _, answer := range []any{
		status{},
		page[view.Event]{},
		page[view.Delivery]{},
		page[preview]{},
		view.Explanation{},
		view.Settlement{},
		missedSettlements{},
		egressAnswer{},
		egressCheck{},
		machineCheck{},
		subscriptionDetails{},
		job{},
		replayOrder{},
		health{},
		transfer.Imported{},
		finding{},
	} {
		walk(reflect.TypeOf(answer))
	}
	if len(names) < 100 {
		t.Fatalf("%d fields were found", len(names))
	}
	return names
}

// TestDocumentedFields: what the admin API and the command answer in JSON is told of, field by
// field.
func TestDocumentedFields(t *testing.T) {
	told := docPage(t, "admin") + docPage(t, "command") + docPage(t, "intake") + docPage(t, "egress") + docPage(t, "deliveries")
	for name, of := range answered(t) {
		if !strings.Contains(told, "`"+name+"`") && !strings.Contains(told, `"`+name+`"`) {
			t.Errorf("no page tells of %q, which %s has", name, of)
		}
	}
}

// logFields are the names of fields of the log that the API does not have, with what they are.
var logFields = map[string]string{
	"trace_id":           "for tracing",
	"topic":              "of an operational event, beside the event that it is about",
	"problem":            "why intake has refused; the name of its section in problems.md",
	"duration":           "in seconds, as Caddy logs durations",
	"took":               "the same",
	"more_since_last":    "what was left out of the log",
	"subscriptions_held": "of the record of each minute",
	"delivered":          "the same",
	"superseded":         "the same",
	"unfinished":         "deliveries of a store that is no longer used",
	"unreadable":         "records of the store",
	"simulated":          "of relay_sink: it was to fail",
	"verified":           "of relay_sink: the signature",
	"stack":              "of a panic",
	"panic":              "the same",
	"seq":                "a place in the log of the store",
	"grace_period":       "the option of Caddy",
	"operation":          "of the storage, as the label of caddy_relay_storage_errors_total",
	"outcome":            "of an attempt, as the label of caddy_relay_attempts_total",
	"page":               "of the console",
	"path":               "of a request to the console",
	"relay":              "the id of another one on the same storage",
}

// TestLogUsesTheWordsOfTheAPI: one word for one thing. A field of the log has the name that the
// API gives the same thing, or is none of its things.
func TestLogUsesTheWordsOfTheAPI(t *testing.T) {
	field := regexp.MustCompile(`zap\.[A-Z][A-Za-z0-9]*\("([^"]+)"`)
	known, used := answered(t), make(map[string]bool)
	for _, root := range []string{".", "../relay"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, found := range field.FindAllStringSubmatch(string(text), -1) {
				name := found[1]
				used[name] = true
				if _, ok := logFields[name]; !ok && known[name] == nil {
					t.Errorf("%s: the API has no %q: take its word for that, or say in logFields what it is", path, name)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range logFields {
		if !used[name] || known[name] != nil {
			t.Errorf("%q stands in logFields, and need not", name)
		}
	}
}
