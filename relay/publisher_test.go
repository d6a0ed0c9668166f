package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/egresslist"
)

const day = 24 * time.Hour

// address is one of a region; zero times are none.
func address(text string, from, until time.Time) egresslist.Entry {
	addr := netip.MustParseAddr(text)
	return egresslist.Entry{Prefix: netip.PrefixFrom(addr, addr.BitLen()), From: from, Until: until, Pinned: true}
}

func always(text string) egresslist.Entry { return address(text, time.Time{}, time.Time{}) }

func eu(entries ...egresslist.Entry) egresslist.Region {
	return egresslist.Region{Name: "eu", Entries: entries}
}

// heard keeps what the observers of all plans were told about addresses.
type heard struct {
	relay.NopObserver
	mu      sync.Mutex
	notices []relay.EgressNotice
}

func (h *heard) EgressNoticed(n relay.EgressNotice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notices = append(h.notices, n)
}

// told returns what was heard since it was last asked.
func (h *heard) told() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines []string
	for _, n := range h.notices {
		lines = append(lines, fmt.Sprintf("%s %s +%v -%v", strings.TrimPrefix(string(n.Topic), "relay.egress."), n.Region, n.Added, n.Removed))
	}
	h.notices = nil
	return strings.Join(lines, "; ")
}

// regions makes a plan of regions, with a subscription to all that is told of them, and one
// to what applications send, both in region eu. It takes the place of the plan before.
func (w *world) regions(h *heard, old *relay.Plan, regions ...egresslist.Region) (p *relay.Plan, crm, ops *receiver) {
	w.t.Helper()
	crm, ops = &receiver{}, &receiver{}
	a, b := subscription("crm", crm, "order.*"), subscription("ops", ops, "relay.egress.*")
	a.Region, b.Region = "eu", "eu"
	p, err := relay.NewPlan(relay.PlanOptions{Subscriptions: []*relay.Subscription{a, b}, Egress: regions, Observer: h})
	if err != nil {
		w.t.Fatal(err)
	}
	w.attach(p)
	if old != nil {
		w.engine.Detach(old)
	}
	synctest.Wait()
	return p, crm, ops
}

func (w *world) wantTold(h *heard, want string) {
	w.t.Helper()
	synctest.Wait()
	if got := h.told(); got != want {
		w.t.Errorf("told %q; want %q", got, want)
	}
}

// types returns those of the requests.
func types(requests []received) []string {
	all := make([]string, len(requests))
	for i, r := range requests {
		all[i] = r.header.Get("Relay-Event")
	}
	return all
}

