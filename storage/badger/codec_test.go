package badger

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/caddyrelay/caddyrelay/relay"
)

// FuzzDecode: no record whatever makes a decoder panic, and what it accepts is sealed.
func FuzzDecode(f *testing.F) {
	key := eventKey(5)
	f.Add(encodeEvent(key, &relay.Event{Type: "a", Data: []byte("b"), Time: time.Unix(5, 6), Extensions: map[string]string{"c": "d"}}, 7, []place{{1, 2, ""}, {3, 4, "k"}})[1:])
	f.Add(encodeProgress(key, &state{progress: relay.Progress{Head: 3, Done: []relay.Span{{From: 1, To: 2}}}})[1:])
	f.Add(encodeKnown(key, 5, newKnown([32]byte{}, []receipt{{seq: 1, typ: "a", matched: []uint32{1}}}))[1:])
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, fields []byte) {
		// The fuzzer would never find a checksum.
		for _, rec := range [][]byte{fields, seal(key, append([]byte{recordVersion}, fields...))} {
			for _, part := range []eventPart{placesOnly, withoutData, wholeEvent} {
				e, err := decodeEvent(key, rec, part)
				if err == nil && e.event != nil {
					again := encodeEvent(key, e.event, e.ordinal, e.places)
					back, err := decodeEvent(key, again, part)
					if err != nil || !reflect.DeepEqual(back.places, e.places) || !bytes.Equal(back.event.Data, e.event.Data) || back.event.Type != e.event.Type {
						t.Fatalf("%+v comes back as %+v, %v", e.event, back.event, err)
					}
				}
			}
			_, _ = decodeProgress(key, rec)
			_, _ = decodeException(exceptKey(classOpen, 1, 2), rec)
			_, _ = decodeAttempt(key, rec)
			_ = new(chunk).decode(logKey(1, 2), rec)
			_ = new(bundle).decode(bundleKey(windowAt{1, 2}, 3), rec)
			_, _ = decodeKnown(key, rec)
			_, _ = decodeNumber(key, rec)
			_, _ = decodeIdentity(rec)
			_, _ = decodeTail(rec)
			_, _ = decodeNote(noteKey("egress"), rec)
		}
	})
}

