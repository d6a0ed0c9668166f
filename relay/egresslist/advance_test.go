package egresslist_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddyrelay/caddyrelay/relay/egresslist"
)

const day = 24 * time.Hour

var start = time.Date(2026, time.November, 22, 10, 0, 0, 500_000_000, time.UTC)

// entry makes a pinned one; words are "from" or "until" with a duration after start.
func entry(prefix string, words ...any) egresslist.Entry {
	if !strings.Contains(prefix, "/") {
		addr := netip.MustParseAddr(prefix)
		prefix = netip.PrefixFrom(addr, addr.BitLen()).String()
	}
	e := egresslist.Entry{Prefix: netip.MustParsePrefix(prefix), Pinned: true}
	for i := 0; i < len(words); i += 2 {
		at := start.Add(words[i+1].(time.Duration))
		switch words[i] {
		case "from":
			e.From = at
		case "until":
			e.Until = at
		}
	}
	return e
}

func region(name string, entries ...egresslist.Entry) egresslist.Region {
	return egresslist.Region{Name: name, Entries: entries}
}

// relay is a list over configurations and restarts.
type relay struct {
	t     testing.TB
	state *egresslist.State
	now   time.Time
}

// load publishes what these regions say at the present moment, and returns what was told.
func (r *relay) load(regions ...egresslist.Region) []string {
	r.t.Helper()
	r.state = egresslist.Advance(r.state, egresslist.Declare(regions), r.now)
	var told []string
	for _, a := range r.state.Pending() {
		told = append(told, fmt.Sprintf("%s %s %s", a.Kind, a.Region, a.At.Sub(start))+prefixes(" +", a.Added)+prefixes(" -", a.Removed))
		if a.Unplanned {
			told[len(told)-1] += " unplanned"
		}
	}
	r.state = r.state.Told(r.state.Pending())
	if n := len(r.state.Pending()); n != 0 {
		r.t.Fatalf("%d are told and pending", n)
	}
	raw, err := r.state.Encode(1 << 20)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.state, err = egresslist.Decode(raw); err != nil { // as after a restart
		r.t.Fatal(err)
	}
	return told
}

func prefixes(sign string, list []netip.Prefix) (text string) {
	for _, p := range list {
		text += sign + strings.TrimSuffix(p.String(), "/32")
	}
	return text
}

func (r *relay) wait(d time.Duration) { r.now = r.now.Add(d) }

