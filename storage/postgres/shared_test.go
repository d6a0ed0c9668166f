package postgres

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// together are times of several relays that leave no test waiting.
var together = times{
	lease: 3 * time.Second, renew: 200 * time.Millisecond, vanished: 2 * time.Second, patience: 300 * time.Millisecond,
	commit: 2400 * time.Millisecond, read: 10 * time.Second, connect: 2 * time.Second,
	mendFirst: 10 * time.Millisecond, mendMost: 100 * time.Millisecond,
}

// TestShared: each member has a wire of its own to the server. A member whose wire is still
// is frozen for the others.
func TestShared(t *testing.T) {
	storagetest.RunShared(t, func(t *testing.T) storagetest.SharedHarness {
		t.Parallel()
		o := options(t)
		o.times, o.Shared = together, true
		wires := make(map[relay.Shared]*wire)
		return storagetest.SharedHarness{
			Open: func(t *testing.T) relay.Shared {
				t.Helper()
				w := newWire(t, postgrestest.Shared(t))
				o := o
				o.DSN = w.dsn()
				s := openWith(t, o)
				wires[s] = w
				return s
			},
			Freeze: func(_ *testing.T, s relay.Shared) { wires[s].still.Lock() },
			Thaw:   func(_ *testing.T, s relay.Shared) { wires[s].still.Unlock() },
			Lapse: func(t *testing.T, s relay.Shared) {
				t.Helper()
				id := s.(*Store).id
				eventually(t, "the lease ends", func() bool {
					return postgrestest.Shared(t).Query(t, "postgres", "select count(*) from "+o.Schema+".members where id = '"+id+"' and until > clock_timestamp()") == "0"
				})
			},
		}
	})
}

// TestWhatWasGivenBackIsAskedElsewhere: a member answers no question about what it has handed
// over.
func TestWhatWasGivenBackIsAskedElsewhere(t *testing.T) {
	o := options(t)
	o.times, o.Shared = together, true
	a, b := openWith(t, o), openWith(t, o)
	engines := []*engine{{store: a, name: "a"}, {store: b, name: "b"}}
	for _, e := range engines {
		if err := e.store.Join(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	offer := relay.Offer{Subscriptions: map[string]string{"crm": ""}}
	a.Offer(offer)
	eventually(t, "a carries it", func() bool { return a.Carrier("crm") == a.id })
	a.Offer(relay.Offer{})
	b.Offer(offer)
	eventually(t, "b carries it", func() bool { return a.Carrier("crm") == b.id && b.carries("crm") })
	got, err := a.Ask(t.Context(), relay.Addressee{Subscription: "crm"}, nil)
	if err != nil || string(got) != "b" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestFrozenInTheMiddleStopsNobody: a member that froze while it held the row that all take
// turns at does not stop the others, and takes part again when it wakes.
func TestFrozenInTheMiddleStopsNobody(t *testing.T) {
	o := options(t)
	o.Shared, o.times.commit = true, impatience // its third is how long is waited for a lock
	frozen, other := openWith(t, o), openWith(t, o)
	mustAppend(t, frozen, one("1", "crm"))
	held, release := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() { frozen.requests <- &holding{held: held, release: release} })
	<-held
	mustAppend(t, other, one("2", "crm"))
	close(release)
	wait.Wait()
	eventually(t, "it takes part again", func() bool {
		_, err := frozen.Append(t.Context(), one("3", "crm"), nil)
		return err == nil
	})
	checkLog(t, other, "crm", 3)
}

// TestAloneAndTogether: who wants the schema for itself alone does not get it while others use
// it, and nobody else gets it while it has it.
func TestAloneAndTogether(t *testing.T) {
	o := options(t)
	o.Owner = "one of several"
	together := o
	together.Shared = true
	member := openWith(t, together)
	openWith(t, together)
	_, err := Open(o)
	if inUse, ok := errors.AsType[*InUseError](err); !ok || !strings.HasPrefix(inUse.Owner, o.Owner) {
		t.Fatalf("alone beside others: %v", err)
	}
	if err := member.Join(t.Context(), &engine{store: member}); err != nil {
		t.Fatal(err)
	}
	if err := member.Join(t.Context(), &engine{store: member}); err == nil {
		t.Error("a member has joined twice")
	}
	other := options(t)
	alone := openWith(t, other)
	if err := alone.Join(t.Context(), &engine{store: alone}); err == nil {
		t.Error("one that was opened for itself alone has joined")
	}
	other.Shared = true
	if _, err := Open(other); err == nil {
		t.Error("another one was opened beside one that wants to be alone")
	}
	if _, err := member.Adopt(t.Context(), []relay.Moved{{Event: &relay.Event{ID: "evt_x"}}}, nil); err == nil || !strings.Contains(err.Error(), "stop all but one") {
		t.Errorf("an import beside others: %v", err)
	}
}

// TestGroupIsPlannedAnew: a member that believed to be alone has planned a group when another
// one has come and written. The same requests get numbers behind those of the other one.
func TestGroupIsPlannedAnew(t *testing.T) {
	// A notification may tell it of the other one before it plans, on a busy machine at times.
	for range 10 {
		if plannedAnew(t) {
			return
		}
	}
	t.Error("ten groups were planned once each")
}

func plannedAnew(t *testing.T) bool {
	t.Helper()
	o := options(t)
	o.Shared, o.times.renew = true, time.Hour // it does not look by itself
	first := openWith(t, o)
	mustAppend(t, first, keyed("1", "k1", "crm"))
	second := openWith(t, o)
	mustAppend(t, second, keyed("2", "k2", "crm", "new"))
	var told []*relay.Event
	b := keyed("3", "k3", "crm", "newer")
	confirmed := 0
	b.Items[0].Confirm = func(string, time.Time, relay.Target) bool { confirmed++; return true }
	receipts, err := first.Append(t.Context(), b, func(all []*relay.Event) { told = append(told, all...) })
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0].Deliveries[0].Pos != 3 || told[0].ID != receipts[0].ID {
		t.Errorf("told of %+v", told)
	}
	e, err := second.Event(t.Context(), told[0].Seq)
	if err != nil || len(e.Deliveries) != 2 || e.Deliveries[1].Subscription != "newer" {
		t.Errorf("the other one, which does not know the subscription, reads %+v, %v", e, err)
	}
	checkLog(t, second, "crm", 3)
	return confirmed == 4 // its two targets, twice each
}

// TestKeyOfAStranger: a member that believed to be alone is asked with a key that another one has
// stored, for a subscription that it does not know.
func TestKeyOfAStranger(t *testing.T) {
	o := options(t)
	o.Shared, o.times.renew = true, time.Hour // it does not look by itself
	first := openWith(t, o)
	mustAppend(t, first, keyed("1", "k1", "crm"))
	stored := mustAppend(t, openWith(t, o), keyed("2", "k2", "crm", "new"))
	if again := mustAppend(t, first, keyed("2", "k2", "crm", "new")); !again.Duplicate || again.ID != stored.ID || len(again.Matched) != 2 {
		t.Errorf("%+v", again)
	}
}

// engine gives back at once whatever it is asked for.
type engine struct {
	store *Store
	name  string
}

func (e *engine) Carry([]relay.Progress)                {}
func (e *engine) Yield(names []string)                  { e.store.Yielded(names) }
func (e *engine) Lost([]string)                         {}
func (e *engine) Learn([]relay.Progress)                {}
func (e *engine) Answer(context.Context, []byte) []byte { return []byte(e.name) }