func TestPlannedChangeIsToldAheadAndWhenItHappens(t *testing.T) {
	run(t, func(w *world) {
		var h heard
		begun := time.Now()
		at := begun.Add(40 * day)
		first, _, _ := w.regions(&h, nil, eu(always("192.0.2.10")))
		w.wantTold(&h, "")
		version := w.engine.EgressList().Version

		_, crm, ops := w.regions(&h, first, eu(address("192.0.2.10", time.Time{}, at), address("192.0.2.11", at, time.Time{})))
		w.wantTold(&h, "scheduled eu +[192.0.2.11/32] -[192.0.2.10/32]")
		if w.engine.EgressList().Version == version {
			t.Error("the version is the same")
		}
		if warnings := w.engine.EgressWarnings(); len(warnings) != 0 {
			t.Errorf("%q", warnings)
		}
		got := ops.all()
		if len(got) != 1 {
			t.Fatalf("the subscription to it got %v", types(got))
		}
		if hdr := got[0].header; hdr.Get("Relay-Event") != "relay.egress.scheduled" || hdr.Get("Content-Type") != "application/json" {
			t.Errorf("%v", hdr)
		}
		var n relay.EgressNotice
		if err := json.Unmarshal([]byte(got[0].body), &n); err != nil || n.Region != "eu" || !n.At.Equal(at) || !n.Announced.Equal(begun) ||
			!n.Planned || !strings.Contains(n.Detail, "no longer come from 192.0.2.10") {
			t.Errorf("%s: %v", got[0].body, err)
		}

		// Until then every delivery says so, to the last moment.
		w.wait(time.Until(at) - time.Nanosecond)
		w.publish("order.paid", "1")
		synctest.Wait()
		version = w.engine.EgressList().Version
		w.wait(time.Nanosecond)
		w.wantTold(&h, "changed eu +[192.0.2.11/32] -[192.0.2.10/32]")
		w.publish("order.paid", "2")
		synctest.Wait()
		requests := crm.all()
		if len(requests) != 2 {
			t.Fatalf("crm got %v", types(requests))
		}
		if v := requests[0].header.Get("Relay-Egress-Change"); v != at.UTC().Format(time.RFC3339) {
			t.Errorf("before the change: %q", v)
		}
		if v := requests[1].header.Values("Relay-Egress-Change"); v != nil {
			t.Errorf("after the change: %q", v)
		}
		list := w.engine.EgressList()
		if list.Version == version || !list.Updated.Equal(at.Truncate(time.Second)) {
			t.Errorf("%s at %s", list.Version, list.Updated)
		}
		w.wait(100 * day)
		w.wantTold(&h, "")
		if got := types(ops.all()); !slices.Equal(got, []string{"relay.egress.scheduled", "relay.egress.changed"}) {
			t.Errorf("the subscription to it got %v", got)
		}
	})
}

func TestHeaderNamesTheNearestChangeOfItsRegion(t *testing.T) {
	run(t, func(w *world) {
		begun := time.Now()
		far, near, other := begun.Add(50*day), begun.Add(40*day), begun.Add(35*day)
		_, crm, _ := w.regions(&heard{}, nil,
			eu(always("192.0.2.9"), address("192.0.2.10", time.Time{}, far), address("192.0.2.11", near, time.Time{}), address("192.0.2.8", time.Time{}, begun.Add(-day))),
			egresslist.Region{Name: "us", Entries: []egresslist.Entry{address("198.51.100.20", other, time.Time{})}})
		for _, want := range []time.Time{near, far, {}} {
			w.publish("order.paid", "1")
			synctest.Wait()
			got := crm.all()
			value := got[len(got)-1].header.Get("Relay-Egress-Change")
			if want.IsZero() && value != "" || !want.IsZero() && value != want.UTC().Format(time.RFC3339) {
				t.Errorf("%q; want %v", value, want)
			}
			if !want.IsZero() {
				w.wait(time.Until(want))
			}
		}
	})
}

func TestChangesAreToldOnceOverRestarts(t *testing.T) {
	run(t, func(w *world) {
		var h heard
		at := time.Now().Add(40 * day)
		move := eu(always("192.0.2.10"), address("192.0.2.11", at, time.Time{}))
		_, _, _ = w.regions(&h, nil, move)
		w.wantTold(&h, "scheduled eu +[192.0.2.11/32] -[]")
		announced := w.engine.EgressList()
		for range 3 {
			w.wait(day)
			w.restart()
			w.regions(&h, nil, move)
			w.wantTold(&h, "")
			if l := w.engine.EgressList(); l.Version != announced.Version || !l.Updated.Equal(announced.Updated) || l.FeedID != announced.FeedID {
				t.Errorf("after a restart %+v; want %+v", l, announced)
			}
		}
		// It happens while nobody is there.
		w.stop()
		w.wait(50 * day)
		w.open()
		_, _, ops := w.regions(&h, nil, move)
		w.wantTold(&h, "changed eu +[192.0.2.11/32] -[]")
		if l := w.engine.EgressList(); !l.Updated.Equal(at.Truncate(time.Second)) {
			t.Errorf("updated %s; want %s", l.Updated, at)
		}
		if n := len(ops.all()); n != 1 {
			t.Errorf("%d events", n)
		}
		w.restart()
		w.regions(&h, nil, move)
		w.wantTold(&h, "")
	})
}

