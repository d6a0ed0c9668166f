package sink

import (
	"crypto/sha256"
	"math"
	"net/http"
	"sync"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// knownDeliveries bounds what FailFirst remembers: 32 bytes each, twice.
const knownDeliveries = 10_000

// delivery is a hash, since a sender may make webhook-id as long as it likes.
type delivery [sha256.Size]byte

// faults decides which requests fail on purpose.
type faults struct {
	share float64
	first bool

	mu      sync.Mutex
	counted uint64
	known   map[delivery]struct{}
	oldest  []delivery // a ring, in the order in which they came
	next    int
}

// hit counts a request and reports whether it fails.
func (f *faults) hit(h http.Header) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := f.first && f.firstOf(h)
	// The share is kept over any run of requests: the whole number of failures that
	// are due grows by one at this one, or it does not.
	before := math.Floor(float64(f.counted) * f.share)
	f.counted++
	due := math.Floor(float64(f.counted)*f.share) > before
	return first || due
}

// firstOf reports whether a delivery is not known yet, and makes it known. Without
// webhook-id no attempt could ever be told from the first, so none fails.
func (f *faults) firstOf(h http.Header) bool {
	id := h.Get(signature.HeaderID)
	if id == "" {
		return false
	}
	d := delivery(sha256.Sum256([]byte(id + "\x00" + h.Get("Relay-Subscription"))))
	if _, ok := f.known[d]; ok {
		return false
	}
	if f.known == nil {
		f.known = make(map[delivery]struct{})
	}
	f.known[d] = struct{}{}
	if len(f.oldest) < knownDeliveries {
		f.oldest = append(f.oldest, d)
		return true
	}
	delete(f.known, f.oldest[f.next])
	f.oldest[f.next] = d
	f.next = (f.next + 1) % knownDeliveries
	return true
}
