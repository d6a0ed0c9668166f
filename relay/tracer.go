package relay

import (
	"context"
	"strings"
	"time"
)

// Tracer makes spans of what takes time. Its methods are called from many goroutines and must
// not block. A plan without one makes none, and pays nothing.
//
// Each method returns a context that carries the span, and what ends it; that may be nil,
// where nothing is traced.
type Tracer interface {
	// Publishing begins the span of matching and storing so many events.
	Publishing(ctx context.Context, events int) (context.Context, func([]Receipt, error))
	// Attempting begins the span of an attempt. It is made minutes or days after the event
	// came, and for each subscription anew: the span belongs to no trace of the event, but
	// links to the one that [Event.TraceParent] names.
	Attempting(ctx context.Context, e *Event, s *Subscription, number int) (context.Context, func(Attempt))
	// Waited makes the span of a wait that has just ended, likewise; see [WaitFor].
	Waited(e *Event, s *Subscription, since time.Time, how Waited)
}

// Sampled reports whether the event's trace is recorded, as far as its sender says (W3C
// Trace Context, section 3.2.2.5.1). Of an event without a trace it is true: nobody has
// decided yet.
func (e *Event) Sampled() bool {
	const flags = 53 // the last two of version-traceid-parentid-flags
	if len(e.TraceParent) < flags+2 {
		return true
	}
	return strings.IndexByte("13579bdf", e.TraceParent[flags+1]) >= 0
}
