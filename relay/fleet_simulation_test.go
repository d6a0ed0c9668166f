package relay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// The simulation of a fleet runs several engines on one store through random trouble: relays
// come, go, freeze, are cut off, and hand over. At the end three ledgers have to agree: what was
// accepted, what receivers got, and what each relay says. A calm one has no relay that
// vanishes: there nothing at all may arrive twice that nobody replayed.
func TestFleetSimulation(t *testing.T) {
	seeds, steps := 4, 600
	if os.Getenv("RELAY_TEST_LONG") != "" {
		seeds, steps = 20, 5000
	}
	for _, seed := range simulationSeeds(t, seeds) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			if seed%4 >= 2 { // most goes by way of the store
				defer relay.SetRetriesInMemory(6)()
				defer relay.SetQueueEntries(8)()
			}
			runFleet(t, 3, func(f *fleet) { newFleetSimulation(f, seed).run(steps) })
		})
	}
}

type fleetSimulation struct {
	*fleet
	random *rand.Rand
	calm   bool
	names  []string
	// accepted are the events with the key of each, in their order; the rest are counts of
	// what may have made a receiver get something again, or not at all.
	accepted         []postedEvent
	replays, trouble int
	erased, ended    map[string]bool
	mode             map[string]string
	silent           map[*node]time.Time // until when
	busy             map[string]string   // of each ordered key: what is in flight
}

type postedEvent struct{ id, key string }

func newFleetSimulation(f *fleet, seed uint64) *fleetSimulation {
	s := &fleetSimulation{
		fleet: f, random: rand.New(rand.NewPCG(seed, 3)), calm: seed%2 == 0,
		erased: make(map[string]bool), ended: make(map[string]bool), mode: make(map[string]string),
		silent: make(map[*node]time.Time), busy: make(map[string]string),
	}
	for i := range 5 {
		s.names = append(s.names, fmt.Sprint("s", i))
	}
	dice := rand.New(rand.NewPCG(seed, 4))
	f.sent.answer = func(v *sentBy) (*http.Response, error) { return s.receive(v, dice) }
	for _, n := range f.nodes {
		s.attach(n)
	}
	return s
}

// plan is that of each relay: those with odd numbers are in order.
func (s *fleetSimulation) attach(n *node) {
	var all []*relay.Subscription
	for i, name := range s.names {
		sub := n.sub(name)
		if i%2 == 1 {
			sub = ordered(name, &route{n})
		}
		sub.Retry.Delays = slices.Repeat([]time.Duration{time.Second, 3 * time.Second}, 500)
		sub.Breaker.Off, sub.MaxInFlight = true, 1+i
		all = append(all, sub)
	}
	n.attach(relay.PlanOptions{Subscriptions: all})
}

// receive is what all endpoints do. While there is no trouble, one key has one attempt at a
// time.
func (s *fleetSimulation) receive(v *sentBy, dice *rand.Rand) (*http.Response, error) {
	key := v.subscription + keyOf(v.body)
	s.sent.mu.Lock()
	mode, luck := s.mode[v.subscription], dice.IntN(100)
	if other, is := s.busy[key]; is && s.calm && v.subscription[1]%2 == 1 {
		s.t.Errorf("%s is attempted while %s of its key is", v.id, other)
	}
	s.busy[key] = v.id
	if n, most := s.sent.inFlight[v.subscription], 1+int(v.subscription[1]-'0'); s.calm && n > most {
		s.t.Errorf("%s: %d attempts in flight; max_in_flight is %d", v.subscription, n, most)
	}
	s.sent.mu.Unlock()
	resp, err := slowly(time.Duration(luck*luck) * time.Millisecond / 2)(v)
	s.sent.mu.Lock()
	defer s.sent.mu.Unlock()
	delete(s.busy, key)
	switch {
	case err != nil:
		return nil, err
	case mode == "down", mode == "shaky" && luck < 40:
		return nil, errReset
	}
	return resp, nil
}

func keyOf(body string) string {
	_, rest, _ := strings.Cut(body, `"key":"`)
	key, _, _ := strings.Cut(rest, `"`)
	return key
}

// awake returns one of the relays that answer.
func (s *fleetSimulation) awake() *node {
	var all []*node
	for _, n := range s.nodes {
		if _, silent := s.silent[n]; !silent && n.engine != nil {
			all = append(all, n)
		}
	}
	return all[s.random.IntN(len(all))]
}

