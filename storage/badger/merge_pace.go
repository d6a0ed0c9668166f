package badger

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// mergePace spreads the merging of tables over time.
//
// Under full load there are enough new tables every twenty seconds or so. Badger then merges them
// as fast as it can, in many goroutines, and for seconds hardly anything else gets a processor: a
// third to a tenth of the events are taken that are taken otherwise. But there is time until as
// many new tables have come again.
type mergePace struct {
	limiter *rate.Limiter

	mu sync.Mutex
	// newTables returns how many tables have not been merged yet; nil: the database is not open.
	newTables func() int
	// began is when merging began, last when a table was last written.
	began, last time.Time
	// hurried counts those who wait for the end of a merging; rushed is closed while there are
	// any.
	hurried int
	rushed  chan struct{}
}

const (
	// mergedPerSecond is how many tables are written at most in a second, while nobody waits: of
	// new ones, and the first level, into which they are merged, most within spreadFor. After ten
	// seconds Badger would merge those with one another that have come meanwhile, all at once in
	// memory; on a busy machine the rest takes some.
	mergedPerSecond = 40
	spreadFor       = 6 * time.Second
	// mergePause lies between the end of one merging and the beginning of the next.
	mergePause = time.Second
	// newTablesInTime is from how many new tables on merging is behind.
	newTablesInTime = 2 * newTables
)

func newMergePace() *mergePace {
	return &mergePace{limiter: rate.NewLimiter(mergedPerSecond, 1), rushed: make(chan struct{})}
}

// spread begins, once the database is open.
func (p *mergePace) spread(newTables func() int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newTables = newTables
}

// wait returns when the next table may be written.
func (p *mergePace) wait() {
	now := time.Now()
	p.mu.Lock()
	if now.Sub(p.last) >= mergePause {
		p.began = now
	}
	p.last = now
	atOnce := p.newTables == nil || p.hurried > 0 || now.Sub(p.began) >= spreadFor
	count, rushed := p.newTables, p.rushed
	p.mu.Unlock()
	if atOnce || count() >= newTablesInTime {
		return
	}
	timer := time.NewTimer(p.limiter.Reserve().Delay())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-rushed:
	}
}

// hurry lets tables be merged as fast as that goes, until the function is called that it returns.
func (p *mergePace) hurry() (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hurried++; p.hurried == 1 {
		close(p.rushed)
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.hurried--; p.hurried == 0 {
			p.rushed = make(chan struct{})
		}
	}
}
