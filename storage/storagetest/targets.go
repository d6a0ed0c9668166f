package storagetest

import "github.com/caddyrelay/caddyrelay/relay"

// Targets returns targets without ordering keys.
func Targets(subscriptions ...string) []relay.Target {
	targets := make([]relay.Target, len(subscriptions))
	for i, name := range subscriptions {
		targets[i] = relay.Target{Subscription: name}
	}
	return targets
}
