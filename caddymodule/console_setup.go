package caddymodule

import (
	"slices"

	"github.com/caddyrelay/caddyrelay/caddymodule/console"
)

// consoleSetup tells the console of the configuration, as far as people may see it.
type consoleSetup struct{ app *App }

// Version implements [console.Setup].
func (consoleSetup) Version() string { return version() }

// Warnings implements [console.Setup].
func (s consoleSetup) Warnings() []string { return s.app.warned }

// Names implements [console.Setup].
func (s consoleSetup) Names() []string {
	names := make([]string, len(s.app.Subscriptions))
	for i, subscription := range s.app.Subscriptions {
		names[i] = subscription.Name
	}
	return names
}

// Regions implements [console.Setup].
func (s consoleSetup) Regions() []console.Region {
	var all []console.Region
	for _, r := range s.app.regionStatus() {
		region := console.Region{Name: r.Name}
		for _, a := range r.Addresses {
			region.Addresses = append(region.Addresses, console.Address{
				Address: a.Address, Public: a.Public, Pinned: a.Pinned, Up: a.Up, Active: a.Active,
				From: a.From.Time, Until: a.Until.Time, Error: a.Error,
			})
		}
		all = append(all, region)
	}
	return all
}

// Subscription implements [console.Setup].
func (s consoleSetup) Subscription(name string) (console.Subscription, bool) {
	i := slices.IndexFunc(s.app.Subscriptions, func(s *Subscription) bool { return s.Name == name })
	if i < 0 {
		return console.Subscription{}, false
	}
	found := s.app.Subscriptions[i]
	shown := console.Subscription{URL: found.URL, Warning: s.app.survey.warning(name)}
	for _, e := range s.app.effective(found) {
		shown.Settings = append(shown.Settings, console.Setting{Word: e.Word, Values: e.Values, From: e.From})
	}
	return shown, true
}
