package relay

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/egresslist"
)

// egressNote is the name of the note that keeps the egress list as it was published.
const egressNote = "egress"

// Times of the publisher.
const (
	// lookAgain bounds its sleep while changes are planned: a timer does not notice that
	// the clock was set, or that the machine slept.
	lookAgain = time.Minute
	// publishPause is the first pause after a failure of the store; each is twice as long
	// as the one before, up to lookAgain.
	publishPause = time.Second
)

// publisher keeps the egress list: it publishes what the plan in force declares, changes
// it by the clock, and tells of each change once. The list itself is in memory and needs
// no store; what was announced is remembered there, and nothing is told before that.
type publisher struct {
	engine *Relay
	wake   chan struct{}

	mu sync.Mutex
	// plan is the one in force, nil before the first.
	plan *Plan
	// fresh: nothing was said about plan yet.
	fresh bool
	// state is nil before anything was published.
	state *egresslist.State
	// note is what the store holds as far as is known, saved the state in it; nil if there
	// is none, or if it cannot be read.
	note  []byte
	saved *egresslist.State
}

func newPublisher(r *Relay) *publisher {
	return &publisher{engine: r, wake: make(chan struct{}, 1)}
}

// load reads what was published before this process. A note that cannot be understood is
// no reason to deliver nothing.
func (p *publisher) load(ctx context.Context) error {
	note, err := p.engine.store.Note(ctx, egressNote)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.adopt(note)
	return nil
}

// adopt takes what the store holds for what was published last. The caller holds the lock.
func (p *publisher) adopt(note []byte) {
	p.note, p.saved = note, nil
	if note == nil {
		return
	}
	saved, err := egresslist.Decode(note)
	if err != nil {
		p.engine.logger.Error("what was announced of egress addresses is forgotten", zap.Error(err))
		return
	}
	p.saved, p.state = saved, saved
}

// follow makes a plan the one whose addresses are published.
func (p *publisher) follow(plan *Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plan == plan {
		return
	}
	p.plan, p.fresh = plan, true
	p.state = egresslist.Advance(p.state, plan.egress, time.Now())
	p.poke()
}

func (p *publisher) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// list returns the list as it is now, or nil before a plan was in force.
func (p *publisher) list() *egresslist.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plan == nil {
		return nil
	}
	if p.advance(time.Now()) {
		p.poke()
	}
	return p.state
}

// advance changes the list by the clock, and reports whether it did. The caller holds the
// lock, and there is a plan.
func (p *publisher) advance(now time.Time) bool {
	next := p.state.Next()
	if next.IsZero() || now.Before(next) {
		return false
	}
	p.state = egresslist.Advance(p.state, p.plan.egress, now)
	return true
}

// run publishes until ctx ends.
func (p *publisher) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	pause := publishPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
		wait, err := p.publish(ctx)
		if err != nil {
			wait, pause = pause, min(2*pause, lookAgain)
			p.engine.logger.Debug("the egress list waits for the store", zap.Error(err))
		} else {
			pause = publishPause
		}
		timer.Stop()
		if wait > 0 {
			timer.Reset(wait)
		}
	}
}

// publish stores the list and tells what is new in it. It returns when to look again, 0 if
// there is no need to.
func (p *publisher) publish(ctx context.Context) (time.Duration, error) {
	p.warn()
	for {
		p.mu.Lock()
		if p.plan == nil {
			p.mu.Unlock()
			return 0, nil
		}
		now := time.Now()
		p.advance(now)
		plan, state, note, saved := p.plan, p.state, p.note, p.saved
		p.mu.Unlock()

		if state != saved && (note != nil || !state.Blank()) {
			if err := p.save(ctx, state, note); err != nil {
				return 0, err
			}
			continue
		}
		pending := state.Pending()
		if len(pending) == 0 {
			if state.Next().IsZero() {
				return 0, nil
			}
			return min(max(state.Next().Sub(now), time.Millisecond), lookAgain), nil
		}
		for i := range pending {
			if err := p.engine.tellEgress(ctx, plan, &pending[i]); err != nil {
				return 0, err
			}
		}
		p.mu.Lock()
		p.state = p.state.Told(pending)
		p.mu.Unlock()
	}
}

// save stores a state in the place of note. If another relay with the same store came
// before, its state is the one to go on from.
func (p *publisher) save(ctx context.Context, state *egresslist.State, note []byte) error {
	raw, err := state.Encode(MaxNoteSize)
	if err != nil {
		return err
	}
	swapped, err := p.engine.store.SwapNote(ctx, egressNote, note, raw)
	if err != nil {
		return err
	}
	if swapped {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.note, p.saved = raw, state
		return nil
	}
	if note, err = p.engine.store.Note(ctx, egressNote); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.adopt(note)
	p.state = egresslist.Advance(p.state, p.plan.egress, time.Now())
	return nil
}

// takeOver goes on from a note of another store, unless something was announced here.
func (p *publisher) takeOver(note []byte) (bool, error) {
	other, err := egresslist.Decode(note)
	if err != nil {
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != nil && (p.state.FeedID == other.FeedID || len(p.state.History) > 0) {
		return p.state.FeedID == other.FeedID, nil
	}
	if p.state = other; p.plan != nil {
		p.state = egresslist.Advance(other, p.plan.egress, time.Now())
	}
	p.poke()
	return true, nil
}

// warn tells of changes that were announced late, once for each plan in force.
func (p *publisher) warn() {
	p.mu.Lock()
	fresh := p.fresh
	p.fresh = false
	p.mu.Unlock()
	if !fresh {
		return
	}
	for _, w := range p.warnings() {
		p.engine.logger.Warn(w.String())
	}
}

func (p *publisher) warnings() []egresslist.Warning {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plan == nil {
		return nil
	}
	return p.state.Warnings(p.plan.notice, time.Now())
}

// EgressList returns the addresses that deliveries come from, as receivers are told them,
// or nil before there was a plan. The caller must not change it.
func (r *Relay) EgressList() *egresslist.State { return r.publisher.list() }

// EgressWarnings tell of changes of addresses that were announced too late.
func (r *Relay) EgressWarnings() []egresslist.Warning { return r.publisher.warnings() }
