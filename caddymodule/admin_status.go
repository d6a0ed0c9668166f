package caddymodule

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// status is what GET /relay/status answers.
type status struct {
	Version       string               `json:"version"`
	Storage       storageStatus        `json:"storage"`
	Regions       []regionStatus       `json:"regions"`
	Subscriptions []subscriptionStatus `json:"subscriptions"`
	// Instances are the relays that share the storage, this one first; none where the storage
	// has one user.
	Instances []instanceStatus `json:"instances"`
	// Warnings are about the configuration, and about changes of addresses that were
	// announced too late.
	Warnings []string `json:"warnings"`
}

type storageStatus struct {
	Engine    string           `json:"engine"`
	Location  string           `json:"location"`
	SizeBytes map[string]int64 `json:"size_bytes"`
	// FreeBytes is -1 if unknown.
	FreeBytes int64 `json:"free_bytes"`
	// Events counts all that were ever stored.
	Events uint64 `json:"events"`
	// Error is why no events are accepted; empty while they are.
	Error string `json:"error"`
}

type regionStatus struct {
	Name      string          `json:"name"`
	Addresses []addressStatus `json:"addresses"`
}

type addressStatus struct {
	// Address is what sockets are bound to; "auto" if the kernel chooses.
	Address string `json:"address"`
	// Public is the address that receivers see; a prefix, if it may be any of several.
	Public string `json:"public"`
	// Pinned is false where the kernel chooses: then nothing but the operator's network
	// keeps deliveries at what is published.
	Pinned bool `json:"pinned"`
	Up     bool `json:"up"`
	// Active says that it is now between From and Until. Both are null where not set.
	Active bool      `json:"active"`
	From   view.Time `json:"from"`
	Until  view.Time `json:"until"`
	// Error is why it is not up.
	Error string `json:"error,omitempty"`
}

type subscriptionStatus struct {
	Name   string                  `json:"name"`
	State  relay.SubscriptionState `json:"state"`
	Reason relay.Reason            `json:"reason"`
	Detail string                  `json:"detail,omitempty"`
	// Warning is what a look at the destination found after the start.
	Warning     string    `json:"warning,omitempty"`
	Pending     uint64    `json:"pending"`
	InFlight    int       `json:"in_flight"`
	Failed      uint64    `json:"failed"`
	OldestDue   view.Time `json:"oldest_due"`
	LastSuccess view.Time `json:"last_success"`
	// FailingSince is null while attempts succeed.
	FailingSince view.Time `json:"failing_since"`
}

type instanceStatus struct {
	// ID tells which one it is; it is another one after each start.
	ID string `json:"id"`
	// Regions are those that it has an address of.
	Regions []string `json:"regions"`
	// Shards are the parts of all subscriptions of which it carries some, Subscriptions how
	// many those are.
	Shards        []int `json:"shards"`
	Subscriptions int   `json:"subscriptions"`
	// Seen is when it last said that it is alive.
	Seen view.Time `json:"seen"`
}

// adminStatus answers GET /relay/status.
func adminStatus(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	subscriptions, err := engine.Status(r.Context())
	if err != nil {
		return engineError(err)
	}
	// A storage that is away cannot tell how large it is; that it is away, is told.
	stats, storageErr := engine.Stats(r.Context())
	if storageErr != nil {
		stats = relay.StoreStats{Size: map[string]int64{}, Free: -1}
	}
	members, membersErr := engine.Members(r.Context())
	s := status{
		Version: version(),
		Storage: storageStatus{
			Engine: stats.Engine, Location: stats.Location, SizeBytes: stats.Size, FreeBytes: stats.Free, Events: stats.Events,
		},
		Regions:       a.regionStatus(),
		Subscriptions: make([]subscriptionStatus, len(subscriptions)),
		Instances:     make([]instanceStatus, len(members)),
		Warnings:      append([]string{}, a.warned...),
	}
	for i := range members {
		s.Instances[i] = showInstance(&members[i])
	}
	if err := cmp.Or(engine.Err(), storageErr, membersErr); err != nil {
		s.Storage.Error = err.Error()
	}
	for _, w := range engine.EgressWarnings() {
		s.Warnings = append(s.Warnings, w.String())
	}
	for i := range subscriptions {
		s.Subscriptions[i] = a.showSubscription(&subscriptions[i])
		if n := &subscriptions[i]; n.Reason == relay.ReasonNoInstance {
			s.Warnings = append(s.Warnings, fmt.Sprintf("subscription %q: its deliveries are held: %s", n.Name, n.Detail))
		}
	}
	return writeJSON(w, http.StatusOK, s)
}

func showInstance(m *relay.MemberStatus) instanceStatus {
	return instanceStatus{
		ID: m.ID, Regions: append([]string{}, m.Regions...), Shards: append([]int{}, m.Shards...),
		Subscriptions: m.Carries, Seen: view.Time{Time: m.Seen},
	}
}

func (a *App) showSubscription(s *relay.SubscriptionStatus) subscriptionStatus {
	return subscriptionStatus{
		Name: s.Name, State: s.State, Reason: s.Reason, Detail: s.Detail, Warning: a.survey.warning(s.Name),
		Pending: s.Pending, InFlight: s.InFlight, Failed: s.Failed,
		OldestDue: view.Time{Time: s.OldestDue}, LastSuccess: view.Time{Time: s.LastSuccess},
		FailingSince: view.Time{Time: s.FailingSince},
	}
}

// regionStatus asks the kernel about the addresses of all regions.
func (a *App) regionStatus() []regionStatus {
	all := make([]regionStatus, len(a.egress))
	for i, r := range a.egress {
		all[i] = regionStatus{Name: r.Name, Addresses: []addressStatus{}}
		for _, s := range r.Status() {
			address := addressStatus{
				Address: autoAddress, Public: s.PublicText(), Pinned: s.Pinned(), Up: s.Up,
				Active: s.Active, From: view.Time{Time: s.From}, Until: view.Time{Time: s.Until},
			}
			if s.Pinned() {
				address.Address = s.Addr.String()
			}
			if s.Err != nil {
				address.Error = s.Err.Error()
			}
			all[i].Addresses = append(all[i].Addresses, address)
		}
	}
	return all
}

// health is what the health routes answer.
type health struct {
	Status string `json:"status"`
}

// adminLive answers GET /relay/health/live.
func adminLive(w http.ResponseWriter, _ *http.Request, _ *App, _ *relay.Relay) error {
	return writeJSON(w, http.StatusOK, health{Status: "ok"})
}

// adminReady answers GET /relay/health/ready: 503 while events are not accepted.
func adminReady(w http.ResponseWriter, _ *http.Request, _ *App, engine *relay.Relay) error {
	if err := engine.Err(); err != nil {
		return adminError(http.StatusServiceUnavailable, err)
	}
	return writeJSON(w, http.StatusOK, health{Status: "ok"})
}
