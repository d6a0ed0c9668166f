package relay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// simulationSeeds returns n seeds in a row from a random one, or that of RELAY_TEST_SEED alone.
func simulationSeeds(t *testing.T, n int) []uint64 {
	t.Helper()
	if text := os.Getenv("RELAY_TEST_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{seed}
	}
	seeds := make([]uint64, n)
	first := rand.Uint64N(1 << 32)
	for i := range seeds {
		seeds[i] = first + uint64(i)
	}
	return seeds
}

// The simulation runs an engine in virtual time through random trouble, and compares what
// was accepted, what receivers got and what the engine says; see witness for what must
// hold at each attempt. RELAY_TEST_SEED repeats a run as far as goroutines let it,
// RELAY_TEST_TRACE=s3 prints what one endpoint sees, RELAY_TEST_LONG=1 makes it long.
func TestSimulation(t *testing.T) {
	seeds, steps := 3, 4000
	if os.Getenv("RELAY_TEST_LONG") != "" {
		seeds, steps = 8, 20_000 // the store in memory looks through all that it holds
	}
	for _, seed := range simulationSeeds(t, seeds) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			if seed%2 == 1 { // hardly any memory: most goes by way of the store
				defer relay.SetRetriesInMemory(6)()
				defer relay.SetQueueEntries(8)()
			}
			if seed%3 == 1 { // each lane has memory, but not all of them
				defer relay.SetRetriesOfAll(20)()
				defer relay.SetBehindOfAll(20)()
				defer relay.SetWindowsOfAll(3)()
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
	hesitate  bool
	endpoints map[string]*simulated
	accepted  map[string][]string // subscriptions by event
	ids       []string            // those events, in order
	erased    map[string]bool
	well      bool // nothing has any troubles
	// cuts and replays count what may have made a receiver get something twice.
	cuts, replays int
}

func newSimulation(w *world, seed uint64) *simulation {
	s := &simulation{
		world: w, random: rand.New(rand.NewPCG(seed, 1)), dice: rand.New(rand.NewPCG(seed, 2)),
		endpoints: make(map[string]*simulated), accepted: make(map[string][]string), erased: make(map[string]bool),
	}
	for i := range 6 {
		name := fmt.Sprintf("s%d", i)
		s.names = append(s.names, name)
		e := &simulated{s: s, name: name, mode: "up", got: make(map[string]int), ended: make(map[string]bool), witness: newWitness(w.t, name)}
		e.order.on = i%2 == 1
		e.shower, e.changes, e.fails = newShower(e), i == 4, i == 4
		e.waits = i == 4 || i == 5
		s.endpoints[name] = e
	}
	_ = s.engine.Close()
	s.begin(s.memory.Reopen())
	return s
}

// begin opens an engine on a store.
func (s *simulation) begin(memory *storagetest.Memory) {
	s.memory, s.plans = memory, nil
	s.nothingIsDueEarlier()
	s.store = &watched{memory, s}
	s.open()
	s.mu.Lock()
	for _, name := range s.names {
		s.endpoints[name].restarted(s.engine.Tripped(name))
		s.endpoints[name].shower.rested = time.Time{}
	}
	s.mu.Unlock()
	s.reload()
}

// nothingIsDueEarlier judges what the store was told of when retries are due: whoever believes
// it after a restart is not late. What was taken up in vain may be told to be due again a
// little later.
func (s *simulation) nothingIsDueEarlier() {
	for p, err := range s.memory.Progress(context.Background()) {
		if err != nil {
			s.t.Fatal(err)
		}
		open, err := s.memory.Open(context.Background(), p.Subscription, 0, 1<<20)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, x := range open {
			late := p.NextDue.Sub(x.Due)
			if x.Kind != relay.Ordered && late > 0 && time.Until(p.NextDue) > 2*time.Second {
				s.t.Errorf("%s is said to have nothing due before %v, but for %+v", p.Subscription, p.NextDue, x)
			}
		}
	}
}

// subscription returns one of the subscriptions as it always is.
func (s *simulation) subscription(i int) *relay.Subscription {
	sub := subscription(s.names[i], nil, []string{"*", "a.*", "*.x", "b.y", "a.x", "*"}[i])
	if i%2 == 1 {
		sub = ordered(sub.Name, nil)
	}
	if i == 4 {
		sub.Debounce = &relay.Debounce{Window: debounceWindow, By: placeholder("{event.data.key}")}
	}
	switch i {
	case 2:
		s.waitFor(sub, relay.TimeoutDeliver)
	case 4:
		if s.well || s.random.IntN(2) == 0 {
			s.waitFor(sub, relay.TimeoutFail)
		}
	case 5:
		s.waitFor(sub, relay.TimeoutRetry)
	}
	sub.Breaker = []relay.BreakerPolicy{
		{}, {Ratio: 0.5, Least: 4, Window: time.Minute, Pause: 10 * time.Second}, {Off: true},
	}[i%3]
	sub.Retry.Delays = slices.Repeat([]time.Duration{time.Second, 5 * time.Second}, 2000)
	sub.Transport = &planned{s.endpoints[sub.Name], sub}
	return sub
}

// reload attaches a plan of a random part of the subscriptions, and detaches the others.
func (s *simulation) reload() {
	var all []*relay.Subscription
	for i := range s.names {
		if i > 1 && s.random.IntN(8) == 0 {
			continue // gone for a while
		}
		sub := s.subscription(i)
		sub.MaxInFlight = 1 + s.random.IntN(8)
		if s.random.IntN(3) == 0 {
			sub.RateLimit = relay.RateLimit{Events: 5, Window: time.Second}
		}
		sub.Paused = s.random.IntN(10) == 0
		all = append(all, sub)
	}
	s.attach(all)
}

func (s *simulation) attach(all []*relay.Subscription) {
	synctest.Wait()
	s.mu.Lock()
	for _, sub := range all {
		s.endpoints[sub.Name].pace.configured(sub.RateLimit)
	}
	s.mu.Unlock()
	old := s.plans
	s.plans = []*relay.Plan{s.plan(all...)}
	for _, p := range old {
		s.engine.Detach(p)
	}
}

// stop closes the engine, and starts another one on what the store holds.
func (s *simulation) stop() {
	s.t.Helper()
	if err := s.engine.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.cuts++
	s.begin(s.memory.Reopen())
}

// crash takes the store away under the engine, and starts another one on what it holds.
func (s *simulation) crash() {
	s.t.Helper()
	again := s.memory.Reopen()
	_ = s.engine.Close() // the store is closed: nothing more is written
	s.cuts++
	s.mu.Lock()
	s.hesitate = true
	s.mu.Unlock()
	s.begin(again)
}

// watched is a store that tells what it has accepted, and takes a random time to read.
type watched struct {
	*storagetest.Memory
	s *simulation
}

func (w *watched) Append(ctx context.Context, b relay.Batch, stored func([]*relay.Event)) ([]relay.Receipt, error) {
	return w.Memory.Append(ctx, b, func(events []*relay.Event) {
		for _, e := range events {
			w.s.register(e, e.Deliveries)
		}
		stored(events)
	})
}

func (w *watched) Place(ctx context.Context, seq relay.Seq, to relay.Target, placed func(*relay.Event)) error {
	return w.Memory.Place(ctx, seq, to, func(e *relay.Event) {
		w.s.register(e, e.Deliveries[len(e.Deliveries)-1:])
		placed(e)
	})
}

// register notes what is to be delivered from now on.
func (s *simulation) register(e *relay.Event, to []relay.Placement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, again := s.accepted[e.ID]; !again {
		s.ids = append(s.ids, e.ID)
	}
	s.accepted[e.ID] = e.Matched()
	for _, p := range to {
		order, rest, _ := strings.Cut(p.Key, "\x1f")
		debounce, _, placed := strings.Cut(rest, "\x1f")
		if order != "" {
			s.endpoints[p.Subscription].order.accepted(order, e.ID)
		}
		if debounce != "" && !placed {
			s.endpoints[p.Subscription].debounce.accepted(debounce, e)
		}
	}
}

func (w *watched) Read(ctx context.Context, name string, after uint64, limit, maxBytes int) ([]relay.Entry, error) {
	pause := w.s.pause(100 * time.Millisecond)
	if pause > 0 {
		limit = min(limit, 16)
	}
	entries, err := w.Memory.Read(ctx, name, after, limit, maxBytes)
	time.Sleep(pause)
	return entries, err
}

func (w *watched) Open(ctx context.Context, name string, after uint64, limit int) ([]relay.Exception, error) {
	page, err := w.Memory.Open(ctx, name, after, limit)
	time.Sleep(w.s.pause(time.Second))
	return page, err
}

// pause is how long a read takes once the store hesitates.
func (s *simulation) pause(most time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hesitate {
		return 0
	}
	return time.Duration(1 + s.dice.Int64N(int64(most)))
}

func (s *simulation) step() {
	ctx, name := context.Background(), s.names[s.random.IntN(len(s.names))]
	dice := s.random.IntN(1000)
	if dice >= 900 {
		s.endpoints[name].trace("step", dice)
	}
	switch {
	case dice < 5:
		for range 50 {
			s.publishOne()
		}
	case dice < 600:
		s.publishOne()
	case dice < 800:
		s.wait(time.Duration(s.random.IntN(500)) * time.Millisecond)
	case dice < 900:
		s.mu.Lock()
		s.endpoints[name].mode = []string{"up", "up", "up", "down", "shaky", "slow", "busy"}[s.random.IntN(7)]
		s.mu.Unlock()
	case dice < 930:
		s.reload()
	case dice < 940:
		_, _ = s.engine.Pause(ctx, name, "for now")
	case dice < 960:
		s.resume(name)
	case dice < 962:
		s.drop(name)
	case dice < 972:
		s.replay(name)
	case dice < 980:
		s.stop()
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
	s.publish([]string{"a", "a.x", "b.x", "b.y"}[s.random.IntN(4)], keyed(fmt.Sprintf("k%d", s.random.IntN(5)), 0))
}

// resume makes everything due, once nothing moves at this moment.
func (s *simulation) resume(name string) {
	synctest.Wait()
	s.mu.Lock()
	e := s.endpoints[name]
	before, rested := *e.witness, e.shower.rested
	e.witness.resumed()
	e.shower.rested = time.Time{}
	s.mu.Unlock()
	_, err := s.engine.Resume(context.Background(), name)
	if _, unknown := errors.AsType[*relay.UnknownNameError](err); unknown || errors.Is(err, relay.ErrPausedByConfiguration) {
		s.mu.Lock()
		*e.witness, e.shower.rested = before, rested
		s.mu.Unlock()
	}
}

// drop gives up what is left. A replay may bring it back, and is not in order then.
func (s *simulation) drop(name string) {
	e := s.endpoints[name]
	s.mu.Lock()
	for id, to := range s.accepted {
		if e.got[id] == 0 && slices.Contains(to, name) {
			e.ended[id] = true
		}
	}
	s.mu.Unlock()
	_, _ = s.engine.Drop(context.Background(), name)
}

// recent returns one of the events that were accepted not long ago, or none.
func (s *simulation) recent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ids) == 0 {
		return ""
	}
	return s.ids[len(s.ids)-1-s.random.IntN(min(len(s.ids), 100))]
}

