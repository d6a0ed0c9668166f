package storagetest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddyrelay/caddyrelay/relay"
)

// modelBudget is how long new random runs are begun. A store that syncs is slow.
const modelBudget = 8 * time.Second

// model does the same to a store and to a Memory, chosen at random, and compares all
// that can be seen of them.
func model(t *testing.T, open func(t *testing.T) Harness) {
	start, runs, failed := time.Now(), 0, false
	defer func() { t.Logf("%d random runs", runs) }()
	rapid.Check(t, func(rt *rapid.T) {
		// A failure is made smaller by running it again and again, however long.
		if !failed && time.Since(start) > modelBudget {
			return
		}
		runs++
		defer func() { failed = failed || rt.Failed() }()
		h := open(t)
		m := &machine{t: t, h: &h, memory: NewMemory(h.Clock.Now), keys: make(map[string]byte)}
		defer func() { _ = m.h.Store.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"append": m.append,
			"place":  m.place,
			"commit": m.commit,
			"erase":  m.erase,
			"trim":   m.trim,
			"clock":  m.clock,
			"reopen": m.reopen,
			"kill":   m.kill,
			"":       m.compare,
		})
	})
}

type machine struct {
	t      *testing.T
	h      *Harness
	memory *Memory
	seqs   []relay.Seq
	keys   map[string]byte
}

var names = []string{"crm", "billing", "audit"}

func (m *machine) append(rt *rapid.T) {
	var ours, theirs relay.Batch
	n := rapid.IntRange(1, 4).Draw(rt, "items")
	drawKey := func(label string) *relay.Key {
		if rapid.IntRange(0, 2).Draw(rt, label) > 0 {
			return nil
		}
		return key(rapid.StringOfN(rapid.RuneFrom([]rune("abcd")), 1, 1, 1).Draw(rt, "key"), byte(rapid.IntRange(0, 9).Draw(rt, "sum")/9))
	}
	for i := range n {
		var subscriptions []string
		for _, name := range names {
			if rapid.Bool().Draw(rt, name) {
				subscriptions = append(subscriptions, name)
			}
		}
		e := event(rapid.SampledFrom([]string{"a", "b.c"}).Draw(rt, "type"), fmt.Sprint(len(m.seqs)+i))
		copied := *e
		k := drawKey("has key")
		ours.Items = append(ours.Items, relay.Item{Event: e, Targets: Targets(subscriptions...), Key: k})
		theirs.Items = append(theirs.Items, relay.Item{Event: &copied, Targets: Targets(subscriptions...), Key: k})
	}
	ours.Key = drawKey("batch has key")
	theirs.Key = ours.Key
	got, err := m.h.Store.Append(background, ours, nil)
	want, wantErr := m.memory.Append(background, theirs, nil)
	var a, b *relay.KeyReusedError
	if errors.As(err, &a) != errors.As(wantErr, &b) || (a != nil && a.Item != b.Item) || (a == nil) != (err == nil) {
		rt.Fatalf("Append: %v, want %v", err, wantErr)
	}
	if len(got) != len(want) {
		rt.Fatalf("Append: %d receipts, want %d", len(got), len(want))
	}
	for i := range got {
		x, y := got[i], want[i]
		s1, _, _ := relay.ParseID(x.ID)
		s2, _, _ := relay.ParseID(y.ID)
		x.ID, y.ID = "", ""
		if s1 != s2 || fmt.Sprint(x) != fmt.Sprint(y) {
			rt.Fatalf("receipt %d: %+v at %d, want %+v at %d", i, x, s1, y, s2)
		}
		if !x.Duplicate {
			m.seqs = append(m.seqs, s1)
		}
	}
}

func (m *machine) trim(rt *rapid.T) {
	ago := func(label string) time.Time {
		return m.h.Clock.Now().Add(-time.Duration(rapid.IntRange(-1, 5).Draw(rt, label)) * time.Second)
	}
	p := relay.TrimPolicy{DeliveredBefore: ago("delivered"), FailedBefore: ago("failed"), KeysBefore: ago("keys")}
	var sum relay.Trimmed
	for {
		got, err := m.h.Store.Trim(background, p)
		if err != nil {
			rt.Fatalf("Trim: %v", err)
		}
		sum.Events += got.Events
		sum.Keys += got.Keys
		if !got.More {
			break
		}
	}
	want, err := m.memory.Trim(background, p)
	if err != nil || sum.Events != want.Events || sum.Keys != want.Keys {
		rt.Fatalf("Trim: %+v, want %+v; %v", sum, want, err)
	}
}

