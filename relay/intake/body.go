package intake

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// firstRead bounds what is set aside for a body before any of it has come: a request
// that only announces a large one must not cost its size. In bytes.
const firstRead = 64 << 10

// A body must be there within bodyGrace and the time that it takes at bodyRate, in bytes
// a second. A sender on a telephone is faster.
const (
	bodyGrace = 10 * time.Second
	bodyRate  = 32 << 10
)

// answerSpare is how much longer a request may take than its event is waited for.
const answerSpare = 2 * time.Second

// readBody returns the whole body and leaves [http.NoBody] in its place. A sender that
// only announces too much is refused before it is read. What is set aside for the body is
// taken from held.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, s *submission, held *hold) ([]byte, *refusal) {
	limit, mend := h.limit(s)
	if r.ContentLength > int64(limit) {
		return nil, oversized(fmt.Sprintf("has %d bytes", r.ContentLength), int64(limit), mend)
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	// One byte more than announced, so that the end is seen without growing.
	buf, ref := h.grow(nil, int(min(max(r.ContentLength, 511), firstRead)+1), requestCost, held)
	if ref != nil {
		return nil, ref
	}
	connection, began := http.NewResponseController(w), time.Now()
	until := began.Add(bodyPatience(max(int(r.ContentLength), cap(buf))))
	// It fails only for a ResponseWriter that is none of net/http's or Caddy's.
	_ = connection.SetReadDeadline(until)
	for {
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > limit {
			return nil, oversized("is larger", int64(limit), mend)
		}
		if err == io.EOF {
			r.Body = http.NoBody
			// Or else it could end the request while the event is stored. A body that came at
			// once leaves time enough, and the next request has a deadline of its own.
			if time.Until(until) < engineWait+answerSpare {
				_ = connection.SetReadDeadline(time.Time{})
			}
			return buf[:len(buf):len(buf)], nil
		}
		if err != nil {
			return nil, unreadable(err)
		}
		if len(buf) == cap(buf) {
			if buf, ref = h.grow(buf, min(nextSize(len(buf), r.ContentLength), limit)+1, 0, held); ref != nil {
				return nil, ref
			}
			if r.ContentLength < 0 {
				_ = connection.SetReadDeadline(began.Add(bodyPatience(cap(buf))))
			}
		}
	}
}

// bodyPatience is how long a body of this size may take.
func bodyPatience(size int) time.Duration {
	return bodyGrace + time.Duration(size)*time.Second/bodyRate
}

// nextSize is how much is set aside for a body of which so much is there: all that was
// announced, since who sent the beginning means the rest, else the double.
func nextSize(there int, announced int64) int {
	if there >= firstRead && int64(there) < announced {
		return int(announced)
	}
	return 2 * there
}

// grow returns buf with the capacity, for which its cost is taken.
func (h *Handler) grow(buf []byte, capacity, cost int, held *hold) ([]byte, *refusal) {
	if ref := h.take(held, int64(capacity-cap(buf)+cost)); ref != nil {
		return nil, ref
	}
	return append(make([]byte, 0, capacity), buf...), nil
}

// take asks for memory.
func (h *Handler) take(held *hold, bytes int64) *refusal {
	const again = "; nothing was stored. Send again after Retry-After, with the same Idempotency-Key"
	var ref *refusal
	switch held.take(bytes) {
	case granted:
		return nil
	case denied:
		ref = refuse(problemBusy, "The requests under way hold all the memory that there is for them"+again+".")
	case excessive:
		ref = refuse(problemTooMuch, "The requests under way from this address hold so much memory that there would be none for others"+again+", and fewer at once.")
	}
	return ref.with("Retry-After", strconv.Itoa(h.budget.turns.next()))
}

// unreadable tells of an error in reading a body.
func unreadable(err error) *refusal {
	// The limit of a handler before this one.
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return oversized("is larger", over.Limit, mendOther)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return refuse(problemTooSlow, fmt.Sprintf("The body did not come within %s and a second for each %d KiB. Nothing was stored; send it again, with the same Idempotency-Key.", bodyGrace, bodyRate>>10))
	}
	return refuse(problemUnreadable, "The body ended early. Nothing was stored; send it again.")
}

// limit is how large the body of a submission may be, in bytes, and the mend for one
// that is larger.
func (h *Handler) limit(s *submission) (bytes int, mend string) {
	if s.batch {
		return MaxBatchSize, mendBatch
	}
	return h.maxSize, mendEvent
}

// Mends of what is too large.
const (
	mendEvent = "Send a reference to large content, or raise max_event_size in relay_intake (at most 1000KiB)"
	mendBatch = "Send the events in several batches"
	mendOther = "Send a reference to large content, or raise the limit of the handler before relay_intake (request_body max_size)"
)

func oversized(what string, limit int64, mend string) *refusal {
	return refuse(problemTooLarge, fmt.Sprintf("The body %s; at most %d bytes are taken. %s.", what, limit, mend))
}
