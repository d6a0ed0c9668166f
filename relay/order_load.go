package relay

import (
	"context"
	"slices"
	"time"
)

// linePage is how many of a key are kept at most when they are read.
const linePage = 1000

// wantsLines reports whether the lane has to look into the store for what is next of some keys.
// The caller holds the lock.
func (l *lane) wantsLines(now time.Time) bool {
	return len(l.order.starved) > 0 && !l.loadingLines && l.reads(now)
}

// loadLines brings into memory what is next of the keys that have nothing left there. One pass
// serves all of them: it reads everything that is open.
func (l *lane) loadLines() {
	l.mu.Lock()
	starved := l.order.starved
	if len(starved) == 0 || l.drops > 0 { // given up meanwhile
		l.loadingLines = false
		l.mu.Unlock()
		return
	}
	l.order.starved = make(map[string]*line)
	each := min(max((l.order.bound()-l.order.waiting)/len(starved), 1), linePage)
	since := l.retries.watch()
	l.mu.Unlock()

	found, err := l.readLines(starved, each)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.retries.unwatch(since)
	l.loadingLines = false
	if l.tenure.mirror {
		return
	}
	now := time.Now()
	for key, line := range starved {
		if l.order.lines[key] != line {
			continue // dropped meanwhile
		}
		if err != nil {
			l.order.starved[key] = line
			continue
		}
		f := found[key]
		f.first = slices.DeleteFunc(f.first, func(b behind) bool { return since.has(b.pos) })
		line.loaded(&l.order, f.first, f.more)
		l.promote(key, line, now)
	}
	if err != nil {
		l.unreadable(err, now)
	}
	l.advance(now)
}

// foundLine is what the store has of a key: the first ones, and whether there are more.
type foundLine struct {
	first []behind
	more  bool
}

// readLines returns the first of some keys that wait in the store, at most so many of each.
func (l *lane) readLines(of map[string]*line, each int) (map[string]*foundLine, error) {
	ctx := context.Background()
	if err := l.engine.Flush(ctx); err != nil {
		return nil, err
	}
	found := make(map[string]*foundLine, len(of))
	for key := range of {
		found[key] = new(foundLine)
	}
	for after, full := uint64(0), 0; ; {
		open, err := l.engine.store.Open(ctx, l.name, after, scanPage)
		if err != nil {
			return nil, err
		}
		for _, x := range open {
			after = x.From
			f := found[x.Key]
			switch {
			case x.Kind != Ordered || f == nil || f.more:
			case len(f.first) < each:
				p := parcelOf(&x)
				f.first = append(f.first, behindOf(&p))
			default:
				f.more = true
				full++
			}
		}
		if full == len(found) || len(open) < scanPage {
			return found, nil
		}
	}
}
