package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// counting is a store that counts the looks at its exceptions.
type counting struct {
	relay.Store
	looks, atOnce, most atomic.Int64
}

func (s *counting) Open(ctx context.Context, name string, after uint64, limit int) ([]relay.Exception, error) {
	s.looks.Add(1)
	if n := s.atOnce.Add(1); n > s.most.Load() {
		s.most.Store(n)
	}
	defer s.atOnce.Add(-1)
	time.Sleep(time.Millisecond)
	return s.Store.Open(ctx, name, after, limit)
}

// failingWhile is an endpoint that answers 500 while down is set.
func failingWhile(down *atomic.Bool) *receiver {
	return &receiver{answer: func(int, *http.Request) (*http.Response, error) {
		if down.Load() {
			return answer(500), nil
		}
		return answer(200), nil
	}}
}

// TestNothingIsReadBeforeItIsDue: an engine with many deliveries in retry serves at once, and
// knows when they are due. They are read then, by few lanes at a time, and memory for them is
// bounded; what is paused is not read at all.
func TestNothingIsReadBeforeItIsDue(t *testing.T) {
	const lanes, each, budget = 20, 100, 300
	defer relay.SetRetriesOfAll(budget)()
	run(t, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		to := failingWhile(&down)
		subscribe := func(paused bool) {
			var all []*relay.Subscription
			for i := range lanes {
				s := subscription(fmt.Sprint("s", i), to)
				s.Retry.Delays = []time.Duration{time.Hour, time.Hour, time.Hour, time.Hour}
				s.Breaker.Off = true
				s.MaxInFlight = 50
				s.Paused = paused && i%2 == 1
				all = append(all, s)
			}
			w.plan(all...)
		}
		subscribe(false)
		for range each {
			w.publish("a", "1")
		}
		w.wait(10 * time.Minute)
		due := make(map[string]time.Time)
		for i := range lanes {
			s := w.status(fmt.Sprint("s", i))
			if due[s.Name] = s.OldestDue; s.Pending != each || time.Until(s.OldestDue) > time.Hour || time.Until(s.OldestDue) < 0 {
				t.Fatalf("%+v", s)
			}
		}
		if n, most := relay.RetriesInMemory(w.engine), int64(budget+lanes*64); n > most {
			t.Errorf("%d retries are in memory, want at most %d", n, most)
		}
		w.stop()
		store := &counting{Store: w.memory}
		w.store = store
		w.open()
		if n := store.looks.Load(); n != 0 {
			t.Errorf("%d looks at exceptions before the engine is open", n)
		}
		subscribe(true)
		w.wait(time.Minute)
		for name, want := range due {
			if s := w.status(name); s.Pending != each || !s.OldestDue.Equal(want) {
				t.Errorf("%+v after the start, want one that is due at %v", s, want)
			}
		}
		if n := store.looks.Load(); n != 0 {
			t.Errorf("%d looks after the start, before anything is due", n)
		}
		down.Store(false)
		w.wait(2 * time.Hour)
		if n := store.most.Load(); n > 2 {
			t.Errorf("%d lanes look at once", n)
		}
		if n := store.looks.Load(); n < lanes/2 {
			t.Errorf("%d looks at what is due, want one at least for each of %d lanes", n, lanes/2)
		}
		for i := range lanes {
			want := uint64(0)
			if i%2 == 1 {
				want = each
			}
			if got := w.status(fmt.Sprint("s", i)).Pending; got != want {
				t.Errorf("s%d has %d pending, want %d", i, got, want)
			}
		}
		subscribe(false)
		w.wait(time.Hour)
		if n := relay.RetriesInMemory(w.engine); n != 0 || w.engine.Unfinished() != 0 {
			t.Errorf("%d retries in memory, %d unfinished at the end", n, w.engine.Unfinished())
		}
	})
}

