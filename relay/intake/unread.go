package intake

import (
	"io"
	"net/http"
	"time"
)

// Bounds of what is done about a body that nobody wants.
const (
	// restWait is how long a rest may take to come once the answer is known; then the
	// connection is closed. It is not closed at once, since that could overtake the
	// answer: net/http waits as long in such cases.
	restWait = 500 * time.Millisecond
	// restSize is how large a rest may be, in bytes, for which the answer waits, so that
	// the connection can be used again.
	restSize = 16 << 10
	// Many clients send all of a body before they read the answer, and tell of a broken
	// pipe instead if the connection is closed before. So after a 413 this much is read
	// and forgotten, of so many senders at once.
	lingerSize = 8 << 20
	lingerWait = 2 * time.Second
	lingerMost = 32
)

// hasRest reports whether a body was announced and not read to its end. In HTTP/2 and
// HTTP/3 that is no matter: there the answer ends the stream.
func hasRest(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody
}

// leaveRest prepares the answer to a request with a rest. Left alone, net/http would
// read up to 256 KiB before it sends the answer, as slowly as they come, and ask one who
// waits for "100 Continue" to begin: Caddy wraps the body, so that net/http does not
// see that it waits.
func leaveRest(w http.ResponseWriter, r *http.Request, p problem) {
	// It fails only for a ResponseWriter that is none of net/http's or Caddy's.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restWait))
	small := r.ContentLength > 0 && r.ContentLength <= restSize && r.Header["Expect"] == nil
	if !small || p == problemBusy || p == problemTooMuch || p == problemTooSlow {
		w.Header().Set("Connection", "close")
	}
}

// linger reads on after the answer to a body that is too large.
func (h *Handler) linger(w http.ResponseWriter, r *http.Request) {
	if r.Header["Expect"] != nil {
		return
	}
	defer h.lingering.Add(-1)
	if h.lingering.Add(1) > lingerMost {
		return
	}
	connection := http.NewResponseController(w)
	if connection.Flush() != nil || connection.SetReadDeadline(time.Now().Add(lingerWait)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, lingerSize) // it may end in any way
}
