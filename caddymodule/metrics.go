package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyrelay/caddyrelay/relay/intake"
)

// metrics are the counters and histograms. They belong to the process and are registered
// again with the registry of each configuration, so that they survive reloads. Labels
// are bounded by the configuration: never an event id, a URL or the text of an error.
var metrics = newCollectors()

type collectors struct {
	accepted, duplicate, unmatched prometheus.Counter
	rejected                       *prometheus.CounterVec
	intakeDuration                 prometheus.Histogram

	attempts        *prometheus.CounterVec
	attemptDuration *prometheus.HistogramVec
	deliveries      *prometheus.CounterVec
	latency         *prometheus.HistogramVec
	polls, waits    *prometheus.CounterVec
	storageErrors   *prometheus.CounterVec

	// named are the subscriptions that have series.
	named holders
}

const (
	metricsNamespace = "caddy"
	metricsSubsystem = "relay"
)

// Buckets in seconds. Deliveries take from a millisecond to days.
var (
	intakeBuckets  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
	attemptBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60}
	latencyBuckets = []float64{.001, .005, .01, .05, .1, .5, 1, 5, 30, 60, 300, 1800, 7200, 21600, 86400, 345600}
)

// storageOperations are those of which relay.Observer is told that they failed.
var storageOperations = []string{"append", "commit", "read", "trim"}

func newCollectors() *collectors {
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help}
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help, Buckets: buckets,
		}
	}
	return &collectors{
		accepted:  prometheus.NewCounter(counter("events_accepted_total", "Events stored and answered with 202.")),
		duplicate: prometheus.NewCounter(counter("events_duplicate_total", "Events that were known by their idempotency key.")),
		unmatched: prometheus.NewCounter(counter("events_unmatched_total", "Events stored that matched no subscription.")),
		rejected: prometheus.NewCounterVec(
			counter("events_rejected_total", "Requests to intake that were refused, by problem type."), []string{"reason"}),
		intakeDuration: prometheus.NewHistogram(
			histogram("intake_duration_seconds", "Time from an accepted request's first byte to its answer, sync included.", intakeBuckets)),
		attempts: prometheus.NewCounterVec(
			counter("attempts_total", "Attempts made, by outcome."), []string{"subscription", "region", "outcome", "error_kind"}),
		attemptDuration: prometheus.NewHistogramVec(
			histogram("attempt_duration_seconds", "Time that attempts took.", attemptBuckets), []string{"subscription"}),
		deliveries: prometheus.NewCounterVec(
			counter("deliveries_total", "Deliveries finished, by result."), []string{"subscription", "result"}),
		latency: prometheus.NewHistogramVec(
			histogram("delivery_latency_seconds", "Time from acceptance to a delivery's success.", latencyBuckets), []string{"subscription"}),
		polls: prometheus.NewCounterVec(
			counter("polls_total", "Polls for what deliveries wait for, by outcome."), []string{"subscription", "region", "outcome"}),
		waits: prometheus.NewCounterVec(
			counter("waits_total", "Deliveries that have waited to an end, by result."), []string{"subscription", "result"}),
		storageErrors: prometheus.NewCounterVec(
			counter("storage_errors_total", "Operations of the storage that failed."), []string{"operation"}),
		named: holders{
			count: make(map[string]int), regions: make(map[placed]int), used: make(map[string]struct{}),
			counters: make(map[string]map[series]prometheus.Counter),
		},
	}
}

func (c *collectors) all() []prometheus.Collector {
	return []prometheus.Collector{
		c.accepted, c.duplicate, c.unmatched, c.rejected, c.intakeDuration,
		c.attempts, c.durationsFromStart(c.attemptDuration, attemptBuckets),
		c.deliveriesFromStart(), c.durationsFromStart(c.latency, latencyBuckets), c.polls, c.waits, c.storageErrors,
	}
}

// registerMetrics shows the process's metrics, and this configuration's gauges, at the
// metrics endpoint of this configuration.
func (a *App) registerMetrics(registry *prometheus.Registry) error {
	if registry == nil {
		return nil
	}
	for _, c := range append(metrics.all(), prometheus.Collector(&gauges{app: a})) {
		var registered prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &registered) {
			return err
		}
	}
	for _, operation := range storageOperations {
		metrics.storageErrors.WithLabelValues(operation)
	}
	for _, p := range intake.ProblemTypes() {
		metrics.rejected.WithLabelValues(p.Slug)
	}
	return nil
}

// requestObserver tells the metrics what intake handlers see.
type requestObserver struct{}

// intakeObserver returns what intake handlers tell about requests.
func (*App) intakeObserver() intake.Observer { return requestObserver{} }

// Rejected implements [intake.Observer].
func (requestObserver) Rejected(reason string) { metrics.rejected.WithLabelValues(reason).Inc() }

// Took implements [intake.Observer].
func (requestObserver) Took(d time.Duration) { metrics.intakeDuration.Observe(d.Seconds()) }

// scrapeTimeout bounds what a scrape may ask of the store.
const scrapeTimeout = 5 * time.Second

func scrapeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), scrapeTimeout)
}
