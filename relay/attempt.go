package relay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/egress"
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

// job is a delivery that is being attempted, with the plan that it began under.
type job struct {
	pos      uint64
	seq      Seq
	event    *Event
	attempts int
	step     int
	since    time.Time
	stored   bool
	key      string
	// erased says that the event's data was erased since; guarded by the lane's lock.
	erased bool

	plan *Plan
	sub  *Subscription
}

// attempt makes one request and judges its answer. It never panics: what a signer or
// transport of a guest module throws fails this attempt alone.
func (j *job) attempt(ctx context.Context) (a Attempt, v verdict) {
	a = Attempt{Number: j.attempts + 1, At: time.Now()}
	defer func() {
		if p := recover(); p != nil {
			v = failure(KindPanic, fmt.Sprintf("panic: %v", p))
		}
		a.Duration = time.Since(a.At)
		a.Error, a.ErrorKind = v.message, v.kind
	}()

	ctx, cancel := context.WithTimeout(ctx, j.sub.Timeout)
	defer cancel()
	var conn net.Conn
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) {
			conn = c.Conn
			a.Local, a.Remote = c.Conn.LocalAddr().String(), c.Conn.RemoteAddr().String()
		},
	})
	req, err := j.request(ctx, a)
	if err != nil {
		return a, failure(KindSign, err.Error())
	}
	resp, err := j.sub.Transport.RoundTrip(req)
	if err != nil {
		if status, ok := accepted(conn); ok {
			a.Status = status
			return a, judgeStatus(status, nil, time.Now())
		}
		v = judgeError(ctx, err)
		if v.kind == KindTimeout {
			egress.CloseIfSilent(conn, a.At)
		}
		return a, j.judgeLost(a.Local, v)
	}
	defer resp.Body.Close()
	a.Status = resp.StatusCode
	v = judgeStatus(resp.StatusCode, resp.Header, time.Now())
	a.Excerpt = excerpt(resp.Body, v.end == endDelivered)
	return a, v
}

// accepted returns the status of an answer whose header was cut short, if the receiver
// has taken the delivery.
func accepted(conn net.Conn) (int, bool) {
	noted, ok := conn.(*egress.Conn)
	if !ok {
		return 0, false
	}
	status := noted.Status()
	return status, status >= 200 && status <= 299
}

// judgeLost looks whether the address was taken away under a connection that had it: then
// the failure is not the receiver's, and is not charged.
func (j *job) judgeLost(local string, v verdict) verdict {
	if v.end != endRetry || j.sub.Egress == nil {
		return v
	}
	addr, err := netip.ParseAddrPort(local)
	if err != nil {
		return v // there was no connection
	}
	if err := j.sub.Egress.Lost(addr.Addr()); err != nil {
		return verdict{end: endUnavailable, message: err.Error()}
	}
	return v
}

// request builds the HTTP request of an attempt and signs it.
func (j *job) request(ctx context.Context, a Attempt) (*http.Request, error) {
	e, s := j.event, j.sub
	h := make(http.Header, 12+len(s.Header))
	req := &http.Request{
		Method: s.Method, URL: s.URL, Host: s.URL.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h,
	}
	body := e.Data
	if s.Method == http.MethodGet || s.Method == http.MethodDelete {
		body = nil
	} else {
		h[fieldContentType] = []string{e.ContentType}
		req.ContentLength = int64(len(body))
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	h[fieldUserAgent] = j.plan.userAgent
	h[fieldID] = []string{e.ID}
	h[fieldTimestamp] = []string{strconv.FormatInt(a.At.Unix(), 10)}
	h[fieldEvent] = []string{e.Type}
	h[fieldSubscription] = []string{s.Name}
	h[fieldAttempt] = []string{strconv.Itoa(a.Number)}
	h[fieldIdempotencyKey] = nil
	if e.TraceParent != "" {
		h[fieldTraceParent] = []string{e.TraceParent}
		if e.TraceState != "" {
			h[fieldTraceState] = []string{e.TraceState}
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
	message := signature.Message{ID: e.ID, Time: a.At, Body: body, Method: s.Method, URL: s.URL}
	for _, signer := range s.Signers {
		if err := signer.Sign(h, message); err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
	}
	return req.WithContext(ctx), nil
}

// excerpt reads at most maxResponseRead bytes, so that a small answer leaves the
// connection usable, and returns the beginning. What goes wrong here changes nothing:
// the status line has decided.
func excerpt(body io.Reader, delivered bool) []byte {
	keep := maxFailedExcerpt
	if delivered {
		keep = maxDeliveredExcerpt
	}
	limited := &io.LimitedReader{R: body, N: maxResponseRead}
	var kept bytes.Buffer
	_, err := io.CopyN(&kept, limited, int64(keep))
	if err == nil {
		_, _ = io.Copy(io.Discard, limited)
	}
	if kept.Len() == 0 {
		return nil
	}
	return kept.Bytes()
}
