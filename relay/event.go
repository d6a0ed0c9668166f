package relay

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Seq is the position of an event in a store's log. It grows in commit order:
// once a reader has seen a Seq, no lower one can appear later. Gaps are allowed,
// reuse is not. Its upper bits are the Unix time of acceptance in milliseconds,
// never below the highest one stored, so that a time maps to a Seq.
type Seq uint64

// seqCounterBits is the part of a Seq that counts events within a millisecond.
const seqCounterBits = 20

// SeqAt returns the lowest Seq of events accepted at t or later. Times before
// 1970 give 0.
func SeqAt(t time.Time) Seq {
	ms := t.UnixMilli()
	if ms < 0 {
		return 0
	}
	return Seq(ms) << seqCounterBits
}

// NextSeq returns the Seq of an event that is accepted now, behind the last one.
func NextSeq(last Seq, now time.Time) Seq { return max(SeqAt(now), last+1) }

// lastYear is one that a Seq can hold.
const lastYear = 2240

// SeqFrom returns the lowest Seq of events that were not accepted before t; 0 for the zero
// time. It differs from [SeqAt] between two milliseconds.
func SeqFrom(t time.Time) Seq {
	switch {
	case t.IsZero():
		return 0
	case t.Year() > lastYear:
		return math.MaxInt64
	case t.Nanosecond()%int(time.Millisecond) != 0:
		t = t.Add(time.Millisecond)
	}
	return SeqAt(t)
}

// Time returns the acceptance time that s carries, in milliseconds and UTC.
func (s Seq) Time() time.Time {
	return time.UnixMilli(int64(s >> seqCounterBits)).UTC()
}

// Event is something that happened in an application, as the relay keeps and
// delivers it. It is not changed after [Store.Append] has returned, and may be
// read by many goroutines at once.
type Event struct {
	// ID is "evt_" and lower-case letters and digits; IDs sort by time.
	// The store assigns it.
	ID string
	// Seq is the position in the store's log. The store assigns it.
	Seq Seq
	// Accepted is when the store took the event, in milliseconds and UTC.
	// The store assigns it; it never runs backwards within one store, but for events that
	// were Moved.
	Accepted time.Time
	// Moved says that another store accepted it; see [Mover].
	Moved bool

	// Type is 1 to 255 visible ASCII characters; dots separate segments.
	Type string
	// Source and Subject are the CloudEvents attributes of those names, or empty.
	Source, Subject string
	// SourceID is the sender's own identifier of the event, or empty.
	SourceID string
	// Time is when it happened according to the sender; zero if it did not say.
	Time time.Time
	// ContentType is that of Data, as received; empty where there is neither.
	ContentType string
	// Data is the payload, byte for byte as received. It is JSON if ContentType says so;
	// CloudEvents may bring other bytes, or none.
	Data []byte
	// Size is that of Data, in bytes; also where Data was left out. The store sets it.
	Size int
	// Extensions are CloudEvents extension attributes, in their canonical text, and
	// "dataschema" where the sender gave one; or nil.
	Extensions map[string]string
	// Erased is when Data was erased by the operator; zero if it was not.
	Erased time.Time
	// TraceParent and TraceState are the W3C trace context of the request that
	// brought the event, or empty.
	TraceParent, TraceState string
	// Only are the subscription names to which the sender narrowed the match;
	// nil if it did not. An empty, non-nil list is not used.
	Only []string

	// Deliveries lists the subscriptions that the event matched when it was
	// accepted, with its position in the log of each. The store assigns it.
	Deliveries []Placement
}

// Placement is where an event stands in the log of one subscription.
type Placement struct {
	Subscription string
	// Pos is the ordinal within the subscription's log. It is contiguous from 1.
	Pos uint64
	// Key is what the subscription takes from the event to order or debounce it, as the
	// engine packs it; or empty.
	Key string
}

// Matched returns the names of the subscriptions that the event matched, in the
// order of the configuration; never nil.
func (e *Event) Matched() []string {
	names := make([]string, len(e.Deliveries))
	for i, p := range e.Deliveries {
		names[i] = p.Subscription
	}
	return names
}

// TraceID returns the trace that the event belongs to, in 32 hexadecimal digits, or an
// empty text if the sender named none.
func (e *Event) TraceID() string {
	const from, to = 3, 35 // version-traceid-parentid-flags
	if len(e.TraceParent) < to {
		return ""
	}
	return e.TraceParent[from:to]
}

// When returns the sender's time of the event, or that of its acceptance.
func (e *Event) When() time.Time {
	if e.Time.IsZero() {
		return e.Accepted
	}
	return e.Time
}

// Limits of an event.
const (
	// MaxTypeLength is in characters.
	MaxTypeLength = 255
	// MaxDataSize is in bytes. It keeps a record below the size at which the
	// default storage engine would take another path to the disk.
	MaxDataSize = 1000 << 10
)

// ReservedPrefix begins the types of events that the relay itself makes.
const ReservedPrefix = "relay."

// CheckType returns an error that says what is wrong with an event type from
// outside, or nil.
func CheckType(typ string) error {
	if err := CheckTypeForm(typ); err != nil {
		return err
	}
	if first, _, _ := strings.Cut(typ, "."); strings.EqualFold(first+".", ReservedPrefix) {
		return fmt.Errorf("the event type %q is reserved: types under %q are made by the relay itself", typ, ReservedPrefix)
	}
	return nil
}

// CheckTypeForm is CheckType for types that the relay itself may have made.
func CheckTypeForm(typ string) error {
	switch {
	case typ == "":
		return errors.New("the event type is missing")
	case len(typ) > MaxTypeLength:
		return fmt.Errorf("the event type has %d characters; at most %d are allowed", len(typ), MaxTypeLength)
	}
	for i := range len(typ) {
		if c := typ[i]; c <= ' ' || c > '~' {
			return fmt.Errorf("the event type has the byte 0x%02x at position %d; only visible ASCII characters are allowed, e.g. order.paid", c, i+1)
		}
	}
	if typ[0] == '.' || typ[len(typ)-1] == '.' || strings.Contains(typ, "..") {
		return fmt.Errorf("the event type %q has an empty segment; segments are separated by single dots, e.g. order.paid", typ)
	}
	return nil
}

// idEncoding is base32 with an alphabet in ASCII order, so that IDs sort as their
// numbers do. It leaves out i, l, o and u (Crockford).
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const idPrefix = "evt_"

// FormatID makes the ID of the event at s in the store with the given tag: a number
// that a store chooses at random when it is made, so that events moved between
// stores keep their IDs.
func FormatID(s Seq, tag uint16) string {
	var raw [10]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(s))
	binary.BigEndian.PutUint16(raw[8:], tag)
	return idPrefix + idEncoding.EncodeToString(raw[:])
}

// ParseID is the reverse of [FormatID].
func ParseID(id string) (Seq, uint16, error) {
	text, ok := strings.CutPrefix(id, idPrefix)
	if !ok {
		return 0, 0, fmt.Errorf("%q is no event id: it does not begin with %q", id, idPrefix)
	}
	raw, err := idEncoding.DecodeString(text)
	if err != nil || len(raw) != 10 {
		return 0, 0, fmt.Errorf("%q is no event id", id)
	}
	return Seq(binary.BigEndian.Uint64(raw[:8])), binary.BigEndian.Uint16(raw[8:]), nil
}
