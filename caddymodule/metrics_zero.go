package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"
)

// fromStart is a vector in which each subscription that is held has series, at 0 as long as
// nothing was seen of it: then they are made up here.
type fromStart struct {
	prometheus.Collector
	named *holders
	// zero sends the series of one subscription.
	zero func(name string, to chan<- prometheus.Metric)
}

// Collect implements [prometheus.Collector]. Nothing is used for the first time meanwhile, or
// its series could be there twice.
func (f *fromStart) Collect(to chan<- prometheus.Metric) {
	f.named.mu.RLock()
	defer f.named.mu.RUnlock()
	f.Collector.Collect(to)
	for name := range f.named.count {
		if _, ok := f.named.used[name]; !ok {
			f.zero(name, to)
		}
	}
}

// durationsFromStart is a vector of histograms by subscription.
func (c *collectors) durationsFromStart(vector *prometheus.HistogramVec, buckets []float64) prometheus.Collector {
	desc, empty := descOf(vector), make(map[float64]uint64, len(buckets))
	for _, bound := range buckets {
		empty[bound] = 0
	}
	return &fromStart{vector, &c.named, func(name string, to chan<- prometheus.Metric) {
		to <- prometheus.MustNewConstHistogram(desc, 0, 0, empty, name)
	}}
}

// deliveriesFromStart is the vector of deliveries by subscription and result.
func (c *collectors) deliveriesFromStart() prometheus.Collector {
	desc := descOf(c.deliveries)
	return &fromStart{c.deliveries, &c.named, func(name string, to chan<- prometheus.Metric) {
		for _, result := range finishedResults {
			to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, 0, name, result)
		}
	}}
}

// descOf returns how a vector describes itself.
func descOf(vector prometheus.Collector) *prometheus.Desc {
	one := make(chan *prometheus.Desc, 1)
	vector.Describe(one)
	return <-one
}
