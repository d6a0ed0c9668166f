package intake

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// firstRead bounds what is set aside for a body before any of it has come: a request
// that only announces a large one must not cost its size.
const firstRead = 64 << 10

// readBody returns the whole body, of at most limit bytes. A reader that only announces too much is refused
// before it is read.
func readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, *refusal) {
	if r.ContentLength > int64(limit) {
		return nil, oversized(fmt.Sprintf("has %d bytes", r.ContentLength), int64(limit))
	}
	if r.Body == nil {
		return nil, nil
	}
	in := http.MaxBytesReader(w, r.Body, int64(limit))
	// One byte more than announced, so that the end is seen without growing.
	buf := make([]byte, 0, min(max(r.ContentLength, 511), firstRead)+1)
	for {
		n, err := in.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf[:len(buf):len(buf)], nil
		}
		if err != nil {
			// The limit is ours, or a lower one of a handler before this one.
			var over *http.MaxBytesError
			if errors.As(err, &over) {
				return nil, oversized("is larger", over.Limit)
			}
			return nil, refuse(problemUnreadable, "The body ended early or came too slowly. Nothing was stored; send it again.")
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

// limit is how large the body of a submission may be, in bytes.
func (h *Handler) limit(s *submission) int {
	if s.batch {
		return MaxBatchSize
	}
	return h.maxSize
}

func oversized(what string, limit int64) *refusal {
	return refuse(problemTooLarge, fmt.Sprintf("The body %s; at most %d bytes are taken. Send a reference to large content, or raise max_event_size in relay_intake.", what, limit))
}
