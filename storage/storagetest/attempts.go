package storagetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

func attemptsAreForgotten(t *testing.T, h *Harness) {
	e := h.add(t, 2, "crm", "billing")
	record := func(number int) relay.AttemptRecord {
		return relay.AttemptRecord{Seq: e[0].Seq, Pos: 1, Attempt: relay.Attempt{Number: number, At: Start, Status: 500}}
	}
	const n = 120
	for i := 1; i <= n; i++ {
		h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "crm"}, Attempts: []relay.AttemptRecord{record(i)}})
	}
	h.reopen(t)
	got, err := h.Store.Attempts(t.Context(), e[0].Seq, "crm")
	if err != nil {
		t.Fatal(err)
	}
	kept := make(map[int]bool)
	last := 0
	for _, a := range got {
		if a.Number <= last {
			t.Fatalf("attempt %d follows %d", a.Number, last)
		}
		last = a.Number
		kept[a.Number] = true
	}
	forgotten := make(map[int]bool)
	for i := 1; i <= n; i++ {
		if f := relay.Forgotten(i); f > 0 {
			forgotten[f] = true
		}
	}
	for i := 1; i <= n; i++ {
		if kept[i] == forgotten[i] {
			t.Fatalf("attempt %d: kept %v, forgotten %v", i, kept[i], forgotten[i])
		}
	}
	for _, other := range []struct {
		seq  relay.Seq
		name string
	}{{e[0].Seq, "billing"}, {e[1].Seq, "crm"}} {
		if got, err := h.Store.Attempts(t.Context(), other.seq, other.name); err != nil || len(got) != 0 {
			t.Fatalf("Attempts of %v: %v, %v", other, got, err)
		}
	}
	// An attempt that is written again replaces itself.
	for i, number := range map[int]int{0: 1, len(got) - 1: n} {
		again := record(number)
		again.Status = 204
		h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "crm"}, Attempts: []relay.AttemptRecord{again}})
		after, err := h.Store.Attempts(t.Context(), e[0].Seq, "crm")
		if err != nil || len(after) != len(got) || after[i].Status != 204 {
			t.Fatalf("Attempts: %d, want %d with the attempt %d replaced; %v", len(after), len(got), number, err)
		}
	}
}

// neighboursKeepTheirAttempts: an engine may keep attempts of neighbours together. Each
// delivery has its own all the same: in whatever order and groups they come, with long
// excerpts and short ones, after an erasure and when others have gone.
func neighboursKeepTheirAttempts(t *testing.T, h *Harness) {
	const n = 150
	names := []string{"crm", "billing", "audit"}
	events := h.add(t, n, names...)
	want := make(map[delivery][]relay.Attempt)
	for number := 1; number <= 3; number++ {
		for _, name := range names {
			u := relay.Update{Progress: relay.Progress{Subscription: name, Low: n}}
			for _, i := range rand.Perm(n) {
				if number > 1 && i%(5*number) != 0 {
					continue
				}
				h.Clock.Advance(time.Millisecond)
				a := relay.Attempt{
					Number: number, At: h.Clock.Now(), Duration: time.Duration(i), Status: 200 + number,
					Local: "192.0.2.1:4711", Remote: fmt.Sprint("198.51.100.7:", i), Excerpt: bytes.Repeat([]byte(name), 1+i%7*i),
				}
				d := delivery{events[i].Seq, name}
				want[d] = append(want[d], a)
				u.Attempts = append(u.Attempts, relay.AttemptRecord{Seq: d.seq, Pos: uint64(i + 1), Attempt: a})
			}
			for part := range slices.Chunk(u.Attempts, 1+rand.IntN(n)) {
				one := u
				one.Attempts = part
				h.commit(t, one)
			}
		}
	}
	check := func(gone func(i int) bool) {
		t.Helper()
		for i, e := range events {
			for _, name := range names {
				got, err := h.Store.Attempts(t.Context(), e.Seq, name)
				if err != nil {
					t.Fatal(err)
				}
				kept := want[delivery{e.Seq, name}]
				if gone(i) {
					kept = nil
				}
				if len(got) != len(kept) || len(got) > 0 && !reflect.DeepEqual(plain(got), plain(kept)) {
					t.Fatalf("event %d for %s has the attempts\n%+v\nwant\n%+v", i, name, got, kept)
				}
			}
		}
	}
	none := func(int) bool { return false }
	check(none)
	h.reopen(t)
	check(none)
	if err := h.Store.Erase(t.Context(), events[70].Seq, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		for i := range want[delivery{events[70].Seq, name}] {
			want[delivery{events[70].Seq, name}][i].Excerpt = nil
		}
	}
	check(none)
	// Some have failed, and stay longer.
	var given []relay.Exception
	for i := 3; i < n; i += 10 {
		given = append(given, failed(uint64(i+1)))
	}
	h.commit(t, relay.Update{Progress: relay.Progress{Subscription: "billing", Low: n}, Put: given})
	h.trim(t, relay.TrimPolicy{DeliveredBefore: h.Clock.Now(), FailedBefore: Start})
	trimmed := func(i int) bool { return i%10 != 3 }
	check(trimmed)
	h.reopen(t)
	check(trimmed)
	h.trim(t, before(h.Clock.Now()))
	check(func(int) bool { return true })
}
