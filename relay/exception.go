package relay

import (
	"cmp"
	"time"
)

// Kind says why a delivery is not simply finished in order. The numbers are part
// of the storage format.
type Kind uint8

// Open kinds: there is still something to do. Closed kinds: finished, but not
// delivered. Not every kind is written yet; readers must know them all.
const (
	Retry       Kind = 1 // due at Due; attempted before unless Attempts is 0
	Waiting     Kind = 2 // waits for a condition outside
	Debounced   Kind = 3 // a newer one of its key may take its place until Due
	Ordered     Kind = 4 // stands behind another one of its key
	Replay      Kind = 5 // a span to be delivered again; From advances
	Failed      Kind = 65
	Superseded  Kind = 66
	Erased      Kind = 67
	Quarantined Kind = 68 // its record cannot be read or sent
	Delivered   Kind = 69 // before it was moved here; such a record does not stay
)

// Closed reports whether k is a final state.
func (k Kind) Closed() bool { return k >= Failed }

// state returns the state of a delivery that has ended in a closed kind.
func (k Kind) state() State {
	switch k {
	case Superseded:
		return StateSuperseded
	case Delivered:
		return StateDelivered
	default:
		return StateFailed
	}
}

// Exception is what is known of a delivery, or a span of them, that did not simply
// succeed in its turn. A position has at most one open or closed exception.
type Exception struct {
	// From and To are positions in the subscription's log; equal for one delivery. A span
	// that reaches beyond the head covers what comes there later.
	From, To uint64
	// Seq is that of the event at From.
	Seq  Seq
	Kind Kind
	// Attempts is the number of attempts made; they number on over replays.
	Attempts int
	// Step is the index of the next delay in the retry schedule.
	Step int
	// At is when the exception was recorded.
	At time.Time
	// Due is when the next attempt may be made. If the subscription was resumed after At,
	// it is due since then.
	Due time.Time
	// Since is the time of the first attempt of this run through the schedule.
	Since time.Time
	// Key is the value of the ordering key, or empty; of what is Debounced that of its
	// [Placement].
	Key string
	// Reason is a word for machines, e.g. "schedule" or "dropped"; of an open kind what the
	// engine has to remember. At most 64 bytes.
	Reason string
}

// keys are those of the delivery of an open exception.
func (e Exception) keys() keys {
	if e.Kind == Debounced {
		return unpackKeys(e.Key)
	}
	return keys{order: e.Key}
}

// Compare orders open exceptions as [Store.Open] does: by From, and what is of one delivery
// before a replay that begins there.
func (e Exception) Compare(other Exception) int {
	return cmp.Or(cmp.Compare(e.From, other.From), cmp.Compare(e.Kind, other.Kind))
}

// CutOpen cuts a page of open exceptions at limit. A delivery and a replay may begin at the same
// position; since the next page begins after the last From of this one, the two stay together
// (unless limit is 1).
func CutOpen(open []Exception, limit int) []Exception {
	if len(open) <= limit {
		return open
	}
	if limit > 1 && open[limit-1].From == open[limit].From {
		limit--
	}
	return open[:limit]
}
