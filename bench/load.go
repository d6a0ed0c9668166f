//go:build linux

package bench

import (
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// load posts events. Its exported methods are called by the benchmark: Prepare, then
// Run once.
type load struct {
	order   LoadOrder
	posters []poster
}

// LoadOrder says what is to be posted.
type LoadOrder struct {
	Kind    kind
	Posters int
	// Rate is in events a second; 0: each poster posts again when it is answered.
	Rate   float64
	Length time.Duration
	// Events is how many are posted, if the length is enough; 0: as many as come.
	Events uint64
	// Batch is how many of them a request carries; Events is a multiple of it.
	Batch int
	Size  int

	Address string // host:port that is posted to
	// Addresses are those of several relays, over which posters are spread; then each posts
	// events of the type of one of their subscriptions. Type is that of a poster, or empty.
	Addresses []string
	Type      string
	Status    int // of an accepted event

	Secret    string // of kindClient
	Fanout    int    // of kindClient
	Directory string // of kindCommit
}

// Posted is what became of the events, by their number.
type Posted struct {
	Start int64
	// Begins and Ends are when the request was begun and its answer read. Begin 0: no
	// such event; end 0: refused.
	Begins, Ends []int64
	Refused      int64
	FirstRefusal string
}

// poster makes one request at a time. The bodies in it are its caller's to change; the event
// is that of the first.
type poster interface {
	bodies() [][]byte
	post(event uint64) error
	close() error
}

// Prepare opens all connections.
func (l *load) Prepare(order LoadOrder, _ *None) error {
	debug.SetGCPercent(childGC)
	l.order = order
	for i := range order.Posters {
		p, err := newPoster(l.order.of(i))
		if err != nil {
			return err
		}
		l.posters = append(l.posters, p)
	}
	return nil
}

func newPoster(order *LoadOrder) (poster, error) {
	switch order.Kind {
	case kindClient:
		return newClientPoster(order)
	case kindCommit:
		return newCommitPoster(order)
	default:
		return newRawPoster(order)
	}
}

// stamp is one event as its poster saw it.
type stamp struct {
	event      uint64
	begin, end int64
}

// Run posts for the length that was ordered, waits for the last answers and returns.
func (l *load) Run(_ None, posted *Posted) error {
	r := &posting{order: &l.order, start: now(), stamps: make([][]stamp, len(l.posters))}
	r.stop = r.start + int64(l.order.Length)
	var wait sync.WaitGroup
	for i, p := range l.posters {
		wait.Go(func() {
			if l.order.Rate > 0 {
				r.paced(i, p)
			} else {
				r.unpaced(i, p)
			}
		})
	}
	wait.Wait()
	for _, p := range l.posters {
		if err := p.close(); err != nil {
			return err
		}
	}
	*posted = r.result()
	return nil
}

// posting is one call of Run.
type posting struct {
	order       *LoadOrder
	start, stop int64
	stamps      [][]stamp     // of each poster
	next        atomic.Uint64 // event, where they are paced
	refused     atomic.Int64
	once        sync.Once
	refusal     string
}

// unpaced posts as fast as answers come. Events are numbered so that posters need not
// agree on the next one.
func (r *posting) unpaced(i int, p poster) {
	last := r.order.Events
	if last == 0 {
		last = math.MaxUint64
	}
	each := uint64(len(p.bodies()))
	for event := each * uint64(i); event < last && now() < r.stop; event += each * uint64(r.order.Posters) {
		r.one(i, p, event)
	}
}

// paced posts events when they are due, whether or not those before are answered, as
// long as a poster is free.
func (r *posting) paced(i int, p poster) {
	for {
		event := r.next.Add(1) - 1
		due := r.start + dueAfter(event, r.order.Rate)
		if due >= r.stop {
			return
		}
		time.Sleep(time.Duration(due - now()))
		r.one(i, p, event)
	}
}

// dueAfter is when an event is due, in nanoseconds after the start.
func dueAfter(event uint64, rate float64) int64 {
	return int64(float64(event) * float64(time.Second) / rate)
}

// refusalPause keeps posters from spinning where nothing is accepted.
const refusalPause = 10 * time.Millisecond

// one makes one request.
func (r *posting) one(i int, p poster, event uint64) {
	bodies := p.bodies()
	for k, body := range bodies {
		setEvent(body, event+uint64(k))
	}
	s := stamp{begin: now()}
	err := p.post(event)
	if err == nil {
		s.end = now()
	}
	for k := range bodies {
		s.event = event + uint64(k)
		r.stamps[i] = append(r.stamps[i], s)
	}
	if err != nil {
		r.refused.Add(int64(len(bodies)))
		r.once.Do(func() { r.refusal = fmt.Sprintf("event %d: %v", event, err) })
		time.Sleep(refusalPause)
	}
}

// result sorts what the posters saw by event.
func (r *posting) result() Posted {
	n := uint64(0)
	for _, stamps := range r.stamps {
		for _, s := range stamps {
			n = max(n, s.event+1)
		}
	}
	posted := Posted{
		Start: r.start, Begins: make([]int64, n), Ends: make([]int64, n),
		Refused: r.refused.Load(), FirstRefusal: r.refusal,
	}
	for _, stamps := range r.stamps {
		for _, s := range stamps {
			posted.Begins[s.event], posted.Ends[s.event] = s.begin, s.end
		}
	}
	return posted
}
