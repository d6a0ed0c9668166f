package http2

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"

	"github.com/caddyrelay/caddyrelay/relay/httpcommon"
)

// message is a request as it goes on the wire: the names of fields have their usual spelling
// still.
type message struct {
	fields []hpack.HeaderField
	body   []byte
}

// messages are those of requests on their way.
var messages = sync.Pool{New: func() any { return new(message) }}

// compose makes m the request. It refuses what no server could read as it was meant.
func (m *message) compose(req *http.Request) (err error) {
	authority, err := httpguts.PunycodeHostPort(httpcommon.Host(req))
	if err != nil || !httpguts.ValidHostHeader(authority) {
		return fmt.Errorf("the host %q cannot be sent", httpcommon.Host(req))
	}
	path := req.URL.RequestURI()
	if !strings.HasPrefix(path, "/") {
		return errors.New("a URL without a path of its own cannot be asked for")
	}
	m.fields = m.fields[:0]
	m.add(":authority", authority)
	m.add(":method", req.Method)
	m.add(":path", path)
	m.add(":scheme", req.URL.Scheme)
	for name, values := range req.Header {
		switch http.CanonicalHeaderKey(name) {
		case "Host", "Content-Length", "Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade":
			continue // they are the connection's, which has other means (RFC 9113, section 8.2.2)
		}
		if err := httpcommon.CheckField(name, values); err != nil {
			return err
		}
		for _, v := range values {
			if name != "User-Agent" || v != "" { // as net/http has it: none is wanted
				m.add(name, v)
			}
		}
	}
	if req.ContentLength > 0 || req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch {
		m.add("Content-Length", strconv.FormatInt(max(req.ContentLength, 0), 10))
	}
	m.body, err = httpcommon.AppendBody(m.body[:0], req)
	return err
}

func (m *message) add(name, value string) {
	m.fields = append(m.fields, hpack.HeaderField{Name: name, Value: value})
}

// fields are the fields of the requests that a connection has carried, by their names.
type fields map[string]*field

// field is one of them.
type field struct {
	name string // as it goes on the wire
	last string // its last value
}

// mostFields bounds what is kept in mind.
const mostFields = 256

// pack compresses a header. What was not the last value, too, is kept out of the table of
// those that were sent before (RFC 7541, section 6.2.3): it will hardly come again.
func (s *fields) pack(packer *hpack.Encoder, header []hpack.HeaderField) {
	for _, f := range header {
		known := (*s)[f.Name]
		if known == nil {
			if *s == nil || len(*s) >= mostFields {
				*s = make(fields)
			}
			known = &field{name: strings.ToLower(f.Name)}
			(*s)[f.Name] = known
		}
		_ = packer.WriteField(hpack.HeaderField{Name: known.name, Value: f.Value, Sensitive: f.Value != known.last})
		known.last = f.Value
	}
}
