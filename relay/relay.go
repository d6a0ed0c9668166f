package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/gate"
)

// Options of an engine.
type Options struct {
	// Logger of what belongs to no plan.
	Logger *zap.Logger
}

// Relay is the engine: it accepts events into a store and delivers them as the active
// plan says. All its methods are safe for concurrent use.
type Relay struct {
	store  Store
	logger *zap.Logger
	opened time.Time
	// member is what this engine is to others that share its store; nil where nobody does.
	member *member

	// matching is the plan that new events are matched with: the active one, or the last
	// one there was, so that events accepted during a stop find their subscriptions.
	matching atomic.Pointer[Plan]

	mu sync.RWMutex
	// plans are those that are attached; the first is the active one.
	plans []*Plan
	lanes map[string]*lane

	schedule *schedule
	ration   *ration
	runners  *runners
	settler  *settler
	// gate counts the attempts in flight, and lets none begin once it is shut.
	gate    gate.Gate
	stalled atomic.Bool
	memory  atomic.Int64 // bytes of data in the lanes' queues
	retries atomic.Int64 // deliveries in the lanes' memory that wait for an attempt
	behind  atomic.Int64 // deliveries in the lanes' memory that wait behind another of their key
	windows atomic.Int64 // of the lanes, in which deliveries are debounced
	scans   scans
	// failures are the *logPace of each operation of the store.
	failures sync.Map
	wall     wall

	// attempts is the parent of every attempt's context; cut ends it.
	attempts context.Context
	cut      context.CancelCauseFunc

	jobs      jobs
	feed      feed
	gathering gathering
	announcer *announcer
	publisher *publisher
	// background is entered by goroutines that end with attempts' context.
	background gate.Gate

	stop      chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// Open starts an engine on a store, which it owns from then on. It makes no attempts
// before a plan is attached.
func Open(ctx context.Context, store Store, o Options) (*Relay, error) {
	r := &Relay{
		store:  store,
		logger: o.Logger,
		opened: time.Now(),
		lanes:  make(map[string]*lane),
		stop:   make(chan struct{}),
	}
	if r.logger == nil {
		r.logger = zap.NewNop()
	}
	r.wall.look(r.opened)
	r.schedule, r.ration, r.runners = newSchedule(), newRation(), newRunners(r.stop)
	r.settler = newSettler(r)
	r.announcer = newAnnouncer(r)
	r.publisher = newPublisher(r)
	if s, ok := store.(Shared); ok {
		r.member = newMember(r, s)
		r.wall.shared = true
	}
	r.attempts, r.cut = context.WithCancelCause(context.Background())
	for p, err := range store.Progress(ctx) {
		if err != nil {
			return nil, fmt.Errorf("reading where deliveries stand: %w", err)
		}
		r.lanes[p.Subscription] = newLane(r, p)
	}
	if err := r.publisher.load(ctx); err != nil {
		return nil, fmt.Errorf("reading the egress list as it was last published: %w", err)
	}
	if s, ok := store.(Reopener); ok {
		s.OnReopen(r.readOn)
	}
	if err := r.member.join(ctx); err != nil {
		return nil, fmt.Errorf("joining the other relays of the store: %w", err)
	}
	go r.settler.run(r.stop)
	go r.announcer.run(r.stop)
	r.inBackground(func() { r.publisher.run(r.attempts) })
	asOpened := r.summary()
	r.inBackground(func() { r.summarize(r.attempts, asOpened) })
	go r.retain()
	return r, nil
}

// Attach adds a plan. It is the active one as soon as those attached before it are detached:
// beside them it may still be taken back, since not all of its configuration has started, and
// what was matched and sent by it cannot be. Attempts in flight go on with the plan that they
// began with; every later one uses the active one.
func (r *Relay) Attach(p *Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plans = append(r.plans, p)
	if len(r.plans) == 1 {
		r.activate()
	}
	r.announce()
	r.member.poke()
}

// Detach takes a plan out, wherever it stands. If it was the active one, the one attached
// after it is active from then on; without any, deliveries rest. It does not wait, and does
// nothing for a plan that is not attached.
func (r *Relay) Detach(p *Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.plans, p)
	if i < 0 {
		return
	}
	r.plans = slices.Delete(r.plans, i, i+1)
	if i == 0 {
		r.activate()
	}
	r.announce()
	r.member.poke()
}

// active returns the plan in force, nil if there is none. The caller holds the lock.
func (r *Relay) active() *Plan {
	if len(r.plans) == 0 {
		return nil
	}
	return r.plans[0]
}

// announce publishes the egress addresses of the plan that is in force, if it is the only one
// that is attached. The caller holds the lock.
func (r *Relay) announce() {
	if len(r.plans) == 1 {
		r.publisher.follow(r.plans[0])
	}
}

// activate configures the lanes with the active plan. The caller holds the lock.
func (r *Relay) activate() {
	plan := r.active()
	if plan != nil {
		r.matching.Store(plan)
		for _, s := range plan.subscriptions {
			if r.lanes[s.Name] == nil {
				r.lanes[s.Name] = newLane(r, Progress{Subscription: s.Name})
			}
		}
	}
	for _, l := range r.lanes {
		l.configure(plan)
	}
}

