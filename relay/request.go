package relay

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// Header fields of each request, in their canonical form so that they can be used as
// map keys.
const (
	fieldContentType  = "Content-Type"
	fieldUserAgent    = "User-Agent"
	fieldID           = "Webhook-Id"
	fieldTimestamp    = "Webhook-Timestamp"
	fieldEvent        = "Relay-Event"
	fieldSubscription = "Relay-Subscription"
	fieldAttempt      = "Relay-Attempt"
	fieldTraceParent  = "Traceparent"
	fieldTraceState   = "Tracestate"
	// An empty list under this key is not sent. It tells net/http that the request may
	// be made again on a fresh connection when a pooled one turns out to be dead: that
	// is no attempt, since the endpoint cannot have seen it.
	fieldIdempotencyKey = "Idempotency-Key"
)

// request builds the HTTP request of an attempt and signs it.
func (j *job) request(a Attempt) (*http.Request, error) {
	e, s := j.event, j.sub
	h := make(http.Header, 12+len(s.Header))
	// One array holds all values.
	values := make([]string, 0, 12)
	set := func(field, value string) {
		values = append(values, value)
		h[field] = values[len(values)-1 : len(values) : len(values)]
	}
	req := &http.Request{
		Method: s.Method, URL: s.URL, Host: s.URL.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h,
	}
	data := e.Data
	if s.Method == http.MethodGet || s.Method == http.MethodDelete {
		data = nil
	} else if e.ContentType != "" { // a CloudEvent without data has none
		set(fieldContentType, e.ContentType)
	}
	if len(data) > 0 {
		req.ContentLength = int64(len(data))
		req.GetBody = func() (io.ReadCloser, error) { return newBody(data), nil }
		req.Body = newBody(data)
	}
	h[fieldUserAgent] = j.plan.userAgent
	set(fieldID, e.ID)
	set(fieldTimestamp, strconv.FormatInt(a.At.Unix(), 10))
	set(fieldEvent, e.Type)
	set(fieldSubscription, s.Name)
	set(fieldAttempt, strconv.Itoa(a.Number))
	h[fieldIdempotencyKey] = nil
	if e.TraceParent != "" {
		set(fieldTraceParent, e.TraceParent)
		if e.TraceState != "" {
			set(fieldTraceState, e.TraceState)
		}
	}
	for _, rule := range s.Header {
		switch rule.Op {
		case '+':
			h.Add(rule.Field, rule.Value)
		case '-':
			h.Del(rule.Field)
		default:
			h.Set(rule.Field, rule.Value)
		}
	}
	if _, ok := h[fieldUserAgent]; !ok {
		h[fieldUserAgent] = []string{""} // otherwise net/http adds its own
	}
	message := signature.Message{ID: e.ID, Time: a.At, Body: data, Method: s.Method, URL: s.URL}
	for _, signer := range s.Signers {
		if err := signer.Sign(h, message); err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
	}
	return req, nil
}

// body is the data of an event on its way out.
type body struct{ bytes.Reader }

func newBody(data []byte) *body {
	b := new(body)
	b.Reset(data)
	return b
}

// Close implements [io.Closer].
func (*body) Close() error { return nil }
