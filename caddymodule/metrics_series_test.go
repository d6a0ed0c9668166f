package caddymodule

import (
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyrelay/caddyrelay/relay"
)

// TestManySubscriptionsGoAtOnce: to look through all series for each subscription that goes took
// minutes with this many, at the end of caddy validate and at each stop.
func TestManySubscriptionsGoAtOnce(t *testing.T) {
	const many = 20_000
	c := newCollectors()
	names := make([]string, many)
	for i := range names {
		names[i] = "s" + strconv.Itoa(i)
	}
	c.hold(names)
	c.hold(names[:1])
	for _, name := range names {
		for _, vector := range []*prometheus.CounterVec{c.attempts, c.polls, c.waits} {
			labels := map[*prometheus.CounterVec][]string{c.attempts: {"eu", "retry", "5xx"}, c.polls: {"eu", "ready"}, c.waits: {"ready"}}[vector]
			c.count(vector, 1, name, labels...)
			c.count(vector, 1, name, labels...)
		}
	}
	if got, want := seriesIn(c), many*(3+len(finishedStates())+2); got != want {
		t.Fatalf("%d series; want %d", got, want)
	}
	c.release(names)
	if got, want := seriesIn(c), 3+len(finishedStates())+2; got != want {
		t.Errorf("%d series are left; want %d, of the one that is held twice", got, want)
	}
	c.count(c.attempts, 1, names[1], "eu", "retry", "5xx")
	c.count(c.attempts, 1, names[0], "eu", "retry", "5xx")
	c.release(names[:1])
	if got := seriesIn(c); got != 0 || len(c.named.count)+len(c.named.counters) != 0 {
		t.Errorf("%d series are left, %d held", got, len(c.named.counters))
	}
}

// finishedStates are those that deliveries_total counts.
func finishedStates() (all []string) {
	for _, s := range relay.States {
		if s.Finished() {
			all = append(all, string(s))
		}
	}
	return all
}

// seriesIn counts those of all subscriptions.
func seriesIn(c *collectors) (n int) {
	for _, vector := range []prometheus.Collector{c.attempts, c.attemptDuration, c.deliveries, c.latency, c.polls, c.waits} {
		found := make(chan prometheus.Metric)
		go func() { vector.Collect(found); close(found) }()
		for range found {
			n++
		}
	}
	return n
}
