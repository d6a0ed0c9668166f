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
	// used are those of which something was seen. Until then the series that a subscription
	// has from the start are only made up when somebody looks: those of ten thousand that are
	// idle are a million small objects, which the garbage collector would visit each time.
	used map[string]struct{}
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

// finishedResults are the values of result in deliveries_total.
var finishedResults = func() (all []string) {
	for _, s := range relay.States {
		if s.Finished() {
			all = append(all, string(s))
		}
	}
	return all
}()

// labelSeparator is in no value of a label: they are names and words of this project.
const labelSeparator = "\x00"

// hold gives subscriptions their series, at 0, until release is called as often.
func (c *collectors) hold(names []string) {
	c.named.mu.Lock()
	defer c.named.mu.Unlock()
	for _, name := range names {
		c.named.count[name]++
	}
}

// use makes the series that a subscription has from the start. It reports false if no
// configuration holds it. The caller holds the lock.
func (c *collectors) use(name string) bool {
	if c.named.count[name] == 0 {
		return false
	}
	if _, ok := c.named.used[name]; ok {
		return true
	}
	c.named.used[name] = struct{}{}
	for _, result := range finishedResults {
		c.named.counter(c.deliveries, name, result)
	}
	c.attemptDuration.WithLabelValues(name)
	c.latency.WithLabelValues(name)
	return true
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
		delete(c.named.used, name)
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

// of returns what is told of each delivery of a subscription, or nil if no configuration holds
// that any more.
func (c *collectors) of(name, region string) *deliveryMetrics {
	c.named.mu.Lock()
	defer c.named.mu.Unlock()
	if !c.use(name) {
		return nil
	}
	return &deliveryMetrics{
		duration:  c.attemptDuration.WithLabelValues(name),
		latency:   c.latency.WithLabelValues(name),
		delivered: c.named.counter(c.deliveries, name, string(relay.StateDelivered)),
		attempted: c.named.counter(c.attempts, name, region, string(relay.OutcomeDelivered), ""),
	}
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
	if c.use(subscription) {
		c.named.counter(vector, subscription, labels...).Add(n)
	}
}
