package badger

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// TestStoresOfEarlierFormatsAreRead: testdata/format1 was written by the first program with
// format 1: deliveries that were made, given up, retried, set behind another one of their
// key and held, with idempotency keys. format2 was written by the last program with format 2,
// with packed data, entries of events that were removed, and one that was added late. Whoever
// changes what records say reads them still, or gives the format another number. UPDATE=1
// writes what was read.
func TestStoresOfEarlierFormatsAreRead(t *testing.T) {
	for name, head := range map[string]uint64{"format1": 3, "format2": 40} {
		t.Run(name, func(t *testing.T) {
			dir := copyDirectory(t, "testdata/"+name)
			if report, err := Verify(dir, Options{}); err != nil || !report.Sound() {
				t.Fatalf("%+v, %v", report, err)
			}
			s := openAt(t, dir, nil)
			got := everythingIn(t, s)
			golden := "testdata/" + name + ".txt"
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

			// It goes on: what comes stands behind what was there, and is read with it.
			before := logOf(t, s, "crm")
			events := batchOf(t, s, 3, "crm")
			if s.identity.format != formatVersion {
				t.Errorf("it has format %d; want %d, which earlier programs refuse", s.identity.format, formatVersion)
			}
			for i, e := range events {
				before = append(before, relay.LogEntry{Pos: head + uint64(i) + 1, Seq: e.Seq})
			}
			if after := logOf(t, s, "crm"); !slices.Equal(after, before) {
				t.Errorf("the log is %v, want %v", after, before)
			}
			// And what was there goes.
			finishUpTo(t, s, "crm", head+1)
			gone := s.clock().AddDate(1, 0, 0)
			if _, err := s.Trim(t.Context(), relay.TrimPolicy{DeliveredBefore: gone, FailedBefore: gone}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if report, err := Verify(dir, Options{}); err != nil || !report.Sound() {
				t.Fatalf("%+v, %v", report, err)
			}
		})
	}
}

// logOf returns a log, as it is read from both ends.
func logOf(t *testing.T, s *Store, name string) []relay.LogEntry {
	t.Helper()
	back, err := s.Log(t.Context(), name, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(back)
	entries, err := s.Read(t.Context(), name, 0, 1000, 1<<20)
	if err != nil || len(entries) != len(back) {
		t.Fatalf("%d entries, and %d back; %v", len(entries), len(back), err)
	}
	for i, e := range entries {
		if e.Pos != back[i].Pos || e.Event.Seq != back[i].Seq {
			t.Fatalf("%d at %d, and back %v", e.Event.Seq, e.Pos, back[i])
		}
	}
	return back
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
