package caddymodule

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyrelay/caddyrelay/caddymodule/console"
	"github.com/caddyrelay/caddyrelay/relay"
)

// deliveryMetrics are those of one subscription, looked up once.
type deliveryMetrics struct {
	duration, latency prometheus.Observer
	delivered         prometheus.Counter
	// attempted counts the usual attempt: one that delivered. It is nil if no configuration has
	// the subscription in this region any more.
	attempted prometheus.Counter
}

// observed is a subscription that is told of.
type observed struct {
	placed
	history *console.Series

	once sync.Once
	made *deliveryMetrics
}

// metrics returns those of the subscription, which are made when the first is needed; nil if
// its configuration has gone before.
func (o *observed) metrics() *deliveryMetrics {
	o.once.Do(func() { o.made = metrics.of(o.placed) })
	return o.made
}

// planObserver tells the metrics what one configuration's plan sees.
type planObserver struct {
	bySubscription map[string]*observed
	// emit and emitEgress make a Caddy event of an operational one.
	emit       func(relay.Notice)
	emitEgress func(relay.EgressNotice)
}

// observer returns what the engine tells about this configuration's deliveries. Every
// subscription has its series from the start, at 0, until Cleanup.
func (a *App) observer() relay.Observer {
	o := &planObserver{emit: a.emit, emitEgress: a.emitEgress, bySubscription: make(map[string]*observed, len(a.Subscriptions))}
	a.series = make([]placed, len(a.Subscriptions))
	for i, s := range a.Subscriptions {
		a.series[i] = placed{s.Name, a.regionNameOf(s)}
	}
	metrics.hold(a.series)
	history := consoleHistory.Hold(namesOf(a.series))
	all := make([]observed, len(a.Subscriptions))
	for i, s := range a.Subscriptions {
		if s.effective.WaitFor != nil {
			for _, how := range relay.AllWaited {
				metrics.count(metrics.waits, 0, s.Name, string(how))
			}
		}
		all[i].placed, all[i].history = a.series[i], history[s.Name]
		o.bySubscription[s.Name] = &all[i]
	}
	return o
}

// releaseSeries gives back what observer took; it may be called at any time, and again.
func (a *App) releaseSeries() {
	metrics.release(a.series)
	consoleHistory.Release(namesOf(a.series))
	a.series = nil
}

// regionNameOf returns the name of the region that a subscription's attempts leave from,
// empty if there is none.
func (a *App) regionNameOf(s *Subscription) string {
	region, err := a.regionOf(s.effective.Region)
	if err != nil || region == nil {
		return ""
	}
	return region.Name
}

// Accepted implements [relay.Observer].
func (*planObserver) Accepted(deliveries int) {
	metrics.accepted.Inc()
	if deliveries == 0 {
		metrics.unmatched.Inc()
	}
}

// Duplicate implements [relay.Observer].
func (*planObserver) Duplicate() { metrics.duplicate.Inc() }

// Attempted implements [relay.Observer].
func (o *planObserver) Attempted(s *relay.Subscription, outcome relay.Outcome, kind relay.ErrorKind, took time.Duration) {
	told := o.bySubscription[s.Name]
	m := told.metrics()
	if m != nil {
		m.duration.Observe(took.Seconds())
	}
	if outcome == relay.OutcomeDelivered {
		if m != nil && m.attempted != nil {
			m.attempted.Inc()
		}
		return
	}
	if outcome != relay.OutcomeCut {
		consoleHistory.Failed(told.history)
	}
	metrics.count(metrics.attempts, 1, s.Name, s.Region, string(outcome), string(kind))
}

// Settled implements [relay.Observer].
func (o *planObserver) Settled(subscription string, state relay.State, n uint64) {
	if told := o.bySubscription[subscription]; state == relay.StateDelivered && told != nil {
		if m := told.metrics(); m != nil {
			m.delivered.Add(float64(n))
		}
		consoleHistory.Delivered(told.history, n)
		return
	}
	metrics.count(metrics.deliveries, float64(n), subscription, string(state))
}

// Arrived implements [relay.Observer].
func (o *planObserver) Arrived(subscription string, latency time.Duration) {
	if told := o.bySubscription[subscription]; told != nil {
		if m := told.metrics(); m != nil {
			m.latency.Observe(latency.Seconds())
		}
		consoleHistory.Took(latency)
	}
}

// Polled implements [relay.Observer].
func (*planObserver) Polled(s *relay.Subscription, p relay.Polled) {
	metrics.count(metrics.polls, 1, s.Name, s.Region, string(p))
}

// Waited implements [relay.Observer].
func (*planObserver) Waited(subscription string, how relay.Waited) {
	metrics.count(metrics.waits, 1, subscription, string(how))
}

// StoreFailed implements [relay.Observer].
func (*planObserver) StoreFailed(operation string) {
	metrics.storageErrors.WithLabelValues(operation).Inc()
}

// Noticed implements [relay.Observer].
func (o *planObserver) Noticed(n relay.Notice) { o.emit(n) }

// EgressNoticed implements [relay.Observer].
func (o *planObserver) EgressNoticed(n relay.EgressNotice) { o.emitEgress(n) }
