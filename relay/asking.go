package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// askWithin bounds how long an operator waits for the relay that carries a subscription,
	// in which another one may take over from one that is gone.
	askWithin = 20 * time.Second
	// answerWithin bounds how long a relay that is asked for a drop waits for its end, so that
	// whoever has asked hears in time that it goes on.
	answerWithin = 15 * time.Second
	// askPause is between two tries.
	askPause = 100 * time.Millisecond
	// unclaimed is how long nobody carries a subscription before this relay does, to steer it.
	unclaimed = 2 * time.Second
	// lookWithin bounds how long a reader waits for what other relays have only in memory.
	lookWithin = 2 * time.Second
)

// askVersion is that of requests and answers.
const askVersion = 1

// command is what one relay asks of another.
type command string

const (
	doPause  command = "pause"
	doResume command = "resume"
	doDrop   command = "drop"
	doErase  command = "erase"
	doReplay command = "replay"
	doStart  command = "start" // a replay of many
	doJob    command = "job"
	doJobs   command = "jobs"
	doCancel command = "cancel"
	doLook   command = "look"
	doAhead  command = "ahead"
	doTell   command = "tell"
)

// question is a request of one relay to another, as JSON.
type question struct {
	Version      int            `json:"v"`
	Do           command        `json:"do"`
	Subscription string         `json:"subscription,omitempty"`
	Reason       string         `json:"reason,omitempty"`
	Event        string         `json:"event,omitempty"`
	Job          string         `json:"job,omitempty"`
	Replay       *ReplayRequest `json:"replay,omitempty"`
	// Names are those that a look is about; none: all.
	Names []string `json:"names,omitempty"`
	// Keys are those whose heads are asked for.
	Keys []orderKey `json:"keys,omitempty"`
	// Told is what of deliveries was told before, without the settlements themselves; nil:
	// nothing.
	Told *told `json:"told,omitempty"`
}

// reply is the answer, of which each command fills in its part.
type reply struct {
	Version int                `json:"v"`
	Error   *wireError         `json:"error,omitempty"`
	Status  SubscriptionStatus `json:"status,omitzero"`
	Jobs    []Job              `json:"jobs,omitempty"`
	Views   []carriedView      `json:"views,omitempty"`
	// Heads are in the order of the Keys of the question; 0: not known.
	Heads []Seq `json:"heads,omitempty"`
	Told  *told `json:"told,omitempty"`
}

// ask sends a question and returns the answer. An error of whoever answers is of the type that
// it has there.
func (m *member) ask(ctx context.Context, to Addressee, q question) (*reply, error) {
	q.Version = askVersion
	raw, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	raw, err = m.store.Ask(ctx, to, raw)
	if err != nil {
		return nil, err
	}
	a := new(reply)
	if err := json.Unmarshal(raw, a); err != nil {
		return nil, fmt.Errorf("another relay answers what cannot be understood, it may be of another version: %w", err)
	}
	aboutJob := q.Do == doStart || q.Do == doJob || q.Do == doCancel
	if a.Error == nil && (aboutJob && len(a.Jobs) == 0 || q.Do == doTell && a.Told == nil) {
		return nil, fmt.Errorf("another relay is asked to %s and answers without saying anything of it; it may be of another version", q.Do)
	}
	return a, a.Error.err()
}

// askCarrier asks whoever carries the subscription of a question, for so long.
func (m *member) askCarrier(ctx context.Context, within time.Duration, q question) (*reply, error) {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	a, err := m.ask(limited, Addressee{Subscription: q.Subscription}, q)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("subscription %q: the relay that carries it was asked to %s, and has not answered within %v; it may do so all the same, so look at its state before you try again: %w",
			q.Subscription, q.Do, within.Round(time.Millisecond), err)
	}
	return a, err
}

// askOthers asks all other members, and returns the answers of those that give one in time.
func (m *member) askOthers(ctx context.Context, q question) ([]*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	members, err := m.store.Members(ctx)
	if err != nil || len(members) < 2 {
		return nil, err
	}
	var mu sync.Mutex
	var all []*reply
	var wg sync.WaitGroup
	for _, other := range members[1:] {
		wg.Go(func() {
			a, err := m.ask(ctx, Addressee{Member: other.ID}, q)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, a)
		})
	}
	wg.Wait()
	return all, nil
}

