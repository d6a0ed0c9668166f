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
	names := make([]placed, many)
	for i := range names {
		names[i] = placed{"s" + strconv.Itoa(i), "eu"}
	}
	c.hold(names)
	c.hold(names[:1])
	for _, name := range names {
		for _, vector := range []*prometheus.CounterVec{c.attempts, c.polls, c.waits} {
			labels := map[*prometheus.CounterVec][]string{c.attempts: {"eu", "retry", "5xx"}, c.polls: {"eu", "ready"}, c.waits: {"ready"}}[vector]
			c.count(vector, 1, name.name, labels...)
			c.count(vector, 1, name.name, labels...)
		}
	}
	if got, want := seriesIn(c), many*(3+len(finishedResults)+2); got != want {
		t.Fatalf("%d series; want %d", got, want)
	}
	c.release(names)
	if got, want := seriesIn(c), 3+len(finishedResults)+2; got != want {
		t.Errorf("%d series are left; want %d, of the one that is held twice", got, want)
	}
	c.count(c.attempts, 1, names[1].name, "eu", "retry", "5xx")
	c.count(c.attempts, 1, names[0].name, "eu", "retry", "5xx")
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
	c.hold([]placed{{"crm", "eu"}, {"erp", "eu"}})
	before := gather()
	if c.of(placed{"nobody", "eu"}) != nil {
		t.Error("a subscription that nobody holds has series")
	}
	c.count(c.deliveries, 1, "erp", string(relay.StateFailed))
	m := c.of(placed{"crm", "eu"})
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
	c.release([]placed{{"crm", "eu"}, {"erp", "eu"}})
	if late := c.of(placed{"crm", "eu"}); late != nil || seriesIn(c) != 0 {
		t.Error("what comes late brings a series back")
	}
}

// Whoever looks while deliveries begin finds each series once.
func TestSeriesBeginWhileSomebodyLooks(t *testing.T) {
	c := newCollectors()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c.all()...)
	names := make([]placed, 500)
	for i := range names {
		names[i] = placed{"s" + strconv.Itoa(i), "eu"}
	}
	c.hold(names)
	var all sync.WaitGroup
	all.Go(func() {
		for _, name := range names {
			c.of(name).duration.Observe(1)
			c.count(c.attempts, 1, name.name, "eu", "retry", "5xx")
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

// TestSeriesOfARegionGoWithIt: a reload that moves a subscription takes the counters of the region
// before away, also where an attempt ends only then; the others go on counting.
func TestSeriesOfARegionGoWithIt(t *testing.T) {
	c := newCollectors()
	count := func(region string) {
		c.count(c.attempts, 1, "crm", region, "retry", "5xx")
		c.count(c.polls, 1, "crm", region, "ready")
		c.count(c.deliveries, 1, "crm", string(relay.StateFailed))
	}
	regions := func() (all []string) {
		registry := prometheus.NewRegistry()
		registry.MustRegister(c.attempts, c.polls)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				for _, l := range m.GetLabel() {
					if l.GetName() == "region" {
						all = append(all, l.GetValue())
					}
				}
			}
		}
		return all
	}
	eu, us := []placed{{"crm", "eu"}}, []placed{{"crm", "us"}}
	c.hold(eu)
	count("eu")
	c.hold(us)
	count("us")
	if got := regions(); len(got) != 4 {
		t.Errorf("while both run: %v", got)
	}
	c.release(eu)
	count("eu")
	if late := c.of(eu[0]); late == nil || late.attempted != nil {
		t.Errorf("what comes late of the region before is counted as %+v; want no attempt", late)
	}
	if got := regions(); len(got) != 2 || got[0] != "us" || got[1] != "us" {
		t.Errorf("after it has moved: %v", got)
	}
	var m dto.Metric
	if err := c.deliveries.WithLabelValues("crm", string(relay.StateFailed)).Write(&m); err != nil || m.GetCounter().GetValue() != 3 {
		t.Errorf("%v deliveries failed, %v; want 3", m.GetCounter().GetValue(), err)
	}
	c.release(us)
	if got := seriesIn(c); got != 0 || len(c.named.regions) != 0 {
		t.Errorf("%d series are left, %v", got, c.named.regions)
	}
}
