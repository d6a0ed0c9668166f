// Package caddymodule is the relay as a set of Caddy modules. It is the only
// package of this project that imports Caddy, and holds no delivery logic: it
// reads configurations, makes a [relay.Plan] of each, and sees to it that one
// engine lives as long as its store is configured.
//
//	module                        what it is
//	relay                         the app, and the global option of the Caddyfile
//	http.handlers.relay_intake    takes events; directive relay_intake
//	http.handlers.relay_sink      a receiver for trying things out; directive relay_sink
//	relay.storage.badger          the storage engine built in
//	relay.signers.*               signatures: standard, standard_ed25519, contentful, github, stripe, hmac
//	relay.auth.*                  credentials: basic, bearer, oauth2
//	relay.transforms.*            bodies: template, jq
//
// Other modules can add to these namespaces:
//
//	namespace         inline key   Go interface
//	relay.storage     engine       [StorageOpener]
//	relay.signers     scheme       [SignerProvider]
//	relay.auth        scheme       [AuthProvider]
//	relay.transforms  engine       [TransformProvider]
//
// # Lifecycle
//
// Caddy provisions a new configuration before it stops the old one, starts and
// stops apps in random order, may clean up what it never started or stopped, and
// lets handlers of old configurations finish. So Provision only computes; Start
// takes the engine of the configured store from a pool that belongs to the
// process, and lays this configuration's plan on top; Stop and Cleanup take away
// exactly what this instance put there. What is under way in the engine goes on
// over a reload.
package caddymodule
