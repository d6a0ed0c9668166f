// Package signature signs deliveries, so that a receiver can tell that they come
// from the relay and were not changed on the way.
//
// It stands alone: net/http's header map and the hashes of the standard library
// are all it knows.
package signature

import (
	"net/http"
	"net/url"
	"time"
)

// Signer adds what one scheme needs to the header of an attempt. A Signer may be
// used by many goroutines at once.
//
// Each attempt is signed anew, with the time of that attempt. An error leaves the
// header as it was; the attempt must not be made then.
type Signer interface {
	Sign(h http.Header, m Message) error
}

// Message is what is signed: one attempt of one delivery. A Signer keeps no
// reference to Body, and changes nothing.
type Message struct {
	// ID is the same on every attempt of a delivery.
	ID string
	// Time is that of the attempt; it also decides which secrets are valid.
	Time time.Time
	// Body is the bytes that will be sent, exactly.
	Body []byte

	// Method and URL are those of the request. They are read by schemes that sign
	// the request and not only its body; others leave them alone, and URL may then
	// be nil.
	Method string
	URL    *url.URL
}
