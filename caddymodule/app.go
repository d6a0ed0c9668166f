package caddymodule

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/catalogue"
	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/egress"
)

func init() { caddy.RegisterModule(new(App)) }

// App is a durable webhook relay. Applications hand it events (see the handler
// relay_intake); it keeps them on disk, and delivers them to subscriptions until each
// one has taken them or its retries are used up.
type App struct {
	// Where events are kept. Guests are modules that implement [StorageOpener].
	// Default: `{"engine": "badger"}`
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=relay.storage inline_key=engine"`

	// How long finished records are kept.
	Retention *Retention `json:"retention,omitempty"`

	// Where deliveries leave from. Default: wherever the kernel chooses, with a
	// warning.
	Regions []*Region `json:"regions,omitempty"`

	// How long ahead changes of addresses have to be announced, by from and until; a
	// shorter notice is a warning. Default: 30d
	Notice Duration `json:"notice,omitempty"`

	// The types of events that applications send. Events of other types are taken, too.
	EventTypes []*EventType `json:"event_types,omitempty"`

	// What subscriptions use that do not say otherwise.
	Defaults *Settings `json:"defaults,omitempty"`

	// Who gets what.
	Subscriptions []*Subscription `json:"subscriptions,omitempty"`

	// configured is what Defaults said; see Subscription.
	configured Settings

	ctx        caddy.Context
	logger     *zap.Logger
	opener     StorageOpener
	catalogue  *catalogue.Catalogue
	plan       *relay.Plan
	transports []*egress.Transport
	egress     []*egress.Region // in the order of Regions
	running    lifecycle
	survey     survey
	watch      addressWatch
	backlog    backlogWatch
	events     *caddyevents.App
	tracing    *tracing
	// series are the subscriptions whose metrics and history this configuration holds.
	series []placed
	// warned are the warnings of the configuration itself.
	warned []string
	// listURL is where receivers find the egress list, if a relay_egress says so.
	listURL string
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "relay",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks the configuration, resolves its secrets, reads its schemas and makes a
// plan of it. It opens no store and starts nothing: it also runs for `caddy validate`, and
// beside the configuration that is running.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.running.ready, a.running.over = make(chan struct{}), make(chan struct{})
	a.tracing = newTracing(environment)
	if err := a.check(); err != nil {
		return err
	}
	if err := a.loadStorage(ctx); err != nil {
		return err
	}
	if err := a.loadGuests(ctx); err != nil {
		return err
	}
	if err := a.loadEvents(ctx); err != nil {
		return err
	}
	if err := a.loadCatalogue(); err != nil {
		return err
	}
	plan, err := a.newPlan()
	if err != nil {
		return err
	}
	a.plan = plan
	a.warned = a.warnings()
	for _, text := range a.warned {
		a.logger.Warn(text)
	}
	return a.registerMetrics(ctx.GetMetricsRegistry())
}

// check judges the configuration as far as its text goes.
func (a *App) check() error {
	if err := a.Retention.check(); err != nil {
		return err
	}
	if err := checkOptional("notice", a.Notice); err != nil {
		return err
	}
	regions := make(map[string]bool)
	for i, r := range a.Regions {
		if err := r.check(); err != nil {
			return err
		}
		if regions[r.Name] {
			return fmt.Errorf("region %q is declared twice; put its addresses into one", r.Name)
		}
		regions[r.Name] = true
		if err := r.checkApart(a.Regions[:i]); err != nil {
			return err
		}
	}
	if err := checkEventTypes(a.EventTypes); err != nil {
		return err
	}
	if err := a.checkDefaults(); err != nil {
		return err
	}
	names := make(map[string]bool)
	for _, s := range a.Subscriptions {
		if err := s.check(); err != nil {
			return err
		}
		if names[s.Name] {
			return fmt.Errorf("subscription %q is declared twice; names are unique", s.Name)
		}
		names[s.Name] = true
		if err := a.checkWithin(s, destination.OwnAddresses); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) checkDefaults() error {
	if a.Defaults == nil {
		return nil
	}
	err := a.Defaults.check()
	if err == nil && a.Defaults.Region != "" {
		_, err = a.regionOf(a.Defaults.Region)
	}
	if err != nil {
		return fmt.Errorf("defaults: %w", err)
	}
	return nil
}

func (a *App) loadStorage(ctx caddy.Context) error {
	var guest any
	var err error
	if a.StorageRaw == nil {
		guest, err = ctx.LoadModuleByID(storageNamespace+".badger", nil)
	} else {
		guest, err = ctx.LoadModule(a, "StorageRaw")
	}
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	opener, ok := guest.(StorageOpener)
	if !ok {
		return fmt.Errorf("storage: module %T is no relay storage", guest)
	}
	a.opener = opener
	return nil
}

// loadGuests loads what settings name, and lays each subscription's over the defaults.
func (a *App) loadGuests(ctx caddy.Context) error {
	for _, r := range a.Regions {
		if err := r.provision(ctx); err != nil {
			return err
		}
	}
	if a.Defaults != nil {
		a.configured = *a.Defaults
		if err := a.Defaults.loadGuests(ctx); err != nil {
			return fmt.Errorf("defaults: %w", err)
		}
	}
	for _, s := range a.Subscriptions {
		s.configured = s.Settings
		if err := s.Settings.loadGuests(ctx); err != nil {
			return s.wrap(err)
		}
		s.effective = s.Settings.over(a.Defaults)
	}
	return nil
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