// TestOrderIsKnownBeforeAnythingGoes: after a start no event of a key overtakes those that
// wait in the store, however slow that is.
func TestOrderIsKnownBeforeAnythingGoes(t *testing.T) {
	run(t, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		to := failingWhile(&down)
		subscribe := func() {
			s := ordered("crm", to)
			s.Retry.Delays = []time.Duration{time.Hour, time.Hour}
			w.plan(s)
		}
		subscribe()
		for n := range 5 {
			w.publish("x", keyed("a", n))
		}
		w.wait(time.Minute)
		w.stop()
		w.store = &sleepy{w.memory}
		w.open()
		before := len(to.all())
		down.Store(false)
		subscribe()
		for n := 5; n < 8; n++ {
			w.publish("x", keyed("a", n))
		}
		w.wait(3 * time.Hour)
		got := sequences(t, to.all()[before:])["a"]
		if fmt.Sprint(got) != "[0 1 2 3 4 5 6 7]" {
			t.Errorf("delivered were %v", got)
		}
	})
}

// sleepy is a store that takes a minute to look at exceptions.
type sleepy struct{ relay.Store }

func (s *sleepy) Open(ctx context.Context, name string, after uint64, limit int) ([]relay.Exception, error) {
	time.Sleep(time.Minute)
	return s.Store.Open(ctx, name, after, limit)
}

// TestWhatWasUnderWayIsDueAfterACrash: a retry that was in flight is made again at once,
// whatever its lane had told the store of the others meanwhile.
func TestWhatWasUnderWayIsDueAfterACrash(t *testing.T) {
	run(t, func(w *world) {
		hang := make(chan struct{})
		defer close(hang)
		var crashed atomic.Bool
		to := &receiver{answer: func(n int, r *http.Request) (*http.Response, error) {
			switch {
			case crashed.Load():
				return answer(200), nil
			case n == 3: // the second attempt of the first
				select {
				case <-hang:
				case <-r.Context().Done():
				}
				return nil, r.Context().Err()
			default:
				return answer(500), nil
			}
		}}
		subscribe := func() {
			s := subscription("crm", to)
			s.Retry.Delays = []time.Duration{time.Minute, time.Minute}
			s.Timeout = time.Hour
			w.plan(s)
		}
		subscribe()
		first := w.publish("a", "1").ID
		w.wait(30 * time.Second)
		w.publish("a", "2")
		w.wait(31 * time.Second)
		w.publish("a", "3") // the store is told of the lane while the retry is under way
		w.wait(time.Second)
		left := w.memory.Reopen() // from here on nothing is written
		crashed.Store(true)
		_ = w.engine.Close()
		w.memory, w.store = left, left
		w.open()
		subscribe()
		w.wait(time.Second)
		w.expect(first, relay.StateDelivered, "", 2)
	})
}

// TestResumeWhileTheStoreIsRead: what is being read is due at once, too.
func TestResumeWhileTheStoreIsRead(t *testing.T) {
	run(t, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		to := failingWhile(&down)
		subscribe := func() {
			s := ordered("crm", to) // so that it reads at the start
			s.Retry.Delays = []time.Duration{time.Hour}
			w.plan(s)
		}
		subscribe()
		for n := range 1500 { // more than a page
			w.publish("x", keyed(fmt.Sprint(n), n))
		}
		w.wait(10 * time.Minute)
		w.stop()
		w.store = &lingering{Store: w.memory, lag: time.Minute}
		w.open()
		down.Store(false)
		subscribe()
		w.wait(90 * time.Second) // a page was taken up, and another one is read
		if _, err := w.engine.Resume(context.Background(), "crm"); err != nil {
			t.Fatal(err)
		}
		w.wait(10 * time.Minute)
		if n := w.status("crm").Pending; n != 0 {
			t.Errorf("%d are pending, minutes after the subscription was resumed", n)
		}
	})
}

// lingering is a store that has looked at exceptions when it is asked, but takes its time to say so.
type lingering struct {
	relay.Store
	lag time.Duration
	// commit and look are how long a commit and the look at one exception take.
	commit, look time.Duration
	// read is told of each page that was; nil: nobody is.
	read func(after uint64)
}

func (s *lingering) Open(ctx context.Context, name string, after uint64, limit int) ([]relay.Exception, error) {
	page, err := s.Store.Open(ctx, name, after, limit)
	if s.read != nil {
		s.read(after)
	}
	time.Sleep(s.lag)
	return page, err
}

func (s *lingering) Commit(ctx context.Context, updates []relay.Update) error {
	time.Sleep(s.commit)
	return s.Store.Commit(ctx, updates)
}

func (s *lingering) Exception(ctx context.Context, name string, pos uint64) (relay.Exception, bool, error) {
	x, found, err := s.Store.Exception(ctx, name, pos)
	time.Sleep(s.look)
	return x, found, err
}

