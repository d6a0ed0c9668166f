package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// siege is a crowd of connections that want to cost as much as they can.
type siege struct {
	c    *instance
	over chan struct{}
	// respite is how long a connection stays away that was closed: the siege shall cost
	// memory, not all of the processor.
	respite time.Duration
	all     sync.WaitGroup
	open    atomic.Int64

	mu       sync.Mutex
	answers  map[int]int // by status
	failures map[string]int
}

// besiegers are what the connections of a siege send, in turn. The last two go on with a
// byte a second.
var besiegers = []struct{ name, sent string }{
	{"nothing", ""},
	{"half a header", "POST " + ofType + " HTTP/1.1\r\nHost: localhost\r\nContent-Ty"},
	{"the beginning of a small body", head(ofType, typeJSON, "Content-Length: 1000") + "{"},
	{"no body of a wrong type", head(ofType, "Content-Type: text/plain", "Content-Length: 1000")},
	{"most of a large body", head(ofType, typeJSON, "Content-Length: 500000") + spaces},
	{"most of another", head(ofType, typeJSON, "Content-Length: 500000") + spaces},
	{"a large body of unknown length", head(ofType, typeJSON, "Transfer-Encoding: chunked") + "7a120\r\n" + spaces},
	{"a small body of unknown length", head(ofType, typeJSON, "Transfer-Encoding: chunked") + "400\r\n{"},
}

var spaces = strings.Repeat(" ", 400_000)

// besiege opens so many connections, from as many addresses as there are kinds and so
// that no address has few of one. Those that are closed come again.
func (c *instance) besiege(t *testing.T, connections int) *siege {
	t.Helper()
	s := &siege{c: c, over: make(chan struct{}), respite: time.Duration(connections) * time.Second / 2400, answers: make(map[int]int), failures: make(map[string]int)}
	t.Cleanup(s.end)
	for i := range connections {
		s.all.Go(func() {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/len(besiegers)%8))}, Timeout: patience}
			for s.pause(0) {
				s.attack(&dialer, besiegers[i%len(besiegers)].sent)
				if !s.pause(s.respite) {
					return
				}
			}
		})
		if i%100 == 0 {
			time.Sleep(10 * time.Millisecond) // or the queue of the listener overflows
		}
	}
	return s
}

// pause waits, and is false when the siege is over.
func (s *siege) pause(d time.Duration) bool {
	select {
	case <-s.over:
		return false
	case <-time.After(d):
		return true
	}
}

// attack is one connection, from its beginning to its end.
func (s *siege) attack(dialer *net.Dialer, text string) {
	conn, err := dialer.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.c.port))
	if err != nil {
		s.failed("dial", err)
		return
	}
	s.open.Add(1)
	defer s.open.Add(-1)
	ended := make(chan struct{})
	var both sync.WaitGroup
	defer func() {
		close(ended)
		_ = conn.Close()
		both.Wait()
	}()
	both.Go(func() {
		if _, err := io.WriteString(conn, text); err != nil || text == "" {
			return
		}
		for s.pause(time.Second) {
			if _, err := io.WriteString(conn, " "); err != nil {
				return
			}
		}
	})
	both.Go(func() { // the end of the siege ends the wait for the answer
		select {
		case <-s.over:
			_ = conn.SetDeadline(time.Now())
		case <-ended:
		}
	})
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.failed("read", err)
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[resp.StatusCode]++
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if resp.Header.Get("Retry-After") == "" {
			s.failures["no Retry-After"]++
		}
	}
}

func (s *siege) failed(what string, err error) {
	select {
	case <-s.over:
		return
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i:] // without ports
	}
	s.failures[what+text]++
}

func (s *siege) end() {
	select {
	case <-s.over:
	default:
		close(s.over)
	}
	s.all.Wait()
}

// rss is the memory of the process, in bytes.
func (c *instance) rss() int64 {
	c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if size, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(size)[0], 10, 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return n << 10
		}
	}
	c.t.Fatal("no VmRSS")
	return 0
}

// insist posts as the documentation asks senders to, until the event is taken.
func (c *instance) insist(t *testing.T, client *http.Client, key string) (attempts int) {
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); {
		attempts++
		req, err := http.NewRequest(http.MethodPost, c.url(ofType), strings.NewReader(strings.Repeat(" ", 1000)+"1"))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
		a := do(client, req)
		switch {
		case a.err == nil && a.status == http.StatusAccepted:
			return attempts
		case a.err != nil, a.status == http.StatusTooManyRequests, a.status >= 500, a.status == http.StatusRequestTimeout:
			wait, _ := strconv.Atoi(a.header.Get("Retry-After"))
			time.Sleep(time.Duration(max(wait, 1)) * time.Second)
		default:
			t.Errorf("%s: %s", key, a)
			return
		}
	}
	t.Errorf("%s was not taken", key)
	return
}

