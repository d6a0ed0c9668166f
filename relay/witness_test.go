package relay_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// witness sees the attempts that one endpoint gets, and knows by itself when none may come:
// its breaker, its ramp, its pace and its order, each modelled as the documentation has it.
// The simulation tells it what else happens. It is guarded by the simulation's lock.
type witness struct {
	t    *testing.T
	name string

	breaker  breakerWitness
	ramp     rampWitness
	pace     paceWitness
	order    orderWitness
	debounce debounceWitness
	// holdUntil is what the endpoint asked for with Retry-After.
	holdUntil time.Time
	inFlight  int
	// numbers are the highest Relay-Attempt by event, and in which life it came.
	numbers map[string]number
	life    int
	// waits says that deliveries may wait in vain, which counts as an attempt.
	waits bool
}

type number struct{ n, life int }

// traced is an endpoint of which everything is printed, to find out what led to a failure.
var traced = os.Getenv("RELAY_TEST_TRACE")

func (w *witness) trace(what ...any) {
	if w.name == traced {
		fmt.Println(append([]any{time.Now().Format("15:04:05.000000")}, what...)...)
	}
}

// visit is an attempt that an endpoint gets.
type visit struct {
	sub *relay.Subscription // of the plan that it began under
	id  string
	key string
	n   int
}

// result is how a visit ended.
type result int

const (
	taken   result = iota // 2xx
	refused               // a failure that counts
	asked                 // 429 with Retry-After
	cut                   // by a stop
	void                  // its event was erased: what it means is not defined
)

func newWitness(t *testing.T, name string) *witness {
	return &witness{t: t, name: name, numbers: make(map[string]number), order: newOrderWitness(), debounce: newDebounceWitness()}
}

// begins judges that an attempt begins now.
func (w *witness) begins(v *visit) {
	now := time.Now()
	w.trace("begins", v.id, v.key, v.n)
	w.inFlight++
	if w.inFlight > v.sub.MaxInFlight {
		w.t.Errorf("%s: %d attempts in flight; max_in_flight is %d", w.name, w.inFlight, v.sub.MaxInFlight)
	}
	if now.Before(w.holdUntil) {
		w.t.Errorf("%s: an attempt at %v; it asked to wait until %v", w.name, now, w.holdUntil)
	}
	w.breaker.begins(w, &v.sub.Breaker, now)
	w.ramp.begins(w, v.sub.MaxInFlight)
	w.pace.begins(w, now)
	w.order.begins(w, v)
	last := w.numbers[v.id]
	more := v.n > last.n && w.waits // those that have waited in vain count, too
	if again := v.n <= last.n && w.life > last.life; v.n != last.n+1 && !again && !more {
		w.t.Errorf("%s: the attempt of %s after the number %d has the number %d", w.name, v.id, last.n, v.n)
	}
	w.numbers[v.id] = number{v.n, w.life}
}

// ends takes note of how an attempt has ended.
func (w *witness) ends(v *visit, r result) {
	now := time.Now()
	w.trace("ends", v.id, v.key, v.n, r)
	w.inFlight--
	delete(w.order.busy, v.key)
	switch r {
	case cut, void:
	case taken:
		w.ramp.succeeded(w.breaker.open, v.sub.MaxInFlight)
		w.breaker.ended(&v.sub.Breaker, now, true)
	case asked:
		w.holdUntil, w.ramp.at = now.Add(askedFor), 1
	case refused:
		w.breaker.ended(&v.sub.Breaker, now, false)
	}
}

// resumed is told before somebody resumes the subscription.
func (w *witness) resumed() {
	w.trace("resumed")
	w.breaker, w.ramp, w.holdUntil = breakerWitness{}, rampWitness{at: 1}, time.Time{}
}

// restarted is told when an engine has taken up what another one left: only what was stored
// is still known.
func (w *witness) restarted(tripped bool) {
	w.trace("restarted", tripped)
	if w.inFlight > 0 {
		w.t.Errorf("%s: %d attempts outlive their engine", w.name, w.inFlight)
	}
	w.breaker, w.ramp, w.pace = breakerWitness{open: tripped}, rampWitness{}, paceWitness{}
	w.holdUntil = time.Time{}
	clear(w.order.busy)
	w.life++
}

// breakerWitness opens when the ratio of failures within the window says so.
type breakerWitness struct {
	open bool
	// since is when it opened, or the last probe failed; zero if that is not known.
	since time.Time
	ends  []end
}

type end struct {
	at   time.Time
	good bool
}

func (b *breakerWitness) begins(w *witness, p *relay.BreakerPolicy, now time.Time) {
	if !b.open || now.Equal(b.since) { // several run into their deadlines at one moment
		return
	}
	if w.inFlight > 1 {
		w.t.Errorf("%s: %d attempts in flight while its breaker is open", w.name, w.inFlight)
	}
	if !b.since.IsZero() && now.Before(b.since.Add(p.Pause)) {
		w.t.Errorf("%s: an attempt %v after its breaker opened", w.name, now.Sub(b.since))
	}
}

