package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// keys are what a subscription takes from an event when it is accepted, once and for all:
// what is configured later, or edited in between, does not move a delivery.
type keys struct {
	// order is the value of order_by, debounce that of debounce; or empty.
	order, debounce string
	// placed says that the event was accepted before: a replay has added it to the log.
	placed bool
}

// keySeparator stands between the parts of packed keys. One that holds it is kept as its
// digest.
const keySeparator = "\x1f"

// keysOf computes the keys of an event.
func (s *Subscription) keysOf(e *Event) keys {
	var k keys
	if s.OrderBy != nil {
		k.order = shortKey(s.OrderBy.Value(e))
	}
	if s.Debounce != nil {
		k.debounce = shortKey(s.Debounce.By.Value(e))
	}
	return k
}

// maxKeyLength is in bytes; longer keys are kept as their digest.
const maxKeyLength = 64

func shortKey(key string) string {
	if len(key) <= maxKeyLength && !strings.Contains(key, keySeparator) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:16])
}

// keyPlaced is the last part of the packed keys of what was placed.
const keyPlaced = "p"

// pack returns the keys as they are stored: the order alone where there is nothing else.
func (k keys) pack() string {
	switch {
	case k.placed:
		return k.order + keySeparator + k.debounce + keySeparator + keyPlaced
	case k.debounce != "":
		return k.order + keySeparator + k.debounce
	default:
		return k.order
	}
}

// unpackKeys is the reverse of [keys.pack].
func unpackKeys(text string) keys {
	order, rest, _ := strings.Cut(text, keySeparator)
	debounce, rest, _ := strings.Cut(rest, keySeparator)
	return keys{order: order, debounce: debounce, placed: rest == keyPlaced}
}

// OrderKey returns the ordering key in the Key of a [Placement], or an empty string. It is what
// the Key of an [Exception] is, unless that is [Debounced].
func OrderKey(packed string) string { return unpackKeys(packed).order }

// packedKeys returns the keys that an event has in a subscription's log.
func packedKeys(e *Event, subscription string) string {
	for _, p := range e.Deliveries {
		if p.Subscription == subscription {
			return p.Key
		}
	}
	return ""
}
