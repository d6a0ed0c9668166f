package relay

import (
	"strings"
	"time"
)

// parcel is a delivery as its lane carries it: what its exception in the store says, or
// would say if it had one.
type parcel struct {
	pos uint64
	seq Seq
	// event is set only where it is at hand, and the wait is none.
	event *Event
	// attempts were made; step is the place in the schedule, since the time of the first
	// attempt of this run through it.
	attempts, step int
	since          time.Time
	// key is that of the line whose head this is, or empty.
	key string
	marks
	// stored says that an exception of the store stands for it. Otherwise it came from
	// the log and goes back as if it had not been taken.
	stored bool
}

// parcelOf returns what an open exception stands for.
func parcelOf(x *Exception) parcel {
	return parcel{
		pos: x.From, seq: x.Seq, attempts: x.Attempts, step: x.Step, since: x.Since, key: x.Key,
		marks: parseMarks(x.Reason), stored: true,
	}
}

// exception returns the open exception that says what the parcel is in.
func (p *parcel) exception(kind Kind, now time.Time) Exception {
	return Exception{
		From: p.pos, To: p.pos, Seq: p.seq, Kind: kind, Attempts: p.attempts, Step: p.step,
		At: now, Due: now, Since: p.since, Key: p.key, Reason: p.marks.String(),
	}
}

// marks are what else is remembered of an unfinished delivery, as words in the Reason of
// its exception.
type marks struct {
	// replayed says that somebody wants it again, or after all: it is late by intent.
	replayed bool
}

const markReplayed = "replayed"

func (m marks) String() string {
	if m.replayed {
		return markReplayed
	}
	return ""
}

func parseMarks(text string) marks {
	var m marks
	for word := range strings.FieldsSeq(text) {
		m.replayed = m.replayed || word == markReplayed
	}
	return m
}
