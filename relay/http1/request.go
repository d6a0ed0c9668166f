package http1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/net/http/httpguts"
)

func hostOf(req *http.Request) string {
	if req.Host != "" {
		return req.Host
	}
	return req.URL.Host
}

// addressOf returns the "host:port" to connect to.
func addressOf(req *http.Request) string {
	if req.URL.Port() != "" {
		return req.URL.Host
	}
	port := "80"
	if req.URL.Scheme == "https" {
		port = "443"
	}
	return net.JoinHostPort(req.URL.Hostname(), port)
}

// messages are buffers of those requests that are on their way.
var messages = sync.Pool{New: func() any { return new(make([]byte, 0, bufferSize)) }}

// compose appends the request as it goes on the wire. It refuses what would break it apart: a
// line break in a field's value is a field of its own, or another request (RFC 9112, section
// 11.1).
func compose(b []byte, req *http.Request) ([]byte, error) {
	host := hostOf(req)
	if !httpguts.ValidHostHeader(host) {
		return b, fmt.Errorf("the host %q cannot be sent", host)
	}
	b = append(append(append(b, req.Method...), ' '), req.URL.RequestURI()...)
	b = append(append(append(b, " HTTP/1.1\r\nHost: "...), host...), "\r\n"...)
	for name, values := range req.Header {
		var err error
		if b, err = appendField(b, name, values); err != nil {
			return b, err
		}
	}
	switch {
	case req.ContentLength > 0:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), req.ContentLength, 10), "\r\n"...)
	case req.Method == http.MethodPost, req.Method == http.MethodPut, req.Method == http.MethodPatch:
		b = append(b, "Content-Length: 0\r\n"...)
	}
	b = append(b, "\r\n"...)
	if req.ContentLength <= 0 {
		return b, nil
	}
	head, size := len(b), int(req.ContentLength)
	b = slices.Grow(b, size)[:head+size]
	n, err := io.ReadFull(req.Body, b[head:])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the request's body has %d bytes of %d", n, size)
	}
	return b, err
}

// appendField appends a field once for each of its values.
func appendField(b []byte, name string, values []string) ([]byte, error) {
	if !httpguts.ValidHeaderFieldName(name) {
		return b, fmt.Errorf("the header field name %q cannot be sent", name)
	}
	switch name {
	case "Host", "Content-Length", "Transfer-Encoding": // they are the connection's
		return b, nil
	case "User-Agent":
		if len(values) == 1 && values[0] == "" {
			return b, nil // as net/http has it: none is wanted
		}
	}
	for _, v := range values {
		if !httpguts.ValidHeaderFieldValue(v) {
			return b, fmt.Errorf("the value of the header field %s cannot be sent: it has control characters", name)
		}
		b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
	}
	return b, nil
}
