package relay

import (
	"net/http"
	"time"
)

// set gives a bound another value for a test.
func set[T any](bound *T, value T) (restore func()) {
	before := *bound
	*bound = value
	return func() { *bound = before }
}

// SetRetriesInMemory lowers the bound on retries in memory for a test; it applies to
// lanes made from then on.
func SetRetriesInMemory(n int) (restore func()) { return set(&retriesInMemory, n) }

// SetRetriesOfAll lowers the bound on retries in memory of all lanes for a test.
func SetRetriesOfAll(n int64) (restore func()) { return set(&retriesOfAll, n) }

// SetBehindOfAll lowers the bound on deliveries in memory that wait behind others, for a test.
func SetBehindOfAll(n int64) (restore func()) { return set(&behindOfAll, n) }

// SetWindowsOfAll lowers the bound on the windows of all lanes, for a test.
func SetWindowsOfAll(n int64) (restore func()) { return set(&windowsOfAll, n) }

// SetSpansMost bounds the spans that erasures leave.
func SetSpansMost(n int) (restore func()) { return set(&spansMost, n) }

// WindowsInMemory counts the open windows of all lanes.
func WindowsInMemory(r *Relay) int64 { return r.windows.Load() }

// BehindInMemory counts those that wait behind another of their key, of all lanes.
func BehindInMemory(r *Relay) int64 { return r.behind.Load() }

// RetriesInMemory counts the retries in memory of all lanes.
func RetriesInMemory(r *Relay) int64 { return r.retries.Load() }

// SetQueueEntries lowers the bound on a lane's queue for a test.
func SetQueueEntries(n int) (restore func()) { return set(&queueEntries, n) }

// Trim runs one round of retention.
var Trim = (*Relay).trim

// Bounds of what lanes share.
const (
	StartsPerCPU   = startsPerCPU
	DoubtfulPlaces = doubtfulPlaces
	GroupRecords   = groupRecords
)

// Places returns how many further places are taken.
func (r *Relay) Places() int64 { return r.ration.places.Load() }

// Match returns the subscriptions of a plan that want an event.
var Match = (*Plan).match

// ExpandHeader is what a header rule makes of an event.
func ExpandHeader(t *Text, e *Event) (string, error) { return t.Expand(e, fieldValue) }

// Tripped reports whether the breaker of a subscription is open.
func (r *Relay) Tripped(name string) bool {
	l := r.lane(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.condition.ProbeAt.IsZero()
}

// HideEcho is what is kept of an answer to a request with this header.
func HideEcho(s *Subscription, excerpt []byte, sent http.Header) []byte {
	return s.hideEcho(excerpt, sent)
}

// SetClock makes the clock of the machine show something else than the time that passes.
func SetClock(r *Relay, reading func(time.Time) time.Time) {
	r.wall.mu.Lock()
	defer r.wall.mu.Unlock()
	r.wall.reading, r.wall.shown = reading, reading(r.wall.seen)
}

// Ticking is how times of records are kept in memory.
var Ticking = ticking

// WaitingSince is since when a delivery waits that remembers this, after it was looked at twice.
func WaitingSince(r *Relay, since time.Time) time.Time {
	p := parcel{marks: marks{waiting: since.UnixMilli()}}
	r.wall.bringWait(&p)
	r.wall.bringWait(&p)
	return p.waitingSince()
}

// WaitingSinceRecorded is WaitingSince for what was read of the store, where it was recorded at a time.
func WaitingSinceRecorded(r *Relay, since, recorded time.Time) time.Time {
	p := parcel{marks: marks{waiting: since.UnixMilli()}, clockStep: r.wall.stepBefore(recorded)}
	r.wall.bringWait(&p)
	return p.waitingSince()
}
