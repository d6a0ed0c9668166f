// Package sink is a receiver of webhooks for trying things out. It verifies their
// signatures, misbehaves on demand, remembers the last requests and shows them.
package sink

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/problem"
	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// MaxBodySize is in bytes; larger requests get 413.
const MaxBodySize = 1 << 20

// Sink is an [http.Handler]. GET or HEAD of / without a webhook-id shows the last
// 100 requests, newest first: as a page, or as JSON to those who accept
// application/json. GET or HEAD of anything else without a webhook-id is 404, so
// that what a browser asks for is not taken for a delivery. All else is one.
type Sink struct {
	options Options
	secret  signature.StandardSecret
	faults  faults
	records records
	now     func() time.Time
}

// New returns a sink, or says what is wrong with the options.
func New(o Options) (*Sink, error) {
	o, secret, err := o.parse()
	if err != nil {
		return nil, err
	}
	return &Sink{
		options: o,
		secret:  secret,
		faults:  faults{share: o.FailShare, first: o.FailFirst},
		now:     time.Now,
	}, nil
}

// ServeHTTP takes a delivery, or shows those that came.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if reads && r.Header.Get(signature.HeaderID) == "" {
		// Behind a stripped prefix the path may be empty.
		if r.URL.Path == "/" || r.URL.Path == "" {
			s.show(w, r)
			return
		}
		problem.Write(w, http.StatusNotFound, "this is a sink for webhooks: / shows what came, and any other path takes POST")
		return
	}
	s.receive(w, r)
}

func (s *Sink) receive(w http.ResponseWriter, r *http.Request) {
	record := newRecord(r, s.now())
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodySize))
	record.BodySize = len(body)
	record.Body = cut(string(body[:min(len(body), keptBody)]), keptBody)

	detail := s.judge(&record, r, body, err)
	if !s.wait(r) {
		record.Status, record.Simulated = 0, false
		if record.Error == "" {
			record.Error = fmt.Sprintf("the sender went away before it was answered (delay %s)", s.options.Delay)
		}
	}

	// Before the answer, so that who has it finds its request in the list.
	record = s.records.add(record)
	if s.options.OnRequest != nil {
		s.options.OnRequest(record)
	}
	switch record.Status {
	case 0:
	case http.StatusOK:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = io.WriteString(w, "received\n") // a sender that is gone needs no answer
	default:
		problem.Write(w, record.Status, detail)
	}
}

// judge fills in the status of the answer, and returns what a failure says.
func (s *Sink) judge(record *Record, r *http.Request, body []byte, readErr error) string {
	if readErr != nil {
		record.Status = http.StatusBadRequest
		record.Error = "the body could not be read to its end"
		if tooLarge := new(http.MaxBytesError); errors.As(readErr, &tooLarge) {
			record.Status = http.StatusRequestEntityTooLarge
			record.Error = fmt.Sprintf("the body is larger than the %d bytes that this sink takes", tooLarge.Limit)
		}
		return record.Error
	}
	if s.options.Secret != "" {
		if err := signature.Verify(s.secret, r.Header, body, record.At, signature.DefaultTolerance); err != nil {
			record.Status = http.StatusUnauthorized
			record.Error = cut(err.Error(), keptBody)
			return record.Error
		}
		record.Verified = true
	}
	if s.faults.hit(r.Header) {
		record.Status, record.Simulated = s.options.FailStatus, true
		return "this sink fails on purpose; nothing is wrong with the request"
	}
	record.Status = http.StatusOK
	return ""
}

// wait lets the delay pass. It returns false if the sender goes away meanwhile.
func (s *Sink) wait(r *http.Request) bool {
	if s.options.Delay == 0 {
		return true
	}
	timer := time.NewTimer(s.options.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
