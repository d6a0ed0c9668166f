package intake

import (
	"context"
	"sync"
	"time"
)

// deadline is a context that also ends some time after somebody first waits for it. Most
// requests find everything ready and wait for nothing, and setting a timer costs more
// than what is done with it.
type deadline struct {
	context.Context
	wait time.Duration

	mu     sync.Mutex
	timed  context.Context
	cancel context.CancelFunc
}

func newDeadline(ctx context.Context, wait time.Duration) *deadline {
	return &deadline{Context: ctx, wait: wait}
}

// begin sets the timer, the first time.
func (p *deadline) begin() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timed == nil {
		p.timed, p.cancel = context.WithTimeout(p.Context, p.wait)
	}
	return p.timed
}

// end frees what begin has set.
func (p *deadline) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
	}
}

// Done implements [context.Context].
func (p *deadline) Done() <-chan struct{} { return p.begin().Done() }

// Deadline implements [context.Context].
func (p *deadline) Deadline() (time.Time, bool) { return p.begin().Deadline() }

// Err implements [context.Context].
func (p *deadline) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timed != nil {
		return p.timed.Err()
	}
	return p.Context.Err()
}
