package relay

import "time"

// Outcome is how an attempt ended. It is a label of metrics.
type Outcome string

// Outcomes of an attempt.
const (
	OutcomeDelivered Outcome = "delivered"
	OutcomeRetry     Outcome = "retry"
	OutcomeFailed    Outcome = "failed"
	OutcomeCut       Outcome = "cut" // by a stop; made again, not counted as failed
)

// Observer is told what happens, for metrics. Its methods are called from many
// goroutines, on the path of the events: they must not block.
type Observer interface {
	// Accepted is called once an event is durable, with the number of its deliveries.
	Accepted(deliveries int)
	// Duplicate is called for each event that was known by its idempotency key.
	Duplicate()
	// Attempted is called after each attempt.
	Attempted(s *Subscription, o Outcome, kind ErrorKind, took time.Duration)
	// Settled is called when n deliveries are finished, by an attempt or without one.
	Settled(subscription string, state State, n uint64)
	// Arrived is called when a delivery has succeeded, with the time since acceptance. It
	// is not called for what was replayed: how late that is says nothing.
	Arrived(subscription string, latency time.Duration)
	// Polled is called after each poll for what a delivery waits for, Waited when a
	// delivery has waited to an end.
	Polled(s *Subscription, p Polled)
	Waited(subscription string, w Waited)
	// StoreFailed is called when an operation of the store fails: "append", "commit",
	// "read" or "trim".
	StoreFailed(operation string)
	// Noticed is called for each operational event, from a goroutine of its own.
	Noticed(n Notice)
	// EgressNoticed is called once for each event about addresses, likewise.
	EgressNoticed(n EgressNotice)
}

// NopObserver ignores everything.
type NopObserver struct{}

// Accepted implements [Observer].
func (NopObserver) Accepted(int) {}

// Duplicate implements [Observer].
func (NopObserver) Duplicate() {}

// Attempted implements [Observer].
func (NopObserver) Attempted(*Subscription, Outcome, ErrorKind, time.Duration) {}

// Settled implements [Observer].
func (NopObserver) Settled(string, State, uint64) {}

// Arrived implements [Observer].
func (NopObserver) Arrived(string, time.Duration) {}

// Polled implements [Observer].
func (NopObserver) Polled(*Subscription, Polled) {}

// Waited implements [Observer].
func (NopObserver) Waited(string, Waited) {}

// StoreFailed implements [Observer].
func (NopObserver) StoreFailed(string) {}

// Noticed implements [Observer].
func (NopObserver) Noticed(Notice) {}

// EgressNoticed implements [Observer].
func (NopObserver) EgressNoticed(EgressNotice) {}