// TestSizesAreUpperBounds: what a record was said to take at most, it does not exceed.
// A group that is larger than its accounts would break the store.
func TestSizesAreUpperBounds(t *testing.T) {
	text := rapid.StringN(0, 300, -1)
	number := rapid.Uint64()
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "zero") {
			return time.Time{}
		}
		zone := time.FixedZone("", rapid.IntRange(-14*3600, 14*3600).Draw(t, "zone"))
		return time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).In(zone)
	})
	rapid.Check(t, func(t *rapid.T) {
		check := func(what string, key, rec []byte, size int) {
			if len(key)+len(rec) > size {
				t.Fatalf("%s takes %d bytes, said to take %d", what, len(key)+len(rec), size)
			}
		}
		e := &relay.Event{
			Type: text.Draw(t, "type"), Source: text.Draw(t, "source"), Subject: text.Draw(t, "subject"),
			SourceID: text.Draw(t, "id"), Time: moment.Draw(t, "time"), ContentType: text.Draw(t, "content type"),
			Data: []byte(text.Draw(t, "data")), TraceParent: text.Draw(t, "parent"), TraceState: text.Draw(t, "state"),
			Extensions: rapid.MapOfN(text, text, 0, 4).Draw(t, "extensions"), Only: rapid.SliceOfN(text, 0, 4).Draw(t, "only"),
		}
		var places []place
		for range rapid.IntRange(0, 5).Draw(t, "places") {
			places = append(places, place{rapid.Uint32().Draw(t, "sub"), number.Draw(t, "pos"), text.Draw(t, "order key")})
		}
		key := eventKey(relay.Seq(number.Draw(t, "seq")))
		rec := encodeEvent(key, e, number.Draw(t, "ordinal"), places)
		size := eventSize(e, len(places))
		for _, p := range places {
			size += maxStringLen + len(p.key)
		}
		check("event", key, rec, size)
		back, err := decodeEvent(key, rec, wholeEvent)
		if err != nil {
			t.Fatal(err)
		}
		if !back.event.Time.Equal(e.Time) || !reflect.DeepEqual(back.places, places) {
			t.Fatalf("%+v comes back as %+v", e, back.event)
		}

		p := relay.Progress{
			Head: number.Draw(t, "head"), Low: number.Draw(t, "low"), Delivered: number.Draw(t, "n"), Failed: number.Draw(t, "n"),
			Superseded: number.Draw(t, "n"), Open: number.Draw(t, "n"), Paused: true, PausedReason: text.Draw(t, "r"),
			Disabled: true, DisabledReason: text.Draw(t, "r"), HoldUntil: moment.Draw(t, "t"),
			LastSuccess: moment.Draw(t, "t"), FailingSince: moment.Draw(t, "t"), FailingFor: time.Duration(rapid.Int64().Draw(t, "d")),
			ProbeAt: moment.Draw(t, "t"), ResumedAt: moment.Draw(t, "t"), NextDue: moment.Draw(t, "t"),
		}
		for range rapid.IntRange(0, 5).Draw(t, "spans") {
			p.Done = append(p.Done, relay.Span{From: number.Draw(t, "from"), To: number.Draw(t, "to")})
		}
		key = progressKey(7)
		check("progress", key, encodeProgress(key, &state{progress: p, floor: number.Draw(t, "floor")}), progressSize(&p))

		x := relay.Exception{
			To: number.Draw(t, "to"), Seq: relay.Seq(number.Draw(t, "seq")), Kind: relay.Kind(rapid.Uint8().Draw(t, "kind")),
			Attempts: rapid.Int().Draw(t, "attempts"), Step: rapid.Int().Draw(t, "step"), Due: moment.Draw(t, "t"),
			Since: moment.Draw(t, "t"), At: moment.Draw(t, "t"), Key: text.Draw(t, "key"), Reason: text.Draw(t, "reason"),
		}
		key = exceptKey(classOpen, 1, 2)
		check("exception", key, encodeException(key, &x), exceptSize(&x))

		a := relay.Attempt{
			Number: rapid.Int().Draw(t, "number"), At: moment.Draw(t, "t"), Duration: time.Duration(rapid.Int64().Draw(t, "d")),
			Status: rapid.Int().Draw(t, "status"), Error: text.Draw(t, "error"), ErrorKind: relay.ErrorKind(text.Draw(t, "kind")),
			Local: text.Draw(t, "local"), Remote: text.Draw(t, "remote"), Excerpt: []byte(text.Draw(t, "excerpt")),
		}
		key = attemptKey(1, 2, 3)
		check("attempt", key, encodeAttempt(key, &a), attemptSize(&a))

		k := &known{}
		for range rapid.IntRange(0, 4).Draw(t, "receipts") {
			k.Receipts = append(k.Receipts, receipt{
				seq: relay.Seq(number.Draw(t, "seq")), typ: text.Draw(t, "type"),
				matched: rapid.SliceOfN(rapid.Uint32(), 0, 5).Draw(t, "matched"),
			})
		}
		key = idemKey(idemHash{1})
		age := idemAgeKey(5, idemHash{1})
		rec = encodeKnown(key, 5, k)
		check("key", append(key, age...), append(rec, seal(age, newRecord(0))...), idemSize(k.Receipts))
		found, err := decodeKnown(idemKey(idemHash{1}), rec)
		if err != nil || len(found.Receipts) != len(k.Receipts) {
			t.Fatalf("a key comes back as %+v, %v", found, err)
		}

		name, value := text.Draw(t, "name"), []byte(text.Draw(t, "note"))
		key = noteKey(name)
		check("note", key, encodeNote(key, value), noteSize(name, value))

		full := tail{relay.Seq(number.Draw(t, "a")), number.Draw(t, "b"), relay.Seq(number.Draw(t, "c")), relay.Seq(number.Draw(t, "d")), number.Draw(t, "e"), number.Draw(t, "f"), relay.Seq(number.Draw(t, "g")), number.Draw(t, "h"), number.Draw(t, "i"), number.Draw(t, "j"), number.Draw(t, "k"), relay.Seq(number.Draw(t, "l"))}
		check("tail", tailKey, encodeTail(full), tailSize)
	})
}

