package http2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wire "golang.org/x/net/http2"
)

// timed runs a test in which time passes only when all wait.
func timed(t *testing.T, name string, test func(*testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// A body is sent as the server lets it: on its stream, and on all together.
func TestBodiesAreSentAsTheServerLets(t *testing.T) {
	const body = "0123456789"
	// part reads a part of the body.
	part := func(s *side, want string, end bool) {
		t.Helper()
		if d := frame[*wire.DataFrame](s); string(d.Data()) != want || d.StreamEnded() != end {
			t.Errorf("%q, end %v; want %q, %v", d.Data(), d.StreamEnded(), want, end)
		}
	}
	timed(t, "stream", func(t *testing.T) {
		p := newPeer(t)
		done := p.send(body, patience)
		s := p.accept(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 3})
		id := frame[*wire.MetaHeadersFrame](s).StreamID
		part(s, "012", false)
		s.must(s.framer.WriteWindowUpdate(id, 4))
		part(s, "3456", false)
		s.must(s.framer.WriteSettings(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 1})) // two fewer
		frame[*wire.SettingsFrame](s)
		s.must(s.framer.WriteWindowUpdate(id, 3))
		part(s, "7", false)
		s.must(s.framer.WriteSettings(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 100}))
		frame[*wire.SettingsFrame](s)
		part(s, "89", true)
		s.answer(id, true, ":status", "200")
		p.delivered(done)
	})
	timed(t, "all", func(t *testing.T) {
		p := newPeer(t)
		var size int
		done := p.send(strings.Repeat("x", MaxBody), patience)
		s := p.accept()
		for range 3 {
			id, _, got := s.request()
			size += len(got)
			s.answer(id, true, ":status", "200")
			p.delivered(done)
			done = p.send(strings.Repeat("x", MaxBody), patience)
		}
		id := frame[*wire.MetaHeadersFrame](s).StreamID
		first := frame[*wire.DataFrame](s)
		if size += len(first.Data()); size != firstWindow || first.StreamEnded() {
			t.Errorf("%d bytes are on their way", size)
		}
		s.must(s.framer.WriteWindowUpdate(0, 1000))
		part(s, "x", true)
		s.answer(id, true, ":status", "200")
		p.delivered(done)
	})
	timed(t, "not at all", func(t *testing.T) {
		p := newPeer(t)
		done := p.send(body, patience)
		s := p.accept(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 0})
		id := frame[*wire.MetaHeadersFrame](s).StreamID
		s.answer(id, true, ":status", "413")
		if f := frame[*wire.RSTStreamFrame](s); f.StreamID != id || f.ErrCode != wire.ErrCodeCancel {
			t.Error(f)
		}
		if e := <-done; e.err != nil || e.resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Error(e)
		}
	})
	timed(t, "what was not sent after all", func(t *testing.T) {
		p := newPeer(t)
		done := p.send(body, 2*time.Second)
		s := p.accept(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 4})
		id := frame[*wire.MetaHeadersFrame](s).StreamID
		part(s, "0123", false)
		p.transport.mu.Lock()
		c := p.transport.hosts["hooks.example.com:443"].conns[0]
		p.transport.mu.Unlock()
		window := func() int64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.window
		}
		before := window()
		c.writing <- struct{}{} // somebody writes for long
		s.must(s.framer.WriteWindowUpdate(id, 4))
		if e := <-done; !errors.Is(e.err, context.DeadlineExceeded) {
			t.Error(e)
		}
		<-c.writing
		if f := frame[*wire.RSTStreamFrame](s); f.StreamID != id {
			t.Error(f)
		}
		synctest.Wait()
		if after := window(); after != before {
			t.Errorf("%d bytes may be sent on all streams; %d before", after, before)
		}
	})
	timed(t, "an answer before the rest", func(t *testing.T) {
		p := newPeer(t)
		done := p.send(body, patience)
		s := p.accept(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 4})
		id := frame[*wire.MetaHeadersFrame](s).StreamID
		part(s, "0123", false)
		s.answer(id, false, ":status", "200")
		synctest.Wait()
		s.must(s.framer.WriteWindowUpdate(id, 100))
		part(s, "456789", true)
		s.must(s.framer.WriteData(id, true, []byte("thanks")))
		if e := <-done; e.err != nil || e.body != "thanks" {
			t.Error(e)
		}
	})
	timed(t, "a failure before the rest", func(t *testing.T) {
		p := newPeer(t)
		done := p.send(body, patience)
		s := p.accept(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 4})
		id := frame[*wire.MetaHeadersFrame](s).StreamID
		part(s, "0123", false)
		s.answer(id, false, ":status", "413")
		s.must(s.framer.WriteData(id, true, []byte("too large")))
		if f := frame[*wire.RSTStreamFrame](s); f.StreamID != id {
			t.Error(f)
		}
		if e := <-done; e.err != nil || e.resp.StatusCode != http.StatusRequestEntityTooLarge || e.body != "too large" {
			t.Error(e)
		}
	})
	timed(t, "small frames", func(t *testing.T) {
		p := newPeer(t)
		req := request(t, http.MethodPost, "https://hooks.example.com/in", body)
		req.Header.Set("X-Long", strings.Repeat("y", 40<<10))
		done := p.start(req, patience)
		s := p.accept()
		s.framer.SetMaxReadFrameSize(largestFrame)
		s.framer.MaxHeaderListSize = 1 << 20
		id, h, got := s.request()
		if got != body || len(h.RegularFields()) < 2 || h.Truncated {
			t.Errorf("%v %q", h, got)
		}
		s.answer(id, true, ":status", "200")
		p.delivered(done)
	})
}

