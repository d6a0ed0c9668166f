package postgres

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// What is encoded into one wide buffer is what pgx would have encoded by itself.
func TestWideArraysAreThoseOfPgx(t *testing.T) {
	own, theirs := pgtype.NewMap(), pgtype.NewMap()
	wideArrays(own)
	random := rand.New(rand.NewPCG(1, 2))
	lists := [][][]byte{nil, {}, {nil}, {{}}, {[]byte("a"), nil, {}, []byte("b")}}
	for range 50 {
		list := make([][]byte, random.IntN(20))
		for i := range list {
			if random.IntN(10) > 0 {
				list[i] = bytes.Repeat([]byte{byte(i)}, random.IntN(5000))
			}
		}
		lists = append(lists, list)
	}
	for _, list := range lists {
		before := []byte("before")
		got, err := own.Encode(pgtype.ByteaArrayOID, pgtype.BinaryFormatCode, list, bytes.Clone(before))
		want, errThere := theirs.Encode(pgtype.ByteaArrayOID, pgtype.BinaryFormatCode, list, bytes.Clone(before))
		if err != nil || errThere != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Fatalf("%d elements: %.60x, %v; want %.60x, %v", len(list), got, err, want, errThere)
		}
	}
	// What is no list of bytes goes its usual way, and so does text.
	for _, value := range []any{[]pgtype.UndecodedBytes{[]byte("a")}, pgtype.FlatArray[[]byte]{[]byte("a")}} {
		if _, err := own.Encode(pgtype.ByteaArrayOID, pgtype.BinaryFormatCode, value, nil); err != nil {
			t.Errorf("%T: %v", value, err)
		}
	}
	text, err := own.Encode(pgtype.ByteaArrayOID, pgtype.TextFormatCode, [][]byte{{1}}, nil)
	if err != nil || !bytes.Contains(text, []byte(`\x01`)) {
		t.Errorf("%s, %v", text, err)
	}
}

// Room for messages is none: nothing of it is sent.
func TestWidthIsNoMessage(t *testing.T) {
	buf, err := width(1000).Encode([]byte("before"))
	if err != nil || string(buf) != "before" || cap(buf) < 1006 {
		t.Errorf("%q with room for %d, %v", buf, cap(buf), err)
	}
	if err := width(1).Decode([]byte("x")); err != nil {
		t.Error(err)
	}
}
