package storagetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/caddyrelay/caddyrelay/relay"
)

// What follows is the part of the model's machine that is about deliveries.

var (
	openKinds   = []relay.Kind{relay.Retry, relay.Waiting, relay.Debounced, relay.Ordered}
	closedKinds = []relay.Kind{relay.Failed, relay.Superseded, relay.Erased, relay.Quarantined}
)

// positions are those of a log that were not trimmed.
func (m *machine) positions(name string) []uint64 {
	s := m.memory.content.subs[name]
	if s == nil {
		return nil
	}
	all := make([]uint64, len(s.log))
	for i, l := range s.log {
		all[i] = l.Pos
	}
	return all
}

// covered reports whether a position stands in a span that begins elsewhere.
func (m *machine) covered(name string, pos uint64) bool {
	for _, x := range m.memory.content.subs[name].at {
		if x.From < pos && pos <= x.To {
			return true
		}
	}
	return false
}

// draw makes an exception with whatever may stand in it.
func (m *machine) draw(rt *rapid.T, from, to uint64, kinds []relay.Kind) relay.Exception {
	at := func(label string) time.Time {
		return m.h.Clock.Now().Add(time.Duration(rapid.IntRange(-3, 3).Draw(rt, label)) * time.Hour)
	}
	return relay.Exception{
		From: from, To: to, Kind: rapid.SampledFrom(kinds).Draw(rt, "kind"),
		Seq:      rapid.SampledFrom(append([]relay.Seq{0}, m.seqs...)).Draw(rt, "of"),
		Attempts: rapid.IntRange(0, 60).Draw(rt, "attempts"), Step: rapid.IntRange(0, 9).Draw(rt, "step"),
		At: at("at"), Due: at("due"), Since: at("since"),
		Key: rapid.SampledFrom([]string{"", "customer-7"}).Draw(rt, "order"), Reason: "schedule",
	}
}

// commit moves the progress of a subscription as an engine does: never back.
func (m *machine) commit(rt *rapid.T) {
	u := m.update(rt, rapid.SampledFrom(append([]string{"unmatched"}, names...)).Draw(rt, "name"))
	if err := m.h.Store.Commit(background, []relay.Update{u}); err != nil {
		rt.Fatalf("Commit: %v", err)
	}
	if err := m.memory.Commit(background, []relay.Update{u}); err != nil {
		rt.Fatal(err)
	}
}

func (m *machine) update(rt *rapid.T, name string) relay.Update {
	var old relay.Progress
	if s := m.memory.content.subs[name]; s != nil {
		old = s.progress
	}
	u := relay.Update{Progress: relay.Progress{Subscription: name, Paused: rapid.Bool().Draw(rt, "paused")}}
	u.Progress.Low = rapid.Uint64Range(old.Low, max(old.Head, old.Low)).Draw(rt, "low")
	if from := u.Progress.Low + 2; from <= old.Head {
		from = rapid.Uint64Range(from, old.Head).Draw(rt, "done")
		u.Progress.Done = []relay.Span{{From: from, To: from}}
	}
	positions := m.positions(name)
	for range rapid.IntRange(0, 3).Draw(rt, "exceptions") {
		if len(positions) == 0 {
			break
		}
		m.change(rt, &u, rapid.SampledFrom(positions).Draw(rt, "from"))
	}
	if len(m.seqs) > 0 && rapid.Bool().Draw(rt, "attempted") {
		seq := rapid.SampledFrom(m.seqs).Draw(rt, "seq")
		u.Attempts = append(u.Attempts, relay.AttemptRecord{
			Seq: seq, Pos: m.position(name, seq),
			Attempt: relay.Attempt{
				Number: rapid.IntRange(1, 60).Draw(rt, "number"), At: m.h.Clock.Now(),
				Error: rapid.SampledFrom([]string{"", "no"}).Draw(rt, "error"), Excerpt: []byte("because"),
			},
		})
	}
	return u
}

// position returns where an event stands in a log, 0 if it does not, or if nobody tells: of
// each event, always or never.
func (m *machine) position(name string, seq relay.Seq) uint64 {
	if s := m.memory.content.subs[name]; s != nil && seq%3 > 0 {
		for _, l := range s.log {
			if l.Seq == seq {
				return l.Pos
			}
		}
	}
	return 0
}

