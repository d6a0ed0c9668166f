package relay_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// The simulation runs an engine in virtual time through random trouble, and compares what
// was accepted, what receivers got and what the engine says. RELAY_TEST_SEED repeats a
// run; RELAY_TEST_LONG=1 makes it long.
func TestSimulation(t *testing.T) {
	seeds, steps := 3, 4000
	if os.Getenv("RELAY_TEST_LONG") != "" {
		seeds, steps = 10, 100_000
	}
	first := rand.Uint64N(1 << 32)
	if text := os.Getenv("RELAY_TEST_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, seeds = n, 1
	}
	for i := range seeds {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			if seed%2 == 1 { // hardly any memory: most goes by way of the store
				defer relay.SetRetriesInMemory(6)()
				defer relay.SetQueueEntries(8)()
			}
			run(t, func(w *world) { newSimulation(w, seed).run(steps) })
		})
	}
}

// simulation is one run.
type simulation struct {
	*world
	random *rand.Rand // of the steps
	names  []string
	plans  []*relay.Plan

	mu        sync.Mutex
	dice      *rand.Rand // of everything that goes on beside them
	endpoints map[string]*simulated
	accepted  map[string][]string // subscriptions by event
	erased    map[string]bool
	// cuts counts what may have made a receiver get something twice.
	cuts int
}

// simulated is an endpoint with its own troubles.
type simulated struct {
	s    *simulation
	name string
	mode string // up, down, shaky, slow, busy
	got  map[string]int
}

func newSimulation(w *world, seed uint64) *simulation {
	s := &simulation{
		world: w, random: rand.New(rand.NewPCG(seed, 1)), dice: rand.New(rand.NewPCG(seed, 2)),
		endpoints: make(map[string]*simulated), accepted: make(map[string][]string), erased: make(map[string]bool),
	}
	for i := range 6 {
		name := fmt.Sprintf("s%d", i)
		s.names = append(s.names, name)
		s.endpoints[name] = &simulated{
			s: s, name: name, mode: "up", got: make(map[string]int),
		}
	}
	s.reload()
	return s
}

