package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestNoMoreConnectionsAreKeptThanAllowed(t *testing.T) {
	const at = 8
	met := make(chan struct{})
	var there atomic.Int64
	r := newReceiver(t, func(c net.Conn, _ int) bool {
		if there.Add(1) == at {
			close(met)
		}
		<-met
		_, err := io.WriteString(c, fine)
		return err == nil
	})
	tr := newTransport(t)
	tr.MaxIdlePerHost = 3
	var all sync.WaitGroup
	for range at {
		all.Go(func() { r.want(tr, 200, "thanks") })
	}
	all.Wait()
	for _, list := range tr.idle.conns {
		if len(list) != 3 {
			t.Errorf("%d are kept", len(list))
		}
	}
	r.wantCounts(at, at)
	r.want(tr, 200, "thanks")
	r.wantCounts(at+1, at)
}

func TestWhoDoesNotReadAnAnswerKeepsNoConnection(t *testing.T) {
	r := newReceiver(t, replying(fine))
	tr := newTransport(t)
	for range 2 {
		resp, err := tr.RoundTrip(r.request("data"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		resp.Body.Close() // again, which changes nothing
		if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("reading after Close: %d, %v", n, err)
		}
	}
	r.wantCounts(2, 2)
}

func TestIdleConnectionsAreClosedOnDemand(t *testing.T) {
	r := newReceiver(t, replying(fine))
	tr := newTransport(t)
	r.want(tr, 200, "thanks")
	tr.CloseIdleConnections()
	r.want(tr, 200, "thanks")
	r.wantCounts(2, 2)
}

// What was in use when the idle ones were closed is not kept either, until requests are
// made again.
func TestWhatComesBackAfterTheIdleOnesWereClosedIsNotKept(t *testing.T) {
	r := newReceiver(t, replying(fine))
	tr := newTransport(t)
	resp, err := tr.RoundTrip(r.request("data"))
	if err != nil {
		t.Fatal(err)
	}
	tr.CloseIdleConnections()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for _, list := range tr.idle.conns {
		if len(list) != 0 {
			t.Error("its connection is kept")
		}
	}
	r.want(tr, 200, "thanks")
	r.want(tr, 200, "thanks")
	r.wantCounts(3, 2)
}

// pipes connects to a server of its own, in virtual time.
type pipes struct {
	dialled int
	open    atomic.Int64
}

type counted struct {
	net.Conn
	pipes *pipes
	once  sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.pipes.open.Add(-1) })
	return c.Conn.Close()
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.dialled++
	p.open.Add(1)
	go (&receiver{}).serve(server, replying(fine))
	return &counted{Conn: client, pipes: p}, nil
}

func TestIdleConnectionsGrowOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(pipes)
		tr := &Transport{Dial: p.dial, IdleTimeout: time.Minute}
		post := func(host string) {
			req, err := http.NewRequest(http.MethodGet, "http://"+host+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if status, _, err := exchange(tr, req); status != 200 || err != nil {
				t.Fatal(status, err)
			}
		}
		want := func(dialled, open int) {
			t.Helper()
			synctest.Wait()
			if p.dialled != dialled || int(p.open.Load()) != open {
				t.Errorf("%d dialled and %d open; want %d and %d", p.dialled, p.open.Load(), dialled, open)
			}
		}
		post("a")
		time.Sleep(40 * time.Second)
		post("b")
		post("a")
		want(2, 2)
		time.Sleep(59 * time.Second)
		post("b")
		want(2, 2)
		time.Sleep(2 * time.Second) // a is old
		want(2, 1)
		post("a")
		want(3, 2)
		time.Sleep(2 * time.Minute)
		want(3, 0)
		if tr.idle.sweep != nil {
			t.Error("the sweep goes on with nothing to do")
		}
	})
}

// The context of Do is watched over from one request to the next: its end closes idle
// connections too, and no request of another context meets one of those.
func TestConnectionsEndWithTheContextThatTheyShare(t *testing.T) {
	r := newReceiver(t, replying(fine))
	tr := newTransport(t)
	do := func(ctx context.Context) error {
		resp, _, err := tr.Do(ctx, time.Now().Add(patience), r.request("data"))
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			err = resp.Body.Close()
		}
		return err
	}
	first, end := context.WithCancel(t.Context())
	for range 3 {
		if err := do(first); err != nil {
			t.Fatal(err)
		}
	}
	r.wantCounts(3, 1)
	end()
	if err := do(first); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	for range 3 {
		if err := do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r.wantCounts(6, 2)
	// A context of its own is the request's alone.
	if status, _, err := exchange(tr, r.request("data")); status != 200 || err != nil {
		t.Error(status, err)
	}
	if err := do(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantCounts(8, 2)
}

// Whenever the context ends, the request does.
func TestContextThatEndsAsTheRequestBegins(t *testing.T) {
	var met sync.Map
	r := newReceiver(t, func(c net.Conn, _ int) bool {
		if _, again := met.LoadOrStore(c, true); !again {
			_, err := io.WriteString(c, fine)
			return err == nil
		}
		<-t.Context().Done() // it never answers
		return false
	})
	for i := range 200 {
		tr := newTransport(t)
		ctx, end := context.WithCancel(t.Context())
		resp, _, err := tr.Do(ctx, time.Now().Add(patience), r.request("data"))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		began := make(chan struct{})
		go func() {
			<-began
			for range i * 50 {
				runtime.Gosched()
			}
			end()
		}()
		close(began)
		if _, _, err := tr.Do(ctx, time.Now().Add(patience), r.request("data")); !errors.Is(err, context.Canceled) {
			t.Fatalf("round %d: %v", i, err)
		}
		tr.CloseIdleConnections()
	}
}
