package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// tail collects what a follower is told, until it is closed.
func (f *fleet) tail(n *node, q relay.Following) (read func() []string, end func()) {
	f.t.Helper()
	follower := n.engine.Follow(q)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var lines []string
	go func() {
		defer close(done)
		for {
			all, missed, err := follower.Next(ctx)
			if err != nil {
				return
			}
			if missed != 0 {
				lines = append(lines, fmt.Sprint("missed ", missed))
			}
			for _, s := range all {
				lines = append(lines, fmt.Sprintf("%s %s %s", s.Type, s.Delivery.Subscription, s.Delivery.State))
			}
		}
	}()
	read = func() []string {
		f.wait(2 * time.Second)
		some := lines
		lines = nil
		slices.Sort(some) // of two relays, either may be told of first
		return some
	}
	return read, func() { cancel(); <-done; follower.Close() }
}

// What becomes of deliveries is told at each relay, whichever makes them: once, and in the
// order of each.
func TestEveryRelayTellsWhatBecomesOfDeliveries(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		f.sent.answer = func(v *sentBy) (*http.Response, error) {
			if v.subscription == "sick" && v.request.Header.Get("Relay-Attempt") == "1" {
				return answer(500), nil
			}
			return answer(200), nil
		}
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("well"), n.sub("sick")} })
		f.give("well", f.nodes[0])
		f.give("sick", f.nodes[1])
		f.nodes[0].publish("before", `1`)
		f.wait(5 * time.Second)

		var reads []func() []string
		for _, n := range f.nodes {
			read, end := f.tail(n, relay.Following{})
			defer end()
			reads = append(reads, read)
		}
		onlySick, end := f.tail(f.nodes[2], relay.Following{Subscription: "sick", State: relay.StateDelivered})
		defer end()
		f.nodes[2].publish("one", `1`) // just after they began
		f.wait(5 * time.Second)
		want := []string{"one sick delivered", "one sick retrying", "one well delivered"}
		for i, read := range reads {
			if got := read(); !slices.Equal(got, want) {
				t.Errorf("the node %d tells %q; want %q", i, got, want)
			}
		}
		if got := onlySick(); !slices.Equal(got, want[:1]) {
			t.Errorf("of one subscription and state it tells %q", got)
		}

		// What is ended without an attempt is known by its place alone.
		ctx := context.Background()
		if _, err := f.nodes[2].engine.Pause(ctx, "sick", ""); err != nil {
			t.Fatal(err)
		}
		for range 600 {
			f.nodes[2].publish("many", `1`)
		}
		f.wait(5 * time.Second)
		if _, err := f.nodes[2].engine.Drop(ctx, "sick"); err != nil {
			t.Fatal(err)
		}
		for i, read := range reads {
			failed, delivered := 0, 0
			for _, line := range read() {
				switch line {
				case "many sick failed":
					failed++
				case "many well delivered":
					delivered++
				default:
					t.Errorf("the node %d tells %q", i, line)
				}
			}
			if failed != 600 || delivered != 600 {
				t.Errorf("the node %d tells of %d that failed and %d delivered; want 600 of each", i, failed, delivered)
			}
		}
	})
}

// Where another relay has more to tell than is kept, that is said.
func TestOtherRelaysSayWhatWasMissed(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} })
		f.give("crm", f.nodes[0])
		follower := f.nodes[1].engine.Follow(relay.Following{})
		defer follower.Close()
		const n = 12_000
		for i := range n {
			f.nodes[0].publish("a", fmt.Sprint(i))
		}
		f.wait(time.Minute)
		lines, _, missed := told(t, follower)
		if len(lines)+int(missed) != n || missed <= 0 {
			t.Errorf("told %d, missed %d; want %d in all", len(lines), missed, n)
		}
	})
}

