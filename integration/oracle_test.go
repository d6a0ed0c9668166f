package integration

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// digest tells bodies apart. Each event of an oracle has a body of its own.
type digest [sha256.Size]byte

// posted is what a client knows of an event.
type posted struct {
	// id is that of the 202; empty if there was none.
	id string
	// refused says that the answer was 4xx. With neither, the outcome is unknown.
	refused bool
	// want are the subscriptions that its type matches.
	want []string
}

// oracle compares three ledgers: what clients were answered, what receivers got, and
// what the relay says of itself.
type oracle struct {
	// secret signs all deliveries; sources has the address of each subscription's region.
	secret  string
	sources map[string]string
	// matching returns the subscriptions of a type.
	matching func(typ string) []string

	mu    sync.Mutex
	posts map[digest]*posted
	// kills are the moments at which the relay was killed.
	kills []time.Time
	// conflicts are answers that contradict each other.
	conflicts []string
}

// sending is told before an event is posted for the first time.
func (o *oracle) sending(typ, body string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.posts == nil {
		o.posts = make(map[digest]*posted)
	}
	o.posts[sha256.Sum256([]byte(body))] = &posted{want: o.matching(typ)}
}

// answered is told of each answer, and of each failure to get one. It reports whether
// the event is settled, so that there is no need to send it again.
func (o *oracle) answered(body string, a answer) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.posts[sha256.Sum256([]byte(body))]
	switch {
	case a.err != nil || a.status >= 500:
		return false
	case a.status >= 400:
		p.refused = true
		return true
	}
	var r receipt
	if err := json.Unmarshal(a.body, &r); err != nil || a.status != http.StatusAccepted {
		o.conflicts = append(o.conflicts, fmt.Sprintf("the answer %s is neither 202 nor an error", a))
		return true
	}
	if p.id != "" && p.id != r.ID {
		o.conflicts = append(o.conflicts, fmt.Sprintf("one event has the ids %s and %s", p.id, r.ID))
	}
	p.id = r.ID
	if !slices.Equal(slices.Sorted(slices.Values(r.Matched)), slices.Sorted(slices.Values(p.want))) {
		o.conflicts = append(o.conflicts, fmt.Sprintf("%s matched %v; want %v", r.ID, r.Matched, p.want))
	}
	return true
}

// counts returns how many events were answered 202 and how many not at all.
func (o *oracle) counts() (accepted, unknown int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.posts {
		switch {
		case p.id != "":
			accepted++
		case !p.refused:
			unknown++
		}
	}
	return accepted, unknown
}

// settledWithin is how soon before a kill an outcome may have come, that was lost by it.
// Outcomes are written within milliseconds; the rest is for a busy machine.
const settledWithin = 5 * time.Second

// pair is a delivery.
type pair struct{ event, subscription string }

// breaches returns what contradicts the promises, at most a few of each kind.
func (o *oracle) breaches(got []arrival, listed []delivery) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := &findings{all: slices.Clone(o.conflicts)}
	// I2, I3, I5: nothing but what was posted, as it was posted.
	attempts := make(map[pair][]*arrival)
	ids := make(map[digest]string)
	for i := range got {
		a := &got[i]
		sum := sha256.Sum256(a.body)
		p := o.posts[sum]
		key := pair{a.id(), a.subscription()}
		attempts[key] = append(attempts[key], a)
		switch {
		case p == nil:
			found.add("I2: %v was delivered with a body that nobody posted: %.80q", key, a.body)
			continue
		case p.refused:
			found.add("I5: %v was delivered, but refused", key)
		case p.id != "" && p.id != key.event:
			found.add("I2: the body of %s was delivered as %v", p.id, key)
		case !slices.Contains(p.want, key.subscription):
			found.add("I2: %v was delivered, but does not match", key)
		}
		if first, ok := ids[sum]; ok && first != key.event {
			found.add("I3: one event was delivered as %s and as %s", first, key.event)
		}
		ids[sum] = key.event
		if err := verify(o.secret, a); err != nil {
			found.add("I2: %v: %v", key, err)
		}
		if want := o.sources[key.subscription]; want != "" && a.peer != want {
			found.add("I6: %v came from %s; want %s", key, a.peer, want)
		}
	}
	for key, list := range attempts {
		o.checkAttempts(found, key, list)
	}
	o.checkListed(found, attempts, listed)
	return found.all
}