// Values that are another one each time do not drive those out of the table that all have.
func TestWhatAllRequestsHaveIsSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		var s *side
		var sizes []int
		for n := range 200 {
			req := request(t, http.MethodPost, "https://hooks.example.com/a/long/path/that/stays", "data")
			req.Header.Set("X-Same", strings.Repeat("same", 20))
			unique := strings.Repeat(string(rune('a'+n%26)), 60)
			req.Header.Set("X-Other", unique)
			done := p.start(req, patience)
			if s == nil {
				s = p.accept()
			}
			s.framer.ReadMetaHeaders.SetEmitEnabled(true)
			h := frame[*wire.MetaHeadersFrame](s)
			sizes = append(sizes, int(h.Length))
			frame[*wire.DataFrame](s)
			var got string
			for _, f := range h.RegularFields() {
				if f.Name == "x-other" {
					got = f.Value
				}
			}
			if got != unique {
				t.Fatalf("%q has come for %q", got, unique)
			}
			s.answer(h.StreamID, true, ":status", "200")
			p.delivered(done)
		}
		for n, size := range sizes[2:] {
			if size > sizes[0]/2 {
				t.Errorf("the first header took %d bytes, that of request %d %d", sizes[0], n+3, size)
			}
		}
	})
}

// With what a server did nothing it is asked again, once.
func TestWhatIsMadeAgain(t *testing.T) {
	timed(t, "refused", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", patience)
		s := p.accept()
		id, _, _ := s.request()
		s.must(s.framer.WriteRSTStream(id, wire.ErrCodeRefusedStream))
		id, _, body := s.request()
		if body != "data" {
			t.Errorf("%q has come the second time", body)
		}
		s.answer(id, true, ":status", "200")
		p.delivered(done)
	})
	timed(t, "refused always", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", patience)
		s := p.accept()
		for range mostTries {
			id, _, _ := s.request()
			s.must(s.framer.WriteRSTStream(id, wire.ErrCodeRefusedStream))
		}
		if e := <-done; e.err == nil || !strings.Contains(e.err.Error(), "REFUSED_STREAM") {
			t.Error(e)
		}
	})
	timed(t, "no request at all", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", patience)
		s := p.accept(wire.Setting{ID: wire.SettingMaxConcurrentStreams, Val: 0})
		s.gone()
		if e := <-done; e.err == nil || !strings.Contains(e.err.Error(), "takes no requests") {
			t.Error(e)
		}
	})
	timed(t, "no request any more", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", patience)
		s := p.accept()
		id, _, _ := s.request()
		s.must(s.framer.WriteSettings(wire.Setting{ID: wire.SettingMaxConcurrentStreams, Val: 0}))
		frame[*wire.SettingsFrame](s)
		s.answer(id, true, ":status", "200")
		p.delivered(done)
		s.gone()
	})
	timed(t, "the server leaves at once", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", patience)
		s := <-p.accepted
		s.greeted()
		s.must(s.framer.WriteSettings())
		s.must(s.framer.WriteGoAway(0, wire.ErrCodeNo, nil))
		frame[*wire.SettingsFrame](s)
		synctest.Wait()
		_ = s.conn.Close()
		s = p.accept()
		s.serve(done)
	})
	timed(t, "the server says why it leaves", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", patience)
		s := p.accept()
		id, _, _ := s.request()
		s.must(s.framer.WriteGoAway(id, wire.ErrCodeEnhanceYourCalm, nil))
		synctest.Wait()
		_ = s.conn.Close()
		if e := <-done; e.err == nil || !strings.Contains(e.err.Error(), "ENHANCE_YOUR_CALM") {
			t.Error(e)
		}
	})
	timed(t, "the server leaves", func(t *testing.T) {
		p := newPeer(t)
		first := p.send("one", patience)
		s := p.accept()
		one, _, _ := s.request()
		second := p.send("two", patience)
		s.request()
		s.must(s.framer.WriteGoAway(one, wire.ErrCodeNo, nil))
		other := p.accept()
		id, _, body := other.request()
		if body != "two" {
			t.Errorf("%q is made again", body)
		}
		other.answer(id, true, ":status", "200")
		p.delivered(second)
		// What it had begun with it finishes.
		s.answer(one, true, ":status", "200")
		p.delivered(first)
		s.gone()
	})
	timed(t, "a kept connection is closed", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("one", patience)
		s := p.accept()
		s.serve(done)
		time.Sleep(time.Second)
		done = p.send("two", patience)
		s.request()
		_ = s.conn.Close()
		s = p.accept()
		s.serve(done)
	})
	timed(t, "not after something was heard", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("one", patience)
		s := p.accept()
		s.serve(done)
		time.Sleep(time.Second)
		done = p.send("two", patience)
		id, _, _ := s.request()
		s.answer(id, false, ":status", "103")
		synctest.Wait()
		_ = s.conn.Close()
		if e := <-done; !errors.Is(e.err, io.ErrUnexpectedEOF) || !strings.Contains(e.err.Error(), "the server has closed the connection") {
			t.Error(e)
		}
	})
	timed(t, "not on a new connection", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", patience)
		s := p.accept()
		s.request()
		_ = s.conn.Close()
		if e := <-done; !errors.Is(e.err, io.ErrUnexpectedEOF) || p.dials.Load() != 1 {
			t.Errorf("%v, %d connections", e, p.dials.Load())
		}
	})
}