// Who comes later is asked, too; what it did before that is said to be unknown.
func TestFollowersAreToldOfRelaysThatComeAndGo(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		subs := func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} }
		f.everywhere(subs)
		read, end := f.tail(f.nodes[1], relay.Following{})
		defer end()
		late := f.join()
		late.attach(relay.PlanOptions{Subscriptions: subs(late), UserAgent: "caddy-relay/test"})
		f.wait(5 * time.Second)
		if got := read(); !slices.Equal(got, []string{"missed -1"}) {
			t.Errorf("of a relay that comes: %q", got)
		}
		f.give("crm", late)
		late.publish("late", `1`)
		if got := read(); !slices.Equal(got, []string{"late crm delivered"}) {
			t.Errorf("of what it does: %q", got)
		}
		late.close()
		f.nodes[0].publish("after", `1`)
		if got := read(); !slices.Equal(got, []string{"after crm delivered"}) {
			t.Errorf("after it has gone: %q", got)
		}
		// One that does not answer keeps nobody waiting for long.
		f.give("crm", f.nodes[1])
		f.nodes[0].store.Freeze()
		began := time.Now()
		again := f.nodes[1].engine.Follow(relay.Following{})
		again.Close()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("following takes %s while another relay does not answer", took)
		}
		f.nodes[1].publish("alone", `1`)
		if got := read(); !slices.Equal(got, []string{"alone crm delivered"}) {
			t.Errorf("while another relay does not answer: %q", got)
		}
		f.nodes[0].store.Thaw()
	})
}

// A mark is good at the relay that gave it, also for what others have told; where nobody
// followed for long, it is not.
func TestMarksHoldOverRelays(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} })
		f.give("crm", f.nodes[0])
		reader := f.nodes[1].engine
		settled := func(typ string) {
			f.nodes[0].publish(typ, `1`)
			f.wait(2 * time.Second)
		}
		follower := reader.Follow(relay.Following{})
		settled("one")
		all := wantTold(t, follower, "one crm delivered/ 1: 200")
		follower.Close()
		settled("two") // nobody reads, for a while
		follower = reader.Follow(relay.Following{After: follower.Mark(&all[0])})
		all = wantTold(t, follower, "two crm delivered/ 1: 200")
		follower.Close()

		// The carrier is followed all the time, so that its feed stays on; and so is this one,
		// by the other.
		busy := f.nodes[0].engine.Follow(relay.Following{})
		defer busy.Close()
		f.wait(time.Hour)
		settled("three")
		follower = reader.Follow(relay.Following{After: follower.Mark(&all[0])})
		defer follower.Close()
		if _, missed, err := follower.Next(context.Background()); missed != relay.UnknownlyMany || err != nil {
			t.Errorf("%d missed, %v; want it not to be known", missed, err)
		}
		settled("four")
		wantTold(t, follower, "four crm delivered/ 1: 200")
	})
}

// While nobody follows, no relay asks another one for what becomes of deliveries.
func TestNobodyAsksWhileNobodyFollows(t *testing.T) {
	runFleet(t, 1, func(f *fleet) {
		counting := &countingStore{ClusterStore: f.cluster.Open()}
		n := f.joinBy(counting.ClusterStore, counting)
		f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} })
		f.wait(time.Hour)
		if asked := counting.told.Load(); asked != 0 {
			t.Errorf("%d questions though nobody has ever followed", asked)
		}
		follower := n.engine.Follow(relay.Following{})
		f.wait(time.Minute)
		if counting.told.Load() == 0 {
			t.Error("no question while somebody follows")
		}
		follower.Close()
		f.wait(time.Minute)
		before := counting.told.Load()
		f.wait(time.Hour)
		if asked := counting.told.Load() - before; asked != 0 {
			t.Errorf("%d questions after the last one has left", asked)
		}
	})
}

// countingStore counts the questions about what becomes of deliveries.
type countingStore struct {
	*storagetest.ClusterStore
	told atomic.Int64
}

func (s *countingStore) Ask(ctx context.Context, to relay.Addressee, request []byte) ([]byte, error) {
	if strings.Contains(string(request), `"tell"`) {
		s.told.Add(1)
	}
	return s.ClusterStore.Ask(ctx, to, request)
}
