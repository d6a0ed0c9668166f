package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/caddyrelay/caddyrelay/relay/destination"
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
	fieldWaited       = "Relay-Waited"
	fieldTraceParent  = "Traceparent"
	fieldTraceState   = "Tracestate"
)

// requestError is why a request could not be made of an event.
type requestError struct {
	kind ErrorKind
	err  error
}

func (e *requestError) Error() string { return e.err.Error() }
func (e *requestError) Unwrap() error { return e.err }

// judgeRequest classifies why no request could be made. What the relay itself lacks, or cut
// short, is not charged.
func judgeRequest(ctx context.Context, err error) verdict {
	v := judgeError(ctx, err)
	if made, ok := errors.AsType[*requestError](err); ok && v.end == endRetry {
		v.kind = made.kind
	}
	return v
}

// message is what goes on the wire: the fields that a format adds, and the body.
type message struct {
	header http.Header
	// bodiless is set where the method has no body.
	bodiless    bool
	body        []byte
	contentType string
	// typed is set where the configuration names the content type: no format changes it.
	typed bool
}

// request builds the HTTP request of an attempt and signs it. Its error is a
// [*requestError].
func (j *job) request(ctx context.Context, a Attempt) (*http.Request, error) {
	e, s := j.event, j.sub
	o := new(outgoing)
	// A signed delivery without further fields has eight, which is what a small map holds.
	h := make(http.Header, 8+len(s.Header))
	values := o.values[:0]
	set := func(field, value string) {
		values = append(values, value)
		h[field] = values[len(values)-1 : len(values) : len(values)]
	}
	target := s.URL
	if s.URLTemplate != nil {
		var err error
		if target, err = s.URLTemplate.URL(e); err != nil {
			return nil, &requestError{kindOfURL(err), err}
		}
	}
	m := message{header: h, bodiless: s.bodiless(), body: e.Data, contentType: e.ContentType}
	h[fieldUserAgent] = j.plan.userAgent
	if s.Transform != nil && !m.bodiless {
		if err := s.Transform.apply(ctx, &m, e); err != nil {
			return nil, &requestError{KindTransform, fmt.Errorf("transform: %w", err)}
		}
	}
	if s.Format != FormatData {
		s.Format.write(&m, j, a)
	}
	if m.bodiless {
		m.body = nil
	} else if m.contentType != "" { // a CloudEvent without data has none
		set(fieldContentType, m.contentType)
	}
	set(fieldID, e.ID)
	set(fieldTimestamp, strconv.FormatInt(a.At.Unix(), 10))
	set(fieldEvent, e.Type)
	set(fieldSubscription, s.Name)
	set(fieldAttempt, strconv.Itoa(a.Number))
	if j.wait == waitReady || j.wait == waitTimeout {
		set(fieldWaited, waitMarks[j.wait])
	}
	if change := s.changes.header(a.At); change != nil {
		h[fieldEgressChange] = change
	}
	if e.TraceParent != "" {
		set(fieldTraceParent, e.TraceParent)
		if e.TraceState != "" {
			set(fieldTraceState, e.TraceState)
		}
	}
	for i := range s.Header {
		if err := s.Header[i].apply(h, e); err != nil {
			return nil, &requestError{KindTransform, err}
		}
	}
	if s.Auth != nil {
		if err := s.authorize(ctx, h, a); err != nil {
			return nil, &requestError{KindAuth, fmt.Errorf("auth: %w", err)}
		}
	}
	if _, ok := h[fieldUserAgent]; !ok {
		h[fieldUserAgent] = []string{""} // otherwise net/http adds its own
	}
	// Last, so that what is signed is what is sent.
	signed := signature.Message{ID: e.ID, Time: a.At, Body: m.body, Method: s.Method, URL: target}
	for _, signer := range s.Signers {
		if err := signer.Sign(h, signed); err != nil {
			return nil, &requestError{KindSign, fmt.Errorf("signing: %w", err)}
		}
	}
	req := &o.request
	*req = http.Request{
		Method: s.Method, URL: target, Host: target.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h,
	}
	if body := m.body; len(body) > 0 {
		req.ContentLength = int64(len(body))
		req.GetBody = func() (io.ReadCloser, error) { return newBody(body), nil }
		o.body.Reset(body)
		req.Body = &o.body
	}
	return req, nil
}

// outgoing is all that is made for one request, but its header.
type outgoing struct {
	request http.Request
	body    body
	values  [12]string // of the header
}

// authorize adds the credentials. Asking for them is part of the attempt's time.
func (s *Subscription) authorize(ctx context.Context, h http.Header, a Attempt) error {
	ctx, cancel := context.WithDeadline(ctx, a.At.Add(s.Timeout))
	defer cancel()
	return s.Auth.Authorize(ctx, h)
}

// bodiless reports whether the method has no body.
func (s *Subscription) bodiless() bool {
	return s.Method == http.MethodGet || s.Method == http.MethodDelete
}

// kindOfURL tells a URL that the destination guard refuses from one that cannot be made.
func kindOfURL(err error) ErrorKind {
	if _, ok := errors.AsType[*destination.BlockedError](err); ok {
		return KindBlocked
	}
	return KindTransform
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