// checkAttempts looks at the attempts of one delivery, in the order of their arrival.
func (o *oracle) checkAttempts(found *findings, key pair, list []*arrival) {
	for i := 1; i < len(list); i++ {
		before, after := list[i-1], list[i]
		if number(before, "webhook-timestamp") > number(after, "webhook-timestamp") {
			found.add("I3: %v: the webhook-timestamp goes back", key)
		}
		if number(before, "Relay-Attempt") > number(after, "Relay-Attempt") && !o.outcomeLost(before.at) {
			found.add("I3: %v: the Relay-Attempt goes back, though nothing was killed", key)
		}
		if before.status/100 == 2 && !o.outcomeLost(before.answered) {
			found.add("I4: %v was delivered at %s and again at %s, though nothing was killed soon after",
				key, before.answered.Format(time.StampMilli), after.at.Format(time.StampMilli))
		}
	}
}

func number(a *arrival, field string) int {
	n, err := strconv.Atoi(a.header.Get(field))
	if err != nil {
		return -1
	}
	return n
}

// outcomeLost reports whether an answer may have been lost by a kill.
func (o *oracle) outcomeLost(at time.Time) bool {
	return slices.ContainsFunc(o.kills, func(kill time.Time) bool {
		return kill.Add(time.Second).After(at) && kill.Sub(at) < settledWithin
	})
}

// checkListed compares the relay's own list with the other two (I1, I5).
func (o *oracle) checkListed(found *findings, attempts map[pair][]*arrival, listed []delivery) {
	states := make(map[pair]delivery, len(listed))
	known := make(map[string]bool)
	unknown := 0
	for _, p := range o.posts {
		known[p.id] = true
		if p.id == "" && !p.refused {
			unknown++
		}
	}
	strange := make(map[string]bool)
	for _, d := range listed {
		key := pair{d.Event, d.Subscription}
		if _, twice := states[key]; twice {
			found.add("I1: %v is listed twice", key)
		}
		states[key] = d
		if !known[d.Event] {
			strange[d.Event] = true
		}
		if d.State == stateDelivered && !delivered(attempts[key]) {
			found.add("I1: %v is listed as delivered, but never came", key)
		}
	}
	if len(strange) > unknown {
		found.add("I5: %d events are listed that were not answered 202, but only %d are unknown", len(strange), unknown)
	}
	for _, p := range o.posts {
		if p.id == "" {
			continue
		}
		for _, name := range p.want {
			key := pair{p.id, name}
			d, ok := states[key]
			switch {
			case !ok:
				found.add("I1: %v is absent from the list", key)
			case d.State == stateDelivered:
			case d.State == stateFailed || d.Reason != "":
			default:
				found.add("I1: %v is neither delivered nor held nor failed: %+v", key, d)
			}
		}
	}
}

// delivered reports whether one of the attempts may have been answered 2xx.
func delivered(list []*arrival) bool {
	return slices.ContainsFunc(list, func(a *arrival) bool { return a.status == 0 || a.status/100 == 2 })
}

// findings collects breaches, and not thousands of one kind.
type findings struct {
	all   []string
	kinds map[string]int
}

func (f *findings) add(format string, args ...any) {
	if f.kinds == nil {
		f.kinds = make(map[string]int)
	}
	f.kinds[format]++
	if f.kinds[format] <= 3 {
		f.all = append(f.all, fmt.Sprintf(format, args...))
	}
}
