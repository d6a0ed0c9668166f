package egress

import (
	"context"
	"time"
)

// watchInterval is how often addresses are looked at where the kernel does not tell of
// changes, and in any case.
const watchInterval = 2 * time.Second

// Watch looks after the addresses of regions: whether they are on this machine, and in
// use by the clock.
type Watch struct {
	Regions []*Region
	// Changed is told, one after the other, of each address that has changed since the
	// last look; of the first look only those that are not up. The region knows of it
	// already.
	Changed func(*Region, AddressStatus)

	// events replaces what the kernel tells in tests.
	events <-chan struct{}
}

// Run looks at once, whenever the kernel tells of a change, when the time of an address
// begins or ends, and every two seconds, until ctx ends. What it found is forgotten
// then: dialling finds out for itself again.
func (w *Watch) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := w.events
	if events == nil {
		events = addressEvents(ctx)
	}
	last := make([][]AddressStatus, len(w.Regions))
	for i, r := range w.Regions {
		last[i] = make([]AddressStatus, len(r.Addresses))
		now := time.Now()
		for j, a := range r.Addresses {
			last[i][j] = AddressStatus{Address: a, Up: true, Active: a.Active(now)}
		}
		defer r.forget()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-events:
		}
		for i, r := range w.Regions {
			w.look(r, last[i])
		}
		timer.Reset(w.pause(time.Now()))
	}
}

func (w *Watch) look(r *Region, last []AddressStatus) {
	for i, s := range r.Status() {
		if s.Err != nil && !saysMissing(s.Err) {
			continue // nothing is known of the address
		}
		r.state[i].down.Store(!s.Up)
		if before := last[i]; s.Up != before.Up || s.Active != before.Active {
			w.Changed(r, s)
		}
		last[i] = s
	}
}

// pause returns how long to wait for the next look.
func (w *Watch) pause(now time.Time) time.Duration {
	next := now.Add(watchInterval)
	for _, r := range w.Regions {
		for _, a := range r.Addresses {
			for _, t := range []time.Time{a.From, a.Until} {
				if t.After(now) && t.Before(next) {
					next = t
				}
			}
		}
	}
	return next.Sub(now)
}

// forget takes back what a watch has found.
func (r *Region) forget() {
	for i := range r.state {
		r.state[i].down.Store(false)
	}
}
