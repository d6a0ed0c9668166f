package caddymodule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyrelay/caddyrelay/relay"
)

// gauges are read from the engine when somebody looks.
type gauges struct{ app *App }

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, labels, nil)
}

var (
	descPending     = gauge("pending_deliveries", "Deliveries that are not finished: pending, retrying and held.", "subscription")
	descInFlight    = gauge("in_flight_attempts", "Attempts under way.", "subscription")
	descOldestDue   = gauge("oldest_due_timestamp_seconds", "When the first unfinished delivery was or will be due, as Unix time; 0 if there is none.", "subscription")
	descLastSuccess = gauge("last_success_timestamp_seconds", "When an attempt last succeeded, as Unix time; 0 if none has.", "subscription")
	descState       = gauge("subscription_state", "1 for the state that the subscription is in, 0 for the others.", "subscription", "state")
	descEgressUp    = gauge("egress_up", "Whether sockets can be bound to an address that is in use now.", "region", "address")
	descStorageSize = gauge("storage_size_bytes", "Size of the stored records, by part.", "part")
	descInstances   = gauge("instances", "Relays that share the storage and are alive, as this one knows; 1 where it has one user.")
	descStorageFree = gauge("storage_free_bytes", "Room left on the volume of the storage; -1 if unknown.")
)

// Describe implements [prometheus.Collector].
func (*gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descPending, descInFlight, descOldestDue, descLastSuccess, descState, descEgressUp, descInstances, descStorageSize, descStorageFree,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector]. A configuration that is not running, or
// whose store does not answer, has no gauges.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, r := range g.app.regionStatus() {
		for _, address := range r.Addresses {
			if !address.Active {
				continue // it is planned, or was in use
			}
			label := address.Address
			if !address.Pinned {
				label = address.Public // "auto" may stand in both families
			}
			send(descEgressUp, number(address.Up), r.Name, label)
		}
	}
	engine := g.app.started()
	if engine == nil {
		return
	}
	ctx, cancel := scrapeContext()
	defer cancel()
	subscriptions, err := engine.relay.StatusHere(ctx)
	if err != nil {
		return
	}
	for _, s := range subscriptions {
		send(descPending, float64(s.Pending), s.Name)
		send(descInFlight, float64(s.InFlight), s.Name)
		send(descOldestDue, unixSeconds(s.OldestDue), s.Name)
		send(descLastSuccess, unixSeconds(s.LastSuccess), s.Name)
		for _, state := range relay.SubscriptionStates {
			send(descState, number(s.State == state), s.Name, string(state))
		}
	}
	members, err := engine.relay.Members(ctx)
	if err != nil {
		return
	}
	send(descInstances, float64(max(1, len(members))))
	stats, err := engine.relay.Stats(ctx)
	if err != nil {
		return
	}
	for part, size := range stats.Size {
		send(descStorageSize, float64(size), part)
	}
	send(descStorageFree, float64(stats.Free))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// started returns the engine if this configuration has started, or nil.
func (a *App) started() *engine {
	select {
	case <-a.running.ready:
		return a.running.engine
	default:
		return nil
	}
}
