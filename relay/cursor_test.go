package relay

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The cursor is compared with the plain set of positions that it stands for.
func TestCursorIsASetOfPositions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c cursor
		set := make(map[uint64]bool)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			from := rapid.Uint64Range(1, 40).Draw(t, "from")
			to := from + rapid.Uint64Range(0, 5).Draw(t, "length")
			c.finishSpan(Span{from, to})
			for p := from; p <= to; p++ {
				set[p] = true
			}
			for p := uint64(1); p <= 50; p++ {
				if c.has(p) != set[p] {
					t.Fatalf("has(%d) = %v after marking %d-%d: %+v", p, c.has(p), from, to, c)
				}
				want := p
				for set[want] {
					want++
				}
				if got := c.skip(p); got != want {
					t.Fatalf("skip(%d) = %d, want %d: %+v", p, got, want, c)
				}
			}
			if got := c.count(); got != uint64(len(set)) {
				t.Fatalf("count() = %d, want %d: %+v", got, len(set), c)
			}
			previous := c.low
			for _, s := range c.done {
				if s.From <= previous+1 || s.To < s.From {
					t.Fatalf("spans touch or are out of order: %+v", c)
				}
				previous = s.To
			}
		}
	})
}

func TestEarliestKeepsWhatIsDueFirst(t *testing.T) {
	start := time.Unix(0, 0)
	var all []*retry
	for i := range 10 {
		due := start.Add(time.Duration(10-i) * time.Second)
		all = append(all, &retry{parcel: parcel{pos: uint64(i), stored: i != 0}, due: due})
	}
	kept, rest := earliest(all, 4)
	var got []uint64
	for _, r := range kept {
		got = append(got, r.pos)
	}
	// 9 to 6 are due first; 0 is due last, but no store would bring it back.
	if want := []uint64{9, 8, 7, 6, 0}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	if want := start.Add(5 * time.Second); !rest.Equal(want) {
		t.Errorf("the first one left out is due at %v, want %v", rest, want)
	}
}
