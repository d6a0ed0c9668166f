package http1

import (
	"bytes"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// maxPlainFields bounds the fields of an answer that is read here.
const maxPlainFields = 16

// readPlain reads an answer whose form leaves no question open, as nearly all have it:
// HTTP/1.1, a final status, a length or none needed, a connection that stays, and a header
// that is there as a whole. It returns nil for any other, of which it has then taken
// nothing: chunks, folded lines, what is said twice, and what is wrong are left to
// net/http. A test holds the two against each other. Its error is that of the connection
// before anything came.
func (c *conn) readPlain(req *http.Request) (*http.Response, error) {
	if _, err := c.r.Peek(1); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	there, _ := c.r.Peek(c.r.Buffered())
	end := bytes.Index(there, []byte("\r\n\r\n"))
	if end < 0 {
		return nil, nil
	}
	resp := c.again(there[:end+2], req)
	if resp == nil {
		text := string(there[:end+2])
		if resp = parseHead(text, req); resp == nil {
			return nil, nil
		}
		c.remember(text, resp)
	}
	_, _ = c.r.Discard(end + 4)
	resp.Body = http.NoBody
	if resp.ContentLength > 0 {
		resp.Body = &exactly{r: c.r, left: resp.ContentLength}
	}
	return resp, nil
}

// rememberMost bounds what a connection keeps of an answer.
const rememberMost = 512

// head is an answer's header as it came, and what it says.
type head struct {
	text   string
	answer http.Response // without request and body
}

// remember keeps the header for the next answer: those that a receiver gives within a second
// say the same, Date included.
func (c *conn) remember(text string, resp *http.Response) {
	if !c.shared || len(text) > rememberMost {
		return
	}
	c.last = head{text, *resp}
	c.last.answer.Request = nil
}

// again returns the answer if it has the header of the last one, or nil. Both have one map.
func (c *conn) again(text []byte, req *http.Request) *http.Response {
	if !c.shared || string(text) != c.last.text || bodiless(req.Method) {
		return nil
	}
	resp := c.last.answer
	resp.Request = req
	return &resp
}

// bodiless reports methods whose answers have no body, whatever their header says.
func bodiless(method string) bool { return method == http.MethodHead || method == http.MethodConnect }

// parseHead reads lines that each end with CRLF: a status line and fields. See readPlain.
func parseHead(text string, req *http.Request) *http.Response {
	line, text, _ := strings.Cut(text, "\r\n")
	status, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	code := statusOf(status)
	n := strings.Count(text, "\r\n")
	if !ok || code == 0 || n > maxPlainFields || bodiless(req.Method) {
		return nil
	}
	resp := &http.Response{
		Status: status, StatusCode: code,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, n), ContentLength: -1, Request: req,
	}
	if code == http.StatusNoContent || code == http.StatusNotModified {
		resp.ContentLength = 0
	}
	values := make([]string, n) // one array holds all of them
	for i := range values {
		line, text, _ = strings.Cut(text, "\r\n")
		name, value, ok := parseField(line)
		if !ok || resp.Header[name] != nil {
			return nil
		}
		switch name {
		case "Content-Length":
			length, err := strconv.ParseUint(value, 10, 62)
			if err != nil || resp.ContentLength == 0 {
				return nil
			}
			resp.ContentLength = int64(length)
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return nil
			}
		case "Transfer-Encoding", "Trailer", "Pragma": // net/http has rules for them
			return nil
		}
		values[i] = value
		resp.Header[name] = values[i : i+1 : i+1]
	}
	if resp.ContentLength < 0 {
		return nil // it ends with the connection
	}
	return resp
}

// statusOf returns the code of "200 OK", or 0 if it is none that ends an exchange.
func statusOf(status string) int {
	digits, _, _ := strings.Cut(status, " ")
	code, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || len(digits) != 3 || code < 200 || !httpguts.ValidHeaderFieldValue(status) {
		return 0
	}
	return int(code)
}

// parseField reads "name: value".
func parseField(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return "", "", false
	}
	return textproto.CanonicalMIMEHeaderKey(name), strings.Trim(value, " \t"), true
}

// exactly is a body of a known length.
type exactly struct {
	r    io.Reader
	left int64
}

// Read implements [io.Reader].
func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	switch {
	case e.left == 0:
		err = io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements [io.Closer].
func (e *exactly) Close() error { return nil }
