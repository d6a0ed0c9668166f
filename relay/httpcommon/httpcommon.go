// Package httpcommon has what requests by HTTP/1.1 and by HTTP/2 have in common.
package httpcommon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Host returns the host that a request is for, as its URL or its own field has it.
func Host(req *http.Request) string {
	if req.Host != "" {
		return req.Host
	}
	return req.URL.Host
}

// Address returns the "host:port" to connect to.
func Address(req *http.Request) string {
	if req.URL.Port() != "" {
		return req.URL.Host
	}
	port := "80"
	if req.URL.Scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(req.URL.Hostname(), port)
}

// Repeatable reports whether a request may be made again when a kept connection turns out to be
// closed: its header has the key Idempotency-Key, be it without values, as [http.Transport] has
// it, or its method says so.
func Repeatable(req *http.Request) bool {
	_, keyed := req.Header["Idempotency-Key"]
	return keyed || req.Method == http.MethodGet
}

// Until returns a context that ends at a deadline; a zero one is none.
func Until(ctx context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	if deadline.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline)
}

// CheckField refuses a field of a header that would break the header apart: a line break in
// a value is a field of its own, or another request (RFC 9112, section 11.1).
func CheckField(name string, values []string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("the header field name %q cannot be sent", name)
	}
	for _, v := range values {
		if !httpguts.ValidHeaderFieldValue(v) {
			return fmt.Errorf("the value of the header field %s cannot be sent: it has control characters", name)
		}
	}
	return nil
}

// AppendBody appends the body of a request to b. It is an error if it does not have its
// length.
func AppendBody(b []byte, req *http.Request) ([]byte, error) {
	if req.ContentLength <= 0 {
		return b, nil
	}
	begin, size := len(b), int(req.ContentLength)
	b = slices.Grow(b, size)[:begin+size]
	n, err := io.ReadFull(req.Body, b[begin:])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the request's body has %d bytes of %d", n, size)
	}
	return b, err
}

// ClosedByServer reports an error of a connection that the other side has closed.
func ClosedByServer(err error) bool {
	return Alerted(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Alerted reports an error by which the other side has ended TLS. It says why, which a write
// that finds the connection closed does not: in TLS 1.3 a certificate of the client may be
// refused as late as that (RFC 8446, section 4.4.2.4).
func Alerted(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" // as crypto/tls names it
}

// CloseBody closes the body of a request.
func CloseBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
