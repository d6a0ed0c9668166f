package relay

import (
	"fmt"
	"slices"
	"testing"
)

// TestExportOfManyAttemptsHasItsBounds: an event for thousands of subscriptions has a line that can
// be read, with what matters most of each delivery.
func TestExportOfManyAttemptsHasItsBounds(t *testing.T) {
	const deliveries, each = 20_000, 50
	kept := make([]Attempt, each)
	for i := range kept {
		kept[i] = Attempt{Number: i + 1, Error: "an error", Excerpt: make([]byte, 16<<10)}
	}
	var room attemptRoom
	size, whole := 0, 0
	for i := range deliveries {
		got := room.fit(kept)
		if len(got) == 0 || got[len(got)-1].Number != each || got[len(got)-1].Error == "" {
			t.Fatalf("the last attempt of delivery %d is gone", i)
		}
		if len(got) == each {
			whole++
		}
		for _, a := range got {
			size += len(a.Error) + len(a.Excerpt)*4/3 + attemptSize
		}
	}
	if size > 56<<20 {
		t.Errorf("they take %d bytes", size)
	}
	if whole < 1000 {
		t.Errorf("of %d deliveries all attempts are there", whole)
	}
	if slices.ContainsFunc(kept, func(a Attempt) bool { return len(a.Excerpt) == 0 }) {
		t.Error("what the store keeps was changed")
	}
	few := new(attemptRoom).fit(kept)
	if fmt.Sprint(few) != fmt.Sprint(kept) {
		t.Error("of few attempts some are left out")
	}
}