func (s *fleetSimulation) step() {
	name, n := s.names[s.random.IntN(len(s.names))], s.awake()
	ctx := context.Background()
	switch dice := s.random.IntN(1000); {
	case dice < 550:
		key := fmt.Sprint("k", s.random.IntN(4))
		s.accepted = append(s.accepted, postedEvent{n.publish("a", keyed(key, len(s.accepted))).ID, key})
	case dice < 750:
		s.wait(time.Duration(s.random.IntN(1000)) * time.Millisecond)
	case dice < 800:
		s.sent.mu.Lock()
		s.mode[name] = []string{"", "", "down", "shaky"}[s.random.IntN(4)]
		s.sent.mu.Unlock()
	case dice < 880:
		s.cluster.Give(name, n.store)
	case dice < 900:
		s.attach(n) // a reload
	case dice < 915 && len(s.live()) < 5:
		s.attach(s.join())
	case dice < 930 && len(s.live())-len(s.silent) > 1:
		n.close()
	case dice < 945 && !s.calm && len(s.live())-len(s.silent) > 1:
		s.trouble++
		if s.random.IntN(2) == 0 {
			n.store.Freeze()
		} else {
			n.store.CutOff()
		}
		s.silent[n] = time.Now().Add(time.Duration(s.random.IntN(25)) * time.Second)
	case dice < 955:
		s.steer(n.engine.Pause(ctx, name, "for now"))
	case dice < 970:
		s.steer(n.engine.Resume(ctx, name))
	case dice < 985 && len(s.accepted) > 0:
		id := s.accepted[s.random.IntN(len(s.accepted))].id
		if err := n.engine.Replay(ctx, id, name); err == nil {
			s.replays++
		} else if !errors.Is(err, relay.ErrUnfinished) && !errors.Is(err, relay.ErrErased) {
			s.t.Errorf("replaying: %v", err)
		}
	case dice < 990 && len(s.accepted) > 0:
		id := s.accepted[len(s.accepted)-1].id
		s.erased[id] = true
		if err := n.engine.Erase(ctx, id); err != nil {
			s.t.Errorf("erasing: %v", err)
		}
	case dice < 993:
		s.steer(n.engine.Drop(ctx, name))
		s.ended[name] = true
	default:
		s.wait(time.Duration(s.random.IntN(20)) * time.Second)
	}
	for n, until := range s.silent {
		if time.Now().After(until) {
			n.store.Thaw()
			delete(s.silent, n)
		}
	}
}

func (s *fleetSimulation) steer(_ relay.SubscriptionStatus, err error) {
	if err != nil {
		s.t.Errorf("steering: %v", err)
	}
}

// live returns the relays that were not closed.
func (s *fleetSimulation) live() (all []*node) {
	for _, n := range s.nodes {
		if n.engine != nil {
			all = append(all, n)
		}
	}
	return all
}

func (s *fleetSimulation) run(steps int) {
	for range steps {
		if s.step(); s.t.Failed() {
			return
		}
	}
	// At the end everything is well again, and everything must have arrived.
	s.sent.mu.Lock()
	clear(s.mode)
	s.sent.mu.Unlock()
	for n := range s.silent {
		n.store.Thaw()
	}
	s.wait(30 * time.Second)
	for _, name := range s.names {
		s.steer(s.live()[0].engine.Resume(context.Background(), name))
	}
	s.wait(4 * time.Hour)
	s.judge()
}

// judge compares the ledgers.
func (s *fleetSimulation) judge() {
	taken := make(map[[2]string]int)
	var duplicates int
	order := make(map[string][]string)
	for _, name := range s.names {
		for _, v := range s.sent.of(name) {
			if v.status != 200 {
				continue
			}
			if taken[[2]string{name, v.id}]++; taken[[2]string{name, v.id}] > 1 {
				duplicates++
			} else {
				order[name+keyOf(v.body)] = append(order[name+keyOf(v.body)], v.id)
			}
		}
	}
	if s.calm && duplicates > s.replays || duplicates > s.replays+500*s.trouble {
		s.t.Errorf("%d arrived again after %d replays, while relays vanished %d times", duplicates, s.replays, s.trouble)
	}
	for _, e := range s.accepted {
		for i, n := range s.live() {
			_, deliveries, err := n.engine.Inspect(context.Background(), e.id)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, d := range deliveries {
				got := taken[[2]string{d.Subscription, e.id}]
				ended := d.State == relay.StateFailed && (d.Reason == relay.ReasonDropped || d.Reason == relay.ReasonErased)
				if !d.State.Finished() || d.State == relay.StateDelivered && got == 0 || d.State == relay.StateFailed && !ended {
					s.t.Errorf("%s arrived %d times at %s, and the relay %d says %s (%s)", e.id, got, d.Subscription, i, d.State, d.Reason)
				}
			}
		}
	}
	for i, name := range s.names {
		if i%2 == 0 || s.ended[name] { // what was dropped may have been replayed, out of order
			continue
		}
		for k := range 4 {
			s.inOrder(name, fmt.Sprint("k", k), order[name+fmt.Sprint("k", k)])
		}
	}
	for i, n := range s.live() {
		for _, name := range s.names {
			if st := n.status(name); st.Pending != 0 || st.InFlight != 0 || st.State != relay.SubscriptionActive {
				s.t.Errorf("the relay %d says %+v", i, st)
			}
		}
	}
	s.t.Logf("%d events, %d duplicates after %d replays and %d relays that vanished", len(s.accepted), duplicates, s.replays, s.trouble)
}

// inOrder fails the test unless the events of a key arrived first in the order in which they
// were accepted.
func (s *fleetSimulation) inOrder(name, key string, got []string) {
	i := 0
	for _, e := range s.accepted {
		if e.key != key || s.erased[e.id] {
			continue
		}
		for i < len(got) && s.erased[got[i]] {
			i++
		}
		if i == len(got) || got[i] != e.id {
			s.t.Errorf("%s got %v of the key %s, where %s comes next", name, got[min(i, len(got)-1):], key, e.id)
			return
		}
		i++
	}
}