// A request that must not be made twice is not, unless the server has done nothing with it.
func TestWhatMustNotBeMadeTwice(t *testing.T) {
	for _, repeatable := range []bool{false, true} {
		timed(t, fmt.Sprintf("repeatable %v", repeatable), func(t *testing.T) {
			p := newPeer(t)
			done := p.send("one", patience)
			s := p.accept()
			s.serve(done)
			time.Sleep(time.Second)
			req := request(t, http.MethodPost, "https://hooks.example.com/token", "data")
			if repeatable {
				req.Header["Idempotency-Key"] = nil
			}
			ended := make(chan error)
			go func() {
				_, err := p.transport.RoundTrip(req)
				ended <- err
			}()
			s.request()
			_ = s.conn.Close()
			if repeatable {
				s = p.accept()
				id, _, _ := s.request()
				s.answer(id, true, ":status", "200")
			}
			if err := <-ended; (err == nil) != repeatable {
				t.Error(err)
			}
		})
	}
}

// Who waits for a further connection takes a place that becomes free, and also if that
// connection does not come about.
func TestPlacesThatBecomeFree(t *testing.T) {
	for _, fails := range []bool{false, true} {
		timed(t, fmt.Sprintf("the dial fails %v", fails), func(t *testing.T) {
			p := newPeer(t)
			first := p.send("one", patience)
			s := p.accept(wire.Setting{ID: wire.SettingMaxConcurrentStreams, Val: 1})
			id, _, _ := s.request()
			dialled := make(chan error)
			p.transport.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, <-dialled }
			second := p.send("two", patience)
			synctest.Wait()
			third := p.send("three", patience)
			synctest.Wait()
			no := errors.New("one is enough")
			s.answer(id, true, ":status", "200")
			p.delivered(first)
			if fails {
				dialled <- no
			}
			id, _, body := s.request()
			if body != "three" {
				t.Errorf("%q has got the place", body)
			}
			s.answer(id, true, ":status", "200")
			p.delivered(third)
			if !fails {
				dialled <- no
			}
			if e := <-second; !errors.Is(e.err, no) {
				t.Error(e)
			}
		})
	}
}

