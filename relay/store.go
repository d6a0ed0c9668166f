package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Errors of a store. They may be wrapped.
var (
	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("the store is closed")
	// ErrNotFound means that there is no such event, or that it is no longer kept.
	ErrNotFound = errors.New("no such event")
	// ErrKeyReused means that an idempotency key came again with other content.
	ErrKeyReused = errors.New("the idempotency key was used before with another request")
	// ErrFull means that there is no room: intake must refuse, deliveries go on.
	ErrFull = errors.New("the store has no room")
	// ErrErased means that the data of an event was erased: there is nothing to deliver.
	ErrErased = errors.New("the event's data was erased")
	// ErrBroken means that durability is lost (a write or sync failed). Nothing more
	// is accepted until the store was opened again.
	ErrBroken = errors.New("the store has failed")
)

// BatchTooLargeError means that a batch does not fit into one storage transaction.
// Nothing of it was stored.
type BatchTooLargeError struct {
	// Fits is the number of leading items that would have fitted.
	Fits int
}

func (e *BatchTooLargeError) Error() string {
	return fmt.Sprintf("the batch is larger than one storage transaction; its first %d items would fit", e.Fits)
}

// KeyReusedError is [ErrKeyReused] for one item of a batch.
type KeyReusedError struct {
	// Item is the index of the item, or -1 if it is the key of the whole batch.
	Item int
}

func (e *KeyReusedError) Error() string { return ErrKeyReused.Error() }

// Is reports whether target is [ErrKeyReused].
func (e *KeyReusedError) Is(target error) bool { return target == ErrKeyReused }

// UnreadableError means that a record of the store cannot be read. The event it belongs
// to is set aside, not delivered.
type UnreadableError struct {
	// Pos is the position in the log that was read, 0 if none was; Seq is that of the event, 0
	// if it is not known: then several entries may be gone, up to the one at Pos.
	Pos uint64
	Seq Seq
	Err error
}

func (e *UnreadableError) Error() string {
	switch {
	case e.Pos == 0:
		return fmt.Sprintf("reading the event %d: %v", e.Seq, e.Err)
	case e.Seq == 0:
		return fmt.Sprintf("reading the log up to position %d: %v", e.Pos, e.Err)
	}
	return fmt.Sprintf("reading the event %d at position %d: %v", e.Seq, e.Pos, e.Err)
}

// Unwrap returns the cause.
func (e *UnreadableError) Unwrap() error { return e.Err }

// KeyKind separates the kinds of idempotency keys: keys of different kinds never
// collide.
type KeyKind uint8

// Kinds of idempotency keys, in the order in which they take precedence. The
// numbers are part of the storage format.
const (
	KeyHeader     KeyKind = 1 // the Idempotency-Key header
	KeyCloudEvent KeyKind = 2 // CloudEvents source and id
	KeyEnvelope   KeyKind = 3 // the id of the JSON envelope
	KeyFrom       KeyKind = 4 // what key_from or accept names
	KeyOwn        KeyKind = 5 // an event that the relay itself makes
)

// Key is an idempotency key with the digest of what it stands for.
type Key struct {
	Kind KeyKind
	Text string
	// Sum is a digest of type, source, content type, narrowing and body.
	Sum [sha256.Size]byte
}

// Span is a range of positions in a subscription's log, both ends included.
type Span struct{ From, To uint64 }

// Progress is the state of one subscription's log. It is what the store keeps
// instead of a row for each delivery.
type Progress struct {
	Subscription string
	// Epoch counts the changes of who carries the subscription, in a [Shared] store:
	// [Member.Carry] tells it, and an [Update] is taken under the same one alone. Elsewhere,
	// and before anybody carried it, it is 0.
	Epoch uint64
	// Head is the highest position in the log, 0 if it is empty. The store keeps it;
	// it is ignored in an [Update].
	Head uint64
	// Low is the low-water mark: every position at or below it is finished or has an
	// open [Exception].
	Low uint64
	// Done are the positions above Low that are finished or have an open exception,
	// ascending and not touching. There are at most as many as attempts in flight
	// plus one.
	Done []Span

	// Counters of finished deliveries; they only grow.
	Delivered, Failed, Superseded uint64
	// Open is the number of open exceptions. None of them is due before NextDue; zero: that
	// is not known.
	Open    uint64
	NextDue time.Time

	// Paused is the operator's pause (the configuration has its own), with its reason.
	Paused       bool
	PausedReason string
	// Disabled says that the subscription takes no deliveries until it is resumed, for
	// the reason given (for example that its endpoint answered 410).
	Disabled       bool
	DisabledReason string
	// HoldUntil holds the whole subscription until then, because its endpoint asked
	// for it (Retry-After).
	HoldUntil time.Time
	// ProbeAt is when one attempt may probe an endpoint whose breaker is open; zero while
	// it is closed.
	ProbeAt time.Time
	// ResumedAt is when the subscription was last resumed: exceptions that are older are
	// due since then.
	ResumedAt time.Time
	// LastSuccess is the end of the last successful attempt, FailingSince that of the
	// first failed one after it. Either may be zero. FailingFor is how long there were only
	// failures at the last of them, without the time in which no engine ran.
	LastSuccess, FailingSince time.Time
	FailingFor                time.Duration
}