// TestChangesWhileTheStoreIsRead: what is erased, dropped or replayed while the store is read
// for the first time, before or after its page, keeps its place in the order of its key, and
// nothing comes back.
func TestChangesWhileTheStoreIsRead(t *testing.T) {
	for _, slow := range []func(relay.Store) relay.Store{
		func(s relay.Store) relay.Store { return &lingering{Store: s, lag: time.Minute} },
		func(s relay.Store) relay.Store { return &sleepy{s} },
	} {
		run(t, func(w *world) {
			var down atomic.Bool
			to := failingWhile(&down)
			subscribe := func() {
				s := ordered("crm", to)
				s.Retry.Delays = []time.Duration{time.Hour, time.Hour}
				w.plan(s)
			}
			subscribe()
			delivered := w.publish("x", keyed("a", 0)).ID
			w.wait(time.Second)
			down.Store(true)
			var ids []string
			for n := 1; n < 6; n++ {
				ids = append(ids, w.publish("x", keyed("a", n)).ID)
			}
			w.wait(time.Minute)
			w.stop()
			w.store = slow(w.memory)
			w.open()
			subscribe()
			w.wait(30 * time.Second)
			ctx := context.Background()
			for _, id := range []string{ids[0], ids[2]} { // the head, and one that waits
				if err := w.engine.Erase(ctx, id); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.engine.Replay(ctx, delivered, "crm"); err != nil {
				t.Fatal(err)
			}
			if err := w.engine.Replay(ctx, delivered, "crm"); !errors.Is(err, relay.ErrUnfinished) {
				t.Errorf("a second replay: %v", err)
			}
			before := len(to.all())
			down.Store(false)
			w.wait(10 * time.Minute)
			if got := fmt.Sprint(sequences(t, to.all()[before:])["a"]); got != "[0 2 4 5]" {
				t.Errorf("delivered were %v", got)
			}
			if s := w.status("crm"); s.Pending != 0 || s.Failed != 2 || !s.OldestDue.IsZero() {
				t.Errorf("%+v", s)
			}
		})
	}
}

// failures counts those of the store.
type failures struct {
	relay.NopObserver
	n atomic.Int64
}

func (f *failures) StoreFailed(string) { f.n.Add(1) }

// TestStoreThatCannotBeReadIsLeftAlone: while it is away, what is due is looked for once a second,
// and not as often as there are attempts to make; what is at hand goes on, and then all the rest.
func TestStoreThatCannotBeReadIsLeftAlone(t *testing.T) {
	const n = 5000
	for _, resumed := range []bool{false, true} {
		run(t, func(w *world) {
			w.stop()
			store := &away{Store: w.memory}
			w.store = store
			w.open()
			var down atomic.Bool
			down.Store(true)
			to := failingWhile(&down)
			s := subscription("crm", to)
			s.Retry.Delays = []time.Duration{time.Hour, time.Hour}
			s.Breaker.Off = true
			var seen failures
			w.observed(&seen, s)
			for i := range n {
				w.publish("x", fmt.Sprint(i))
			}
			w.wait(10 * time.Minute)
			store.set.Store(true)
			down.Store(false)
			if resumed {
				if _, err := w.engine.Resume(context.Background(), "crm"); err != nil {
					t.Fatal(err)
				}
			} else {
				w.wait(50 * time.Minute)
			}
			seen.n.Store(0)
			w.wait(10 * time.Second)
			if got, most := seen.n.Load(), int64(11*s.MaxInFlight); got == 0 || got > most {
				t.Errorf("resumed %v: the store was asked in vain %d times in ten seconds, want at most %d", resumed, got, most)
			}
			before := len(to.all())
			w.publish("x", "new")
			w.wait(time.Millisecond)
			if got := len(to.all()) - before; got != 1 {
				t.Errorf("resumed %v: %d requests for an event that is at hand, want 1", resumed, got)
			}
			store.set.Store(false)
			w.wait(time.Minute)
			if got := w.status("crm"); got.Pending != 0 || got.Failed != 0 || len(to.all()) != before+1+n {
				t.Errorf("resumed %v: after a minute of a store that is there again: %+v", resumed, got)
			}
		})
	}
}

// slowAnswer is a 500 that an event gets until so long after the start, and how long it takes.
type slowAnswer struct{ until, takes time.Duration }

// answering answers events by their bodies: by the first that is not over yet, then with 200 at once.
func answering(start time.Time, of map[string][]slowAnswer) *receiver {
	return &receiver{answer: func(_ int, r *http.Request) (*http.Response, error) {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		for _, a := range of[string(text)] {
			if time.Since(start) < a.until {
				time.Sleep(a.takes)
				return answer(500), nil
			}
		}
		return answer(200), nil
	}}
}

// TestRetryWithoutRoomWhileAScanBegins: a delivery that fails while a scan waits for outcomes to be
// stored, and finds no room in memory, is in none of the pages that the scan takes up. It is
// attempted all the same.
func TestRetryWithoutRoomWhileAScanBegins(t *testing.T) {
	defer relay.SetRetriesInMemory(1)()
	run(t, func(w *world) {
		w.stop()
		w.store = &lingering{Store: w.memory, lag: 5 * time.Second, commit: 500 * time.Millisecond}
		w.open()
		start := time.Now()
		s := subscription("crm", answering(start, map[string][]slowAnswer{
			`"stored"`: {{20 * time.Second, 0}, {50 * time.Second, 6 * time.Second}},
			`"kept"`:   {{50 * time.Second, 0}},
			`"late"`:   {{150 * time.Second, 6200 * time.Millisecond}},
		}))
		s.Breaker.Off = true
		s.Retry.Delays = []time.Duration{30 * time.Second, 100 * time.Second, time.Hour}
		w.plan(s)
		stored := w.publish("a", `"stored"`).ID
		w.after(start, 2*time.Second)
		kept := w.publish("a", `"kept"`).ID
		w.after(start, 130*time.Second)
		for id, want := range map[string]time.Duration{stored: 136 * time.Second, kept: 137 * time.Second} {
			if due := w.delivery(id).NextAttempt.Sub(start).Round(time.Second); due != want {
				t.Fatalf("due at %v, want %v", due, want)
			}
		}
		late := w.publish("a", `"late"`).ID // is answered at 136.2 s
		w.after(start, 135900*time.Millisecond)
		w.publish("a", `"other"`) // its outcome is being stored when the scan begins, at 136 s
		w.after(start, 138*time.Second)
		w.publish("a", `"other"`)
		w.wait(24 * time.Hour)
		for _, id := range []string{stored, kept, late} {
			if d := w.delivery(id); d.State != relay.StateDelivered {
				t.Errorf("a day later %s is %s after %d attempts", id, d.State, d.AttemptCount)
			}
		}
		w.expectPending(0)
	})
}

// TestWhatIsInMemoryIsDueWhileTheStoreIsRead: what memory has does not wait for a scan.
func TestWhatIsInMemoryIsDueWhileTheStoreIsRead(t *testing.T) {
	defer relay.SetRetriesInMemory(1)()
	run(t, func(w *world) {
		w.stop()
		var lag atomic.Int64
		lag.Store(int64(5 * time.Second))
		w.store = &lingering{Store: w.memory, read: func(uint64) { time.Sleep(time.Duration(lag.Load())) }}
		w.open()
		start := time.Now()
		to := answering(start, map[string][]slowAnswer{
			`"stored"`: {{20 * time.Second, 0}, {50 * time.Second, 6 * time.Second}},
			`"kept"`:   {{50 * time.Second, 0}},
		})
		s := subscription("crm", to)
		s.Breaker.Off = true
		s.Retry.Delays = []time.Duration{30 * time.Second, 100 * time.Second}
		w.plan(s)
		w.publish("a", `"stored"`) // is due at 136 s, and only in the store
		w.after(start, 2*time.Second)
		w.publish("a", `"kept"`) // is due at 137 s
		w.after(start, 130*time.Second)
		lag.Store(int64(time.Minute))
		w.wait(time.Hour)
		all := to.all()
		i := slices.IndexFunc(all, func(r received) bool { return r.body == `"kept"` && r.at.Sub(start) > 100*time.Second })
		if i < 0 || all[i].at.Sub(start) > 138*time.Second {
			t.Errorf("what was due at 137 s was attempted at %v, want that it does not wait for the scan of 136 s", all[max(i, 0)].at.Sub(start))
		}
	})
}