// F30: a flood of connections with slow and huge bodies costs no more memory than its
// connections and the budget, those who post as they should are served all the while,
// and nothing is left of it. RELAY_TEST_LONG=1 makes it fifty thousand connections, or
// as many as may be open.
func TestFloodOfConnectionsCostsLittleAndStopsNobody(t *testing.T) {
	connections, senders, each, limit := 2400, 4, 50, int64(256<<20)
	if long() {
		connections, senders, each, limit = 50_000, 8, 100, 1<<30
	} else {
		t.Parallel()
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if most := int(files.Max) - 800; connections > most {
		t.Logf("%d files may be open (ulimit -Hn): %d connections instead of %d", files.Max, most, connections)
		connections = most
	}
	r := newReceiver(t)
	c := run(t, subscribed("crm", r), withEnv(fmt.Sprintf("GOMEMLIMIT=%d", limit)))
	c.accept("order.paid", `0`)
	c.drained()
	goroutines, descriptors, before := c.goroutines(), c.descriptors(), c.rss()

	s := c.besiege(t, connections)
	eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.answers[503]+s.answers[429] > 0 && s.open.Load() > int64(connections)/4
	}, func() string {
		return fmt.Sprintf("%d connections, no refusal for want of room: %v %v", s.open.Load(), s.answers, s.failures)
	})

	var posted sync.WaitGroup
	var attempts, peak, most atomic.Int64
	for i := range senders {
		posted.Go(func() {
			client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for n := range each {
				attempts.Add(int64(c.insist(t, client, fmt.Sprintf("%d-%d", i, n))))
				peak.Store(max(peak.Load(), c.rss()))
				most.Store(max(most.Load(), s.open.Load()))
				time.Sleep(250 * time.Millisecond) // for longer than a body may take
			}
		})
	}
	posted.Wait()
	c.wantReadiness(http.StatusOK)
	s.end()

	grown := peak.Load() - before
	t.Logf("%d connections at once; answered %v; failed %v; %d posts in %d attempts; RSS %d MiB before, %d MiB more at most",
		most.Load(), s.answers, s.failures, senders*each, attempts.Load(), before>>20, grown>>20)
	// Twice what lives, for the garbage collector; a connection was measured at 7 to 27 KiB.
	if bound := 2*(limit/8) + int64(connections)*50<<10 + 64<<20; grown > bound {
		t.Errorf("it cost %d MiB; want at most %d", grown>>20, bound>>20)
	}
	for status := range s.answers {
		switch status {
		case http.StatusRequestTimeout, http.StatusUnsupportedMediaType, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		case http.StatusBadRequest: // net/http's, for half a header after Caddy's minute
		default:
			t.Errorf("%d were answered %d", s.answers[status], status)
		}
	}
	if n := s.failures["no Retry-After"]; n > 0 {
		t.Errorf("%d refusals had no Retry-After", n)
	}
	c.drained()
	// On a machine that is this busy an attempt may be made twice, but no event is lost.
	delivered := make(map[string]bool)
	for _, a := range r.got() {
		delivered[a.id()] = true
	}
	if want := 1 + senders*each; len(delivered) != want {
		t.Errorf("%d events were delivered; want %d", len(delivered), want)
	}
	const spare = 60
	eventually(t, func() bool {
		return c.goroutines() <= goroutines+spare && c.descriptors() <= descriptors+spare
	}, func() string {
		return fmt.Sprintf("%d goroutines and %d descriptors are left of %d and %d", c.goroutines(), c.descriptors(), goroutines, descriptors)
	})
}

// F30: connections take all the file descriptors that there are, so that neither the
// storage can open a file nor a delivery a socket. What was accepted arrives all the
// same, and all goes on when they have gone.
func TestFloodThatTakesAllDescriptorsLosesNothing(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	// The soft limit is what Go raises to the hard one.
	c := run(t, subscribed("crm", r, retriedSoon, "breaker off"), withWrapper("sh", "-c", `ulimit -n 200 && exec "$0" "$@"`))
	// This connection is there before the others.
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	c.insist(t, client, "before")
	s := c.besiege(t, 400)
	eventually(t, func() bool { return strings.Contains(c.log(), "too many open files") }, func() string {
		return fmt.Sprintf("descriptors are left: %d are open", c.descriptors())
	})
	// Enough to fill more than one of the storage's tables in memory.
	large := `"` + strings.Repeat("x", 400<<10) + `"`
	accepted := make(map[string]bool)
	refused := 0
	for range 100 {
		if refused == 3 {
			break // the storage tries again after longer and longer pauses
		}
		req, err := http.NewRequest(http.MethodPost, c.url(ofType), strings.NewReader(large))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		switch a := do(client, req); {
		case a.status == http.StatusAccepted:
			accepted[c.accepted(a).ID] = true
		case a.err != nil, a.status == http.StatusServiceUnavailable, a.status == http.StatusTooManyRequests:
			refused++
		default:
			t.Errorf("%s", a)
		}
	}
	s.end()
	c.insist(t, client, "after")
	c.drained()
	for _, a := range r.got() {
		delete(accepted, a.id())
	}
	t.Logf("%d were refused meanwhile; %v", refused, s.answers)
	if len(accepted) > 0 {
		t.Errorf("%d accepted events were not delivered: %v", len(accepted), accepted)
	}
}
