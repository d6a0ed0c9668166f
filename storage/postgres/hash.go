package postgres

import (
	"crypto/sha256"

	"github.com/caddyrelay/caddyrelay/relay"
)

// hash is the digest under which an idempotency key is kept.
type hash [16]byte

func hashKey(k *relay.Key) hash {
	sum := sha256.Sum256(append([]byte{byte(k.Kind)}, k.Text...))
	return hash(sum[:16])
}