// A crash may come between any two steps. The store that fails from the n-th write on
// stands for it, for every n.
func TestChangesAreToldOnceWhateverWriteIsTheLast(t *testing.T) {
	for n := range 8 {
		run(t, func(w *world) {
			var h heard
			at := time.Now().Add(40 * day)
			before := eu(always("192.0.2.10"), always("192.0.2.12"))
			move := eu(always("192.0.2.10"), address("192.0.2.11", at, time.Time{}))
			w.regions(&h, nil, before)
			w.stop()
			w.store = &dying{Store: w.memory, left: n}
			w.open()
			w.regions(&h, nil, move)
			w.restart()
			w.regions(&h, nil, move)
			w.wait(time.Hour)
			events, _, err := w.engine.Events(context.Background(), relay.EventQuery{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range events {
				got = append(got, e.Event.Type)
			}
			slices.Sort(got)
			if !slices.Equal(got, []string{"relay.egress.changed", "relay.egress.scheduled"}) {
				t.Errorf("with %d writes before the crash: %v", n, got)
			}
		})
	}
}

// dying takes some writes of notes and events more, and then none.
type dying struct {
	relay.Store
	mu   sync.Mutex
	left int
}

func (d *dying) dead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left--
	return d.left < 0
}

func (d *dying) Append(ctx context.Context, b relay.Batch, stored func([]*relay.Event)) ([]relay.Receipt, error) {
	if d.dead() {
		return nil, relay.ErrBroken
	}
	return d.Store.Append(ctx, b, stored)
}

func (d *dying) SwapNote(ctx context.Context, name string, old, value []byte) (bool, error) {
	if d.dead() {
		return false, relay.ErrBroken
	}
	return d.Store.SwapNote(ctx, name, old, value)
}

func TestListNeedsNoStoreAndIsToldWhenThatIsBack(t *testing.T) {
	run(t, func(w *world) {
		var h heard
		first, _, _ := w.regions(&h, nil, eu(always("192.0.2.10")))
		w.memory.Fail(relay.ErrBroken)
		w.regions(&h, first, eu(always("192.0.2.10"), address("192.0.2.11", time.Now().Add(40*day), time.Time{})))
		if l := w.engine.EgressList().List(); len(l.Regions["eu"].Scheduled) != 1 {
			t.Errorf("%+v", l)
		}
		w.wait(10 * time.Minute)
		w.wantTold(&h, "")
		w.memory.Fail(nil)
		w.wait(time.Minute)
		w.wantTold(&h, "scheduled eu +[192.0.2.11/32] -[]")
	})
}

// What a reload that is taken back would have changed is told to nobody.
func TestRolledBackPlanPublishesNothing(t *testing.T) {
	run(t, func(w *world) {
		var h heard
		first, _, _ := w.regions(&h, nil, eu(always("192.0.2.10")))
		list := w.engine.EgressList()
		failing, err := relay.NewPlan(relay.PlanOptions{Egress: []egresslist.Region{eu(always("192.0.2.66"))}, Observer: &h})
		if err != nil {
			t.Fatal(err)
		}
		w.engine.Attach(failing)
		w.wait(time.Second)
		if w.engine.EgressList() != list {
			t.Error("the list is that of a plan that may be taken back")
		}
		w.engine.Detach(failing)
		w.wait(time.Second)
		w.wantTold(&h, "")
		if w.engine.EgressList() != list {
			t.Error("the list has changed")
		}
		// A stop changes nothing either.
		w.engine.Detach(first)
		w.wait(time.Second)
		w.wantTold(&h, "")
		if w.engine.EgressList() != list {
			t.Error("the list is gone with the plan")
		}
	})
}

func TestUnannouncedChangeIsAWarning(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	run(t, func(w *world) {
		w.stop()
		engine, err := relay.Open(context.Background(), w.memory, relay.Options{Logger: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		w.engine = engine
		var h heard
		first, _, _ := w.regions(&h, nil, eu(always("192.0.2.10"), always("192.0.2.11")))
		second, _, _ := w.regions(&h, first, eu(always("192.0.2.11"), address("192.0.2.12", time.Now().Add(2*day), time.Time{})))
		w.wantTold(&h, "changed eu +[] -[192.0.2.10/32]; scheduled eu +[192.0.2.12/32] -[]")
		want := []string{`region "eu": the address 192.0.2.12 comes into use`, `region "eu": the address 192.0.2.10 vanished`}
		warnings := w.engine.EgressWarnings()
		if len(warnings) != 2 || !strings.HasPrefix(warnings[0].String(), want[0]) || !strings.HasPrefix(warnings[1].String(), want[1]) {
			t.Errorf("%q", warnings)
		}
		for _, warning := range warnings {
			text := warning.String()
			if logs.FilterMessage(text).FilterLevelExact(zapcore.WarnLevel).Len() != 1 {
				t.Errorf("not logged once: %s", text)
			}
		}
		if n := logs.FilterMessage("operational event").FilterField(zap.String("topic", "relay.egress.changed")).Len(); n != 1 {
			t.Errorf("%d records of the event", n)
		}
		_ = second
	})
}

// Two relays with one store and one configuration tell everything once.
func TestTwoRelaysWithOneStoreTellOnce(t *testing.T) {
	run(t, func(w *world) {
		var h heard
		at := time.Now().Add(40 * day)
		regions := []egresslist.Region{eu(always("192.0.2.10"), address("192.0.2.11", at, time.Time{}))}
		other, err := relay.Open(context.Background(), &shared{w.memory}, relay.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close() }()
		p, err := relay.NewPlan(relay.PlanOptions{Egress: regions, Observer: &h})
		if err != nil {
			t.Fatal(err)
		}
		other.Attach(p)
		w.regions(&h, nil, regions...)
		w.wantTold(&h, "scheduled eu +[192.0.2.11/32] -[]")
		w.wait(41 * day)
		w.wantTold(&h, "changed eu +[192.0.2.11/32] -[]")
		a, b := w.engine.EgressList(), other.EgressList()
		if a.Version != b.Version || !a.Updated.Equal(b.Updated) || a.FeedID != b.FeedID || len(a.History) != len(b.History) {
			t.Errorf("%+v\n%+v", a, b)
		}
	})
}

// shared is a store that another relay closes.
type shared struct{ relay.Store }

func (*shared) Close() error { return nil }

func TestWithoutRegionsNothingIsKept(t *testing.T) {
	run(t, func(w *world) {
		if l := w.engine.EgressList(); l != nil {
			t.Errorf("before a plan: %+v", l)
		}
		w.plan(subscription("crm", &receiver{}))
		w.wait(time.Minute)
		if l := w.engine.EgressList(); l == nil || len(l.Regions) != 0 {
			t.Errorf("%+v", l)
		}
		if note, err := w.store.Note(context.Background(), "egress"); err != nil || note != nil {
			t.Errorf("%s, %v", note, err)
		}
	})
}

// What cannot be understood is forgotten, and no reason to deliver nothing.
func TestForeignNoteIsReplaced(t *testing.T) {
	run(t, func(w *world) {
		if _, err := w.store.SwapNote(context.Background(), "egress", nil, []byte(`{"format":99}`)); err != nil {
			t.Fatal(err)
		}
		w.restart()
		var h heard
		w.regions(&h, nil, eu(always("192.0.2.10")))
		w.wantTold(&h, "")
		id := w.engine.EgressList().FeedID
		w.restart()
		w.regions(&h, nil, eu(always("192.0.2.10")))
		if w.engine.EgressList().FeedID != id {
			t.Error("the list was not kept")
		}
	})
}
