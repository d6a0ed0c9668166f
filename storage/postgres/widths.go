package postgres

import (
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// The data of events is nearly all that is sent. pgx puts it into buffers that begin small and
// double as they grow, so that each byte is copied some four times, into memory that is
// garbage at once. Here they are made as wide as they will be.

// wideArrays makes arrays of bytes be encoded into room that is made for all of them.
func wideArrays(m *pgtype.Map) {
	if t, ok := m.TypeForOID(pgtype.ByteaArrayOID); ok {
		m.RegisterType(&pgtype.Type{Name: t.Name, OID: t.OID, Codec: wideCodec{t.Codec}})
	}
}

type wideCodec struct{ pgtype.Codec }

// PlanEncode implements [pgtype.Codec].
func (c wideCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.([][]byte); ok && format == pgtype.BinaryFormatCode {
		return wideArray{}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

// wideArray encodes [][]byte as the server reads arrays (array_recv in its arrayfuncs.c): the
// number of dimensions, whether there are nulls, the type of the elements, length and lower
// bound; then each element behind its length, which is -1 for a null.
type wideArray struct{}

// Encode implements [pgtype.EncodePlan].
func (wideArray) Encode(value any, buf []byte) ([]byte, error) {
	all := value.([][]byte)
	if all == nil {
		return nil, nil
	}
	const header, length = 20, 4
	size, nulls := header, uint32(0)
	for _, b := range all {
		size += length + len(b)
		if b == nil {
			nulls = 1
		}
	}
	buf = slices.Grow(buf, size)
	for _, word := range []uint32{1, nulls, pgtype.ByteaOID, uint32(len(all)), 1} {
		buf = binary.BigEndian.AppendUint32(buf, word)
	}
	for _, b := range all {
		n := uint32(len(b))
		if b == nil {
			n = 1<<32 - 1
		}
		buf = binary.BigEndian.AppendUint32(buf, n)
		buf = append(buf, b...)
	}
	return buf, nil
}

// width makes room for so many bytes where messages to the server are gathered. It is itself
// no message: nothing of it is sent.
type width int

// Frontend implements [pgproto3.FrontendMessage].
func (width) Frontend() {}

// Decode implements [pgproto3.Message].
func (width) Decode([]byte) error { return nil }

// Encode implements [pgproto3.Message].
func (w width) Encode(dst []byte) ([]byte, error) { return slices.Grow(dst, int(w)), nil }

var _ pgproto3.FrontendMessage = width(0)
