package caddymodule

import (
	"context"
	"fmt"
	"net/url"
	"sync"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// survey looks destinations up once a configuration has started, so that a name that does
// not exist, leads to a forbidden address or has no address that its region can reach is
// seen before the first event. Loading a configuration needs no network: the survey only
// warns, and it is the dial that decides.
type survey struct {
	places []surveyed

	mu       sync.Mutex
	warnings map[string]string // by subscription
	cancel   context.CancelFunc
}

// surveyed is one place that a subscription needs.
type surveyed struct {
	subscription string
	// word says what needs it: wait_for, auth, or nothing where deliveries go.
	word        string
	url         *url.URL
	dialer      *egress.Dialer
	maxInFlight int
}

// surveyors is how many look-ups are made at once; each is bounded by its dialer's
// connect timeout.
const surveyors = 4

// start looks in the background, until stop is called or all is seen.
func (s *survey) start(logger *zap.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	s.warnings, s.cancel = make(map[string]string), cancel
	s.mu.Unlock()
	places := make(chan surveyed)
	go func() {
		defer close(places)
		for _, p := range s.places {
			select {
			case places <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	for range min(surveyors, len(s.places)) {
		go func() {
			for p := range places {
				s.look(ctx, p, logger)
			}
		}()
	}
}

func (s *survey) look(ctx context.Context, p surveyed, logger *zap.Logger) {
	err := p.dialer.Check(ctx, p.url.Hostname())
	if err == nil || ctx.Err() != nil {
		return
	}
	what, text := "deliveries would fail or be held now", err.Error()
	if p.word == "wait_for" {
		what = "deliveries would wait in vain now"
	}
	if p.word != "" {
		text = p.word + ": " + text
	}
	s.mu.Lock()
	if earlier := s.warnings[p.subscription]; earlier != "" {
		text = earlier + "; " + text
	}
	s.warnings[p.subscription] = text
	s.mu.Unlock()
	logger.Warn(fmt.Sprintf("subscription %q: %s", p.subscription, what), zap.Error(err))
}

// stop ends what is under way. It does not wait.
func (s *survey) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
}

// warning returns what was found about a subscription, or nothing.
func (s *survey) warning(subscription string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.warnings[subscription]
}
