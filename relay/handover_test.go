package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// A subscription moves while attempts are in flight: they end where they are, everything else
// goes on elsewhere, and nothing is missing or made twice.
func TestHandOverWithAttemptsInFlight(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		f.sent.answer = slowly(3 * time.Second)
		f.everywhere(func(n *node) []*relay.Subscription {
			s := n.sub("crm")
			s.MaxInFlight = 4
			return []*relay.Subscription{s}
		})
		first, others := f.carrier("crm")
		var ids []string
		for i := range 30 {
			ids = append(ids, f.nodes[i%3].publish("a", fmt.Sprint(i)).ID)
		}
		f.wait(time.Second)
		if n := len(f.sent.of("crm")); n == 0 || n > 4 {
			t.Fatalf("%d attempts were begun", n)
		}
		f.cluster.Give("crm", others[0].store)
		f.wait(time.Second)
		before := len(f.sent.of("crm"))
		f.give("crm", others[0])
		moved := time.Now()
		f.wait(time.Minute)
		for _, v := range f.sent.of("crm")[before:] {
			if v.node == first {
				t.Errorf("%s is attempted by the relay that was asked to yield", v.id)
			}
		}
		if gap := f.sent.of("crm")[before].at.Sub(moved); gap > time.Second {
			t.Errorf("nothing is attempted for %v after the subscription has moved", gap)
		}
		if f.sent.most["crm"] > 4 {
			t.Errorf("%d attempts in flight; max_in_flight is 4", f.sent.most["crm"])
		}
		f.finished("crm", ids)
	})
}

// Whoever stops gives everything away at once.
func TestStopHandsOverAtOnce(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		f.everywhere(func(n *node) []*relay.Subscription {
			return []*relay.Subscription{n.sub("s0"), n.sub("s1"), n.sub("s2"), n.sub("s3")}
		})
		first, others := f.carrier("s1")
		f.sent.answer = slowly(2 * time.Second)
		id := others[0].publish("a", "0").ID
		f.wait(100 * time.Millisecond) // in flight at all of them
		drained := make(chan struct{})
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			first.engine.Drain(ctx)
			close(drained)
		}()
		f.wait(3 * time.Second)
		if f.cluster.Owner("s1") == first.store {
			t.Error("the engine that stops still carries what it could have given")
		}
		<-drained
		first.close()
		more := others[1].publish("a", "1").ID
		f.wait(5 * time.Second)
		for _, name := range []string{"s0", "s1", "s2", "s3"} {
			f.finished(name, []string{id, more})
		}
	})
}

// One that does not come back loses what it carried; what it has not finished is made again.
func TestFrozenRelayLosesAndForgets(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut off %v", cut), func(t *testing.T) {
			runFleet(t, 3, func(f *fleet) {
				f.everywhere(func(n *node) []*relay.Subscription { return []*relay.Subscription{n.sub("crm")} })
				first, others := f.carrier("crm")
				ids := []string{others[0].publish("a", "before").ID}
				f.wait(time.Second)

				f.sent.answer = slowly(12 * time.Second)
				ids = append(ids, others[0].publish("a", "in flight").ID)
				f.wait(2 * time.Second) // its attempt is under way, and outlives the lease
				frozen := time.Now()
				if cut {
					first.store.CutOff()
				} else {
					first.store.Freeze()
				}
				f.sent.answer = nil
				for i := range 10 {
					ids = append(ids, others[i%2].publish("a", fmt.Sprint(i)).ID)
					f.wait(time.Second)
				}
				f.wait(5 * time.Second)
				if owner := f.cluster.Owner("crm"); owner == first.store || owner == nil {
					t.Fatal("nobody has taken over")
				}
				first.store.Thaw()
				f.wait(time.Minute)
				for _, v := range f.sent.of("crm") {
					if v.node == first && v.at.After(frozen.Add(10*time.Second)) {
						t.Errorf("%s is attempted by the relay that lost the subscription, %v after it froze", v.id, v.at.Sub(frozen))
					}
				}
				if n := f.sent.taken("crm", ids[1]); n != 1 && n != 2 {
					t.Errorf("what was in flight arrived %d times", n)
				}
				f.finished("crm", append(ids[:1:1], ids[2:]...))
				// It is as good as any other again.
				f.give("crm", first)
				ids = []string{others[0].publish("a", "after").ID}
				f.wait(time.Second)
				f.finished("crm", ids)
			})
		})
	}
}