// replay reopens one delivery, or all those of the last minute or so.
func (s *simulation) replay(name string) {
	if s.random.IntN(4) > 0 {
		err := s.engine.Replay(context.Background(), s.recent(), name)
		if err == nil {
			s.replays++
		}
		return
	}
	job, err := s.engine.StartReplay(context.Background(), relay.ReplayRequest{
		Subscription: name, Since: time.Now().Add(-time.Duration(s.random.IntN(100)) * time.Second),
		Select: relay.Selections[s.random.IntN(len(relay.Selections))], Rate: 1 + s.random.IntN(1000),
	})
	if err != nil {
		return // not known yet
	}
	for job.State == relay.JobRunning {
		s.wait(time.Second)
		if job, err = s.engine.Job(context.Background(), job.ID); err != nil {
			s.t.Fatal(err)
		}
	}
	if job.State != relay.JobDone && !strings.Contains(job.Error, "there is no subscription") { // gone for a while
		s.t.Errorf("%+v", job)
	}
	s.replays += job.Replayed
}

// erase erases one of the accepted events, or only its data, as a crash in the middle does.
func (s *simulation) erase() {
	id := s.recent()
	if id == "" {
		return
	}
	s.mu.Lock()
	s.erased[id] = true
	s.mu.Unlock()
	var err error
	if s.random.IntN(3) > 0 {
		err = s.engine.Erase(context.Background(), id)
	} else if seq, _, parseErr := relay.ParseID(id); parseErr == nil {
		err = s.store.Erase(context.Background(), seq, nil)
	}
	if err != nil {
		s.t.Errorf("erasing %s: %v", id, err)
	}
}