// A panic while connecting is that of one request.
func TestAPanicWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		dial := p.transport.Dial
		p.transport.Dial = func(context.Context, string, string) (net.Conn, error) { panic("a dialler of somebody else") }
		func() {
			defer func() { _ = recover() }()
			_, err := p.transport.RoundTrip(request(t, http.MethodPost, "https://hooks.example.com/in", "data"))
			t.Errorf("no panic, but %v", err)
		}()
		p.transport.Dial = dial
		done := p.send("data", patience)
		s := p.accept()
		s.serve(done)
	})
}

// The status says what became of a request, also if the answer lacks the body that it speaks of.
func TestAnAnswerWithoutItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", patience)
		s := p.accept()
		id, _, _ := s.request()
		s.answer(id, true, ":status", "200", "content-length", "5")
		if e := <-done; e.resp == nil || e.resp.StatusCode != http.StatusOK || !errors.Is(e.err, io.ErrUnexpectedEOF) {
			t.Error(e)
		}
	})
}

// A request ends at its deadline, and with its context; the server is told.
func TestRequestsEndInTime(t *testing.T) {
	timed(t, "deadline", func(t *testing.T) {
		p := newPeer(t)
		start := time.Now()
		short, long := p.send("short", 3*time.Second), p.send("long", 8*time.Second)
		s := p.accept()
		byBody := s.requests(2)
		time.Sleep(time.Second)
		s.must(s.framer.WriteSettings()) // it lives
		frame[*wire.SettingsFrame](s)
		if f := frame[*wire.RSTStreamFrame](s); f.StreamID != byBody["short"] || f.ErrCode != wire.ErrCodeCancel {
			t.Error(f)
		}
		if e := <-short; !errors.Is(e.err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", e, time.Since(start))
		}
		s.answer(byBody["long"], true, ":status", "200")
		p.delivered(long)
	})
	timed(t, "nothing was heard", func(t *testing.T) {
		p, s := newSide(t)
		time.Sleep(time.Second)
		done := p.send("two", 3*time.Second)
		s.request()
		s.gone()
		if e := <-done; !errors.Is(e.err, context.DeadlineExceeded) {
			t.Error(e)
		}
		done = p.send("three", 3*time.Second)
		s = p.accept()
		s.serve(done)
	})
	for _, dead := range []bool{false, true} {
		timed(t, fmt.Sprintf("nothing was heard, and others wait; dead: %t", dead), func(t *testing.T) {
			p, s := newSide(t)
			time.Sleep(time.Second)
			start := time.Now()
			short, long := p.send("short", 3*time.Second), p.send("long", patience)
			byBody := s.requests(2)
			for range 2 { // that the one has ended, and a ping
				f, err := s.framer.ReadFrame()
				s.must(err)
				if ping, ok := f.(*wire.PingFrame); ok && !dead {
					s.must(s.framer.WritePing(true, ping.Data))
				}
			}
			if e := <-short; !errors.Is(e.err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
				t.Errorf("%v after %v", e, time.Since(start))
			}
			next := p.send("next", patience)
			p.accept().serve(next)
			if dead {
				if e := <-long; !errors.Is(e.err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second+DefaultPingTimeout {
					t.Errorf("%v after %v", e, time.Since(start))
				}
				return
			}
			time.Sleep(DefaultPingTimeout)
			s.answer(byBody["long"], true, ":status", "200")
			p.delivered(long)
			s.gone()
		})
	}
	timed(t, "context", func(t *testing.T) {
		p := newPeer(t)
		reason := errors.New("the relay stops")
		ctx, cancel := context.WithCancelCause(t.Context())
		req := request(t, http.MethodPost, "https://hooks.example.com/in", "data")
		done := make(chan error)
		go func() {
			_, _, err := p.transport.Do(ctx, time.Time{}, req)
			done <- err
		}()
		s := p.accept()
		id, _, _ := s.request()
		cancel(reason)
		if f := frame[*wire.RSTStreamFrame](s); f.StreamID != id {
			t.Error(f)
		}
		if err := <-done; !errors.Is(err, reason) {
			t.Error(err)
		}
	})
	timed(t, "while a body comes", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", 3*time.Second)
		s := p.accept()
		id, _, _ := s.request()
		s.answer(id, false, ":status", "200")
		s.must(s.framer.WriteData(id, false, []byte("some")))
		frame[*wire.RSTStreamFrame](s)
		if e := <-done; !errors.Is(e.err, context.DeadlineExceeded) || e.body != "some" {
			t.Error(e)
		}
	})
	timed(t, "while the server begins", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", 3*time.Second)
		(<-p.accepted).greeted()
		if e := <-done; !errors.Is(e.err, context.DeadlineExceeded) {
			t.Error(e)
		}
	})
	timed(t, "while the server reads nothing", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", 3*time.Second)
		p.accept()
		synctest.Wait() // it is being written
		other := p.send("more", 5*time.Second)
		start := time.Now()
		if e := <-done; !errors.Is(e.err, os.ErrDeadlineExceeded) && !errors.Is(e.err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", e, time.Since(start))
		}
		s := p.accept()
		s.serve(other)
	})
}

