package postgres

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// strange is what a column of type text does not take.
const strange = "a\x00b\xff\"\\\u2028é\x1f"

// TestAnyTextIsKept: a sender must not be able to make a group fail.
func TestAnyTextIsKept(t *testing.T) {
	for _, strange := range []string{strange, "a\x00b", "\xff", "\\u0000"} {
		t.Run(fmt.Sprintf("%q", strange), func(t *testing.T) { anyTextIsKept(t, strange) })
	}
}

func anyTextIsKept(t *testing.T, strange string) {
	s := openWith(t, options(t))
	e := &relay.Event{
		Type: "order.paid", Source: strange, Subject: strange, SourceID: strange, ContentType: "application/" + strange,
		Extensions: map[string]string{"tenant": strange}, TraceParent: strange, TraceState: strange, Data: []byte(strange),
	}
	_, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{
		Event: e, Targets: []relay.Target{{Subscription: "crm", Key: strange}, {Subscription: "erp"}},
		Key: &relay.Key{Kind: relay.KeyFrom, Text: strange},
	}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	x := relay.Exception{From: 1, To: 1, Seq: e.Seq, Kind: relay.Retry, Key: strange, Reason: strange, At: storagetest.Start}
	a := relay.Attempt{Number: 1, At: storagetest.Start, Error: strange, Local: strange, Remote: strange, Excerpt: []byte(strange)}
	p := relay.Progress{Subscription: "crm", Low: 1, PausedReason: strange, DisabledReason: strange}
	if err := s.Commit(t.Context(), []relay.Update{{Progress: p, Put: []relay.Exception{x}, Attempts: []relay.AttemptRecord{{Seq: e.Seq, Attempt: a}}}}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Event(t.Context(), e.Seq)
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("Event: %+v, %v; want %+v", got, err, e)
	}
	if found, _, err := s.Exception(t.Context(), "crm", 1); err != nil || found != x {
		t.Errorf("Exception: %+v, %v; want %+v", found, err, x)
	}
	if all, err := s.Attempts(t.Context(), e.Seq, "crm"); err != nil || !reflect.DeepEqual(all, []relay.Attempt{a}) {
		t.Errorf("Attempts: %+v, %v; want %+v", all, err, a)
	}
	if _, err := s.SwapNote(t.Context(), strange, nil, []byte(strange)); err != nil {
		t.Error(err)
	}
	// A type is ASCII outside; here nothing else may break.
	if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: &relay.Event{Type: strange}}}}, nil); err != nil {
		t.Error(err)
	}
	if page, err := s.Events(t.Context(), relay.EventQuery{Type: strange, Limit: 10}); err != nil || len(page.Events) != 1 {
		t.Errorf("Events: %+v, %v", page, err)
	}
	if err := s.Erase(t.Context(), e.Seq, []relay.Update{{Progress: p, Put: []relay.Exception{{From: 1, To: 1, Kind: relay.Erased, Key: strange}}}}); err != nil {
		t.Error(err)
	}
	if found, _, err := s.Exception(t.Context(), "crm", 1); err != nil || found.Key != "" {
		t.Errorf("Exception after the erasure: %+v, %v", found, err)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", strange, `{"base64":""}`, "\xc3\x28"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := json.Marshal(text(s))
		if err != nil {
			t.Fatal(err)
		}
		var back text
		if err := json.Unmarshal(raw, &back); err != nil || string(back) != s {
			t.Fatalf("%q became %s and %q, %v", s, raw, back, err)
		}
		if c := column(s); strings.ContainsRune(c, 0) || c != strings.ToValidUTF8(c, "") {
			t.Fatalf("%q became the column %q", s, c)
		}
	})
}

// TestRecordsGrow: what a later version adds is no error for this one.
func TestRecordsGrow(t *testing.T) {
	var p relay.Progress
	if err := decodeProgress([]byte(`{"low":7,"done":[[9,9]],"later":{"a":[1]}}`), &p); err != nil || p.Low != 7 || len(p.Done) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if x, err := decodeException(3, 4, []byte(`{"kind":1,"later":1}`)); err != nil || x.From != 3 || x.To != 4 || x.Kind != relay.Retry {
		t.Errorf("%+v, %v", x, err)
	}
	var e relay.Event
	if err := decodeAttributes([]byte(`{"source":"a","later":null}`), &e); err != nil || e.Source != "a" {
		t.Errorf("%+v, %v", e, err)
	}
	for _, broken := range []string{"", "[", "7", `{"low":"x"}`} {
		if decodeProgress([]byte(broken), &p) == nil {
			t.Errorf("%q is taken for a progress", broken)
		}
	}
}