// routed does something with a subscription where it is carried: here, or at another relay,
// which is sent a question. While the subscription is handed over, or its relay is gone, it
// waits.
func routed[T any](ctx context.Context, r *Relay, q question, here func() (T, error), there func(*reply) T) (T, error) {
	m := r.member
	if m == nil {
		return here()
	}
	begin := time.Now()
	for {
		var result T
		var err error
		if r.carries(q.Subscription) {
			result, err = here()
		} else {
			var a *reply
			if a, err = m.askCarrier(ctx, max(time.Until(begin.Add(askWithin)), askPause), q); err == nil {
				result = there(a)
			}
		}
		if !errors.Is(err, errMoved) && !errors.Is(err, ErrNoAnswer) {
			return result, err
		}
		if time.Since(begin) > askWithin {
			return result, fmt.Errorf("subscription %q: %w", q.Subscription, ErrNoAnswer)
		}
		if time.Since(begin) > unclaimed && !m.carried(q.Subscription) && !r.servable(ctx, q.Subscription) {
			m.claim(q.Subscription)
		}
		select {
		case <-ctx.Done():
			return result, context.Cause(ctx)
		case <-time.After(askPause):
		}
	}
}

// carries reports whether this engine makes the deliveries of a subscription.
func (r *Relay) carries(name string) bool {
	l := r.lane(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.tenure.mirror
}

// servable reports whether some member has addresses of the region of a subscription, as far
// as this engine's plan knows it.
func (r *Relay) servable(ctx context.Context, name string) bool {
	plan := r.matching.Load()
	if plan == nil || plan.byName[name] == nil {
		return false
	}
	members, err := r.member.store.Members(ctx)
	return err != nil || anyHas(members, plan.byName[name].Region)
}

// Answer implements [Member].
func (m *member) Answer(ctx context.Context, request []byte) []byte {
	var a reply
	var q question
	err := json.Unmarshal(request, &q)
	if err == nil {
		err = m.engine.answer(ctx, &q, &a)
	}
	a.Version, a.Error = askVersion, newWireError(err)
	raw, err := json.Marshal(a)
	if err != nil {
		raw, _ = json.Marshal(reply{Version: askVersion, Error: newWireError(err)})
	}
	return raw
}

// answer does what another relay asks for.
func (r *Relay) answer(ctx context.Context, q *question, a *reply) (err error) {
	name := q.Subscription
	switch q.Do {
	case doPause:
		a.Status, err = r.pause(ctx, name, q.Reason)
	case doResume:
		a.Status, err = r.resume(ctx, name)
	case doDrop:
		ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, fmt.Errorf("it takes longer than %v", answerWithin))
		defer cancel()
		a.Status, err = r.drop(ctx, name)
	case doErase, doReplay:
		err = r.answerAbout(ctx, q)
	case doStart:
		if q.Replay == nil {
			return errors.New("another relay asks for a replay and does not say of what; it may be of another version")
		}
		a.Jobs, err = oneJob(r.startReplay(*q.Replay))
	case doJob:
		a.Jobs, err = oneJob(r.jobs.job(q.Job))
	case doJobs:
		a.Jobs = r.jobs.list()
	case doCancel:
		a.Jobs, err = oneJob(r.jobs.cancel(q.Job))
	case doLook:
		a.Views, err = r.view(ctx, q.Names)
	case doAhead:
		a.Heads = r.heads(q.Keys)
	case doTell:
		if q.Told == nil {
			q.Told = new(told)
		}
		a.Told, err = r.tell(ctx, *q.Told)
	default:
		err = fmt.Errorf("another relay of the same store, which is of another version, does not know %q", q.Do)
	}
	return err
}

// answerAbout does what another relay asks for with a delivery of an event.
func (r *Relay) answerAbout(ctx context.Context, q *question) error {
	e, err := r.Event(ctx, q.Event)
	if err != nil {
		return err
	}
	if q.Do == doReplay {
		return r.replayHere(ctx, e, q.Subscription)
	}
	i := slices.IndexFunc(e.Deliveries, func(p Placement) bool { return p.Subscription == q.Subscription })
	if i < 0 {
		return ErrNoDelivery
	}
	return r.endAll(ctx, e.Seq, e.Deliveries[i:i+1])
}

func oneJob(j Job, err error) ([]Job, error) { return []Job{j}, err }
