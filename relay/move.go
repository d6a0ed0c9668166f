package relay

import (
	"context"
	"crypto/sha256"
	"slices"
	"time"
)

// KeyHash is what stands for an idempotency key in a store.
type KeyHash [16]byte

// Hash returns that of a key. Sixteen bytes of SHA-256 do not collide by chance, nor by the
// sender's will at less than 2^64 requests.
func (k *Key) Hash() KeyHash {
	buf := make([]byte, 0, 128)
	sum := sha256.Sum256(append(append(buf, byte(k.Kind)), k.Text...))
	return KeyHash(sum[:16])
}

// Moved is an event with its deliveries, as another store had them.
type Moved struct {
	// Event has the ID, the time of acceptance and the Data that it had there. Its Seq, and
	// the positions of its Deliveries, are those of the other store, and get new ones.
	Event *Event
	// Exceptions say what is known of each of Event.Deliveries, in their order: a closed kind,
	// [Delivered] among them, or [Retry]. From, To and Seq get new values.
	Exceptions []Exception
	// Attempts are those kept of each of Event.Deliveries. They are none of Adopt's, which
	// hands them on.
	Attempts [][]Attempt
}

// At returns the event as it is where it is adopted, at s. place adds it to the log of a
// subscription, in the order of its deliveries, and returns the position there.
func (m *Moved) At(s Seq, place func(Placement) uint64) Moved {
	e := *m.Event
	e.Seq, e.Moved, e.Size = s, true, len(e.Data)
	e.Deliveries = slices.Clone(e.Deliveries)
	here := Moved{Event: &e, Exceptions: slices.Clone(m.Exceptions), Attempts: m.Attempts}
	for i := range e.Deliveries {
		p, x := &e.Deliveries[i], &here.Exceptions[i]
		p.Pos = place(*p)
		x.From, x.To, x.Seq = p.Pos, p.Pos, s
	}
	return here
}

// MovedKey is an idempotency key, as another store had it.
type MovedKey struct {
	Hash   KeyHash
	Sum    [sha256.Size]byte
	Stored time.Time
	// Receipts are what a repeat is answered.
	Receipts []Receipt
}

// Mover is a [Store] that takes what another one held, and gives out what [Store] does not.
type Mover interface {
	// Adopt stores events of another store, all or none, and returns when that is durable.
	// They keep their IDs, by which Find knows them from then on, and their Accepted; Moved is
	// set. Seq and positions are new, so that lists and retention count from now on. One whose
	// ID is known already is left out, and so is one that stands in the list twice.
	//
	// Each delivery has its exception from the start, written with the event: after a crash
	// none is made that was made before. Since the position is not marked in [Progress], the
	// engine has to do that. stored is called like that of Append, with those that are new,
	// in which everything is filled in; not if there are none.
	//
	// Errors are those of Append. Fits of [BatchTooLargeError] counts all.
	Adopt(ctx context.Context, moved []Moved, stored func([]Moved)) (adopted int, err error)

	// Keys returns idempotency keys, in an order of the store's own, at most limit of those
	// behind after. A nil next means that there are no more.
	Keys(ctx context.Context, after *KeyHash, limit int) (keys []MovedKey, next *KeyHash, err error)

	// AdoptKeys stores idempotency keys of another store, all or none, but for those that are
	// known already.
	AdoptKeys(ctx context.Context, keys []MovedKey) (adopted int, err error)
}