func (r *relay) wantTold(got []string, want ...string) {
	r.t.Helper()
	if !slices.Equal(got, want) {
		r.t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (r *relay) wantJSON(want string) {
	r.t.Helper()
	raw, err := r.state.List().JSON()
	if err != nil {
		r.t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(raw), `"regions":`)
	if got = strings.TrimSuffix(strings.TrimSpace(got), "}"); got != want {
		r.t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFirstListIsNoChange(t *testing.T) {
	r := &relay{t: t, now: start}
	r.wantTold(r.load(region("eu", entry("192.0.2.10"), entry("2001:db8::10")), region("us")))
	r.wantJSON(`{"eu":{"active":["192.0.2.10/32","2001:db8::10/128"],"scheduled":[],"retiring":[]},"us":{"active":[],"scheduled":[],"retiring":[]}}`)
	if l := r.state.List(); len(l.Version) != 16 || !l.Updated.Equal(start.Truncate(time.Second)) {
		t.Errorf("%+v", l)
	}
}

func TestPlannedMoveIsToldWhenAnnouncedAndWhenItHappens(t *testing.T) {
	move := region("eu", entry("192.0.2.11", "from", 30*day), entry("192.0.2.10", "until", 60*day))
	r := &relay{t: t, now: start}
	r.load(region("eu", entry("192.0.2.10")))
	before := r.state.Version

	r.wait(time.Hour)
	r.wantTold(r.load(move), "scheduled eu 720h0m0s +192.0.2.11", "scheduled eu 1440h0m0s -192.0.2.10")
	r.wantJSON(`{"eu":{"active":["192.0.2.10/32"],"scheduled":[{"prefix":"192.0.2.11/32","from":"2026-12-22T10:00:00.5Z"}],"retiring":[{"prefix":"192.0.2.10/32","until":"2027-01-21T10:00:00.5Z"}]}}`)
	if r.state.Version == before || !r.state.Updated.Equal(start.Add(time.Hour).Truncate(time.Second)) {
		t.Errorf("version %s, updated %s", r.state.Version, r.state.Updated)
	}
	if !r.state.Next().Equal(start.Add(30 * day)) {
		t.Errorf("the next change is at %s", r.state.Next())
	}

	// Reloads and restarts in between tell nothing and change nothing.
	r.wait(29 * day)
	announced := r.state.Version
	r.wantTold(r.load(move))
	if r.state.Version != announced || !r.state.Updated.Equal(start.Add(time.Hour).Truncate(time.Second)) {
		t.Errorf("version %s, updated %s", r.state.Version, r.state.Updated)
	}

	// It happens at its moment, though nobody looks before ten days later.
	r.wait(10 * day)
	r.wantTold(r.load(move), "changed eu 720h0m0s +192.0.2.11")
	r.wantTold(r.load(move))
	r.wantJSON(`{"eu":{"active":["192.0.2.10/32","192.0.2.11/32"],"scheduled":[],"retiring":[{"prefix":"192.0.2.10/32","until":"2027-01-21T10:00:00.5Z"}]}}`)
	if !r.state.Updated.Equal(start.Add(30 * day).Truncate(time.Second)) {
		t.Errorf("updated %s; want the moment of the change", r.state.Updated)
	}
	r.wait(30 * day)
	r.wantTold(r.load(move), "changed eu 1440h0m0s -192.0.2.10")
	// Afterwards the lines may be tidied up.
	version := r.state.Version
	r.wantTold(r.load(region("eu", entry("192.0.2.11"))))
	if r.state.Version != version {
		t.Error("the version changed with the words of the configuration")
	}
	r.wantJSON(`{"eu":{"active":["192.0.2.11/32"],"scheduled":[],"retiring":[]}}`)
}

func TestMomentOfAChange(t *testing.T) {
	move := region("eu", entry("192.0.2.11", "from", day), entry("192.0.2.10", "until", day))
	r := &relay{t: t, now: start}
	r.wantTold(r.load(move), "scheduled eu 24h0m0s +192.0.2.11 -192.0.2.10")
	r.now = start.Add(day - 1)
	r.wantTold(r.load(move))
	r.now = start.Add(day)
	r.wantTold(r.load(move), "changed eu 24h0m0s +192.0.2.11 -192.0.2.10")
}

func TestChangesDuringAStopAreToldOnce(t *testing.T) {
	r := &relay{t: t, now: start}
	guest := region("eu", entry("192.0.2.10"), entry("192.0.2.11", "from", day, "until", 2*day))
	r.wantTold(r.load(guest), "scheduled eu 24h0m0s +192.0.2.11", "scheduled eu 48h0m0s -192.0.2.11")
	r.wantJSON(`{"eu":{"active":["192.0.2.10/32"],"scheduled":[{"prefix":"192.0.2.11/32","from":"2026-11-23T10:00:00.5Z","until":"2026-11-24T10:00:00.5Z"}],"retiring":[]}}`)
	r.wait(3 * day)
	r.wantTold(r.load(guest), "changed eu 24h0m0s +192.0.2.11", "changed eu 48h0m0s -192.0.2.11")

	// The line was tidied up while nobody ran it.
	r.load(region("eu", entry("192.0.2.10"), entry("192.0.2.12", "from", 4*day)))
	r.wait(2 * day)
	r.wantTold(r.load(region("eu", entry("192.0.2.10"), entry("192.0.2.12"))), "changed eu 96h0m0s +192.0.2.12")
}

func TestWithdrawnAndPutOff(t *testing.T) {
	r := &relay{t: t, now: start}
	stay := region("eu", entry("192.0.2.10"))
	r.load(stay)
	r.wantTold(r.load(region("eu", entry("192.0.2.10", "until", 30*day))), "scheduled eu 720h0m0s -192.0.2.10")
	r.wait(10 * day)
	r.wantTold(r.load(stay), "withdrawn eu 720h0m0s -192.0.2.10")
	r.wantTold(r.load(stay))

	r.load(region("eu", entry("192.0.2.10"), entry("192.0.2.11", "from", 50*day)))
	r.wait(35 * day)
	r.wantTold(r.load(region("eu", entry("192.0.2.10"), entry("192.0.2.11", "from", 55*day))),
		"withdrawn eu 1200h0m0s +192.0.2.11", "scheduled eu 1320h0m0s +192.0.2.11")
	if w := r.state.Warnings(30*day, r.now); len(w) != 0 {
		t.Errorf("what is put off is no short notice: %q", w)
	}
	r.wantTold(r.load(region("eu", entry("192.0.2.10"), entry("192.0.2.11", "from", 50*day))),
		"withdrawn eu 1320h0m0s +192.0.2.11", "scheduled eu 1200h0m0s +192.0.2.11")
	if w := r.state.Warnings(30*day, r.now); len(w) != 1 || !strings.Contains(w[0].String(), "192.0.2.11 comes into use on 2027-01-11T10:00:00.5Z, which was announced on 2027-01-06T10:00:00.5Z, only 5d ahead, and notice is 30d") {
		t.Errorf("what is brought forward is announced now: %q", w)
	}
	// Both ends of what never begins.
	r.load(region("eu", entry("192.0.2.10"), entry("192.0.2.12", "from", 60*day, "until", 70*day)))
	r.wantTold(r.load(stay), "withdrawn eu 1440h0m0s +192.0.2.12")
}

func TestUnannouncedChanges(t *testing.T) {
	r := &relay{t: t, now: start}
	r.load(region("eu", entry("192.0.2.10"), entry("192.0.2.11", "until", 60*day)), region("us", entry("198.51.100.20")))
	r.wait(day)
	r.wantTold(r.load(region("eu", entry("192.0.2.12")), region("ap", entry("203.0.113.1"))),
		"changed ap 24h0m0s +203.0.113.1 unplanned",
		"changed eu 24h0m0s +192.0.2.12 -192.0.2.10 -192.0.2.11 unplanned",
		"changed us 24h0m0s -198.51.100.20 unplanned")
	warnings := func() string {
		var texts []string
		for _, w := range r.state.Warnings(30*day, r.now) {
			texts = append(texts, w.String())
		}
		return strings.Join(texts, "\n")
	}
	for _, want := range []string{
		`region "eu": the address 192.0.2.10 vanished from the configuration on 2026-11-23T10:00:00.5Z without having been announced; put it back with an end, and let receivers know: egress 192.0.2.10 until 2026-12-23T10:00:00Z`,
		`region "eu": the address 192.0.2.11 vanished`,
		`region "us": the address 198.51.100.20 vanished`,
		`region "eu": the address 192.0.2.12 came into use on 2026-11-23T10:00:00.5Z without having been announced; tell the contacts now (caddy relay egress)`,
	} {
		if !strings.Contains(warnings(), want) {
			t.Errorf("no warning %q in\n%s", want, warnings())
		}
	}
	if strings.Contains(warnings(), "203.0.113.1") {
		t.Errorf("nobody relies on a new region:\n%s", warnings())
	}
	// What is put back is no matter of concern any more, nor is what is long ago.
	r.load(region("eu", entry("192.0.2.12"), entry("192.0.2.10")), region("ap", entry("203.0.113.1")))
	if strings.Contains(warnings(), "192.0.2.10 vanished") {
		t.Error(warnings())
	}
	r.wait(31 * day)
	if w := warnings(); w != "" {
		t.Error(w)
	}
}

func TestShortNoticeIsAWarningUntilItHappens(t *testing.T) {
	r := &relay{t: t, now: start}
	move := region("eu", entry("192.0.2.10", "until", 30*day), entry("192.0.2.11", "from", 30*day-time.Hour))
	r.load(move)
	for range 2 {
		got := r.state.Warnings(30*day, r.now)
		want := `region "eu": the address 192.0.2.11 comes into use on 2026-12-22T09:00:00.5Z, which was announced on 2026-11-22T10:00:00.5Z, only 29d23h ahead, and notice is 30d; let it be 2026-12-22T10:00:00Z or later, or tell the contacts now: caddy relay egress`
		if len(got) != 1 || got[0].String() != want || got[0].Region != "eu" {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
		r.wait(29 * day)
		r.load(move)
	}
	r.wait(day)
	r.load(move)
	if got := r.state.Warnings(30*day, r.now); len(got) != 0 {
		t.Error(got)
	}
	if got := r.state.Warnings(30*time.Second, r.now); len(got) != 0 {
		t.Error(got)
	}
}

// Two addresses behind one NAT are one for receivers, and one may follow the other.
func TestEntriesOfOnePrefixAreOne(t *testing.T) {
	r := &relay{t: t, now: start}
	unpinned := entry("203.0.113.0/28")
	unpinned.Pinned = false
	r.wantTold(r.load(region("eu",
		entry("192.0.2.10", "until", 10*day), entry("192.0.2.10", "from", 10*day),
		entry("192.0.2.11", "until", 10*day), entry("192.0.2.11", "from", 5*day, "until", 20*day), entry("192.0.2.11", "from", 40*day),
		entry("192.0.2.12"), entry("192.0.2.12", "from", 3*day, "until", 4*day),
		entry("192.0.2.13", "from", 3*day, "until", 9*day), entry("192.0.2.13", "from", 4*day, "until", 5*day),
		unpinned,
	)),
		"scheduled eu 72h0m0s +192.0.2.13", "scheduled eu 216h0m0s -192.0.2.13",
		"scheduled eu 480h0m0s -192.0.2.11", "scheduled eu 960h0m0s +192.0.2.11")
	r.wantJSON(`{"eu":{"active":["192.0.2.10/32","192.0.2.11/32","192.0.2.12/32","203.0.113.0/28"],` +
		`"scheduled":[{"prefix":"192.0.2.13/32","from":"2026-11-25T10:00:00.5Z","until":"2026-12-01T10:00:00.5Z"},{"prefix":"192.0.2.11/32","from":"2027-01-01T10:00:00.5Z"}],` +
		`"retiring":[{"prefix":"192.0.2.11/32","until":"2026-12-12T10:00:00.5Z"}],"unpinned":["203.0.113.0/28"]}}`)
}

func TestChangesOfARegion(t *testing.T) {
	d := egresslist.Declare([]egresslist.Region{
		region("us", entry("198.51.100.1", "from", 7*day)),
		region("eu", entry("192.0.2.10", "until", 10*day), entry("192.0.2.11", "from", 10*day), entry("192.0.2.12", "from", -day), entry("192.0.2.13")),
	})
	if got := d.Changes("eu"); len(got) != 2 || !got[0].Equal(start.Add(-day)) || !got[1].Equal(start.Add(10*day)) {
		t.Errorf("%v", got)
	}
	if got := d.Changes("ap"); got != nil {
		t.Errorf("%v", got)
	}
}

func TestVersionFollowsFromTheListAlone(t *testing.T) {
	regions := []egresslist.Region{region("us", entry("198.51.100.1")), region("eu", entry("192.0.2.11", "from", day), entry("192.0.2.10"))}
	one := egresslist.Advance(nil, egresslist.Declare(regions), start)
	slices.Reverse(regions)
	slices.Reverse(regions[0].Entries)
	other := egresslist.Advance(nil, egresslist.Declare(regions), start.Add(time.Hour))
	if one.Version != other.Version {
		t.Errorf("two instances with one configuration have the versions %s and %s", one.Version, other.Version)
	}
	if again := egresslist.Advance(one, egresslist.Declare(regions), start.Add(time.Hour)); again != one {
		t.Error("a reload of the same makes another state")
	}
	pinned := regions[0].Entries[0]
	pinned.Pinned = false
	regions[0].Entries[0] = pinned
	if third := egresslist.Advance(one, egresslist.Declare(regions), start); third.Version == one.Version || len(third.Pending()) != len(one.Pending()) {
		t.Error("whether an address is pinned is part of the list, but no change of addresses")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	r := &relay{t: t, now: start}
	for i := range 300 {
		r.load(region("eu", entry(fmt.Sprintf("192.0.2.%d", i%200))))
		r.wait(day)
	}
	if n := len(r.state.History); n != 100 {
		t.Errorf("%d announcements are remembered", n)
	}
	raw, err := r.state.Encode(4000)
	if err != nil || len(raw) > 4000 {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	short, err := egresslist.Decode(raw)
	if err != nil || len(short.History) == 0 || short.Version != r.state.Version ||
		short.History[len(short.History)-1].Key() != r.state.History[99].Key() {
		t.Errorf("%+v, %v", short, err)
	}
	if _, err := r.state.Encode(100); err == nil {
		t.Error("100 bytes are enough for anything")
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, raw := range []string{"", "{}", "[]", `{"format":2}`, `{"format":1}`, `{"format":1,"feed_id":"x"}`} {
		if s, err := egresslist.Decode([]byte(raw)); err == nil {
			t.Errorf("%q: %+v", raw, s)
		}
	}
}

// drawRegions makes a configuration of the first forty hours.
func drawRegions(rt *rapid.T) (regions []egresslist.Region) {
	hours := func(label string) time.Duration {
		return time.Duration(rapid.IntRange(0, 40).Draw(rt, label)) * time.Hour
	}
	for _, name := range []string{"eu", "us"} {
		if name == "us" && rapid.Bool().Draw(rt, "no us") {
			continue
		}
		r := region(name)
		for range rapid.IntRange(0, 4).Draw(rt, "entries") {
			e := entry(fmt.Sprintf("192.0.2.%d", rapid.IntRange(1, 3).Draw(rt, "address")))
			if rapid.Bool().Draw(rt, "has from") {
				e.From = start.Add(hours("from"))
			}
			if rapid.Bool().Draw(rt, "has until") {
				e.Until = start.Add(hours("until"))
				if !e.From.IsZero() && !e.Until.After(e.From) {
					e.Until = e.From.Add(time.Hour)
				}
			}
			r.Entries = append(r.Entries, e)
		}
		regions = append(regions, r)
	}
	return regions
}

// listener believes what it is told, and nothing else.
type listener struct {
	active, planned, told map[string]bool
}

func (l *listener) hear(a egresslist.Announcement) error {
	if a.Kind == egresslist.Changed && l.told[a.Key()] {
		return fmt.Errorf("told twice: %s", a.Key())
	}
	l.told[a.Key()] = true
	for i, p := range slices.Concat(a.Added, a.Removed) {
		added := i < len(a.Added)
		plan := fmt.Sprint(a.Region, p, added, a.At.UnixNano())
		switch {
		case a.Kind != egresslist.Changed:
			l.planned[plan] = a.Kind == egresslist.Scheduled
			continue
		case !a.Unplanned && !l.planned[plan]:
			return fmt.Errorf("it happened as planned, but was not: %s", a.Key())
		case added:
			l.active[a.Region+p.String()] = true
		default:
			delete(l.active, a.Region+p.String())
		}
		delete(l.planned, plan)
	}
	return nil
}

// TestEveryChangeIsToldOnce: whatever is configured, and whenever somebody looks, the list
// says what the configuration does, and what is told adds up to it.
func TestEveryChangeIsToldOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := start
		ears := listener{make(map[string]bool), make(map[string]bool), make(map[string]bool)}
		var state *egresslist.State
		regions := drawRegions(rt)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			if rapid.IntRange(0, 2).Draw(rt, "reload") == 0 {
				regions = drawRegions(rt)
			}
			// No two configurations are loaded within a millisecond.
			now = now.Add(time.Duration(rapid.IntRange(0, 10).Draw(rt, "wait"))*time.Hour + time.Millisecond)
			old := state
			state = egresslist.Advance(state, egresslist.Declare(regions), now)
			list := state.List()
			active := make(map[string]bool)
			for _, r := range regions {
				for _, e := range r.Entries {
					if !now.Before(e.From) && (e.Until.IsZero() || now.Before(e.Until)) {
						active[r.Name+e.Prefix.String()] = true
					}
				}
			}
			listed := make(map[string]bool)
			for name, r := range list.Regions {
				for _, p := range r.Active {
					listed[name+p.String()] = true
				}
			}
			if fmt.Sprint(listed) != fmt.Sprint(active) || len(list.Regions) != len(regions) {
				rt.Fatalf("listed are %v; in use are %v", listed, active)
			}
			if old == nil {
				ears.active = listed
			}
			for _, a := range state.Pending() {
				if err := ears.hear(a); err != nil {
					rt.Fatal(err)
				}
			}
			state = state.Told(state.Pending())
			if fmt.Sprint(ears.active) != fmt.Sprint(active) {
				rt.Fatalf("who hears everything believes %v; in use are %v", ears.active, active)
			}
			if next := state.Next(); !next.IsZero() && !next.After(now) {
				rt.Fatalf("the next change, at %s, is over at %s", next, now)
			}
			if old == nil {
				continue
			}
			if same := fmt.Sprint(old.List().Regions) == fmt.Sprint(list.Regions); same != (old.Version == state.Version) {
				rt.Fatalf("the versions are %s and %s of\n%+v\n%+v", old.Version, state.Version, old.List(), list)
			}
			if state.Updated.Before(old.Updated) {
				rt.Fatalf("updated falls back from %s to %s", old.Updated, state.Updated)
			}
		}
	})
}

// FuzzDecode: whatever a store holds, the list goes on from it or begins anew.
func FuzzDecode(f *testing.F) {
	r := &relay{t: f, now: start}
	r.load(region("eu", entry("192.0.2.10", "until", 60*day), entry("192.0.2.11", "from", 30*day)), region("us"))
	r.wait(31 * day)
	r.load(region("eu", entry("192.0.2.11"), entry("192.0.2.10", "until", 60*day)))
	raw, err := r.state.Encode(1 << 20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"format":1,"feed_id":"f86298bf-6665-484f-8291-6d716a7426c5","regions":[{"name":"eu","active":[""]}],"planned":[{"region":"eu","prefix":"","at":"9999-12-31T23:59:59.9Z"}],"history":[{"kind":"x","region":"eu"}]}`))
	declared := egresslist.Declare([]egresslist.Region{region("eu", entry("192.0.2.10", "until", day), entry("192.0.2.12", "from", day))})
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := egresslist.Decode(raw)
		if err != nil {
			return
		}
		next := egresslist.Advance(s, declared, start)
		list := next.List()
		if eu := list.Regions["eu"]; len(list.Regions) != 1 || len(eu.Active) != 1 || len(eu.Scheduled) != 1 || len(eu.Retiring) != 1 {
			t.Errorf("%+v", list)
		}
		if _, err := next.Feed(); err != nil {
			t.Error(err)
		}
		next.Warnings(egresslist.DefaultNotice, start)
		if again := egresslist.Advance(next, declared, start); again != next {
			t.Errorf("it does not settle: %+v, then %+v", next, again)
		}
	})
}
