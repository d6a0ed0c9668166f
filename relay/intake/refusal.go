package intake

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"

	"go.uber.org/zap"
)

// refusal is one occurrence of a problem.
type refusal struct {
	kind problem
	// detail tells what is wrong with this request, and the mend.
	detail string
	faults []fault
	// fits is how much of a batch there is room for.
	fits *int
	// field and value are a header field of the answer, if there is one to be set.
	field, value string
	// cause is for the log only.
	cause error
}

func refuse(k problem, detail string) *refusal { return &refusal{kind: k, detail: detail} }

// with returns ref with a header field of the answer.
func (ref *refusal) with(field, value string) *refusal {
	ref.field, ref.value = field, value
	return ref
}

// refuse answers a problem.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, ref *refusal) {
	p := &problemTypes[ref.kind]
	if r.Method == http.MethodPost {
		h.observer.Rejected(p.Slug)
	}
	if r.Context().Err() == nil { // otherwise it is the sender who has gone
		h.log(r, ref)
	}
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff") // it quotes what was asked for
	if ref.field != "" {
		header.Set(ref.field, ref.value)
	}
	rest := hasRest(r)
	if rest {
		leaveRest(w, r, ref.kind)
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // it is no HTML, and people read it
	err := encoder.Encode(struct {
		Type   string  `json:"type"`
		Title  string  `json:"title"`
		Status int     `json:"status"`
		Detail string  `json:"detail"`
		Errors []fault `json:"errors,omitempty"`
		Fits   *int    `json:"fits,omitempty"`
	}{p.URI(), p.Title, p.Status, ref.detail, ref.faults, ref.fits})
	if err != nil {
		// Nothing in it can fail to be encoded.
		h.logger.Error("encoding a problem", zap.Error(err))
	}
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(p.Status)
	// The connection is gone if this fails; there is nobody to tell.
	_, _ = w.Write(body.Bytes())
	if rest && ref.kind == problemTooLarge {
		h.linger(w, r)
	}
}

// log tells the operator of failures of the relay, and on the debug level of what
// senders did wrong: they are told themselves, in words that may quote what they sent.
func (h *Handler) log(r *http.Request, ref *refusal) {
	p := &problemTypes[ref.kind]
	if p.Status < http.StatusInternalServerError {
		if e := h.logger.Check(zap.DebugLevel, "refused"); e != nil {
			e.Write(zap.String("problem", p.Slug), zap.Int("status", p.Status), zap.String("remote_address", r.RemoteAddr))
		}
		return
	}
	if silent, ok := h.failures.pass(); ok {
		h.logger.Error("cannot take events", zap.String("problem", p.Slug), zap.Error(ref.cause), zap.Int64("more_since_last", silent))
	}
}