// change puts or drops an exception. A position has at most one.
func (m *machine) change(rt *rapid.T, u *relay.Update, from uint64) {
	name := u.Progress.Subscription
	if m.covered(name, from) || slices.ContainsFunc(u.Put, func(x relay.Exception) bool { return x.From <= from && from <= x.To }) {
		return
	}
	switch rapid.IntRange(0, 4).Draw(rt, "what") {
	case 0:
		u.Put = append(u.Put, m.draw(rt, from, from, openKinds))
	case 1:
		u.Put = append(u.Put, m.draw(rt, from, from, closedKinds))
	case 2:
		to := rapid.Uint64Range(from, from+3).Draw(rt, "to")
		u.Put = append(u.Put, m.draw(rt, from, to, []relay.Kind{relay.Replay}))
	case 3:
		to := from
		for to < from+3 && !m.taken(u, to+1) {
			to++
		}
		u.Put = append(u.Put, m.draw(rt, from, to, append([]relay.Kind{relay.Waiting}, closedKinds...)))
	case 4:
		u.Drop = append(u.Drop, from)
	}
}

// taken reports whether a position has an exception, or will have one.
func (m *machine) taken(u *relay.Update, pos uint64) bool {
	for _, x := range slices.Concat(u.Put, slices.Collect(maps.Values(m.memory.content.subs[u.Progress.Subscription].at))) {
		if x.From <= pos && pos <= x.To {
			return true
		}
	}
	return false
}

func (m *machine) place(rt *rapid.T) {
	if len(m.seqs) == 0 {
		rt.Skip("there is no event")
	}
	seq := rapid.SampledFrom(m.seqs).Draw(rt, "seq")
	to := relay.Target{Subscription: rapid.SampledFrom(names).Draw(rt, "name"), Key: rapid.SampledFrom([]string{"", "k"}).Draw(rt, "key")}
	var placed [2]*relay.Event
	err := m.h.Store.Place(background, seq, to, func(e *relay.Event) { placed[0] = e })
	wantErr := m.memory.Place(background, seq, to, func(e *relay.Event) { placed[1] = e })
	for _, target := range []error{relay.ErrNotFound, relay.ErrErased} {
		if errors.Is(err, target) != errors.Is(wantErr, target) || (err == nil) != (wantErr == nil) {
			rt.Fatalf("Place: %v, want %v", err, wantErr)
		}
	}
	if (placed[0] == nil) != (placed[1] == nil) {
		rt.Fatalf("Place: placed got %v, want %v", placed[0], placed[1])
	}
	if placed[0] != nil {
		got, want := withoutIDs([]relay.Entry{{Event: placed[0]}}), withoutIDs([]relay.Entry{{Event: placed[1]}})
		if fmt.Sprint(got) != fmt.Sprint(want) {
			rt.Fatalf("placed got %v, want %v", got, want)
		}
	}
}

// erase ends what is open of an event, or leaves it to whoever finds it.
func (m *machine) erase(rt *rapid.T) {
	if len(m.seqs) == 0 {
		rt.Skip("there is no event")
	}
	seq := rapid.SampledFrom(m.seqs).Draw(rt, "seq")
	var updates []relay.Update
	if e, err := m.memory.Event(background, seq); err == nil {
		for _, p := range e.Deliveries {
			if m.covered(p.Subscription, p.Pos) || rapid.Bool().Draw(rt, "left") {
				continue
			}
			u := relay.Update{Progress: m.memory.content.subs[p.Subscription].progress}
			u.Put = []relay.Exception{m.draw(rt, p.Pos, p.Pos, []relay.Kind{relay.Erased})}
			updates = append(updates, u)
		}
	}
	err := m.h.Store.Erase(background, seq, updates)
	if wantErr := m.memory.Erase(background, seq, updates); (err == nil) != (wantErr == nil) || errors.Is(err, relay.ErrNotFound) != errors.Is(wantErr, relay.ErrNotFound) {
		rt.Fatalf("Erase: %v, want %v", err, wantErr)
	}
}
