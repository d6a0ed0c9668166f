package relay

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// tellWithin is how long a relay that is asked what becomes of deliveries waits for some.
	tellWithin = 10 * time.Second
	// tellMost is how many it tells at once, and tellPause how long it is not asked again then.
	tellMost  = 1024
	tellPause = 200 * time.Millisecond
)

// told is what one relay tells another of what has become of deliveries.
type told struct {
	// Mark is where the relay that asks has read up to, and Own counts those of this relay up
	// to there.
	Mark string
	Own  uint64
	// Missed came before All and is not there any more; see [UnknownlyMany].
	Missed int64               `json:",omitempty"`
	All    []relayedSettlement `json:",omitempty"`
}

// relayedSettlement is a [Settlement] on its way from one relay to another. The store, which
// they share, has the events of those that are known by their place only.
type relayedSettlement struct {
	Settlement
	Span Span
	Seq  Seq
}

// tell waits for what becomes of deliveries at this relay after what was told before, or says
// where to begin, where nothing was.
func (r *Relay) tell(ctx context.Context, before told) (*told, error) {
	f := r.follow(Following{After: before.Mark}, true)
	defer f.Close()
	t := &told{Own: before.Own}
	if before.Mark == "" {
		t.Mark, t.Own = f.Here(), f.own
		return t, nil
	}
	if f.unknown {
		t.Missed, t.Own = UnknownlyMany, f.own
	}
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	for {
		n, _, closed := r.feed.take(f, f.page[:min(len(f.page), tellMost-len(t.All))])
		t.add(f.page[:n])
		switch t.Mark = f.Here(); {
		case closed:
			return nil, ErrClosed
		case n > 0 && len(t.All) < tellMost:
			continue
		case len(t.All) > 0, t.Missed != 0:
			return t, nil
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return t, nil
		}
	}
}

// add adds those that are not another relay's.
func (t *told) add(all []Settlement) {
	for _, s := range all {
		if s.theirs {
			continue
		}
		if t.Missed >= 0 && s.own > t.Own+1 {
			t.Missed += int64(s.own - t.Own - 1)
		}
		t.Own = s.own
		t.All = append(t.All, relayedSettlement{s, s.span, s.seq})
	}
}

// gathering brings what becomes of deliveries at other relays into the feed of this one, as
// long as somebody follows here.
type gathering struct {
	mu sync.Mutex
	// begun is closed when those relays were asked that were there at first, ended with all of
	// it. Both are nil while nobody follows.
	begun, ended chan struct{}
}

// begin has the others asked, and returns when they were.
func (g *gathering) begin(r *Relay) {
	if r.member == nil || r.attempts.Err() != nil {
		return
	}
	g.mu.Lock()
	before := g.ended
	if g.begun == nil {
		begun, ended := make(chan struct{}), make(chan struct{})
		if !r.inBackground(func() {
			defer close(ended)
			if before != nil {
				<-before
			}
			g.run(r.attempts, r, begun)
		}) {
			g.mu.Unlock()
			return
		}
		g.begun, g.ended = begun, ended
	}
	begun := g.begun
	g.mu.Unlock()
	select {
	case <-begun:
	case <-time.After(lookWithin):
	case <-r.attempts.Done():
	}
}

// run asks whoever is there, until nobody follows any more.
func (g *gathering) run(ctx context.Context, r *Relay, begun chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	asked := make(map[string]context.CancelFunc)
	ticker := time.NewTicker(memberEvery)
	defer ticker.Stop()
	for first := true; ; first = false {
		var starting sync.WaitGroup
		if members, err := r.member.store.Members(ctx); err == nil && len(members) > 0 {
			there := make(map[string]bool)
			for _, m := range members[1:] {
				there[m.ID] = true
				if asked[m.ID] != nil {
					continue
				}
				within, stop := context.WithCancel(ctx)
				asked[m.ID] = stop
				starting.Add(1)
				o := &otherFeed{engine: r, id: m.ID, late: !first, asked: sync.OnceFunc(starting.Done)}
				all.Go(func() { o.run(within) })
			}
			for id, stop := range asked {
				if !there[id] {
					stop()
					delete(asked, id)
				}
			}
		}
		if first {
			starting.Wait()
			close(begun)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if g.over(r) {
			return
		}
	}
}

// over reports whether nobody follows any more: who comes then begins anew.
func (g *gathering) over(r *Relay) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.feed.wanted() {
		return false
	}
	g.begun = nil
	return true
}

// otherFeed is what becomes of deliveries at one other relay.
type otherFeed struct {
	engine *Relay
	id     string
	// asked is called when it was asked for the first time. late says that somebody follows
	// already when it is found out where to begin.
	asked func()
	late  bool
}

func (o *otherFeed) run(ctx context.Context) {
	defer o.asked()
	for before := new(told); ctx.Err() == nil; {
		t, err := o.ask(ctx, before)
		pause := tellPause
		switch {
		case err != nil:
			o.late = true
			pause = memberEvery
			o.engine.logger.Debug("what becomes of deliveries at another relay is not known at present", zap.String("relay", o.id), zap.Error(err))
		case before.Mark == "" && o.late:
			o.engine.feed.add(Settlement{unknown: true, theirs: true})
			fallthrough
		default:
			before = t
			o.engine.feed.gathered(t)
		}
		o.asked()
		if err == nil && len(t.All) == 0 {
			continue
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (o *otherFeed) ask(ctx context.Context, before *told) (*told, error) {
	patience := lookWithin
	if before.Mark != "" {
		patience += tellWithin
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, err := o.engine.member.ask(ctx, Addressee{Member: o.id}, question{Do: doTell, Told: &told{Mark: before.Mark, Own: before.Own}})
	if err != nil {
		return nil, err
	}
	return a.Told, nil
}

// gathered adds what another relay has told.
func (f *feed) gathered(t *told) {
	switch {
	case t.Missed > 0:
		f.skip(uint64(t.Missed))
	case t.Missed < 0:
		f.add(Settlement{unknown: true, theirs: true})
	}
	for i := range t.All {
		s := t.All[i].Settlement
		s.span, s.seq, s.theirs = t.All[i].Span, t.All[i].Seq, true
		f.add(s)
	}
}
