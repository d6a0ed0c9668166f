package relay

import (
	"slices"
	"strconv"
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
	// clockStep is the number of the last step of the clock that waiting has followed.
	clockStep int
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
	// wait is how the wait has ended that comes before an attempt.
	wait wait
	// waiting is since when it waits, in milliseconds of Unix time; 0 if it does not.
	waiting int64
}

// wait is how the wait of a delivery stands.
type wait uint8

const (
	waitNone    wait = iota // it has not waited, or not long enough
	waitReady               // what it waited for is there
	waitTimeout             // it is not, and the delivery is made all the same
	waitSpared              // there is nothing to wait for
)

// waitMarks are the words for them.
var waitMarks = [...]string{waitReady: string(WaitedReady), waitTimeout: string(WaitedTimeout), waitSpared: "spared"}

const (
	markReplayed = "replayed"
	markWaiting  = "waiting="
)

// waitingSince returns since when a delivery waits.
func (m *marks) waitingSince() time.Time { return time.UnixMilli(m.waiting) }

func (m marks) String() string {
	if m == (marks{}) {
		return ""
	}
	var words []string
	if m.replayed {
		words = append(words, markReplayed)
	}
	if m.wait != waitNone {
		words = append(words, waitMarks[m.wait])
	}
	if m.waiting != 0 {
		words = append(words, markWaiting+strconv.FormatInt(m.waiting, 36))
	}
	return strings.Join(words, " ")
}

func parseMarks(text string) marks {
	var m marks
	for word := range strings.FieldsSeq(text) {
		if since, ok := strings.CutPrefix(word, markWaiting); ok {
			m.waiting, _ = strconv.ParseInt(since, 36, 64)
			continue
		}
		if i := slices.Index(waitMarks[:], word); i >= 0 {
			m.wait = wait(i)
		}
		m.replayed = m.replayed || word == markReplayed
	}
	return m
}