// AttemptRecord is an [Attempt] with the delivery that it belongs to.
type AttemptRecord struct {
	Seq Seq
	// Pos is the delivery's position in the log of its subscription, or 0. A store may keep
	// attempts of neighbours together.
	Pos uint64
	Attempt
}

// Update is the new state of one subscription with all that led to it.
type Update struct {
	Progress Progress
	// Put adds or replaces exceptions. Putting a closed one removes an open one of the
	// same From, and the reverse.
	Put []Exception
	// Drop removes exceptions by their From: the delivery succeeded.
	Drop []uint64
	// Attempts are added. See [Forgotten] for those that they push out.
	Attempts []AttemptRecord
}

// records returns about how many records an update writes.
func (u *Update) records() int { return 1 + len(u.Put) + len(u.Drop) + len(u.Attempts) }

// Attempts of one delivery that are kept: the first ones, and the last ones.
const (
	keepFirstAttempts = 5
	keepLastAttempts  = 45
)

// Forgotten returns the number of the attempt that is removed when attempt n of the
// same delivery is added, or 0 if there is none.
func Forgotten(n int) int {
	if old := n - keepLastAttempts; old > keepFirstAttempts {
		return old
	}
	return 0
}

// Lasting reports whether attempt n of a delivery is kept for as long as the event: no later
// one pushes it out.
func Lasting(n int) bool { return n <= keepFirstAttempts }

// Entry is an event at a position of a subscription's log.
type Entry struct {
	Pos   uint64
	Event *Event
}

// EventQuery selects events for a list, newest first.
type EventQuery struct {
	// Type is compared without regard to case; empty: all.
	Type string
	// Since is inclusive and Until exclusive, on acceptance time; zero: open.
	Since, Until time.Time
	// Unmatched selects only events that matched no subscription.
	Unmatched bool
	// Before selects events below this Seq; 0: from the newest.
	Before Seq
	// Limit is the largest number of events to return.
	Limit int
}

// EventPage is one page of a list.
type EventPage struct {
	// Events come without Data.
	Events []*Event
	// Next is the Before of the next page, 0 at the end. A page may hold fewer events
	// than asked for, even none, while Next is not 0: a page scans a bounded number of
	// records.
	Next Seq
}

// TrimPolicy says which finished records may go.
type TrimPolicy struct {
	// DeliveredBefore: events accepted before it go if all deliveries succeeded or
	// there were none. FailedBefore: also those with a delivery that failed.
	// What is unfinished is never removed.
	DeliveredBefore, FailedBefore time.Time
	// KeysBefore: idempotency keys stored before it go.
	KeysBefore time.Time
	// MaxBytes is how large the store may be, 0: as large as it gets. Beyond it finished
	// events go, oldest first, whatever their age.
	MaxBytes int64
}

// Trimmed is what one bounded step of trimming did.
type Trimmed struct {
	// Events and Keys are how many went, Kept how many events were looked at and are left.
	Events, Keys, Kept int
	// More says that the step stopped at its bound; call again.
	More bool
}

// StoreStats is what an operator is told of a store.
type StoreStats struct {
	Engine string
	// Location is a directory or a database without credentials.
	Location string
	// Size is in bytes by part (events, logs, attempts, other), as far as the engine
	// can tell them apart; Free is the room left on its volume, in bytes, -1 if unknown.
	Size map[string]int64
	Free int64
	// Events is the number of events ever stored; it is contiguous.
	Events uint64
}