// TestUnreadableEvent: one bad row is set aside; it hides no other.
func TestUnreadableEvent(t *testing.T) {
	s := openWith(t, options(t))
	var seqs []relay.Seq
	for range 3 {
		e := &relay.Event{Type: "a", Data: []byte("1")}
		if _, err := s.Append(t.Context(), relay.Batch{Items: []relay.Item{{Event: e, Targets: storagetest.Targets("crm")}}}, nil); err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, e.Seq)
	}
	if _, err := s.pool.Load().Exec(t.Context(), "update events set subscriptions = '{99}' where seq = $1", int64(seqs[1])); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Event(t.Context(), seqs[1]); !isUnreadable(err) {
		t.Errorf("Event: %v", err)
	}
	if got, err := s.Read(t.Context(), "crm", 0, 10, 100); err != nil || len(got) != 1 {
		t.Errorf("Read: %d entries, %v", len(got), err)
	}
	if _, err := s.Read(t.Context(), "crm", 1, 10, 100); !isUnreadable(err) {
		t.Errorf("Read of the bad one: %v", err)
	}
	if got, err := s.Read(t.Context(), "crm", 2, 10, 100); err != nil || len(got) != 1 {
		t.Errorf("Read behind it: %d entries, %v", len(got), err)
	}
	page, err := s.Events(t.Context(), relay.EventQuery{Limit: 10})
	if err != nil || len(page.Events) != 3 || page.Events[1].Seq != seqs[1] || page.Events[1].Accepted.After(time.Now()) {
		t.Errorf("Events: %+v, %v", page, err)
	}
}

// TestEventsAreReadAtOnce: between the commit and the moment at which it is known here, an
// event for a new subscription can be read.
func TestEventsAreReadAtOnce(t *testing.T) {
	s := openWith(t, options(t))
	table := &s.subs
	table.expect([]*sub{{id: 1, name: "new"}, {id: 2, name: "newer"}})
	for id, want := range map[int32]string{1: "new", 2: "newer"} {
		if u, err := s.find(id); err != nil || u.name != want {
			t.Errorf("the subscription %d: %+v, %v", id, u, err)
		}
	}
	if _, err := s.find(3); err == nil {
		t.Error("a subscription that nobody has made is known")
	}
	if n := len(table.progress()); n != 0 {
		t.Errorf("%d subscriptions have a progress before they are stored", n)
	}
	mustAppend(t, s, one("1", "crm"))
	if u, err := s.find(1); err != nil || u.name != "crm" {
		t.Errorf("the subscription 1: %+v, %v", u, err)
	}
	if _, err := s.find(2); err == nil {
		t.Error("a subscription that was not stored is still known")
	}
}

// TestAttemptsAreReadOnce, also where a reader beside meets a subscription of another relay, for
// which all that was read meanwhile is read again.
func TestAttemptsAreReadOnce(t *testing.T) {
	s := openWith(t, options(t))
	receipt := mustAppend(t, s, one("1", "crm"))
	seq, _, err := relay.ParseID(receipt.ID)
	if err != nil {
		t.Fatal(err)
	}
	u := relay.Update{
		Progress: relay.Progress{Subscription: "crm", Low: 1}, Attempts: []relay.AttemptRecord{{Seq: seq, Attempt: relay.Attempt{Number: 1, Status: 500}}},
	}
	if err := s.Commit(t.Context(), []relay.Update{u}); err != nil {
		t.Fatal(err)
	}
	misses := s.subs.misses.Load()
	var beside sync.WaitGroup
	stop := make(chan struct{})
	beside.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.subs.misses.Add(1)
			}
		}
	})
	for range 20 {
		if attempts, err := s.Attempts(t.Context(), seq, "crm"); err != nil || len(attempts) != 1 {
			t.Errorf("%d attempts, %v", len(attempts), err)
		}
	}
	close(stop)
	beside.Wait()
	if s.subs.misses.Load() == misses {
		t.Error("nobody was beside it")
	}
}
