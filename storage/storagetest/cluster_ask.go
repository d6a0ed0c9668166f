package storagetest

import (
	"context"
	"slices"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// answerWithin bounds an answer, whoever still waits for it.
const answerWithin = 30 * time.Second

// Ask implements [relay.Shared].
func (s *ClusterStore) Ask(ctx context.Context, to relay.Addressee, request []byte) ([]byte, error) {
	if err := s.pass(ctx); err != nil {
		return nil, err
	}
	for {
		m, answer := s.cluster.ask(to, slices.Clone(request))
		if m == nil {
			return nil, relay.ErrNoAnswer
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case a, ok := <-answer:
			if ok {
				return a, s.pass(ctx)
			}
		}
	}
}

// ask hands a request to a member. Nothing comes of it if that member no longer is one when
// it could answer.
func (c *Cluster) ask(to relay.Addressee, request []byte) (*ClusterStore, <-chan []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.owners[to.Subscription]
	if to.Member != "" {
		i := slices.IndexFunc(c.members, func(m *ClusterStore) bool { return m.id == to.Member })
		if i < 0 {
			return nil, nil
		}
		m = c.members[i]
	}
	if m == nil {
		return nil, nil
	}
	answer := make(chan []byte, 1)
	m.done.Go(func() {
		defer close(answer)
		ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
		defer cancel()
		if !m.reachable(ctx) {
			return
		}
		answer <- m.member.Answer(ctx, request)
	})
	return m, answer
}

// reachable waits until a member could answer, and reports whether it can.
func (s *ClusterStore) reachable(ctx context.Context) bool {
	for {
		s.mu.RLock()
		alive, silent := s.alive, s.frozen != nil || s.cut != nil
		s.mu.RUnlock()
		if !alive || !silent {
			return alive
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.gone:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