// lane returns the lane of a name, made if need be.
func (r *Relay) lane(name string) *lane {
	r.mu.RLock()
	l := r.lanes[name]
	r.mu.RUnlock()
	if l != nil {
		return l
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l = r.lanes[name]; l == nil {
		l = newLane(r, Progress{Subscription: name})
		r.lanes[name] = l
	}
	return l
}

// offer hands events that were just stored to the lanes they matched. The store calls
// it in commit order.
func (r *Relay) offer(events []*Event) {
	for _, e := range events {
		for _, p := range e.Deliveries {
			r.offerPlace(p, e)
		}
	}
}

func (r *Relay) offerPlace(p Placement, e *Event) {
	for !r.lane(p.Subscription).offer(p, e) { // another lane took its place meanwhile
	}
}

// readOn tells the lanes how far their logs go, after the store was opened again: what
// was being stored when it failed may be there, and nobody has offered it.
func (r *Relay) readOn() {
	for p, err := range r.store.Progress(context.Background()) {
		if err != nil {
			r.storeFailed("read", err)
			return
		}
		if r.member != nil {
			r.member.learn(p)
		} else {
			r.lane(p.Subscription).extend(p.Head)
		}
	}
}

// attempt makes one attempt of a delivery, after reading its event if it is not at hand.
func (r *Relay) attempt(ctx context.Context, j *job) (Attempt, verdict) {
	if j.event == nil {
		e, err := r.store.Event(ctx, j.seq)
		switch {
		case errors.Is(err, ErrNotFound), isUnreadable(err):
			r.logger.Error("an event cannot be read; its delivery is set aside as failed",
				zap.String("subscription", j.sub.Name), zap.Uint64("seq", uint64(j.seq)), zap.Error(err))
			return Attempt{}, verdict{end: endUnreadable}
		case err != nil:
			r.storeFailed("read", err, zap.String("subscription", j.sub.Name))
			return Attempt{}, verdict{end: endUnread, message: err.Error(), wait: storePause}
		}
		j.event = e
	}
	if !j.event.Erased.IsZero() {
		return Attempt{}, verdict{end: endErased}
	}
	if r.member.lapsed() { // while the event was read, or the whole process stood still
		return Attempt{}, verdict{end: endCut, message: errLost.Error(), wait: storePause}
	}
	if j.polls {
		return j.poll(ctx)
	}
	return j.attempt(ctx)
}

// observer returns whom to tell of what belongs to no attempt.
func (r *Relay) observer() Observer {
	if plan := r.matching.Load(); plan != nil {
		return plan.observer
	}
	return NopObserver{}
}

// storeFailed logs a failure of the store and counts it. That the store was closed is
// none. Of many of one operation some records are enough, the others are written on the debug
// level.
func (r *Relay) storeFailed(operation string, err error, fields ...zap.Field) {
	if errors.Is(err, ErrClosed) {
		return
	}
	r.observer().StoreFailed(operation)
	pace, _ := r.failures.LoadOrStore(operation, new(logPace))
	level := zap.DebugLevel
	silent, passes := pace.(*logPace).pass(time.Now())
	if passes {
		level = zap.ErrorLevel
	}
	fields = append(fields, zap.String("operation", operation), zap.Error(err))
	if silent > 0 {
		fields = append(fields, zap.Uint64("more_since_last", silent))
	}
	r.logger.Log(level, "the store failed", fields...)
}

func isUnreadable(err error) bool {
	_, ok := errors.AsType[*UnreadableError](err)
	return ok
}

func (r *Relay) wakeAll() {
	r.mu.RLock()
	lanes := make([]*lane, 0, len(r.lanes))
	for _, l := range r.lanes {
		lanes = append(lanes, l)
	}
	r.mu.RUnlock()
	for _, l := range lanes {
		l.wake()
	}
}

// inBackground runs something that ends with attempts' context, and that Close waits for. It
// reports whether it does: not once the engine closes.
func (r *Relay) inBackground(run func()) bool {
	if !r.background.Enter() {
		return false
	}
	go func() {
		defer r.background.Leave()
		run()
	}()
	return true
}

// Flush returns when the store has all that was settled before, or with an error after
// at most two seconds.
func (r *Relay) Flush(ctx context.Context) error { return r.settler.wait(ctx, r.stop) }

// Err returns why events are not accepted at present, or nil.
func (r *Relay) Err() error { return r.store.Err() }

// Close cuts what is in flight, writes outcomes and closes the store. To let attempts
// end, call [Relay.Drain] before.
func (r *Relay) Close() error {
	r.closeOnce.Do(func() {
		ended, end := context.WithCancel(context.Background())
		end()
		r.Drain(ended)
		r.cut(errDraining)
		r.feed.close()
		r.background.Close()
		r.schedule.close()
		if err := r.Flush(context.Background()); err != nil {
			r.logger.Error("outcomes were not stored; their attempts will be made again", zap.Error(err))
		}
		close(r.stop)
		<-r.settler.done
		r.closeErr = r.store.Close()
	})
	return r.closeErr
}
