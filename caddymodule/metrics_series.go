package caddymodule

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyrelay/caddyrelay/relay"
)

// holders counts the configurations that name a subscription. Beside the running one
// there is the next, which is provisioned before that stops, and may still be refused.
type holders struct {
	mu    sync.RWMutex
	count map[string]int
	// counters are those of each subscription that were made: to look for them among those
	// of all would take as long as there are subscriptions, for each that goes.
	counters map[string]map[series]prometheus.Counter
}

// series is one of a vector and a subscription.
type series struct {
	vector *prometheus.CounterVec
	// labels are the values after that of the subscription.
	labels string
}

// labelSeparator is in no value of a label: they are names and words of this project.
const labelSeparator = "\x00"

// hold gives subscriptions their series, at 0, until release is called as often.
func (c *collectors) hold(names []string) {
	c.named.mu.Lock()
	defer c.named.mu.Unlock()
	for _, name := range names {
		c.named.count[name]++
		for _, result := range relay.States {
			if result.Finished() {
				c.named.counter(c.deliveries, name, string(result))
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
		for s := range c.named.counters[name] {
			s.vector.DeleteLabelValues(append([]string{name}, strings.Split(s.labels, labelSeparator)...)...)
		}
		c.attemptDuration.DeleteLabelValues(name)
		c.latency.DeleteLabelValues(name)
		delete(c.named.count, name)
		delete(c.named.counters, name)
	}
}

// counter returns a series of a subscription, made if need be. The caller holds the lock.
func (h *holders) counter(vector *prometheus.CounterVec, subscription string, labels ...string) prometheus.Counter {
	s := series{vector, strings.Join(labels, labelSeparator)}
	if known := h.counters[subscription][s]; known != nil {
		return known
	}
	if h.counters[subscription] == nil {
		h.counters[subscription] = make(map[series]prometheus.Counter)
	}
	made := vector.WithLabelValues(append([]string{subscription}, labels...)...)
	h.counters[subscription][s] = made
	return made
}

// held returns a series of a subscription that a configuration holds.
func (c *collectors) held(vector *prometheus.CounterVec, subscription string, labels ...string) prometheus.Counter {
	c.named.mu.Lock()
	defer c.named.mu.Unlock()
	return c.named.counter(vector, subscription, labels...)
}

// count adds to a series of a subscription, unless that has none any more: what is under
// way when its configuration goes does not bring it back.
func (c *collectors) count(vector *prometheus.CounterVec, n float64, subscription string, labels ...string) {
	s := series{vector, strings.Join(labels, labelSeparator)}
	c.named.mu.RLock()
	known := c.named.counters[subscription][s]
	if known != nil {
		known.Add(n)
	}
	c.named.mu.RUnlock()
	if known != nil {
		return
	}
	c.named.mu.Lock()
	defer c.named.mu.Unlock()
	if c.named.count[subscription] > 0 {
		c.named.counter(vector, subscription, labels...).Add(n)
	}
}
