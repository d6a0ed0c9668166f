package intake

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// answers are buffers of answers that are being written.
var answers = sync.Pool{New: func() any { return new(make([]byte, 0, 512)) }}

// answerKept bounds a buffer that is kept for the next answer, in bytes.
const answerKept = 16 << 10

// answer writes 202. It is on the path of every event, so it is written by hand.
func (s *submission) answer(w http.ResponseWriter, receipts []relay.Receipt) {
	header := w.Header()
	// Of its own for each answer: handlers around this one may change values in place.
	set := func(i int, field, value string) {
		s.values[i] = value
		header[field] = s.values[i : i+1 : i+1]
	}
	set(0, "Content-Type", "application/json")
	if !s.batch {
		set(1, "Location", pathEvents+"/"+receipts[0].ID)
	}
	if len(receipts) > 0 && !slices.ContainsFunc(receipts, func(r relay.Receipt) bool { return !r.Duplicate }) {
		header.Set("Idempotency-Replayed", "true")
	}
	buffer := answers.Get().(*[]byte)
	body := (*buffer)[:0]
	if s.batch {
		body = append(appendReceipts(append(body, `{"events":[`...), receipts), "]}\n"...)
	} else {
		body = append(appendReceipts(body, receipts), '\n')
	}
	set(2, "Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusAccepted)
	// The connection is gone if this fails. The events are stored all the same.
	_, _ = w.Write(body)
	if cap(body) <= answerKept {
		*buffer = body
		answers.Put(buffer)
	}
}

func appendReceipts(b []byte, receipts []relay.Receipt) []byte {
	for i := range receipts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendReceipt(b, &receipts[i])
	}
	return b
}

func appendReceipt(b []byte, receipt *relay.Receipt) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, receipt.ID)
	b = append(b, `,"type":`...)
	b = appendString(b, receipt.Type)
	b = append(b, `,"matched":[`...)
	for i, name := range receipt.Matched {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, name)
	}
	b = append(b, `],"duplicate":`...)
	b = strconv.AppendBool(b, receipt.Duplicate)
	return append(b, '}')
}

// appendString puts U+FFFD in the place of what is not UTF-8, of which its error tells.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

// show answers with an event, its deliveries and their attempts.
func (h *Handler) show(w http.ResponseWriter, r *http.Request, id string) {
	engine, ref := h.open(r.Context())
	if ref != nil {
		h.refuse(w, r, ref)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), engineWait)
	defer cancel()
	event, deliveries, err := engine.Inspect(ctx, id)
	if errors.Is(err, relay.ErrNotFound) {
		h.refuse(w, r, refuse(problemNoEvent, "There is no event with this id, or it is no longer kept. An id begins with evt_ and stands in the answer to the POST."))
		return
	}
	var body []byte
	if err == nil {
		body, err = json.Marshal(view.NewEvent(event, deliveries))
	}
	if err != nil {
		ref := publishRefusal(err)
		ref.detail = "The event cannot be read at present; the relay's log says why."
		h.refuse(w, r, ref)
		return
	}
	// Fifty attempts with their excerpts are as large as a body, and wait as long for one
	// who reads slowly.
	held := hold{budget: h.budget, remote: r.RemoteAddr}
	defer held.release()
	if ref := h.take(&held, int64(len(body)+requestCost)); ref != nil {
		h.refuse(w, r, ref)
		return
	}
	showJSON(w, body)
}

// showTypes answers with the catalogue.
func (h *Handler) showTypes(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.refuse(w, r, wrongMethod(r.Method, "GET, HEAD"))
		return
	}
	showJSON(w, h.catalogue.JSON())
}

func showJSON(w http.ResponseWriter, body []byte) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store") // the next attempt, or the next reload, changes it
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(body)+1))
	_, _ = w.Write(body)
	_, _ = io.WriteString(w, "\n")
}
