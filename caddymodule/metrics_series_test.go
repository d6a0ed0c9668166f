package caddymodule

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

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
	if got, want := seriesIn(c), many*(3+len(finishedResults)+2); got != want {
		t.Fatalf("%d series; want %d", got, want)
	}
	c.release(names)
	if got, want := seriesIn(c), 3+len(finishedResults)+2; got != want {
		t.Errorf("%d series are left; want %d, of the one that is held twice", got, want)
	}
	c.count(c.attempts, 1, names[1], "eu", "retry", "5xx")
	c.count(c.attempts, 1, names[0], "eu", "retry", "5xx")
	c.release(names[:1])
	if got := seriesIn(c); got != 0 || len(c.named.count)+len(c.named.counters) != 0 {
		t.Errorf("%d series are left, %d held", got, len(c.named.counters))
	}
}

// seriesIn counts those of all subscriptions.
func seriesIn(c *collectors) (n int) {
	unlabelled := 4 // of events and intake
	for _, vector := range c.all() {
		found := make(chan prometheus.Metric)
		go func() { vector.Collect(found); close(found) }()
		for range found {
			n++
		}
	}
	return n - unlabelled
}

// What a subscription has from the start is there before anything was seen of it, each once, and
// looks no different when something was.
func TestSeriesAreThereFromTheStart(t *testing.T) {
	c := newCollectors()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c.all()...)
	gather := func() map[string]*dto.MetricFamily {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]*dto.MetricFamily)
		for _, f := range families {
			found[f.GetName()] = f
		}
		return found
	}
	shape := func(m *dto.Metric) string { // without what is counted
		text := fmt.Sprint(m.GetLabel())
		for _, b := range m.GetHistogram().GetBucket() {
			text += fmt.Sprintf(" %v", b.GetUpperBound())
		}
		return text
	}
	c.hold([]string{"crm", "erp"})
	before := gather()
	if c.of("nobody", "eu") != nil {
		t.Error("a subscription that nobody holds has series")
	}
	c.count(c.deliveries, 1, "erp", string(relay.StateFailed))
	m := c.of("crm", "eu")
	m.duration.Observe(0.1)
	m.delivered.Inc()
	after := gather()
	for name, want := range map[string]int{
		"caddy_relay_attempt_duration_seconds": 2, "caddy_relay_delivery_latency_seconds": 2,
		"caddy_relay_deliveries_total": 2 * len(finishedResults),
	} {
		a, b := before[name].GetMetric(), after[name].GetMetric()
		if len(a) != want || len(b) != want {
			t.Errorf("%s has %d series, then %d; want %d", name, len(a), len(b), want)
			continue
		}
		for i := range a {
			if shape(a[i]) != shape(b[i]) {
				t.Errorf("%s: %s, then %s", name, shape(a[i]), shape(b[i]))
			}
			if a[i].GetHistogram().GetSampleCount() != 0 || a[i].GetCounter().GetValue() != 0 {
				t.Errorf("%s begins with %v", name, a[i])
			}
		}
	}
	c.release([]string{"crm", "erp"})
	if late := c.of("crm", "eu"); late != nil || seriesIn(c) != 0 {
		t.Error("what comes late brings a series back")
	}
}

// Whoever looks while deliveries begin finds each series once.
func TestSeriesBeginWhileSomebodyLooks(t *testing.T) {
	c := newCollectors()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c.all()...)
	names := make([]string, 500)
	for i := range names {
		names[i] = "s" + strconv.Itoa(i)
	}
	c.hold(names)
	var all sync.WaitGroup
	all.Go(func() {
		for _, name := range names {
			c.of(name, "eu").duration.Observe(1)
			c.count(c.attempts, 1, name, "eu", "retry", "5xx")
		}
	})
	for range 20 {
		if _, err := registry.Gather(); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	if got, want := seriesIn(c), len(names)*(4+len(finishedResults)); got != want {
		t.Errorf("%d series, want %d", got, want)
	}
}
