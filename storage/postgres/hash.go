package postgres

import "github.com/caddyrelay/caddyrelay/relay"

// hash is the digest under which an idempotency key is kept.
type hash = relay.KeyHash