// Whoever cannot renew its lease begins nothing after it, though it knows of much to do.
func TestNoAttemptAfterTheLease(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		f.everywhere(func(n *node) []*relay.Subscription {
			s := n.sub("crm")
			s.RateLimit = relay.RateLimit{Events: 1, Window: time.Second}
			return []*relay.Subscription{s}
		})
		first, _ := f.carrier("crm")
		var ids []string
		for i := range 60 {
			ids = append(ids, f.nodes[i%2].publish("a", fmt.Sprint(i)).ID)
		}
		f.wait(3 * time.Second)
		frozen := time.Now()
		first.store.Freeze()
		f.wait(20 * time.Second)
		alone, late := 0, 0
		for _, v := range f.sent.of("crm") {
			if v.node != first || v.at.Before(frozen) {
				continue
			}
			if alone++; v.at.After(frozen.Add(10 * time.Second)) {
				late++
			}
		}
		if alone == 0 || late > 0 {
			t.Errorf("%d attempts without a word of the store, %d of them after the lease", alone, late)
		}
		first.store.Thaw()
		f.wait(2 * time.Minute)
		for _, id := range ids {
			if n := f.sent.taken("crm", id); n < 1 || n > 2 {
				t.Errorf("%s arrived %d times", id, n)
			}
		}
	})
}

// What was due while the lease had lapsed goes on however short that was.
func TestShortLapseOfTheLeaseIsNoticed(t *testing.T) {
	runFleet(t, 2, func(f *fleet) {
		first := true
		f.sent.answer = func(*sentBy) (*http.Response, error) {
			if first {
				first = false
				return answer(500), nil
			}
			return answer(200), nil
		}
		f.everywhere(func(n *node) []*relay.Subscription {
			s := n.sub("crm")
			s.Retry.Delays = []time.Duration{9400 * time.Millisecond, time.Minute}
			return []*relay.Subscription{s}
		})
		a := f.nodes[0]
		f.give("crm", a)
		// Between two looks of the relay at its lease: that has lapsed 0.4 s before the retry is due.
		f.wait(250 * time.Millisecond)
		id := a.publish("x", "1").ID
		f.wait(100 * time.Millisecond)
		a.store.Freeze()
		f.wait(9400 * time.Millisecond)
		a.store.Thaw()
		f.wait(time.Hour)
		if f.cluster.Owner("crm") != a.store {
			t.Fatal("the lapse was not a short one: the subscription has moved")
		}
		a.expect(id, relay.StateDelivered, "", 2)
	})
}

// slowCluster is a store of several whose exceptions take their time to be read.
type slowCluster struct{ *storagetest.ClusterStore }

func (s *slowCluster) Open(ctx context.Context, name string, after uint64, limit int) ([]relay.Exception, error) {
	page, err := s.ClusterStore.Open(ctx, name, after, limit)
	time.Sleep(3 * time.Second)
	return page, err
}

// A relay that loses a subscription while it reads what waits there counts none of that.
func TestLossWhileTheStoreIsReadCountsNothing(t *testing.T) {
	runFleet(t, 1, func(f *fleet) {
		var down atomic.Bool
		down.Store(true)
		to := failingWhile(&down)
		store := f.cluster.Open()
		b := f.joinBy(store, &slowCluster{store})
		f.everywhere(func(*node) []*relay.Subscription {
			s := ordered("crm", to)
			s.Retry.Delays = []time.Duration{time.Hour, time.Hour}
			return []*relay.Subscription{s}
		})
		a := f.nodes[0]
		f.give("crm", a)
		for n := range 100 {
			a.publish("x", keyed("k", n))
		}
		f.wait(time.Minute)
		f.give("crm", b)
		f.wait(500 * time.Millisecond) // it reads
		b.store.Freeze()
		b.store.Lapse()
		f.wait(time.Second)
		b.store.Thaw()
		f.wait(20 * time.Second)
		if f.cluster.Owner("crm") != a.store {
			t.Fatal("nobody has taken over")
		}
		if n := relay.BehindInMemory(b.engine); n != 0 {
			t.Errorf("%d deliveries are counted where none is carried", n)
		}
	})
}

