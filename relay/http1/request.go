package http1

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyrelay/caddyrelay/relay/httpcommon"
)

// messages are buffers of those requests that are on their way.
var messages = sync.Pool{New: func() any { return new(make([]byte, 0, bufferSize)) }}

// compose appends the request as it goes on the wire. It refuses what would break it apart.
func compose(b []byte, req *http.Request) ([]byte, error) {
	host := httpcommon.Host(req)
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
	return httpcommon.AppendBody(b, req)
}

// appendField appends a field once for each of its values.
func appendField(b []byte, name string, values []string) ([]byte, error) {
	if err := httpcommon.CheckField(name, values); err != nil {
		return b, err
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
		b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
	}
	return b, nil
}
