package http1

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"golang.org/x/net/http/httpguts"
)

// check refuses what would break the request apart: a line break in a field's value is a
// field of its own, or another request (RFC 9112, section 11.1).
func check(req *http.Request) error {
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("the header field name %q cannot be sent", name)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return fmt.Errorf("the value of the header field %s cannot be sent: it has control characters", name)
			}
		}
	}
	if !httpguts.ValidHostHeader(hostOf(req)) {
		return fmt.Errorf("the host %q cannot be sent", hostOf(req))
	}
	return nil
}

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
	return net.JoinHostPort(req.URL.Hostname(), "80")
}

// write sends the request in as few pieces as its size allows.
func (c *conn) write(req *http.Request) error {
	w := c.w
	put := func(parts ...string) {
		for _, s := range parts {
			_, _ = w.WriteString(s) // the error stays, and comes with Flush
		}
	}
	put(req.Method, " ", req.URL.RequestURI(), " HTTP/1.1\r\nHost: ", hostOf(req), "\r\n")
	for name, values := range req.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding": // they are the connection's
			continue
		case "User-Agent":
			if len(values) == 1 && values[0] == "" {
				continue // as net/http has it: none is wanted
			}
		}
		for _, v := range values {
			put(name, ": ", v, "\r\n")
		}
	}
	switch {
	case req.ContentLength > 0:
		put("Content-Length: ", strconv.FormatInt(req.ContentLength, 10), "\r\n")
	case req.Method == http.MethodPost, req.Method == http.MethodPut, req.Method == http.MethodPatch:
		put("Content-Length: 0\r\n")
	}
	put("\r\n")
	if req.ContentLength > 0 {
		n, err := io.Copy(w, io.LimitReader(req.Body, req.ContentLength))
		if err != nil {
			return err
		}
		if n < req.ContentLength {
			return fmt.Errorf("the request's body has %d bytes of %d", n, req.ContentLength)
		}
	}
	return w.Flush()
}
