package console

import (
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// overviewPage is the first page: what is wrong, then what happens.
type overviewPage struct {
	// Refusing is why no events are accepted; empty while they are.
	Refusing string
	Warnings []string
	Down     []downAddress
	// Troubled are some of the subscriptions that somebody should look at.
	Troubled      []relay.SubscriptionStatus
	TroubledTotal int
	Subscriptions int
	Events        uint64
	Waiting       uint64
	InFlight      int
	Failed        uint64
	Newest        []relay.Delivery
	// Rates and Backlog are charts, and Quantiles say how long deliveries took; nil: no
	// history.
	Rates     *rateChart
	Backlog   *backlogChart
	Quantiles []time.Duration
}

// downAddress is an address that nothing can leave from, and should.
type downAddress struct {
	Region string
	Address
}

// Rows of the first page.
const (
	troubledShown = 8
	newestShown   = 10
)

func (v *visit) overview() error {
	all, err := v.engine.Status(v.context())
	if err != nil {
		return err
	}
	stats, err := v.engine.Stats(v.context())
	if err != nil {
		return err
	}
	p := overviewPage{Warnings: v.warnings(), Subscriptions: len(all), Events: stats.Events}
	if err := v.engine.Err(); err != nil {
		p.Refusing = err.Error()
	}
	for _, region := range v.options.Setup.Regions() {
		for _, a := range region.Addresses {
			if a.Active && !a.Up {
				p.Down = append(p.Down, downAddress{region.Name, a})
			}
		}
	}
	for i := range all {
		s := &all[i]
		p.Waiting += s.Pending
		p.InFlight += s.InFlight
		p.Failed += s.Failed
		if !troubled(s) {
			continue
		}
		if p.TroubledTotal++; p.TroubledTotal <= troubledShown {
			p.Troubled = append(p.Troubled, *s)
		}
	}
	page, err := v.engine.Deliveries(v.context(), relay.DeliveryQuery{Limit: newestShown, LastAttempt: true})
	if err != nil {
		return err
	}
	p.Newest = page.Deliveries
	if p.Rates = v.rates(); p.Rates != nil {
		p.Backlog = v.backlog("", p.Waiting)
		p.Quantiles = v.options.History.quantiles(time.Now(), 0.5, 0.95, 0.99)
	}
	return v.show("overview", "Overview", &p)
}
