package badger

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// TestStoreOfTheFirstVersionIsRead: testdata/format1 was written by the first program with
// format 1: deliveries that were made, given up, retried, set behind another one of their
// key and held, with idempotency keys. Whoever changes what records say reads it still, or
// gives the format another number. UPDATE=1 writes what was read.
func TestStoreOfTheFirstVersionIsRead(t *testing.T) {
	dir := copyDirectory(t, "testdata/format1")
	if report, err := Verify(dir, Options{}); err != nil || !report.Sound() {
		t.Fatalf("%+v, %v", report, err)
	}
	s := openAt(t, dir, nil)
	got := everythingIn(t, s)
	const golden = "testdata/format1.txt"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("it is read as\n%s\nwant\n%s", got, want)
	}

	// It goes on: keys are known, and what comes stands behind what was there.
	page, err := s.Events(t.Context(), relay.EventQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, 1)
	next, err := s.Events(t.Context(), relay.EventQuery{Limit: 1})
	if s.identity.format != formatVersion {
		t.Errorf("it has format %d; want %d, which earlier programs refuse", s.identity.format, formatVersion)
	}
	if err != nil || next.Events[0].Seq <= page.Events[0].Seq || next.Events[0].Deliveries[0].Pos != 4 {
		t.Errorf("%+v, %v", next.Events[0], err)
	}
}

// everythingIn is what a store holds, as text. Fields that are empty are left out, so that
// new ones change nothing.
func everythingIn(t *testing.T, s *Store) string {
	t.Helper()
	var all strings.Builder
	note := func(what string, v any) { fmt.Fprintf(&all, "%s: %s\n", what, plainly(reflect.ValueOf(v))) }
	page, err := s.Events(t.Context(), relay.EventQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for p, err := range s.Progress(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		note("progress", p)
		open, err := s.Open(t.Context(), p.Subscription, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range open {
			note("  open", x)
		}
		for pos := uint64(1); pos <= p.Head; pos++ {
			x, found, err := s.Exception(t.Context(), p.Subscription, pos)
			if err != nil {
				t.Fatal(err)
			}
			if found && x.Kind.Closed() {
				note("  closed", x)
			}
		}
	}
	for _, listed := range page.Events {
		e, err := s.Event(t.Context(), listed.Seq)
		if err != nil {
			t.Fatal(err)
		}
		note("event", *e)
		for _, p := range e.Deliveries {
			attempts, err := s.Attempts(t.Context(), e.Seq, p.Subscription)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range attempts {
				note("  attempt for "+p.Subscription, a)
			}
		}
	}
	return all.String()
}

// plainly writes a value without what is empty in it.
func plainly(v reflect.Value) string {
	if at, ok := v.Interface().(time.Time); ok {
		return at.UTC().Format(time.RFC3339Nano)
	}
	switch v.Kind() {
	case reflect.Struct:
		var fields []string
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !v.Field(i).IsZero() {
				fields = append(fields, f.Name+"="+plainly(v.Field(i)))
			}
		}
		return "{" + strings.Join(fields, " ") + "}"
	case reflect.Slice:
		if text, ok := v.Interface().([]byte); ok {
			return fmt.Sprintf("%q", text)
		}
		var items []string
		for i := range v.Len() {
			items = append(items, plainly(v.Index(i)))
		}
		return "[" + strings.Join(items, " ") + "]"
	case reflect.String:
		return fmt.Sprintf("%q", v.String())
	default:
		return fmt.Sprint(v.Interface())
	}
}
