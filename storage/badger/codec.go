package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// recordVersion is the first byte of every record. It changes only if the framing
// does; new fields need no new version.
const recordVersion = 1

// frameLen is what the frame adds to the fields of a record.
const frameLen = 1 + crc32.Size

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CorruptError is a record that cannot be read.
type CorruptError struct {
	// Key is the record's key, with its first letter and the rest in hexadecimal.
	Key string
	Err error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("the record %s cannot be read: %v", e.Key, e.Err)
}

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

var (
	errShort    = errors.New("it is too short")
	errChecksum = errors.New("its checksum does not match")
)

// newRecord returns a record without fields, with room for n bytes of them.
func newRecord(n int) []byte {
	return append(make([]byte, 0, n+frameLen), recordVersion)
}

// seal ends a record. The key is part of the checksum: a record under another's key
// is as wrong as a changed one.
func seal(key, rec []byte) []byte {
	return binary.BigEndian.AppendUint32(rec, checksum(key, rec))
}

func checksum(key, rec []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, rec)
}

// unseal returns the fields of a record. They alias it.
func unseal(key, rec []byte) ([]byte, error) {
	n := len(rec) - crc32.Size
	if n < 1 {
		return nil, &CorruptError{keyName(key), errShort}
	}
	if checksum(key, rec[:n]) != binary.BigEndian.Uint32(rec[n:]) {
		return nil, &CorruptError{keyName(key), errChecksum}
	}
	if rec[0] != recordVersion {
		return nil, &CorruptError{keyName(key), fmt.Errorf("it has version %d, this program knows %d", rec[0], recordVersion)}
	}
	return rec[1:n], nil
}

// field is one field of a record: a number or bytes, by its type.
type field struct {
	num   int32
	value uint64
	bytes []byte
}

func (f *field) string() string { return string(f.bytes) }

// decode reads a record field by field. What fn gets aliases the record.
func decode(key, rec []byte, fn func(f *field) error) error {
	fields, err := unseal(key, rec)
	if err != nil {
		return err
	}
	if err := eachField(fields, fn); err != nil {
		return &CorruptError{keyName(key), err}
	}
	return nil
}

func eachField(b []byte, fn func(f *field) error) error {
	var f field
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		f = field{num: int32(num)}
		switch typ {
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			f.value, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			if n = protowire.ConsumeFieldValue(num, typ, b); n >= 0 {
				b = b[n:]
				continue
			}
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := fn(&f); err != nil {
			return err
		}
	}
	return nil
}

// The appenders leave out what is zero or empty.

func appendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendInt(b []byte, num protowire.Number, v int64) []byte {
	return appendUint(b, num, protowire.EncodeZigZag(v))
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	if !v {
		return b
	}
	return appendUint(b, num, 1)
}

func appendFixed(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), v)
}

func appendString(b []byte, num protowire.Number, v string) []byte {
	if v == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

// Fields of a time. A zero time is left out; a monotonic reading is not kept.
const (
	timeSeconds = 1
	timeNanos   = 2
	timeOffset  = 3 // seconds east of UTC
)

// maxTimeLen is the most that appendTime adds.
const maxTimeLen = 2 + (1 + 10) + (1 + 5) + (1 + 5)

// appendTime keeps the instant and the offset, not the name of the zone. Seconds and
// nanoseconds are apart since nanoseconds alone end in the year 2262, and a sender
// may say any time.
func appendTime(b []byte, num protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	_, offset := t.Zone()
	buf := make([]byte, 0, maxTimeLen)
	buf = appendInt(buf, timeSeconds, t.Unix())
	buf = appendUint(buf, timeNanos, uint64(t.Nanosecond()))
	buf = appendInt(buf, timeOffset, int64(offset))
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, buf)
}

func (f *field) time() (time.Time, error) {
	var seconds, nanos, offset int64
	err := eachField(f.bytes, func(f *field) error {
		switch f.num {
		case timeSeconds:
			seconds = protowire.DecodeZigZag(f.value)
		case timeNanos:
			nanos = int64(f.value)
		case timeOffset:
			offset = protowire.DecodeZigZag(f.value)
		}
		return nil
	})
	t := time.Unix(seconds, nanos).UTC()
	if offset != 0 {
		t = t.In(time.FixedZone("", int(offset)))
	}
	return t, err
}

func (f *field) int() int64 { return protowire.DecodeZigZag(f.value) }

// varints reads a packed list.
func (f *field) varints(fn func(v uint64) error) error {
	for b := f.bytes; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := fn(v); err != nil {
			return err
		}
	}
	return nil
}
