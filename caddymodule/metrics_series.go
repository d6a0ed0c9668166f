package caddymodule

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyrelay/caddyrelay/relay"
)

// holders counts the configurations that name a subscription. Beside the running one
// there is the next, which is provisioned before that stops, and may still be refused.
type holders struct {
	mu    sync.RWMutex
	count map[string]int
}

// hold gives subscriptions their series, at 0, until release is called as often.
func (c *collectors) hold(names []string) {
	c.named.mu.Lock()
	defer c.named.mu.Unlock()
	for _, name := range names {
		c.named.count[name]++
		for _, result := range relay.States {
			if result.Finished() {
				c.deliveries.WithLabelValues(name, string(result))
			}
		}
		c.attemptDuration.WithLabelValues(name)
		c.latency.WithLabelValues(name)
	}
}

// release takes the series away of subscriptions that no configuration names any more, so
// that names which come and go do not pile up.
func (c *collectors) release(names []string) {
	c.named.mu.Lock()
	defer c.named.mu.Unlock()
	for _, name := range names {
		if c.named.count[name]--; c.named.count[name] > 0 {
			continue
		}
		delete(c.named.count, name)
		labels := prometheus.Labels{"subscription": name}
		c.attempts.DeletePartialMatch(labels)
		c.attemptDuration.DeletePartialMatch(labels)
		c.deliveries.DeletePartialMatch(labels)
		c.latency.DeletePartialMatch(labels)
		c.polls.DeletePartialMatch(labels)
		c.waits.DeletePartialMatch(labels)
	}
}

// count adds to a series of a subscription, unless that has none any more: what is under
// way when its configuration goes does not bring it back.
func (c *collectors) count(vector *prometheus.CounterVec, n float64, subscription string, labels ...string) {
	c.named.mu.RLock()
	defer c.named.mu.RUnlock()
	if c.named.count[subscription] > 0 {
		vector.WithLabelValues(append([]string{subscription}, labels...)...).Add(n)
	}
}
