package relay_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// slowTrims is a store in which a walk of retention takes two steps of some seconds, and
// does what it is told.
type slowTrims struct {
	relay.Store
	step  relay.Trimmed
	began []time.Time // of walks
	steps int
}

func (s *slowTrims) Trim(context.Context, relay.TrimPolicy) (relay.Trimmed, error) {
	if s.steps++; s.steps%2 == 1 {
		s.began = append(s.began, time.Now())
	}
	done := s.step
	done.More = s.steps%2 == 1
	time.Sleep(3 * time.Second)
	return done, nil
}

// TestRetentionKeepsUp: what takes long because it removes much comes again after a minute;
// what looks at a million events that wait takes a twentieth of the time.
func TestRetentionKeepsUp(t *testing.T) {
	const walk = 3*time.Second + 3*time.Second + 3*time.Second // with the pause between the steps
	for name, c := range map[string]struct {
		step relay.Trimmed
		want time.Duration
	}{
		"all goes":           {relay.Trimmed{Events: 500}, walk + time.Minute},
		"only keys go":       {relay.Trimmed{Keys: 500}, walk + time.Minute},
		"nothing is there":   {relay.Trimmed{}, walk + time.Minute},
		"all stays":          {relay.Trimmed{Kept: 500}, walk + 2*time.Minute},
		"three of four stay": {relay.Trimmed{Events: 125, Kept: 375}, walk + 90*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.stop()
				slow := &slowTrims{Store: w.memory, step: c.step}
				w.store = slow
				w.open()
				w.plan()
				w.wait(10 * time.Minute)
				began := slices.Clone(slow.began)
				if len(began) < 3 {
					t.Fatalf("%d walks in ten minutes", len(began))
				}
				for i, at := range began[1:] {
					if took := at.Sub(began[i]); took != c.want {
						t.Errorf("walk %d begins %v after the one before, want %v", i+2, took, c.want)
					}
				}
			})
		})
	}
}
