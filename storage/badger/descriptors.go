package badger

import (
	"os"
	"strings"
	"sync"
)

// reserved is how many descriptors a store keeps for the moment in which Badger cannot do
// without one.
const reserved = 16

// descriptors are held in reserve while a store is open. Badger, when it opens a database,
// answers most files that it cannot open with an error, which a store meets by trying
// again; but over the statistics of its value log it ends the process. A flood of
// connections takes each descriptor that becomes free, between two steps of Badger's, too.
// So the reserve is given back just before those last steps.
type descriptors struct {
	mu   sync.Mutex
	held []*os.File
}

// lastStep begins what Badger logs right before it opens the statistics of its value log.
const lastStep = "All %d tables opened"

// hold takes as many as there are.
func (d *descriptors) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.held) < reserved {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return // tried again by the janitor
		}
		d.held = append(d.held, f)
	}
}

// free gives them back.
func (d *descriptors) free() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.held {
		_ = f.Close()
	}
	d.held = nil
}

// heed is told what Badger logs.
func (d *descriptors) heed(format string) {
	if d != nil && strings.HasPrefix(format, lastStep) {
		d.free()
	}
}