// A connection on which nothing is heard is pinged, given up if it does not answer, and closed
// when it was idle for long.
func TestConnectionsAreLookedAfter(t *testing.T) {
	timed(t, "alive", func(t *testing.T) {
		_, s := newSide(t)
		start, pings := time.Now(), 0
		for {
			f, err := s.framer.ReadFrame()
			if err != nil {
				break
			}
			if ping, ok := f.(*wire.PingFrame); ok {
				pings++
				s.must(s.framer.WritePing(true, ping.Data))
			}
		}
		if after := time.Since(start); pings != 8 || after < DefaultIdleTimeout || after > DefaultIdleTimeout+time.Second {
			t.Errorf("%d pings, closed after %v", pings, after)
		}
	})
	timed(t, "dead", func(t *testing.T) {
		p, s := newSide(t)
		start := time.Now()
		last := s.gone()
		if after := time.Since(start); len(last) != 1 || after != DefaultPingAfter+DefaultPingTimeout {
			t.Errorf("%v, closed after %v", last, after)
		}
		done := p.send("data", patience)
		s = p.accept()
		s.request()
		if e := <-done; !errors.Is(e.err, os.ErrDeadlineExceeded) || !strings.Contains(e.err.Error(), "nothing was heard") {
			t.Errorf("a request that waits on a dead one: %+v", e)
		}
	})
	timed(t, "pinged", func(t *testing.T) {
		p, s := newSide(t)
		s.must(s.framer.WritePing(false, [8]byte{1, 2, 3}))
		if f := frame[*wire.PingFrame](s); !f.IsAck() || f.Data != [8]byte{1, 2, 3} {
			t.Error(f)
		}
		p.transport.CloseIdleConnections()
		s.gone()
	})
}

// long answers with a header of several frames.
func (s *side) long(id uint32, fields ...string) {
	block := s.header(fields...)
	s.must(s.framer.WriteHeaders(wire.HeadersFrameParam{StreamID: id, BlockFragment: block[:largestFrame], EndStream: true}))
	for rest := block[largestFrame:]; len(rest) > 0; {
		part := rest[:min(len(rest), largestFrame)]
		rest = rest[len(part):]
		s.must(s.framer.WriteContinuation(id, len(rest) == 0, part))
	}
}