func (s *simulation) run(steps int) {
	for range steps {
		if s.step(); s.t.Failed() {
			return
		}
	}
	// At the end everything is well again, and everything must have arrived.
	s.mu.Lock()
	s.well = true
	for _, e := range s.endpoints {
		e.mode = "up"
	}
	s.mu.Unlock()
	var all []*relay.Subscription
	for i := range s.names {
		all = append(all, s.subscription(i))
	}
	s.attach(all)
	for _, name := range s.names {
		s.resume(name)
	}
	s.wait(24 * time.Hour)

	duplicates, superseded := 0, 0
	for _, id := range s.ids {
		for _, name := range s.accepted[id] {
			switch n := s.endpoints[name].got[id]; {
			case n == 0 && strings.HasPrefix(s.explain(id, name), "superseded"):
				superseded++
				if !s.endpoints[name].debounce.mayBeSuperseded(id) {
					s.t.Errorf("%s is superseded for %s, and nothing newer came within the window", id, name)
				}
			case n == 0 && !s.finished(id, name):
				s.t.Errorf("%s was accepted for %s and never arrived: %s", id, name, s.explain(id, name))
			case n > 1:
				duplicates += n - 1
			}
		}
	}
	if most := s.cuts*6*8 + s.replays; duplicates > most {
		s.t.Errorf("%d duplicates after %d stops and crashes and %d replays; at most %d could be", duplicates, s.cuts, s.replays, most)
	}
	if n := relay.RetriesInMemory(s.engine); n != 0 {
		s.t.Errorf("%d retries are counted where none is left", n)
	}
	if n := relay.WindowsInMemory(s.engine); n != 0 {
		s.t.Errorf("%d windows are counted where none is left", n)
	}
	for _, name := range s.names {
		if got := s.status(name); got.Pending != 0 || got.InFlight != 0 {
			s.t.Errorf("%s ends with %+v", name, got)
		}
	}
	s.t.Logf("%d events, %d superseded, %d duplicates after %d stops and crashes and %d replays", len(s.accepted), superseded, duplicates, s.cuts, s.replays)
}

// finished reports whether somebody has ended a delivery that did not arrive.
func (s *simulation) finished(id, name string) bool {
	said := s.explain(id, name)
	return strings.HasPrefix(said, "failed (dropped)") || s.endpoints[name].gaveUpWaiting(id) || s.erased[id] && strings.HasPrefix(said, "failed (erased)")
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