// RoundTrip answers as the endpoint's mode has it.
func (e *simulated) RoundTrip(r *http.Request) (*http.Response, error) {
	e.s.mu.Lock()
	mode, dice := e.mode, e.s.dice.IntN(100)
	e.s.mu.Unlock()
	switch {
	case mode == "down":
		return nil, errReset
	case mode == "shaky" && dice < 40:
		return answer(500), nil
	case mode == "busy" && dice < 10:
		return answer(429, "Retry-After: 3"), nil
	case mode == "slow":
		select {
		case <-time.After(time.Duration(dice) * 300 * time.Millisecond):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	id, stamp := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if !slices.Contains(e.s.accepted[id], e.name) && e.s.accepted[id] != nil {
		e.s.t.Errorf("%s got %s, which it does not match", e.name, id)
	}
	if r.Header.Get("Relay-Subscription") != e.name {
		e.s.t.Errorf("%s got what is for %s", e.name, r.Header.Get("Relay-Subscription"))
	}
	if at, err := strconv.ParseInt(stamp, 10, 64); err != nil || time.Since(time.Unix(at, 0)) > time.Minute {
		e.s.t.Errorf("%s got the timestamp %s at %v", e.name, stamp, time.Now())
	}
	e.got[id]++
	return answer(200), nil
}

// reload attaches a plan of a random part of the subscriptions, and detaches the others.
func (s *simulation) reload() {
	var subscriptions []*relay.Subscription
	for i, name := range s.names {
		if i > 1 && s.random.IntN(8) == 0 {
			continue // gone for a while
		}
		sub := subscription(name, s.endpoints[name], []string{"*", "a.*", "*.x", "b.y", "a.x", "*"}[i])
		if i%2 == 1 {
			sub = ordered(name, s.endpoints[name])
			sub.Breaker.Off = false
		}
		sub.MaxInFlight = 1 + s.random.IntN(8)
		sub.Retry.Delays = slices.Repeat([]time.Duration{time.Second, 5 * time.Second}, 2000)
		if s.random.IntN(3) == 0 {
			sub.RateLimit = relay.RateLimit{Events: 5, Window: time.Second}
		}
		sub.Paused = s.random.IntN(10) == 0
		subscriptions = append(subscriptions, sub)
	}
	old := s.plans
	s.plans = []*relay.Plan{s.plan(subscriptions...)}
	for _, p := range old {
		s.engine.Detach(p)
	}
}

// crash takes the store away under the engine, and starts another one on what it holds.
func (s *simulation) crash() {
	s.t.Helper()
	again := s.memory.Reopen()
	_ = s.engine.Close() // the store is closed: nothing more is written
	s.memory, s.plans = again, nil
	s.store = &hesitant{again, s}
	s.cuts++
	s.open()
	s.reload()
}

// hesitant is a store that takes a random time to read.
type hesitant struct {
	relay.Store
	s *simulation
}

func (h *hesitant) Read(ctx context.Context, name string, after uint64, limit, maxBytes int) ([]relay.Entry, error) {
	entries, err := h.Store.Read(ctx, name, after, min(limit, 16), maxBytes)
	h.s.mu.Lock()
	pause := time.Duration(h.s.dice.IntN(100)) * time.Millisecond
	h.s.mu.Unlock()
	time.Sleep(pause)
	return entries, err
}

func (s *simulation) step() {
	switch dice := s.random.IntN(1000); {
	case dice < 5:
		for range 50 {
			s.publishOne()
		}
	case dice < 600:
		s.publishOne()
	case dice < 800:
		s.wait(time.Duration(s.random.IntN(500)) * time.Millisecond)
	case dice < 900:
		name := s.names[s.random.IntN(len(s.names))]
		s.mu.Lock()
		s.endpoints[name].mode = []string{"up", "up", "up", "down", "shaky", "slow", "busy"}[s.random.IntN(7)]
		s.mu.Unlock()
	case dice < 930:
		s.reload()
	case dice < 940:
		_, _ = s.engine.Pause(context.Background(), s.names[s.random.IntN(len(s.names))], "for now")
	case dice < 970:
		_, _ = s.engine.Resume(context.Background(), s.names[s.random.IntN(len(s.names))])
	case dice < 980:
		s.restart()
		s.cuts++
		s.plans = nil
		s.reload()
	case dice < 985:
		s.crash()
	case dice < 990:
		s.memory.Fail(relay.ErrBroken)
		s.wait(3 * time.Second)
		s.memory.Fail(nil)
	case dice < 993:
		s.erase()
	default:
		s.wait(time.Duration(s.random.IntN(60)) * time.Second)
	}
}

func (s *simulation) publishOne() {
	typ := []string{"a", "a.x", "b.x", "b.y"}[s.random.IntN(4)]
	receipt := s.publish(typ, keyed(fmt.Sprintf("k%d", s.random.IntN(5)), 0))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted[receipt.ID] = receipt.Matched
}

// erase erases one of the accepted events, or only its data, as a crash in the middle does.
func (s *simulation) erase() {
	s.mu.Lock()
	ids := slices.Sorted(maps.Keys(s.accepted))
	s.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	ctx, id := context.Background(), ids[len(ids)-1-s.random.IntN(min(len(ids), 100))]
	var err error
	if s.random.IntN(3) > 0 {
		err = s.engine.Erase(ctx, id)
	} else if seq, _, parseErr := relay.ParseID(id); parseErr == nil {
		err = s.store.Erase(ctx, seq, nil)
	}
	if err != nil {
		s.t.Errorf("erasing %s: %v", id, err)
	}
	s.erased[id] = true
}

func (s *simulation) run(steps int) {
	for range steps {
		s.step()
	}
	// At the end everything is well again, and everything must have arrived.
	s.mu.Lock()
	for _, e := range s.endpoints {
		e.mode = "up"
	}
	s.mu.Unlock()
	var all []*relay.Subscription
	for _, name := range s.names {
		all = append(all, subscription(name, s.endpoints[name]))
	}
	s.plan(all...)
	for _, name := range s.names {
		if _, err := s.engine.Resume(context.Background(), name); err != nil {
			s.t.Fatal(err)
		}
	}
	s.wait(24 * time.Hour)

	duplicates := 0
	for _, id := range slices.Sorted(maps.Keys(s.accepted)) {
		for _, name := range s.accepted[id] {
			switch n := s.endpoints[name].got[id]; {
			case n == 0 && s.erased[id]:
				if got := s.explain(id, name); !strings.HasPrefix(got, "failed (erased)") {
					s.t.Errorf("%s was erased, and for %s it is %s", id, name, got)
				}
			case n == 0:
				s.t.Errorf("%s was accepted for %s and never arrived: %s", id, name, s.explain(id, name))
			case n > 1:
				duplicates += n - 1
			}
		}
	}
	if most := s.cuts * 6 * 8; duplicates > most {
		s.t.Errorf("%d duplicates after %d stops and crashes; at most %d could be", duplicates, s.cuts, most)
	}
	for _, name := range s.names {
		if got := s.status(name); got.Pending != 0 || got.InFlight != 0 {
			s.t.Errorf("%s ends with %+v", name, got)
		}
	}
	s.t.Logf("%d events, %d duplicates after %d stops and crashes", len(s.accepted), duplicates, s.cuts)
}

// explain says what the engine knows of a delivery.
func (s *simulation) explain(id, name string) string {
	_, deliveries, err := s.engine.Inspect(context.Background(), id)
	if err != nil {
		return err.Error()
	}
	var said []string
	for _, d := range deliveries {
		if d.Subscription == name {
			said = append(said, fmt.Sprintf("%s (%s) after %d attempts", d.State, d.Reason, d.AttemptCount))
		}
	}
	return strings.Join(said, ", ")
}