// What a server must not do ends the request, or the connection, and says what it was.
func TestMistakesOfServers(t *testing.T) {
	for name, tt := range map[string]struct {
		play  func(*side, uint32)
		want  string
		lives bool // the connection carries further requests
	}{
		"body before header": {func(s *side, id uint32) { s.must(s.framer.WriteData(id, true, []byte("x"))) }, "its body comes before its header", true},
		"no status":          {func(s *side, id uint32) { s.answer(id, true, "x-a", "b") }, "malformed", true},
		"odd status":         {func(s *side, id uint32) { s.answer(id, true, ":status", "2000") }, "no status of three digits", true},
		"low status":         {func(s *side, id uint32) { s.answer(id, true, ":status", "099") }, "no status of three digits", true},
		"upper case":         {func(s *side, id uint32) { s.answer(id, true, ":status", "200", "X-A", "b") }, "malformed", true},
		"line break":         {func(s *side, id uint32) { s.answer(id, true, ":status", "200", "x-a", "b\r\nc") }, "malformed", true},
		"protocol":           {func(s *side, id uint32) { s.answer(id, false, ":status", "101") }, "it changes the protocol", true},
		"interim at the end": {func(s *side, id uint32) { s.answer(id, true, ":status", "103") }, "no final one", true},
		"interim without end": {func(s *side, id uint32) {
			for range maxInterim + 1 {
				s.answer(id, false, ":status", "103")
			}
		}, "no final one", true},
		"two headers": {func(s *side, id uint32) {
			s.answer(id, false, ":status", "200")
			s.answer(id, false, ":status", "200")
		}, "malformed", true},
		"too much": {func(s *side, id uint32) {
			s.answer(id, false, ":status", "200", "content-length", "3")
			s.must(s.framer.WriteData(id, true, []byte("four")))
		}, "the length that it says", true},
		"too little": {func(s *side, id uint32) {
			s.answer(id, false, ":status", "200", "content-length", "5")
			s.must(s.framer.WriteData(id, true, []byte("four")))
		}, "the length that it says", true},
		"large header": {func(s *side, id uint32) {
			fields := []string{":status", "200"}
			for n := range 70 {
				fields = append(fields, "x-large", fmt.Sprintf("zzz%01000d", n))
			}
			s.long(id, fields...)
		}, "the answer's header is too large: more than 65536 bytes", true},
		"large field": {func(s *side, id uint32) { s.long(id, ":status", "200", "x-large", strings.Repeat("z", 70<<10)) }, "COMPRESSION_ERROR", false},
		"reset":       {func(s *side, id uint32) { s.must(s.framer.WriteRSTStream(id, wire.ErrCodeInternal)) }, "INTERNAL_ERROR", true},
		"window":      {func(s *side, _ uint32) { s.must(s.framer.WriteWindowUpdate(0, 1<<31-1)) }, "FLOW_CONTROL_ERROR", false},
		"no growth":   {func(s *side, _ uint32) { s.must(s.framer.WriteWindowUpdate(0, 0)) }, "PROTOCOL_ERROR", false},
		"push": {func(s *side, id uint32) {
			s.must(s.framer.WritePushPromise(wire.PushPromiseParam{StreamID: id, PromiseID: 2, BlockFragment: s.header(":status", "200"), EndHeaders: true}))
		}, "PROTOCOL_ERROR", false},
		"no stream":  {func(s *side, id uint32) { s.answer(id+2, true, ":status", "200") }, "PROTOCOL_ERROR", false},
		"its stream": {func(s *side, _ uint32) { s.must(s.framer.WriteData(2, true, []byte("x"))) }, "PROTOCOL_ERROR", false},
		"setting": {func(s *side, _ uint32) {
			s.must(s.framer.WriteSettings(wire.Setting{ID: wire.SettingMaxFrameSize, Val: 1}))
		}, "PROTOCOL_ERROR", false},
		"table": {func(s *side, id uint32) {
			s.must(s.framer.WriteHeaders(wire.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true}))
		}, "COMPRESSION_ERROR", false},
		"large frame": {func(s *side, id uint32) {
			s.answer(id, false, ":status", "200")
			_ = s.framer.WriteData(id, true, make([]byte, largestFrame+1))
		}, "frame too large", false},
		"no HTTP/2": {func(s *side, _ uint32) {
			go func() { _, _ = s.conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }()
		}, "frame", false},
	} {
		timed(t, name, func(t *testing.T) {
			p := newPeer(t)
			done := p.send("data", patience)
			s := p.accept()
			id, _, _ := s.request()
			tt.play(s, id)
			read := make(chan error, 1)
			var f wire.Frame
			go func() { // the test reads on, or else the client could not write
				var err error
				for err == nil {
					if f, err = s.framer.ReadFrame(); err == nil && (f.Header().Type == wire.FrameRSTStream || f.Header().Type == wire.FrameGoAway) {
						break
					}
				}
				read <- err
			}()
			if e := <-done; e.err == nil || !strings.Contains(e.err.Error(), tt.want) || strings.Contains(e.err.Error(), "zzz") {
				t.Errorf("%v; want %s", e, tt.want)
			}
			if !tt.lives {
				<-read
				s.gone()
				return
			}
			if name == "reset" { // of which the server needs not be told
				_ = s.conn.Close()
				return
			}
			if err := <-read; err != nil || f.Header().Type != wire.FrameRSTStream {
				t.Fatalf("%v, %v", f, err)
			}
			again := p.send("data", patience)
			s.serve(again)
		})
	}
}

