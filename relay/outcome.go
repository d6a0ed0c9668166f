package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// ending is what an attempt's result means for the delivery.
type ending uint8

const (
	endDelivered   ending = iota // a 2xx status line, whatever followed it
	endRetry                     // failed; the schedule decides what comes next
	endGone                      // 410: the subscription is disabled, the delivery held
	endUnavailable               // no usable address of the region: held, not charged
	endCut                       // cut by a stop: made again, not charged
	endUnread                    // the store could not be read: made again, not charged
	endUnreadable                // the event's record is missing or damaged: set aside
	endErased                    // the event's data was erased: there is nothing to send

	// Of polls.
	endWaiting // not yet: polled again
	endWaited  // the wait is over, the delivery is due
	endInVain  // it has waited long enough: a failed attempt, or the last
	endDropped // it was given up meanwhile
)

// verdict is an attempt's result with what goes into its record.
type verdict struct {
	end     ending
	kind    ErrorKind
	message string
	// status is the HTTP status, 0 if there was none.
	status int
	// wait is how long the endpoint asked to be left alone (429 and 503 with
	// Retry-After), which holds the whole subscription; with endCut and endUnread the pause before the
	// delivery is tried again.
	wait time.Duration
	// Of a poll: what came of it, and how the wait has ended.
	polled Polled
	waited wait
}

func failure(kind ErrorKind, message string) verdict {
	return verdict{end: endRetry, kind: kind, message: message}
}

// errDraining is the cause of an attempt's context when the engine stops.
var errDraining = errors.New("the relay is stopping")

// judgeStatus is the table of answers:
//
//	2xx              delivered
//	410              gone: subscription disabled, delivery held
//	429, 503         retried; with Retry-After the whole subscription waits
//	everything else  retried as the subscription's on_status says (3xx is never followed)
func judgeStatus(status int, h http.Header, now time.Time) verdict {
	if status >= 200 && status <= 299 {
		return verdict{end: endDelivered, status: status}
	}
	v := verdict{end: endRetry, status: status, message: "answered " + statusText(status)}
	switch {
	case status == http.StatusGone:
		v.end, v.kind = endGone, Kind4xx
		v.message += ": the endpoint is gone for good"
	case status == http.StatusTooManyRequests:
		v.kind = Kind429
		v.wait, _ = retryAfter(h, now)
	case status >= 300 && status <= 399:
		v.kind = Kind3xx
		v.message += "; redirects are not followed"
	case status >= 400 && status <= 499:
		v.kind = Kind4xx
	case status >= 500 && status <= 599:
		v.kind = Kind5xx
		if status == http.StatusServiceUnavailable {
			v.wait, _ = retryAfter(h, now)
		}
	default:
		v.kind = KindProtocol
	}
	return v
}

func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return fmt.Sprintf("%d %s", status, text)
	}
	return fmt.Sprintf("%d", status)
}

// judgeError classifies what went wrong before there was a status line.
func judgeError(ctx context.Context, err error) verdict {
	if cause := context.Cause(ctx); errors.Is(cause, errDraining) {
		return verdict{end: endCut, message: "cut by a stop"}
	}
	if unavailable, ok := errors.AsType[*egress.UnavailableError](err); ok {
		return verdict{end: endUnavailable, message: unavailable.Error()}
	}
	if lacking(err) {
		return verdict{end: endUnavailable, message: "this machine has nothing left to make a connection with: " + err.Error()}
	}
	return failure(errorKind(ctx, err), err.Error())
}

// judgeAnswer classifies what went wrong between a request and its status line.
func judgeAnswer(ctx context.Context, err error) verdict {
	v := judgeError(ctx, err)
	if v.kind == KindProtocol {
		v.message = unquoted(v.message)
	}
	return v
}

// unquoted cuts what an error of the protocol shows of the answer. A server that sends back
// what it got would bring secrets of the request into records and logs.
func unquoted(text string) string {
	if at := strings.IndexByte(text, '"'); at >= 0 {
		text = text[:at]
	}
	const line = "malformed MIME header line"
	if at := strings.Index(text, line); at >= 0 {
		text = text[:at+len(line)]
	}
	return strings.TrimRight(text, " :=(")
}

// lacking reports an error of this machine, not of the receiver: no descriptor is left
// (raise the limit of open files), no memory, or no port of the source address.
func lacking(err error) bool {
	for _, lack := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

func errorKind(ctx context.Context, err error) ErrorKind {
	var (
		blocked    *destination.BlockedError
		dns        *net.DNSError
		op         *net.OpError
		timeout    net.Error
		record     tls.RecordHeaderError
		alert      tls.AlertError
		cert       *tls.CertificateVerificationError
		hostname   x509.HostnameError
		authority  x509.UnknownAuthorityError
		invalid    x509.CertificateInvalidError
		isTimeout  = errors.As(err, &timeout) && timeout.Timeout()
		deadlineIn = ctx.Err() != nil
		text       = err.Error()
	)
	if of, ok := errors.AsType[*url.Error](err); ok {
		text = of.Err.Error() // that of a client quotes the URL
	}
	text = unquoted(text) // no answer decides what kind of error it is
	switch {
	case errors.As(err, &blocked):
		return KindBlocked
	case errors.As(err, &dns):
		return KindDNS
	case errors.As(err, &record), errors.As(err, &alert), errors.As(err, &cert), errors.As(err, &hostname),
		errors.As(err, &authority), errors.As(err, &invalid), strings.Contains(text, "tls: "):
		return KindTLS
	case isTimeout, deadlineIn, errors.Is(err, context.DeadlineExceeded):
		return KindTimeout
	case errors.As(err, &op) && op.Op == "dial":
		return KindConnect
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(text, "server closed idle connection"):
		return KindReset
	default:
		return KindProtocol
	}
}