func (b *breakerWitness) ended(p *relay.BreakerPolicy, now time.Time, good bool) {
	if p.Off {
		return
	}
	if b.open {
		if b.since = now; good {
			*b = breakerWitness{ends: []end{{now, true}}}
		}
		return
	}
	b.ends = append(b.ends, end{now, good})
	// The window slides in ten parts.
	part := func(t time.Time) int64 { return t.UnixNano() / int64(p.Window/10) }
	b.ends = slices.DeleteFunc(b.ends, func(e end) bool { return part(e.at) <= part(now)-10 })
	bad := 0
	for _, e := range b.ends {
		if !e.good {
			bad++
		}
	}
	if n := len(b.ends); !good && n >= p.Least && float64(bad) >= p.Ratio*float64(n) {
		*b = breakerWitness{open: true, since: now}
	}
}

// rampWitness bounds attempts in flight while an endpoint comes back; at 0 it does not.
type rampWitness struct{ at int }

func (r *rampWitness) begins(w *witness, most int) {
	if r.at > 0 && w.inFlight > min(r.at, most) {
		w.t.Errorf("%s: %d attempts in flight; it is coming back, and met by %d", w.name, w.inFlight, r.at)
	}
}

func (r *rampWitness) succeeded(recovered bool, most int) {
	switch {
	case recovered:
		r.at = 1
	case r.at > 0:
		if r.at++; r.at >= most {
			r.at = 0
		}
	}
}

// paceWitness is a bucket of tokens.
type paceWitness struct {
	limit  relay.RateLimit
	tokens float64
	at     time.Time
}

// configured is told before a plan with this limit is attached.
func (p *paceWitness) configured(limit relay.RateLimit) {
	if limit != p.limit {
		*p = paceWitness{limit: limit, tokens: float64(limit.Events), at: time.Now()}
	}
}

func (p *paceWitness) begins(w *witness, now time.Time) {
	if p.limit.Events == 0 {
		return
	}
	rate := float64(p.limit.Events) / p.limit.Window.Seconds()
	p.tokens = min(p.tokens+now.Sub(p.at).Seconds()*rate, float64(p.limit.Events)) - 1
	p.at = now
	if p.tokens < -1e-3 {
		w.t.Errorf("%s: an attempt %v tokens too early for %+v", w.name, -p.tokens, p.limit)
	}
}

// orderWitness knows the order in which events of a key were accepted.
type orderWitness struct {
	on   bool
	busy map[string]string // the event in flight, by key
	log  map[string][]string
	at   map[string]int // in the log, by event
	// done is the number of those at the beginning that are known to be finished.
	done map[string]int
}

func newOrderWitness() orderWitness {
	return orderWitness{busy: make(map[string]string), log: make(map[string][]string), at: make(map[string]int), done: make(map[string]int)}
}

func (o *orderWitness) accepted(key, id string) {
	o.at[id] = len(o.log[key])
	o.log[key] = append(o.log[key], id)
}

func (o *orderWitness) begins(w *witness, v *visit) {
	if !o.on || v.key == "" {
		return
	}
	if other, busy := o.busy[v.key]; busy {
		w.t.Errorf("%s: %s of the key %s is attempted beside %s", w.name, v.id, v.key, other)
	}
	o.busy[v.key] = v.id
}

// passes returns the events of the key that were accepted before and of which nothing is
// known to have become.
func (o *orderWitness) passes(v *visit, finished func(id string) bool) (passed []string) {
	if !o.on || v.key == "" {
		return nil
	}
	log := o.log[v.key]
	for i := o.done[v.key]; i < o.at[v.id]; i++ {
		switch {
		case !finished(log[i]):
			passed = append(passed, log[i])
		case i == o.done[v.key]:
			o.done[v.key]++
		}
	}
	return passed
}

// debounceWindow is that of the simulation.
const debounceWindow = 2 * time.Second

// debounceWitness knows which events came within a window of one another.
type debounceWitness struct {
	last map[string]*relay.Event // by key
	// next is when the next event of the same key came, by event.
	next map[string]time.Duration
}

func newDebounceWitness() debounceWitness {
	return debounceWitness{last: make(map[string]*relay.Event), next: make(map[string]time.Duration)}
}

func (d *debounceWitness) accepted(key string, e *relay.Event) {
	if last := d.last[key]; last != nil {
		d.next[last.ID] = e.Accepted.Sub(last.Accepted)
	}
	d.last[key] = e
}

func (d *debounceWitness) mayBeSuperseded(id string) bool {
	after, has := d.next[id]
	return has && after < debounceWindow
}
