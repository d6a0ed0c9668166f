package relay

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// Following selects settlements.
type Following struct {
	// Subscription and State are exact; empty: all.
	Subscription string
	State        State
	// After is the Mark of the last settlement that was read, to go on from there; empty: from
	// now on. One of another engine, or of long ago, is as good as none.
	After string
}

// Follower reads settlements as they happen. It is used by one goroutine, and closed.
type Follower struct {
	engine *Relay
	q      Following
	wake   chan struct{}

	// read is the number of the last one that was taken. resumed says that the caller has read
	// before, unknown that it cannot be told what came since.
	read             uint64
	resumed, unknown bool
	// relayed: it reads for another relay. own counts those of this one up to where it began.
	relayed bool
	own     uint64
	taken   []Settlement
	page    [followPage]Settlement
}

// followPage is how many settlements are taken at once, and how many events of a span are
// read at once.
const followPage = 256

// UnknownlyMany is what [Follower.Next] says was missed where nobody has counted.
const UnknownlyMany = -1

// Follow begins to read what becomes of deliveries, from now on or from where q.After says.
// Of several engines on one store, it tells what all of them do, and waits up to two seconds
// for the others to have been asked.
func (r *Relay) Follow(q Following) *Follower {
	f := r.follow(q, false)
	r.gathering.begin(r)
	return f
}

func (r *Relay) follow(q Following, relayed bool) *Follower {
	f := &Follower{engine: r, q: q, wake: make(chan struct{}, 1), resumed: q.After != "", relayed: relayed}
	if number, ok := r.unmark(q.After); ok {
		f.read = number
	} else {
		f.read = ^uint64(0) // none of ours
	}
	r.feed.follow(f)
	return f
}

// Mark is a name of a settlement for [Following].
func (f *Follower) Mark(s *Settlement) string {
	return f.engine.epoch() + strconv.FormatUint(s.Number, 10)
}

// Here is the Mark of the last settlement that Next has looked at, selected or not.
func (f *Follower) Here() string { return f.engine.epoch() + strconv.FormatUint(f.read, 10) }

// epoch begins the marks of this engine.
func (r *Relay) epoch() string { return strconv.FormatInt(r.opened.UnixMilli(), 36) + "." }

func (r *Relay) unmark(text string) (uint64, bool) {
	number, ours := strings.CutPrefix(text, r.epoch())
	n, err := strconv.ParseUint(number, 10, 64)
	return n, ours && err == nil
}

// Close ends it. Next must not be called again.
func (f *Follower) Close() { f.engine.feed.leave(f) }

func (f *Follower) notify() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Next waits for settlements and returns some, in the order in which they happened. missed is
// how many came before them that this reader was too slow for, whatever it selects, or
// [UnknownlyMany]; there may be nothing but that. The error is that of ctx, or [ErrClosed].
func (f *Follower) Next(ctx context.Context) (all []Settlement, missed int64, err error) {
	for {
		if f.unknown {
			f.unknown = false
			return nil, UnknownlyMany, nil
		}
		if len(f.taken) > 0 {
			if f.taken[0].unknown {
				f.taken = f.taken[1:]
				return nil, UnknownlyMany, nil
			}
			if all := f.resolve(ctx); len(all) > 0 {
				return all, 0, nil
			}
			continue
		}
		n, overwritten, closed := f.engine.feed.take(f, f.page[:])
		f.taken = f.page[:n]
		switch {
		case overwritten > 0:
			return nil, int64(overwritten), nil
		case n > 0:
			continue
		case closed:
			return nil, 0, ErrClosed
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
}

// resolve returns the next of what was taken that are selected, with their events.
func (f *Follower) resolve(ctx context.Context) (all []Settlement) {
	for len(f.taken) > 0 && len(all) < followPage && !f.taken[0].unknown {
		s := &f.taken[0]
		switch {
		case f.q.Subscription != "" && s.Delivery.Subscription != f.q.Subscription, f.q.State != "" && s.Delivery.State != f.q.State:
		case s.Delivery.Event != "":
			all = append(all, *s)
		default:
			var more bool
			if all, more = f.lookUp(ctx, all, s); more {
				return all
			}
		}
		f.taken = f.taken[1:]
	}
	return all
}

// lookUp appends what a span stands for, as far as its events can be read, and reports
// whether there is more of it.
func (f *Follower) lookUp(ctx context.Context, all []Settlement, s *Settlement) ([]Settlement, bool) {
	r := f.engine
	if s.span.From == s.span.To && s.seq != 0 {
		e, err := r.store.Event(ctx, s.seq)
		if err == nil {
			all = append(all, s.of(e))
		}
		return all, false
	}
	entries, err := r.store.Read(ctx, s.Delivery.Subscription, s.span.From-1, followPage, MaxDataSize)
	if err != nil {
		r.logger.Debug("events of deliveries that were given up cannot be read, and are not streamed",
			zap.String("subscription", s.Delivery.Subscription), zap.Error(fmt.Errorf("positions %d to %d: %w", s.span.From, s.span.To, err)))
		return all, false
	}
	for _, entry := range entries {
		if entry.Pos > s.span.To {
			return all, false
		}
		all = append(all, s.of(entry.Event))
		s.span.From = entry.Pos + 1
	}
	return all, len(entries) > 0 && s.span.From <= s.span.To
}

// of returns what a settlement without an event says of this one.
func (s *Settlement) of(e *Event) Settlement {
	one := *s
	one.Type, one.Delivery.Event = e.Type, e.ID
	return one
}
