package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// job is a delivery that is being attempted, with the plan that it began under.
type job struct {
	parcel
	// erased says that the event's data was erased since; guarded by the lane's lock.
	erased bool
	// further says that the attempt has a place of those that lanes share.
	further bool
	// polls says that it is no attempt, but a poll for what the delivery waits for; dropped
	// that it was given up since. If resting is set, no poll is made, for this reason.
	polls, dropped bool
	due            time.Time // of a poll
	resting        string

	plan *Plan
	sub  *Subscription
}

// attempt makes one request and judges its answer. It never panics: what a signer or
// transport of a guest module throws fails this attempt alone.
func (j *job) attempt(ctx context.Context) (a Attempt, v verdict) {
	a = Attempt{Number: j.attempts + 1, At: time.Now()}
	var ended func(Attempt)
	if j.plan.tracer != nil && j.event.Sampled() {
		ctx, ended = j.plan.tracer.Attempting(ctx, j.event, j.sub, a.Number)
	}
	defer func() {
		if p := recover(); p != nil {
			v = failure(KindPanic, fmt.Sprintf("panic: %v", p))
		}
		a.Duration = time.Since(a.At)
		a.Error, a.ErrorKind = v.message, v.kind
		if ended != nil {
			ended(a)
		}
	}()

	req, err := j.request(ctx, a)
	if err != nil {
		return a, judgeRequest(ctx, err)
	}
	resp, conn, err := egress.Send(ctx, j.sub.Transport, a.At.Add(j.sub.Timeout), req)
	if conn != nil {
		a.Local, a.Remote = egress.Addresses(conn)
	} else if broken, ok := errors.AsType[*egress.HandshakeError](err); ok {
		a.Local, a.Remote = broken.Local, broken.Remote
	}
	if err != nil {
		if status, ok := accepted(conn); ok {
			a.Status = status
			return a, judgeStatus(status, nil, time.Now())
		}
		switch v = judgeAnswer(ctx, err); v.kind {
		case KindTimeout:
			egress.CloseIfSilent(conn, a.At)
		case KindTLS:
			v.message += tlsAdvice(err)
		default:
		}
		return a, j.judgeLost(a.Local, v)
	}
	defer resp.Body.Close()
	a.Status = resp.StatusCode
	if a.Status == http.StatusUnauthorized && j.sub.Auth != nil {
		j.sub.Auth.Refused(req.Header)
	}
	v = judgeStatus(resp.StatusCode, resp.Header, time.Now())
	a.Excerpt = j.sub.hideEcho(excerpt(resp, v.end == endDelivered), req.Header)
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

// excerpt reads at most maxResponseRead bytes, so that a small answer leaves the
// connection usable, and returns the beginning. What goes wrong here changes nothing:
// the status line has decided.
func excerpt(resp *http.Response, delivered bool) []byte {
	if resp.Body == http.NoBody {
		return nil
	}
	keep := maxFailedExcerpt
	if delivered {
		keep = maxDeliveredExcerpt
	}
	limited := &io.LimitedReader{R: resp.Body, N: maxResponseRead}
	var kept []byte
	var err error
	if length := resp.ContentLength; length > 0 && length <= int64(keep) {
		kept = make([]byte, length)
		var n int
		n, err = io.ReadFull(limited, kept)
		kept = kept[:n]
	} else {
		var growing bytes.Buffer
		_, err = io.CopyN(&growing, limited, int64(keep))
		kept = growing.Bytes()
	}
	if err == nil {
		_, _ = io.Copy(io.Discard, limited)
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}
