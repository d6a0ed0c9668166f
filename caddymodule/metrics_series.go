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
	// regions counts those that have the subscription leave from a region.
	regions map[placed]int
	// used are those of which something was seen. Until then the series that a subscription
	// has from the start are only made up when somebody looks: those of ten thousand that are
	// idle are a million small objects, which the garbage collector would visit each time.
	used map[string]struct{}
	// counters are those of each subscription that were made: to look for them among those
	// of all would take as long as there are subscriptions, for each that goes.
	counters map[string]map[series]prometheus.Counter
}

// placed is a subscription with the region that its attempts leave from, empty if there is none.
type placed struct{ name, region string }

func namesOf(all []placed) []string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.name
	}
	return names
}

// series is one of a vector and a subscription.
type series struct {
	vector *prometheus.CounterVec
	// labels are the values after that of the subscription.
	labels string
}

// values returns the values of its labels.
func (s series) values(name string) []string {
	return append([]string{name}, strings.Split(s.labels, labelSeparator)...)
}

// regional reports whether the label after that of the subscription is the region.
func (c *collectors) regional(vector *prometheus.CounterVec) bool {
	return vector == c.attempts || vector == c.polls
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
func (c *collectors) hold(all []placed) {
	c.named.mu.Lock()
	defer c.named.mu.Unlock()
	for _, s := range all {
		c.named.count[s.name]++
		c.named.regions[s]++
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

// release takes the series away of subscriptions that no configuration names any more, or has
// leave from that region, so that names which come and go do not pile up.
func (c *collectors) release(all []placed) {
	c.named.mu.Lock()
	defer c.named.mu.Unlock()
	for _, p := range all {
		c.named.count[p.name]--
		gone := c.named.count[p.name] == 0
		if c.named.regions[p]--; c.named.regions[p] > 0 {
			continue
		}
		delete(c.named.regions, p)
		for s := range c.named.counters[p.name] {
			if values := s.values(p.name); gone || c.regional(s.vector) && values[1] == p.region {
				s.vector.DeleteLabelValues(values...)
				delete(c.named.counters[p.name], s)
			}
		}
		if !gone {
			continue
		}
		c.attemptDuration.DeleteLabelValues(p.name)
		c.latency.DeleteLabelValues(p.name)
		delete(c.named.count, p.name)
		delete(c.named.used, p.name)
		delete(c.named.counters, p.name)
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
func (c *collectors) of(p placed) *deliveryMetrics {
	c.named.mu.Lock()
	defer c.named.mu.Unlock()
	if !c.use(p.name) {
		return nil
	}
	m := &deliveryMetrics{
		duration:  c.attemptDuration.WithLabelValues(p.name),
		latency:   c.latency.WithLabelValues(p.name),
		delivered: c.named.counter(c.deliveries, p.name, string(relay.StateDelivered)),
	}
	if c.named.regions[p] > 0 {
		m.attempted = c.named.counter(c.attempts, p.name, p.region, string(relay.OutcomeDelivered), "")
	}
	return m
}

// count adds to a series of a subscription, unless that has none any more, or not in that region: what is under
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
	if c.regional(vector) && c.named.regions[placed{subscription, labels[0]}] == 0 {
		return
	}
	if c.use(subscription) {
		c.named.counter(vector, subscription, labels...).Add(n)
	}
}