// Deliveries of one key come in order, and one after the other, whoever makes them.
func TestOrderHoldsOverHandOvers(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		calls := 0
		f.sent.answer = func(v *sentBy) (*http.Response, error) {
			f.sent.mu.Lock()
			calls++
			fails := calls%7 == 0
			f.sent.mu.Unlock()
			if fails {
				return nil, errReset
			}
			return slowly(250 * time.Millisecond)(v)
		}
		f.everywhere(func(n *node) []*relay.Subscription {
			s := ordered("crm", &route{n})
			s.Retry.Delays = []time.Duration{time.Second, time.Second, time.Second, time.Second}
			s.Breaker.Off = true
			return []*relay.Subscription{s}
		})
		type posted struct{ id, key string }
		var all []posted
		for i := range 120 {
			key := fmt.Sprintf("k%d", i%4)
			all = append(all, posted{f.nodes[i%3].publish("a", keyed(key, i)).ID, key})
			if i%10 == 5 {
				f.cluster.Give("crm", f.nodes[(i/10)%3].store)
			}
			f.wait(200 * time.Millisecond)
		}
		f.wait(2 * time.Minute)
		next := make(map[string][]string)
		for _, p := range all {
			next[p.key] = append(next[p.key], p.id)
		}
		keyOf := make(map[string]string)
		for _, p := range all {
			keyOf[p.id] = p.key
		}
		owners := make(map[*node]bool)
		for _, v := range f.sent.of("crm") {
			owners[v.node] = true
			key := keyOf[v.id]
			if len(next[key]) == 0 || next[key][0] != v.id {
				t.Fatalf("%s of the key %s is attempted out of its turn", v.id, key)
			}
			if v.status == 200 {
				next[key] = next[key][1:]
			}
		}
		if len(owners) < 2 {
			t.Errorf("%d relays made deliveries; the test wants to see them move", len(owners))
		}
		for key, left := range next {
			if len(left) > 0 {
				t.Errorf("%d of the key %s did not arrive", len(left), key)
			}
		}
	})
}

// No hand-over gives a receiver more than its limit.
func TestRateLimitHoldsOverHandOvers(t *testing.T) {
	runFleet(t, 3, func(f *fleet) {
		limit := relay.RateLimit{Events: 10, Window: 5 * time.Second}
		f.everywhere(func(n *node) []*relay.Subscription {
			s := n.sub("crm")
			s.RateLimit = limit
			return []*relay.Subscription{s}
		})
		var ids []string
		for i := range 100 {
			ids = append(ids, f.nodes[i%3].publish("a", fmt.Sprint(i)).ID)
		}
		for i := range 20 {
			f.cluster.Give("crm", f.nodes[i%3].store)
			f.wait(3 * time.Second)
		}
		f.wait(time.Minute)
		f.finished("crm", ids)
		all := f.sent.of("crm")
		for i, first := range all {
			within := 0
			for _, v := range all[i:] {
				if v.at.Sub(first.at) < limit.Window {
					within++
				}
			}
			if within > 2*limit.Events { // a full bucket, and what refills meanwhile
				t.Fatalf("%d attempts within %v; the limit is %d", within, limit.Window, limit.Events)
			}
			if i > 0 && within > limit.Events+1 && first.at.Sub(all[0].at) > limit.Window {
				t.Fatalf("%d attempts within %v, long after the bucket was empty", within, limit.Window)
			}
		}
		if took := all[len(all)-1].at.Sub(all[0].at); took > 75*time.Second {
			t.Errorf("100 at 2 a second take %v", took)
		}
	})
}
