// Package collector sets how much garbage is left lying in this process by what it costs to
// collect it, while a store is open.
//
// By itself Go lets the heap double before it collects. But what a store keeps is for the most
// part buffers: they are large, and the collector has nothing to do with them, for it looks
// through what has pointers alone. So half of the memory would be garbage that costs little to
// collect. See https://go.dev/doc/gc-guide on GOGC.
package collector

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// defaultPercent is Go's.
	defaultPercent = 100
	// roomLeast is how much garbage is left lying at least before it is collected, in bytes.
	roomLeast = 48 << 20
)

// process is the pacer of this process.
var process pacer

// Hold sets the percentage of [debug.SetGCPercent] anew after each collection, until it was
// released as often. One that somebody has chosen, by GOGC or within the process, is left as it
// is, and a memory limit holds beside it.
func Hold() { process.hold() }

// Release ends one Hold. The last one sets Go's default again, unless somebody has chosen
// another percentage meanwhile.
func Release() { process.release() }

type pacer struct {
	mu      sync.Mutex
	holders int
	// percent is what was set; 0: it is left alone.
	percent int
	// term counts how often there was a first holder.
	term int
}

func (p *pacer) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders++; p.holders > 1 || os.Getenv("GOGC") != "" {
		return
	}
	now := readCosts()
	if now.percent != defaultPercent {
		return
	}
	p.percent = now.percent
	p.term++
	p.set(now)
	p.watch()
}

func (p *pacer) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders--; p.holders > 0 {
		return
	}
	if p.percent != 0 && p.percent == readCosts().percent {
		debug.SetGCPercent(defaultPercent)
	}
	p.percent = 0
}

// watch has the percentage looked at again after the next collection, which finds what nobody
// refers to.
func (p *pacer) watch() {
	runtime.AddCleanup(&struct{ of *pacer }{p}, p.collected, p.term)
}

// collected sets the percentage anew, unless it was released or is somebody else's by now.
func (p *pacer) collected(term int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.percent == 0 || p.term != term {
		return
	}
	now := readCosts()
	if now.percent != p.percent {
		p.percent = 0
		return
	}
	p.set(now)
	p.watch()
}

// set sets what it is to be, unless that is nearly what it is: it stops the world.
func (p *pacer) set(now costs) {
	if want := now.wanted(); 10*max(want-p.percent, p.percent-want) > p.percent {
		p.percent = want
		debug.SetGCPercent(want)
	}
}

// costs are figures of the last collection, in bytes, and the percentage that holds.
type costs struct {
	// live is what it left, with the roots: what Go takes the percentage of. looked is what of
	// that it looked through for pointers.
	live, looked uint64
	percent      int
}

func readCosts() costs {
	all := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/gc/scan/heap:bytes"},
		{Name: "/gc/scan/stack:bytes"},
		{Name: "/gc/scan/globals:bytes"},
		{Name: "/gc/gogc:percent"},
	}
	metrics.Read(all)
	roots := all[2].Value.Uint64() + all[3].Value.Uint64()
	return costs{
		live:    all[0].Value.Uint64() + roots,
		looked:  all[1].Value.Uint64() + roots,
		percent: int(all[4].Value.Uint64()),
	}
}

// wanted returns the percentage that leaves room for three times as much garbage as was looked
// through, up to twice what is live, and at least roomLeast.
func (c costs) wanted() int {
	live := max(c.live, 1<<20)
	room := max(min(3*c.looked, 2*live), roomLeast)
	return int(max(100*room/live, 1))
}
