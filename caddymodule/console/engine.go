package console

import (
	"context"
	"slices"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/egresslist"
)

// Engine is what the console asks of a [relay.Relay].
type Engine interface {
	Status(ctx context.Context) ([]relay.SubscriptionStatus, error)
	SubscriptionStatus(ctx context.Context, name string) (relay.SubscriptionStatus, error)
	Stats(ctx context.Context) (relay.StoreStats, error)
	Members(ctx context.Context) ([]relay.MemberStatus, error)
	Err() error

	Deliveries(ctx context.Context, q relay.DeliveryQuery) (relay.DeliveryPage, error)
	Events(ctx context.Context, q relay.EventQuery) ([]relay.ListedEvent, relay.Seq, error)
	Event(ctx context.Context, id string) (*relay.Event, error)
	DeliveriesOf(ctx context.Context, e *relay.Event, places []relay.Placement) ([]relay.Delivery, error)
	Delivery(ctx context.Context, e *relay.Event, subscription string) (relay.Delivery, error)
	Preview(ctx context.Context, e *relay.Event, subscription string, attempt int) (*relay.Preview, error)
	Explain(ctx context.Context, id, subscription string) (*relay.Explanation, error)

	Would(e *relay.Event) []string
	Follow(q relay.Following) *relay.Follower
	Replay(ctx context.Context, id, subscription string) error
	StartReplay(ctx context.Context, q relay.ReplayRequest) (relay.Job, error)
	Job(ctx context.Context, id string) (relay.Job, error)
	Jobs(ctx context.Context) []relay.Job
	CancelJob(ctx context.Context, id string) (relay.Job, error)
	Pause(ctx context.Context, name, reason string) (relay.SubscriptionStatus, error)
	Resume(ctx context.Context, name string) (relay.SubscriptionStatus, error)
	Drop(ctx context.Context, name string) (relay.SubscriptionStatus, error)
	Test(ctx context.Context, name string) (relay.Receipt, error)

	EgressList() *egresslist.State
	EgressWarnings() []egresslist.Warning
}

var _ Engine = (*relay.Relay)(nil)

// warnings are about the configuration, and about changes of addresses that were announced
// too late.
func (v *visit) warnings() []string {
	all := slices.Clone(v.options.Setup.Warnings())
	for _, w := range v.engine.EgressWarnings() {
		all = append(all, w.String())
	}
	return all
}

// Setup is the configuration, as far as people may see it.
type Setup interface {
	// Version is that of the relay.
	Version() string
	// Warnings are about the configuration.
	Warnings() []string
	// Regions are asked for how their addresses are now.
	Regions() []Region
	// Subscription returns false if the configuration has none of that name.
	Subscription(name string) (Subscription, bool)
	// Draft judges the lines of a subscription as a Caddyfile that has them would be judged,
	// and returns what chooses its events.
	Draft(text string) (*relay.Subscription, error)
	// Publish stores an event as the intake does, and returns its ID. The error is for
	// people.
	Publish(ctx context.Context, typ string, data []byte) (string, error)
	// Names are those of all subscriptions, in order.
	Names() []string
}

// Region is where deliveries leave from.
type Region struct {
	Name      string
	Addresses []Address
}

// Address is one address of a region.
type Address struct {
	// Address is what sockets are bound to, Public what receivers see.
	Address, Public string
	// Pinned is false where the kernel chooses.
	Pinned bool
	// Up says that it is on this machine, Active that it is now between From and Until,
	// which are zero where not set.
	Up, Active  bool
	From, Until time.Time
	// Error is why it is not up.
	Error string
}

// Subscription is one of the configuration, without what is secret.
type Subscription struct {
	// URL is as configured: placeholders stay placeholders.
	URL string
	// Warning is what a look at the destination found after the start.
	Warning  string
	Settings []Setting
}

// Setting is a word of a subscription with what it comes to, and where that comes from.
type Setting struct {
	Word   string
	Values []string
	From   string
}