// A server that does not begin as one of HTTP/2 is told apart, with the connection to it.
func TestServersThatDoNotBegin(t *testing.T) {
	for name, tt := range map[string]struct {
		play func(*side)
		want string
	}{
		"another frame": {func(s *side) { s.must(s.framer.WritePing(false, [8]byte{})) }, "its first frame is PING"},
		"HTTP/1.1":      {func(s *side) { go func() { _, _ = s.conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }() }, "has not begun to speak HTTP/2"},
		"nothing":       {func(s *side) { _ = s.conn.Close() }, "unexpected EOF"},
		"settings": {func(s *side) {
			s.must(s.framer.WriteSettings(wire.Setting{ID: wire.SettingEnablePush, Val: 7}))
		}, "PROTOCOL_ERROR"},
	} {
		timed(t, name, func(t *testing.T) {
			p := newPeer(t)
			req := request(t, http.MethodPost, "https://hooks.example.com/in", "data")
			done := make(chan error)
			go func() {
				_, conn, err := p.transport.Do(t.Context(), time.Now().Add(patience), req)
				if conn == nil {
					t.Error("nobody knows which connection it was")
				}
				done <- err
			}()
			s := <-p.accepted
			s.greeted()
			tt.play(s)
			if err := <-done; err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %s", err, tt.want)
			}
		})
	}
}

