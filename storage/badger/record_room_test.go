package badger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// TestRecordsOfAGroupStandApart: no record is written over another one of its group, however
// large they are, and also if one outgrows what it has asked for.
func TestRecordsOfAGroupStandApart(t *testing.T) {
	var room recordRoom
	for range 50 {
		var recs, want [][]byte
		for i := range 1 + rand.IntN(300) {
			n := rand.IntN(8 << rand.IntN(12))
			rec := room.begin(n)
			rec = append(rec, bytes.Repeat([]byte{byte(i)}, n+rand.IntN(3)*frameLen)...)
			room.end(rec)
			recs, want = append(recs, rec), append(want, bytes.Clone(rec))
		}
		for i := range recs {
			if !bytes.Equal(recs[i], want[i]) {
				t.Fatalf("record %d of %d has changed", i, len(recs))
			}
		}
		room.reuse()
		if len(room.taken) > 0 || cap(room.taken) > recordRoomMost {
			t.Fatalf("%d bytes are kept, %d of them taken", cap(room.taken), len(room.taken))
		}
	}
}

// TestGroupsDoNotWriteOverEachOther: what is read of events is what was appended, while groups
// of all sizes follow on each other.
func TestGroupsDoNotWriteOverEachOther(t *testing.T) {
	s := openAt(t, t.TempDir(), nil)
	want := make(map[relay.Seq][]byte)
	for range 20 {
		var b relay.Batch
		for i := range 1 + rand.IntN(40) {
			data := bytes.Repeat(fmt.Appendf(nil, "%d-%d ", i, rand.Uint64()), 1+rand.IntN(1<<rand.IntN(10)))
			b.Items = append(b.Items, relay.Item{Event: &relay.Event{Type: "a", Data: data}, Targets: storagetest.Targets("crm")})
		}
		if _, err := s.Append(t.Context(), b, nil); err != nil {
			t.Fatal(err)
		}
		for _, item := range b.Items {
			want[item.Event.Seq] = item.Event.Data
		}
	}
	for seq, data := range want {
		if e, err := s.Event(t.Context(), seq); err != nil || !bytes.Equal(e.Data, data) {
			t.Fatalf("%d has %d bytes, want %d; %v", seq, len(e.Data), len(data), err)
		}
	}
}
