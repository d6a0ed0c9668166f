package relay

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestPageOfExceptionsKeepsADeliveryAndItsReplayTogether(t *testing.T) {
	all := []Exception{{From: 1, Kind: Retry}, {From: 2, Kind: Replay}, {From: 2, Kind: Retry}, {From: 3, Kind: Ordered}}
	slices.SortFunc(all, Exception.Compare)
	if all[1].Kind != Retry {
		t.Error("a delivery stands before the replay that begins with it")
	}
	for limit, want := range map[int]int{1: 1, 2: 1, 3: 3, 4: 4, 5: 4} {
		if page := CutOpen(slices.Clone(all), limit); len(page) != want {
			t.Errorf("a page of %d holds %d, want %d", limit, len(page), want)
		}
	}
}

func TestSeqsNeverFallBackAndCoverEveryTime(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	if s := NextSeq(SeqAt(now.Add(time.Hour)), now); s != SeqAt(now.Add(time.Hour))+1 {
		t.Errorf("the clock fell back, and the number with it: %d", s)
	}
	if s := NextSeq(SeqAt(now), now.Add(time.Second)); s != SeqAt(now.Add(time.Second)) {
		t.Errorf("the number does not follow the clock: %d", s)
	}
	for _, c := range []struct {
		from time.Time
		want Seq
	}{
		{time.Time{}, 0},
		{now, SeqAt(now)},
		{now.Add(time.Nanosecond), SeqAt(now.Add(time.Millisecond))},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64},
	} {
		if s := SeqFrom(c.from); s != c.want {
			t.Errorf("from %v: %d, want %d", c.from, s, c.want)
		}
	}
}

func TestNotesHaveASize(t *testing.T) {
	for size, good := range map[int]bool{0: false, 1: true, MaxNoteSize: true, MaxNoteSize + 1: false} {
		if err := CheckNote("n", make([]byte, size)); (err == nil) != good {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