func (m *machine) clock(rt *rapid.T) {
	m.h.Clock.Advance(time.Duration(rapid.IntRange(-1000, 4000).Draw(rt, "ms")) * time.Millisecond)
}

func (m *machine) reopen(*rapid.T) {
	m.h.reopen(m.t)
	m.memory = m.memory.Reopen()
}

func (m *machine) kill(rt *rapid.T) {
	if m.h.Kill == nil {
		rt.Skip("this store cannot be killed")
	}
	m.h.Store = m.h.Kill(m.t)
	m.memory = m.memory.Reopen()
}

// compare looks at both stores in every way there is.
func (m *machine) compare(rt *rapid.T) {
	check := func(what string, look func(s relay.Store) (any, error)) {
		got, err := look(m.h.Store)
		want, wantErr := look(m.memory)
		if (err == nil) != (wantErr == nil) || errors.Is(err, relay.ErrNotFound) != errors.Is(wantErr, relay.ErrNotFound) {
			rt.Fatalf("%s: error %v, want %v", what, err, wantErr)
		}
		if !reflect.DeepEqual(plain(got), plain(want)) {
			rt.Fatalf("%s:\n%+v\nwant\n%+v", what, plain(got), plain(want))
		}
	}
	check("Progress", func(s relay.Store) (any, error) {
		all := make(map[string]any)
		for p, err := range s.Progress(background) {
			if err != nil {
				return nil, err
			}
			all[p.Subscription] = plain(p)
		}
		return all, nil
	})
	check("Stats", func(s relay.Store) (any, error) {
		stats, err := s.Stats(background)
		return stats.Events, err
	})
	for _, name := range names {
		check("Read "+name, func(s relay.Store) (any, error) {
			entries, err := s.Read(background, name, 0, 1000, 1<<20)
			return withoutIDs(entries), err
		})
		check("Log "+name, func(s relay.Store) (any, error) { return s.Log(background, name, 0, 1000) })
		check("Open "+name, func(s relay.Store) (any, error) { return s.Open(background, name, 0, 1000) })
		// Of what was trimmed nothing is promised.
		for _, pos := range m.positions(name) {
			check(fmt.Sprintf("Exception %s %d", name, pos), func(s relay.Store) (any, error) {
				e, ok, err := s.Exception(background, name, pos)
				return [2]any{plain(e), ok}, err
			})
		}
	}
	// The older ones were looked at in earlier rounds, and in the lists.
	for _, seq := range m.seqs[max(0, len(m.seqs)-12):] {
		check(fmt.Sprintf("Event %d", seq), func(s relay.Store) (any, error) {
			e, err := s.Event(background, seq)
			if err != nil {
				return nil, err
			}
			return withoutIDs([]relay.Entry{{Event: e}}), nil
		})
		for _, name := range names {
			check("Attempts", func(s relay.Store) (any, error) { return s.Attempts(background, seq, name) })
		}
	}
	for _, q := range []relay.EventQuery{
		{Limit: 1000},
		{Limit: 1000, Type: "A"},
		{Limit: 1000, Unmatched: true},
		{Limit: 1000, Since: m.h.Clock.Now().Add(-2 * time.Second), Until: m.h.Clock.Now()},
	} {
		check("Events", func(s relay.Store) (any, error) {
			page, err := s.Events(background, q)
			var entries []relay.Entry
			for _, e := range page.Events {
				entries = append(entries, relay.Entry{Event: e})
			}
			return [2]any{withoutIDs(entries), page.Next}, err
		})
	}
}

// withoutIDs takes out what two stores cannot have in common.
func withoutIDs(entries []relay.Entry) []any {
	out := make([]any, len(entries))
	for i, e := range entries {
		copied := *e.Event
		copied.ID = ""
		out[i] = plain(relay.Entry{Pos: e.Pos, Event: &copied})
	}
	return out
}