// More of an answer than the client lets is an error; as much as it lets is none, also for
// what it does not want any more.
func TestHowMuchMayCome(t *testing.T) {
	timed(t, "more", func(t *testing.T) {
		p := newPeer(t)
		req := request(t, http.MethodPost, "https://hooks.example.com/in", "data")
		got := make(chan *http.Response, 1)
		go func() {
			resp, err := p.transport.RoundTrip(req)
			if err != nil {
				t.Error(err)
			}
			got <- resp
		}()
		s := p.accept()
		id, _, _ := s.request()
		s.answer(id, false, ":status", "200")
		resp := <-got
		for range firstWindow/10000 + 1 {
			s.must(s.framer.WriteData(id, false, make([]byte, 10000)))
		}
		for {
			f, err := s.framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if reset, ok := f.(*wire.RSTStreamFrame); ok {
				if reset.ErrCode != wire.ErrCodeFlowControl {
					t.Error(reset)
				}
				break
			}
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != 60000 || err == nil || !strings.Contains(err.Error(), "more of it came than was let") {
			t.Errorf("%d bytes, %v", n, err)
		}
		_ = resp.Body.Close()
	})
	timed(t, "nobody wants it", func(t *testing.T) {
		p := newPeer(t)
		done := p.send("data", 3*time.Second)
		s := p.accept()
		id, _, _ := s.request()
		s.answer(id, false, ":status", "200")
		s.must(s.framer.WriteDataPadded(id, false, []byte("some"), make([]byte, 100)))
		frame[*wire.RSTStreamFrame](s) // its deadline
		<-done
		var given uint32
		for sent := 0; sent < 5*firstWindow; sent += 10000 {
			s.must(s.framer.WriteData(id, false, make([]byte, 10000)))
			for int(given) < sent-firstWindow/2 {
				given += frame[*wire.WindowUpdateFrame](s).Increment
			}
		}
		next := p.send("data", patience)
		for {
			f, err := s.framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if h, ok := f.(*wire.MetaHeadersFrame); ok {
				s.answer(h.StreamID, true, ":status", "200")
				frame[*wire.DataFrame](s)
				break
			}
		}
		p.delivered(next)
	})
}

// Whatever a server sends, the request ends.
func FuzzAnswer(f *testing.F) {
	frames := func(write func(*wire.Framer)) []byte {
		var b bytes.Buffer
		fr := wire.NewFramer(&b, nil)
		fr.AllowIllegalWrites = true
		write(fr)
		return b.Bytes()
	}
	f.Add(frames(func(fr *wire.Framer) { // 0x88 is ":status: 200"
		_ = fr.WriteHeaders(wire.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndHeaders: true})
		_ = fr.WriteData(1, true, []byte("body"))
	}))
	f.Add(frames(func(fr *wire.Framer) {
		_ = fr.WriteSettings(wire.Setting{ID: wire.SettingInitialWindowSize, Val: 1})
		_ = fr.WriteWindowUpdate(1, 1)
		_ = fr.WritePing(false, [8]byte{})
		_ = fr.WriteRSTStream(1, wire.ErrCodeRefusedStream)
		_ = fr.WriteGoAway(0, wire.ErrCodeNo, []byte("bye"))
	}))
	f.Fuzz(func(t *testing.T, sent []byte) {
		synctest.Test(t, func(t *testing.T) {
			tr := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				go func() {
					_, _ = theirs.Write(frames(func(fr *wire.Framer) { _ = fr.WriteSettings() }))
					_, _ = theirs.Write(sent)
					time.Sleep(time.Second)
					_ = theirs.Close()
				}()
				return ours, nil
			}}
			start := time.Now()
			_, _, _ = do(tr, request(t, http.MethodPost, "https://hooks.example.com/", "data"), patience)
			if time.Since(start) > patience {
				t.Errorf("it took %v", time.Since(start))
			}
			time.Sleep(patience) // the others end, too
			tr.CloseIdleConnections()
		})
	})
}

// TestFramesForNoStreamCostNothing: a server that reads nothing, and sends what is wrong for
// streams that never were, is not answered: who writes the answers would pile up.
func TestFramesForNoStreamCostNothing(t *testing.T) {
	p, s := newSide(t)
	_ = p.send("blocked", patience) // nobody reads it: there is no buffer between
	before := runtime.NumGoroutine()
	const n = 5000
	wrong := []byte{0, 0, 4, byte(wire.FrameWindowUpdate), 0, 0, 0, 0, 9, 0, 0, 0, 0} // no increment
	if _, err := s.conn.Write(bytes.Repeat(wrong, n)); err != nil {
		t.Fatal(err)
	}
	if more := runtime.NumGoroutine() - before; more > n/10 {
		t.Errorf("%d goroutines more for %d frames", more, n)
	}
}

// TestConnectionsThatTakeNothingMoreAreClosed: a server takes one request on each, and says
// afterwards that it takes none.
func TestConnectionsThatTakeNothingMoreAreClosed(t *testing.T) {
	p := newPeer(t)
	for range 5 {
		done := p.send("data", patience)
		s := p.accept(wire.Setting{ID: wire.SettingMaxConcurrentStreams, Val: 1})
		s.serve(done)
		s.must(s.framer.WriteSettings(wire.Setting{ID: wire.SettingMaxConcurrentStreams, Val: 0}))
		for { // it ends, with or without a last word
			if _, err := s.framer.ReadFrame(); err != nil {
				break
			}
		}
	}
	p.transport.mu.Lock()
	defer p.transport.mu.Unlock()
	for host, h := range p.transport.hosts {
		if len(h.conns) > 0 {
			t.Errorf("%d connections to %s are kept", len(h.conns), host)
		}
	}
}
