package badger

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Fields of an event. Seq, and unless it was moved also ID and Accepted, follow from the key.
const (
	eventOrdinal     = 1
	eventType        = 2
	eventSource      = 3
	eventSubject     = 4
	eventSourceID    = 5
	eventTime        = 6
	eventContentType = 7
	eventExtension   = 8 // repeated: name and value
	eventTraceParent = 9
	eventTraceState  = 10
	eventOnly        = 11 // repeated
	eventPlacements  = 12 // packed: subscription, position, subscription, position, ...
	eventData        = 13
	eventOrderKey    = 14 // repeated, in the order of the placements; none if no placement has one
	eventErased      = 15
	eventMovedID     = 16 // with the next: of an event of another store
	eventAccepted    = 17
	eventPacked      = 18 // in the place of the data, where that is shorter

	extensionName  = 1
	extensionValue = 2
)

// place is a placement with the subscription's number.
type place struct {
	sub uint32
	pos uint64
	// key is the ordering key, or empty.
	key string
}

const (
	maxStringLen = 2 + 5 // what a string takes besides its bytes
	maxPlaceLen  = 5 + 10
)

// eventSize is at least the size of the record of e with its key, without ordering keys.
func eventSize(e *relay.Event, places int) int {
	n := eventKeyLen + frameLen + 11 + 2*maxTimeLen + 10*maxStringLen +
		len(e.Type) + len(e.Source) + len(e.Subject) + len(e.SourceID) + len(e.ContentType) +
		len(e.TraceParent) + len(e.TraceState) + len(e.Data) + places*maxPlaceLen
	if e.Moved {
		n += maxTimeLen + maxStringLen + len(e.ID)
	}
	for name, value := range e.Extensions {
		n += 3*maxStringLen + len(name) + len(value)
	}
	for _, name := range e.Only {
		n += maxStringLen + len(name)
	}
	return n
}

func encodeEvent(key []byte, e *relay.Event, ordinal uint64, places []place) []byte {
	return appendEvent(newRecord(eventSize(e, len(places))), key, e, ordinal, places)
}

// appendEvent is encodeEvent for a new record.
func appendEvent(b, key []byte, e *relay.Event, ordinal uint64, places []place) []byte {
	b = appendUint(b, eventOrdinal, ordinal)
	b = appendString(b, eventType, e.Type)
	b = appendString(b, eventSource, e.Source)
	b = appendString(b, eventSubject, e.Subject)
	b = appendString(b, eventSourceID, e.SourceID)
	b = appendTime(b, eventTime, e.Time)
	b = appendString(b, eventContentType, e.ContentType)
	if len(e.Extensions) > 0 {
		for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
			b = appendExtension(b, name, e.Extensions[name])
		}
	}
	b = appendString(b, eventTraceParent, e.TraceParent)
	b = appendString(b, eventTraceState, e.TraceState)
	for _, name := range e.Only {
		b = protowire.AppendString(protowire.AppendTag(b, eventOnly, protowire.BytesType), name)
	}
	b = appendPlaces(b, places)
	b = appendOrderKeys(b, places)
	b = appendTime(b, eventErased, e.Erased)
	if e.Moved {
		b = appendString(b, eventMovedID, e.ID)
		b = appendTime(b, eventAccepted, e.Accepted)
	}
	withPacked(e.Data, func(packed []byte) {
		if packed != nil {
			b = appendBytes(b, eventPacked, packed)
		} else {
			b = appendBytes(b, eventData, e.Data)
		}
	})
	return seal(key, b)
}

func appendExtension(b []byte, name, value string) []byte {
	size := protowire.SizeTag(extensionName) + protowire.SizeBytes(len(name))
	if value != "" {
		size += protowire.SizeTag(extensionValue) + protowire.SizeBytes(len(value))
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, eventExtension, protowire.BytesType), uint64(size))
	b = protowire.AppendString(protowire.AppendTag(b, extensionName, protowire.BytesType), name)
	return appendString(b, extensionValue, value)
}

func appendPlaces(b []byte, places []place) []byte {
	if len(places) == 0 {
		return b
	}
	size := 0
	for _, p := range places {
		size += protowire.SizeVarint(uint64(p.sub)) + protowire.SizeVarint(p.pos)
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, eventPlacements, protowire.BytesType), uint64(size))
	for _, p := range places {
		b = protowire.AppendVarint(protowire.AppendVarint(b, uint64(p.sub)), p.pos)
	}
	return b
}

