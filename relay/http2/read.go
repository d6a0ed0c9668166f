package http2

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	wire "golang.org/x/net/http2"

	"github.com/caddyrelay/caddyrelay/relay/httpcommon"
)

// maxInterim bounds the answers before the final one (status 1xx).
const maxInterim = 10

// read reads frames until the connection ends.
func (c *conn) read() {
	err := c.frames()
	if refused, ok := errors.AsType[wire.ConnectionError](err); ok {
		_ = c.write(func() error { return c.framer.WriteGoAway(0, wire.ErrCode(refused), nil) })
		err = fmt.Errorf("the server breaks the rules of HTTP/2: %w", err)
		if detail := c.framer.ErrorDetail(); detail != nil {
			err = fmt.Errorf("%w (%w)", err, detail)
		}
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the server has closed the connection: %w", io.ErrUnexpectedEOF)
	}
	c.mu.Lock()
	switch {
	case c.wrote != nil && !httpcommon.Alerted(err):
		err = c.wrote
	case c.left != nil:
		err = fmt.Errorf("%w (%w)", c.left, err)
	}
	c.mu.Unlock()
	c.fail(err)
}

func (c *conn) frames() error {
	for {
		f, err := c.framer.ReadFrame()
		if ended, ok := errors.AsType[wire.StreamError](err); ok {
			c.hear()
			c.refuse(ended.StreamID, ended.Code, streamError(ended))
			continue
		}
		if err != nil {
			return err
		}
		c.hear()
		switch f := f.(type) {
		case *wire.MetaHeadersFrame:
			err = c.header(f)
		case *wire.DataFrame:
			err = c.body(f)
		case *wire.SettingsFrame:
			if !f.IsAck() {
				err = c.settings(f)
			}
		case *wire.WindowUpdateFrame:
			err = c.widen(f.StreamID, int64(f.Increment))
		case *wire.RSTStreamFrame:
			c.reset(f)
		case *wire.PingFrame:
			if !f.IsAck() {
				data := f.Data
				_ = c.write(func() error { return c.framer.WritePing(true, data) })
			}
		case *wire.GoAwayFrame:
			c.leave(f)
		case *wire.PushPromiseFrame: // we have said that we take none
			err = wire.ConnectionError(wire.ErrCodeProtocol)
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) hear() { c.heard.Store(int64(time.Since(c.made))) }

func streamError(e wire.StreamError) error {
	if e.Cause != nil {
		return fmt.Errorf("the answer is malformed: %w", e.Cause)
	}
	return fmt.Errorf("the answer is malformed: %s", e.Code)
}

// settings takes over what the server says of itself (section 6.5.2), and tells it so.
func (c *conn) settings(f *wire.SettingsFrame) error {
	return c.write(func() error {
		c.mu.Lock()
		err := f.ForeachSetting(func(s wire.Setting) error {
			if err := s.Valid(); err != nil {
				return err
			}
			switch s.ID {
			case wire.SettingHeaderTableSize:
				c.packer.SetMaxDynamicTableSize(s.Val)
			case wire.SettingMaxConcurrentStreams:
				c.most = int(min(s.Val, math.MaxInt32))
			case wire.SettingMaxFrameSize:
				c.frame = int(s.Val)
			case wire.SettingInitialWindowSize:
				more := int64(s.Val) - c.firstWindow
				c.firstWindow += more
				for _, st := range c.streams {
					st.window += more
					if st.starved {
						st.tell()
					}
				}
			default: // the rest says nothing to a client that sends requests of one frame, without pushes
			}
			return nil
		})
		// Having had streams, it may be let have no other one, as in released.
		c.closing = c.closing || c.most == 0 && c.next > 1 && len(c.streams)+c.reserved == 0
		c.unlock()
		if err != nil {
			return err
		}
		return c.framer.WriteSettingsAck()
	})
}

// widen lets more be sent: on a stream, or on all together.
func (c *conn) widen(id uint32, more int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id != 0 {
		if st := c.streams[id]; st != nil {
			st.window += more
			st.tell()
		}
		return nil
	}
	if c.grow(more); c.window > math.MaxInt32 {
		return wire.ConnectionError(wire.ErrCodeFlowControl)
	}
	return nil
}

// stream returns a stream of ours, nil if nobody waits for more of it. It is an error if it has
// never been.
func (c *conn) stream(id uint32) (*stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id%2 == 0 || id >= c.next {
		return nil, wire.ConnectionError(wire.ErrCodeProtocol)
	}
	st := c.streams[id]
	if st == nil || st.over() {
		return nil, nil
	}
	return st, nil
}

// refuse ends a stream on which the server has made a mistake. One that is over, or never was, is
// not refused: there might be any number of them.
func (c *conn) refuse(id uint32, code wire.ErrCode, err error) {
	c.mu.Lock()
	st := c.streams[id]
	if st != nil {
		st.end(err)
	}
	c.mu.Unlock()
	if st != nil {
		c.cancel(st, code)
	}
}

// header takes what stands before the body of an answer, or after it.
func (c *conn) header(f *wire.MetaHeadersFrame) error {
	st, err := c.stream(f.StreamID)
	if st == nil {
		return err
	}
	if f.Truncated {
		c.refuse(st.id, wire.ErrCodeCancel, fmt.Errorf("the answer's header is too large: more than %d bytes", c.framer.MaxHeaderListSize))
		return nil
	}
	c.mu.Lock()
	trailer, left := st.response != nil, st.left
	c.mu.Unlock()
	var response *http.Response
	switch {
	case trailer && !f.StreamEnded():
		err = errors.New("it has a second header")
	case trailer && left > 0:
		err = errLength
	case !trailer:
		response, err = st.parse(f) //nolint:bodyclose // it has none yet
	}
	if err != nil {
		c.refuse(st.id, wire.ErrCodeProtocol, fmt.Errorf("the answer is malformed: %w", err))
		return nil
	}
	c.mu.Lock()
	if response != nil {
		st.response, st.left, c.served = response, response.ContentLength, true
		if !f.StreamEnded() {
			response.Body = st
		}
	}
	if f.StreamEnded() {
		st.complete()
	}
	st.tell()
	c.unlock()
	return nil
}

// parse reads the header of an answer. It is nil for an interim one.
func (st *stream) parse(f *wire.MetaHeadersFrame) (*http.Response, error) {
	status := f.PseudoValue("status")
	code, err := strconv.ParseUint(status, 10, 16)
	switch {
	case err != nil || len(status) != 3 || code < 100:
		return nil, errors.New("it has no status of three digits")
	case code == http.StatusSwitchingProtocols:
		return nil, errors.New("it changes the protocol, which HTTP/2 cannot")
	case code < 200:
		if st.interim++; st.interim > maxInterim || f.StreamEnded() {
			return nil, errors.New("there are interim answers, and no final one")
		}
		return nil, nil
	}
	fields := f.RegularFields()
	header := make(http.Header, len(fields))
	values := make([]string, len(fields)) // one array holds all that come once
	for i, field := range fields {
		name := http.CanonicalHeaderKey(field.Name)
		if before := header[name]; before != nil {
			header[name] = append(before, field.Value)
			continue
		}
		values[i] = field.Value
		header[name] = values[i : i+1 : i+1]
	}
	response := &http.Response{
		Status: status + " " + http.StatusText(int(code)), StatusCode: int(code),
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: header, ContentLength: -1, Request: st.request,
	}
	if lengths := header["Content-Length"]; len(lengths) == 1 && st.request.Method != http.MethodHead {
		if length, err := strconv.ParseUint(lengths[0], 10, 63); err == nil {
			response.ContentLength = int64(length)
		}
	}
	if f.StreamEnded() {
		response.Body = http.NoBody
		if response.ContentLength > 0 {
			response.Body = missing{} // its status says all the same what became of the request
		}
		response.ContentLength = max(response.ContentLength, 0)
	}
	return response, nil
}

var errLength = errors.New("it does not have the length that it says")

// missing is the body of an answer that says that it has one, and ends without.
type missing struct{}

// Read implements [io.Reader].
func (missing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Close implements [io.Closer].
func (missing) Close() error { return nil }

// body takes a part of an answer's body.
func (c *conn) body(f *wire.DataFrame) error {
	st, err := c.stream(f.StreamID)
	if err != nil {
		return err
	}
	// What all streams together may send does not wait for who reads: each has a limit of its
	// own.
	if c.unread += int(f.Length); c.unread >= giveBack {
		more := uint32(c.unread)
		c.unread = 0
		_ = c.write(func() error { return c.framer.WriteWindowUpdate(0, more) })
	}
	if st == nil {
		return nil
	}
	data := f.Data()
	c.mu.Lock()
	st.room -= int(f.Length)
	st.read += int(f.Length) - len(data) // padding
	code := wire.ErrCodeProtocol
	switch {
	case st.over(): // meanwhile
	case st.response == nil:
		err = errors.New("its body comes before its header")
	case st.room < 0:
		code, err = wire.ErrCodeFlowControl, errors.New("more of it came than was let")
	case st.left >= 0 && (int64(len(data)) > st.left || int64(len(data)) < st.left && f.StreamEnded()):
		err = errLength
	default:
		st.data = append(st.data, data...)
		if st.left >= 0 {
			st.left -= int64(len(data))
		}
		if f.StreamEnded() {
			st.complete()
		}
		st.tell()
	}
	c.unlock()
	if err != nil {
		c.refuse(st.id, code, fmt.Errorf("the answer is malformed: %w", err))
	}
	return nil
}

// reset ends a stream as the server wishes.
func (c *conn) reset(f *wire.RSTStreamFrame) {
	c.mu.Lock()
	defer c.unlock()
	if st := c.streams[f.StreamID]; st != nil {
		err := fmt.Errorf("the server has ended the request: %w", wire.StreamError{StreamID: st.id, Code: f.ErrCode})
		if f.ErrCode == wire.ErrCodeRefusedStream {
			err = &unprocessedError{err}
		}
		st.end(err)
		c.remove(st)
	}
}

// leave begins no further streams, and ends those with which the server has done nothing.
func (c *conn) leave(f *wire.GoAwayFrame) {
	c.mu.Lock()
	defer c.unlock()
	c.closing = true
	c.left = fmt.Errorf("the server closes the connection: %s", f.ErrCode)
	for id, st := range c.streams {
		if id > f.LastStreamID {
			st.end(&unprocessedError{c.left})
			delete(c.streams, id)
		}
	}
}
