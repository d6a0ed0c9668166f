package collector

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestCollectorLeavesRoomByWhatItLooksThrough(t *testing.T) {
	const mib = 1 << 20
	for name, test := range map[string]struct {
		live, looked uint64
		want         int
	}{
		"a small heap":        {20 * mib, 5 * mib, 240},
		"nothing yet":         {0, 0, 4800},
		"buffers":             {480 * mib, 10 * mib, 10},
		"buffers without end": {1 << 40, 10 * mib, 1},
		"many subscriptions":  {120 * mib, 60 * mib, 150},
		"nothing else":        {120 * mib, 120 * mib, 200},
	} {
		if got := (costs{live: test.live, looked: test.looked}).wanted(); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// buffers are live, without pointers, and never touched: they take no memory.
var buffers [][]byte

func TestCollectorIsPacedWhileHeld(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(defaultPercent))
	defer func() { buffers = nil }()
	var p pacer
	p.hold()
	p.hold()
	for range 4 {
		buffers = append(buffers, make([]byte, 256<<20))
	}
	awaitPercent(t, "buffers alone give it no room", func(percent int) bool { return percent < 20 })
	p.release()
	if got := readCosts().percent; got >= 20 {
		t.Errorf("%d with one holder left", got)
	}
	buffers = nil
	awaitPercent(t, "what little is live may more than double", func(percent int) bool { return percent > 20 })
	p.release()
	if got := readCosts().percent; got != defaultPercent {
		t.Errorf("%d after the last holder, want %d", got, defaultPercent)
	}
	// And again.
	p.hold()
	if got := readCosts().percent; got == defaultPercent {
		t.Errorf("%d while it is held again", got)
	}
	p.release()
}

func TestCollectorOfSomebodyElseIsLeftAlone(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(defaultPercent))
	var p pacer

	t.Setenv("GOGC", "100")
	p.hold()
	p.collected(p.term)
	if got := readCosts().percent; got != 100 {
		t.Errorf("GOGC=100: %d", got)
	}
	p.release()

	t.Setenv("GOGC", "")
	debug.SetGCPercent(70)
	p.hold()
	p.collected(p.term)
	p.release()
	if got := readCosts().percent; got != 70 {
		t.Errorf("a module had set 70: %d", got)
	}

	debug.SetGCPercent(defaultPercent)
	p.hold()
	debug.SetGCPercent(80)
	p.collected(p.term)
	if got := readCosts().percent; got != 80 {
		t.Errorf("a module has set 80 meanwhile: %d", got)
	}
	p.release()
	if got := readCosts().percent; got != 80 {
		t.Errorf("a module has set 80, and all is released: %d", got)
	}
}

// awaitPercent collects until the percentage is as it is to be.
func awaitPercent(t *testing.T, what string, as func(percent int) bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		runtime.GC() // which takes its time
		percent := readCosts().percent
		if as(percent) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d", what, percent)
		}
	}
}