// appendOrderKeys writes the key of each placement, unless none has one.
func appendOrderKeys(b []byte, places []place) []byte {
	if !slices.ContainsFunc(places, func(p place) bool { return p.key != "" }) {
		return b
	}
	for _, p := range places {
		b = protowire.AppendString(protowire.AppendTag(b, eventOrderKey, protowire.BytesType), p.key)
	}
	return b
}

// eventPart says how much of an event is read.
type eventPart uint8

const (
	placesOnly eventPart = iota // ordinal and places
	withoutData
	wholeEvent
)

// storedEvent is an event as its record has it.
type storedEvent struct {
	event   *relay.Event // without ID and Deliveries; nil if only the places were read
	ordinal uint64
	places  []place
	keyed   int // placements whose ordering key was read
	erased  time.Time
	movedID string // of an event of another store
}

// decodeEvent reads an event. The result does not alias rec; the data is copied once.
func decodeEvent(key, rec []byte, part eventPart) (storedEvent, error) {
	seq, err := seqOf(key)
	if err != nil {
		return storedEvent{}, &CorruptError{keyName(key), err}
	}
	var out storedEvent
	if part != placesOnly {
		out.event = &relay.Event{Seq: seq, Accepted: seq.Time()}
	}
	err = decode(key, rec, func(f *field) error {
		switch f.num {
		case eventOrdinal:
			out.ordinal = f.value
			return nil
		case eventPlacements:
			return out.decodePlaces(f)
		case eventOrderKey:
			return out.decodeOrderKey(f)
		case eventErased:
			out.erased, err = f.time()
			return err
		case eventMovedID:
			out.movedID = f.string()
			return nil
		}
		if out.event == nil {
			return nil
		}
		return decodeEventField(out.event, f, part)
	})
	if err != nil {
		return storedEvent{}, err
	}
	if out.event != nil {
		out.event.Erased = out.erased
		out.event.Moved, out.event.ID = out.movedID != "", out.movedID
	}
	return out, nil
}

func decodeEventField(e *relay.Event, f *field, part eventPart) (err error) {
	switch f.num {
	case eventType:
		e.Type = f.string()
	case eventSource:
		e.Source = f.string()
	case eventSubject:
		e.Subject = f.string()
	case eventSourceID:
		e.SourceID = f.string()
	case eventTime:
		e.Time, err = f.time()
	case eventAccepted:
		e.Accepted, err = f.time()
	case eventContentType:
		e.ContentType = f.string()
	case eventExtension:
		err = decodeExtension(e, f)
	case eventTraceParent:
		e.TraceParent = f.string()
	case eventTraceState:
		e.TraceState = f.string()
	case eventOnly:
		e.Only = append(e.Only, f.string())
	case eventData:
		e.Size = len(f.bytes)
		if part == wholeEvent {
			e.Data = bytes.Clone(f.bytes)
		}
	case eventPacked:
		if e.Size, err = unpackedLen(f.bytes); err == nil && part == wholeEvent {
			e.Data, err = unpack(f.bytes)
		}
	}
	return err
}

func decodeExtension(e *relay.Event, f *field) error {
	var name, value string
	err := eachField(f.bytes, func(f *field) error {
		switch f.num {
		case extensionName:
			name = f.string()
		case extensionValue:
			value = f.string()
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading an extension: %w", err)
	}
	if e.Extensions == nil {
		e.Extensions = make(map[string]string)
	}
	e.Extensions[name] = value
	return nil
}

// decodeOrderKey reads the next key; the placements stand before them.
func (s *storedEvent) decodeOrderKey(f *field) error {
	if s.keyed == len(s.places) {
		return errors.New("an ordering key stands without its placement")
	}
	s.places[s.keyed].key = f.string()
	s.keyed++
	return nil
}

func (s *storedEvent) decodePlaces(f *field) error {
	odd := false
	var sub uint64
	err := f.varints(func(v uint64) error {
		if odd = !odd; odd {
			sub = v
			return nil
		}
		s.places = append(s.places, place{sub: uint32(sub), pos: v})
		return nil
	})
	if err == nil && odd {
		err = errors.New("a subscription stands without its position")
	}
	return err
}