// Store keeps events and the progress of their deliveries. It is safe for
// concurrent use. Every method returns [ErrClosed] after Close.
type Store interface {
	Notes

	// Append stores a batch, whole or not at all, and returns when it is durable.
	// It fills in ID, Seq, Accepted and Deliveries of the events that are new.
	//
	// stored is called with the events that are new (if any) as soon as they are
	// durable and before Append returns, even if ctx has ended by then. Calls of
	// stored, over all Appends, happen one after the other and in commit order; it
	// must not block.
	//
	// Errors: [KeyReusedError], [BatchTooLargeError], [ErrFull], [ErrBroken],
	// [ErrClosed]: nothing was stored. ctx is observed only until the batch is handed
	// to the writer: its error too means that nothing was stored.
	Append(ctx context.Context, b Batch, stored func([]*Event)) ([]Receipt, error)

	// Place adds an event that is stored already to the log of one more subscription, at
	// its head. placed is called like stored of Append, with the whole event, whose
	// Deliveries end with the new place; it is not called if the event has a place there.
	// An event that was erased is refused with [ErrErased].
	Place(ctx context.Context, s Seq, to Target, placed func(*Event)) error

	// Erase takes the data of an event out of the store, with its ordering keys and what
	// its attempts keep of answers and errors: nothing that is read later holds any of it,
	// not even of an attempt that is added afterwards. The event itself stays, and its
	// Erased is set. With it updates are applied as by Commit: they are to say that those of
	// its deliveries which were not made are [Erased]. A crash may undo the updates, but not
	// the erasure: who finds an open delivery of an erased event ends it.
	//
	// Errors: [ErrNotFound], [ErrFull], [ErrBroken], [ErrClosed]. After an error, or where
	// the event was erased before, it may be called again.
	Erase(ctx context.Context, s Seq, updates []Update) error

	// Commit applies updates, each of them atomically. A crash may undo the newest
	// commits, which yields repeated attempts, never losses.
	Commit(ctx context.Context, updates []Update) error

	// Progress yields the state of every subscription that ever had a log or an update.
	Progress(ctx context.Context) iter.Seq2[Progress, error]

	// Read returns entries of a subscription's log with positions above after,
	// ascending, at most limit of them and, from the second on, at most maxBytes of
	// Data. Its cost does not depend on what was delivered or removed before. It stops
	// before a record that it cannot read; if that is the first, the error is an
	// [UnreadableError], and who goes on does so behind its Pos.
	Read(ctx context.Context, subscription string, after uint64, limit, maxBytes int) ([]Entry, error)

	// Log returns positions and Seqs of a subscription's log below before (0: from the
	// head), descending, at most limit.
	Log(ctx context.Context, subscription string, before uint64, limit int) ([]LogEntry, error)

	// Open returns open exceptions with From above after, ascending, at most limit.
	Open(ctx context.Context, subscription string, after uint64, limit int) ([]Exception, error)

	// Exception returns the exception that covers a position, or false.
	Exception(ctx context.Context, subscription string, pos uint64) (Exception, bool, error)

	// Event returns the event at s with its data, [ErrNotFound], or an [UnreadableError].
	Event(ctx context.Context, s Seq) (*Event, error)

	// Find returns the Seq of the event with this ID, or [ErrNotFound].
	Find(ctx context.Context, id string) (Seq, error)

	// Attempts returns the kept attempts of one delivery, ascending; those of an erased
	// event without Error and Excerpt.
	Attempts(ctx context.Context, s Seq, subscription string) ([]Attempt, error)

	// Events lists events, newest first.
	Events(ctx context.Context, q EventQuery) (EventPage, error)

	// Trim removes what p allows, oldest first, in one bounded step.
	Trim(ctx context.Context, p TrimPolicy) (Trimmed, error)

	// Stats returns figures for operators. It does not scan.
	Stats(ctx context.Context) (StoreStats, error)

	// Err returns why the store does not accept events at present ([ErrFull],
	// [ErrBroken], [ErrClosed]), or nil.
	Err() error

	// Close waits for writes under way, then releases the store.
	Close() error
}

// LogEntry is a position of a subscription's log with the event that stands there.
type LogEntry struct {
	Pos uint64
	Seq Seq
}

// Reopener is a [Store] that opens itself again after it has failed. Meanwhile it answers
// [ErrBroken]; then it may hold events of which nobody was told.
type Reopener interface {
	// OnReopen makes the store call fn whenever it is open again, before it takes anything
	// new. fn may call Progress and nothing else of the store.
	OnReopen(fn func())
}