// TestUnknownFieldsAreSkipped: a record of a later program is read as far as it is
// known.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	key := eventKey(5)
	b := appendString(newRecord(0), eventType, "order.paid")
	b = protowire.AppendVarint(protowire.AppendTag(b, 1000, protowire.VarintType), 7)
	b = protowire.AppendFixed32(protowire.AppendTag(b, 1001, protowire.Fixed32Type), 7)
	b = protowire.AppendString(protowire.AppendTag(b, 1002, protowire.BytesType), "later")
	b = protowire.AppendTag(protowire.AppendTag(b, 1003, protowire.StartGroupType), 1003, protowire.EndGroupType)
	b = appendBytes(b, eventData, []byte("body"))
	e, err := decodeEvent(key, seal(key, b), wholeEvent)
	if err != nil || e.event.Type != "order.paid" || string(e.event.Data) != "body" {
		t.Fatalf("%+v, %v", e.event, err)
	}
	b[0]++
	var corrupt *CorruptError
	if _, err := decodeEvent(key, seal(key, b), wholeEvent); !errors.As(err, &corrupt) {
		t.Fatalf("a record of another version: %v", err)
	}
}

// TestDecodedEventAliasesNothing: Badger uses its buffers again.
func TestDecodedEventAliasesNothing(t *testing.T) {
	key := eventKey(5)
	rec := encodeEvent(key, &relay.Event{Type: "order.paid", Data: []byte("body")}, 1, nil)
	e, err := decodeEvent(key, rec, wholeEvent)
	if err != nil {
		t.Fatal(err)
	}
	clear(rec)
	if string(e.event.Data) != "body" || e.event.Type != "order.paid" {
		t.Fatalf("%+v changed with its record", e.event)
	}
}

// TestDataIsPackedWhereThatIsShorter: and comes back as it was, also where only its size is
// asked for.
func TestDataIsPackedWhereThatIsShorter(t *testing.T) {
	random := make([]byte, 4096)
	_, _ = rand.Read(random)
	for name, c := range map[string]struct {
		data   []byte
		packed bool
	}{
		"none":         {nil, false},
		"short":        {bytes.Repeat([]byte("x"), packFrom-1), false},
		"long":         {bytes.Repeat([]byte("x"), packFrom), true},
		"largest":      {bytes.Repeat([]byte("largest"), relay.MaxDataSize/7), true},
		"as it stands": {random, false},
	} {
		t.Run(name, func(t *testing.T) {
			key := eventKey(7)
			rec := encodeEvent(key, &relay.Event{Type: "a", Data: c.data}, 1, nil)
			if shorter := len(rec) < len(c.data); shorter != c.packed {
				t.Errorf("%d bytes take %d", len(c.data), len(rec))
			}
			whole, err := decodeEvent(key, rec, wholeEvent)
			if err != nil || !bytes.Equal(whole.event.Data, c.data) || whole.event.Size != len(c.data) {
				t.Errorf("%d bytes come back, and %d, %v", len(whole.event.Data), whole.event.Size, err)
			}
			without, err := decodeEvent(key, rec, withoutData)
			if err != nil || without.event.Data != nil || without.event.Size != len(c.data) {
				t.Errorf("without data: %+v, %v", without.event, err)
			}
		})
	}
}

func TestPackedDataThatIsNoneIsUnreadable(t *testing.T) {
	key := eventKey(7)
	for name, packed := range map[string][]byte{
		"empty":    {},
		"cut":      s2.Encode(nil, bytes.Repeat([]byte("x"), 1000))[:5],
		"too long": binary.AppendUvarint(nil, unpackMost+1),
		"endless":  bytes.Repeat([]byte{0xff}, 20),
	} {
		rec := seal(key, protowire.AppendBytes(protowire.AppendTag(newRecord(100), eventPacked, protowire.BytesType), packed))
		_, err := decodeEvent(key, rec, wholeEvent)
		if corrupt, ok := errors.AsType[*CorruptError](err); !ok {
			t.Errorf("%s: %v, %v", name, err, corrupt)
		}
	}
}
