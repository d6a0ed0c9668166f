package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// eventually waits for what will happen.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("this does not happen: " + what)
		}
	}
}

// TestServerIsKilled: while the database is away everything is refused within a bounded
// time; when it is back, everything that was acknowledged is there.
func TestServerIsKilled(t *testing.T) {
	server := postgrestest.New(t)
	o := Options{DSN: server.DSN("postgres"), times: quick}
	s := openWith(t, o)
	var reopened atomic.Int64
	s.OnReopen(func() { reopened.Add(1) })

	var mu sync.Mutex
	acknowledged := make(map[string]string)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				data := fmt.Sprintf("%d-%d", w, i)
				receipts, err := s.Append(context.Background(), one(data, "crm"), nil)
				switch {
				case err == nil:
					mu.Lock()
					acknowledged[receipts[0].ID] = data
					mu.Unlock()
				case !errors.Is(err, relay.ErrBroken):
					t.Errorf("Append: %v", err)
					return
				default:
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	for round := range 3 {
		before := count()
		eventually(t, "events are acknowledged", func() bool { return count() > before+50 })
		server.Kill()
		eventually(t, "the store says that it is broken", func() bool { return errors.Is(s.Err(), relay.ErrBroken) })
		if _, err := s.Stats(t.Context()); !errors.Is(err, relay.ErrBroken) {
			t.Errorf("Stats without a database: %v", err)
		}
		server.Start(t)
		eventually(t, "the store is open again", func() bool { return s.Err() == nil })
		if n := reopened.Load(); n < int64(round+1) {
			t.Errorf("nobody was told that the store is open again: %d times", n)
		}
	}
	before := count()
	eventually(t, "events are acknowledged again", func() bool { return count() > before+50 })
	close(stop)
	wait.Wait()

	for id, data := range acknowledged {
		seq, err := s.Find(t.Context(), id)
		if err != nil {
			t.Fatalf("%s was acknowledged and is lost: %v", id, err)
		}
		e, err := s.Event(t.Context(), seq)
		if err != nil || string(e.Data) != data {
			t.Fatalf("%s: %+v, %v; want %s", id, e, err, data)
		}
	}
	checkLog(t, s, "crm", len(acknowledged))
}

// checkLog fails the test unless a log has no gaps, and at least so many entries.
func checkLog(t *testing.T, s *Store, name string, least int) {
	t.Helper()
	after := uint64(0)
	for {
		entries, err := s.Read(t.Context(), name, after, 1000, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			if e.Pos != after+1 {
				t.Fatalf("position %d follows %d", e.Pos, after)
			}
			after = e.Pos
		}
	}
	if after < uint64(least) {
		t.Fatalf("the log has %d entries, %d were acknowledged", after, least)
	}
}

// wire is a connection to a server whose answers can be lost.
type wire struct {
	listener net.Listener
	target   string
	deaf     atomic.Bool
	stuck    atomic.Bool
	// still is locked for reading by whoever hands on something.
	still sync.RWMutex
	mu    sync.Mutex
	open  []net.Conn
	// gates are locked for reading by whoever hands on something that was asked, one for each
	// connection.
	gates []*sync.RWMutex
}

func newWire(t *testing.T, server *postgrestest.Server) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, target: fmt.Sprintf("127.0.0.1:%d", server.Port)}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", w.target)
			if err != nil {
				_ = client.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, client, upstream)
			gate := new(sync.RWMutex)
			w.gates = append(w.gates, gate)
			w.mu.Unlock()
			wait.Go(func() { w.copy(upstream, client, gate, false) })
			wait.Go(func() { w.copy(client, upstream, new(sync.RWMutex), true) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); w.cut(); wait.Wait() })
	return w
}

// copy hands on what comes, unless the wire is deaf to answers.
func (w *wire) copy(to, from net.Conn, gate *sync.RWMutex, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		w.still.RLock()
		w.still.RUnlock() //nolint:staticcheck // it waits while the wire is still
		gate.RLock()
		gate.RUnlock() //nolint:staticcheck // or the connection late
		if err != nil {
			return
		}
		if answers && w.deaf.Load() {
			if !w.stuck.Load() {
				return // the answer is lost, with the connection
			}
			_, _ = io.Copy(io.Discard, from) // it is lost, and nothing says so
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// delay lets what is asked on the connections that there are arrive when the function is called
// that it returns.
func (w *wire) delay() (arrive func()) {
	w.mu.Lock()
	gates := w.gates
	w.gates = nil
	w.mu.Unlock()
	for _, g := range gates {
		g.Lock()
	}
	return func() {
		for _, g := range gates {
			g.Unlock()
		}
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

func (w *wire) dsn() string {
	return fmt.Sprintf("postgres://relay@%s/postgres?sslmode=disable", w.listener.Addr())
}

// TestAnswerOfCommitIsLost: nobody knows whether the group was committed. It is refused, and
// who asks again with the same key gets the one event that there is.
func TestAnswerOfCommitIsLost(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		t.Run(fmt.Sprintf("stuck %v", stuck), func(t *testing.T) {
			o := options(t)
			w := newWire(t, postgrestest.Shared(t))
			o.DSN, o.times.commit, o.times.connect = w.dsn(), impatience, impatience
			o.times.renew = time.Hour // nothing but the group asks for an answer
			s := openWith(t, o)
			var offered []uint64
			var mu sync.Mutex
			s.OnReopen(func() {
				for p, err := range s.Progress(context.Background()) {
					if err != nil {
						t.Errorf("Progress: %v", err)
					}
					mu.Lock()
					offered = append(offered, p.Head)
					mu.Unlock()
				}
			})
			mustAppend(t, s, keyed("1", "first", "crm"))
			awaitLook(t, s)                   // or it is the answer to this that is lost
			mustAppend(t, s, one("1", "crm")) // the server knows all statements by now
			w.stuck.Store(stuck)
			w.deaf.Store(true)
			// Without a key there is no question before the group.
			_, err := s.Append(t.Context(), one("doubtful", "crm"), func([]*relay.Event) { t.Error("stored was called") })
			if !errors.Is(err, relay.ErrBroken) {
				t.Fatalf("Append: %v", err)
			}
			w.deaf.Store(false)
			eventually(t, "the store is open again", func() bool { return s.Err() == nil })
			if got := postgrestest.Shared(t).Query(t, "postgres", "select count(*) from "+o.Schema+".events"); got != "3" {
				t.Fatalf("%s events are stored, want 3: it is not the answer of the group that was lost", got)
			}
			mu.Lock()
			if n := len(offered); n == 0 || offered[n-1] != 3 {
				t.Errorf("after opening again the heads are %v, want 3: the group was committed", offered)
			}
			mu.Unlock()
			a, b := mustAppend(t, s, keyed("2", "second", "crm")), mustAppend(t, s, keyed("2", "second", "crm"))
			if a.ID != b.ID || a.Duplicate || !b.Duplicate {
				t.Fatalf("%+v and %+v", a, b)
			}
			if again := mustAppend(t, s, keyed("1", "first", "crm")); !again.Duplicate {
				t.Fatalf("the first event is not known any more: %+v", again)
			}
			checkLog(t, s, "crm", 4)
		})
	}
}

// TestLostEventsAreSaid: a database that has less than was acknowledged is not gone on with.
func TestLostEventsAreSaid(t *testing.T) {
	o := options(t)
	s := openWith(t, o)
	for range 3 {
		mustAppend(t, s, one("1", "crm"))
	}
	// As where a standby is promoted that had not got the last two.
	if _, err := s.pool.Load().Exec(t.Context(), "update tail set ordinal = 1"); err != nil {
		t.Fatal(err)
	}
	s.requests <- killing{}
	eventually(t, "the loss is said", func() bool {
		lost, ok := errors.AsType[*LostError](s.Err())
		return ok && lost.Events == 2
	})
	_, err := s.Append(t.Context(), one("2", "crm"), nil)
	if !errors.Is(err, relay.ErrBroken) {
		t.Fatalf("Append: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, openWith(t, o), one("2", "crm"))
}

// TestLateGroupChangesNothing: what was sent by a connection that was given up arrives when the
// relay has long gone on by another one.
func TestLateGroupChangesNothing(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared %v", shared), func(t *testing.T) {
			o := options(t)
			server := postgrestest.Shared(t)
			w := newWire(t, server)
			o.DSN, o.Shared, o.times.commit, o.times.connect = w.dsn(), shared, impatience, impatience
			o.times.renew, o.times.vanished = time.Hour, time.Hour // nobody asks but the test
			s := openWith(t, o)
			mustAppend(t, s, one("1", "crm"))
			awaitLook(t, s)
			commit := func(low uint64) error {
				return s.Commit(t.Context(), []relay.Update{{Progress: relay.Progress{Subscription: "crm", Low: low}}})
			}
			for range 2 { // the server knows all statements then, and is asked once
				if err := commit(0); err != nil {
					t.Fatal(err)
				}
			}
			var backend string
			s.requests <- &asking{sql: "select pg_backend_pid()::text", reply: &backend}
			mustAppend(t, s, one("2", "crm"))

			arrive := w.delay()
			if err := commit(1); !errors.Is(err, relay.ErrBroken) {
				t.Fatalf("Commit: %v", err)
			}
			eventually(t, "the store is open again", func() bool { return s.Err() == nil })
			mustAppend(t, s, one("3", "crm"))
			mustAppend(t, s, one("4", "crm"))
			arrive()
			eventually(t, "the late connection ends", func() bool {
				return server.Query(t, "postgres", "select count(*) from pg_stat_activity where pid = "+backend) == "0"
			})
			if got := server.Query(t, "postgres", "select ordinal || ' ' || head from "+o.Schema+".tail, "+o.Schema+".subscriptions"); got != "4 4" {
				t.Errorf("tail and head are at %s, want 4 4", got)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openWith(t, o)
			mustAppend(t, s, one("5", "crm"))
			checkLog(t, s, "crm", 5)
		})
	}
}

// TestCloseWithoutDatabase ends, though nothing answers.
func TestCloseWithoutDatabase(t *testing.T) {
	o := options(t)
	w := newWire(t, postgrestest.Shared(t))
	o.DSN, o.times.commit = w.dsn(), impatience
	s := openWith(t, o)
	mustAppend(t, s, one("1", "crm"))
	w.stuck.Store(true)
	w.deaf.Store(true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, relay.ErrClosed) {
		t.Fatalf("Close again: %v", err)
	}
}

// TestCancelledWaitForStandby: the server acknowledges a commit that did not reach its
// standby when somebody cancels the wait. The relay does not.
func TestCancelledWaitForStandby(t *testing.T) {
	server := postgrestest.New(t)
	o := Options{DSN: server.DSN("postgres"), times: quick}
	o.times.commit = time.Hour // it is not the time that ends the wait
	s := openWith(t, o)
	mustAppend(t, s, keyed("1", "first", "crm")) // makes all partitions
	server.Query(t, "postgres", "alter system set synchronous_standby_names = 'nobody'")
	server.Query(t, "postgres", "select pg_reload_conf()")
	eventually(t, "the setting is read", func() bool {
		return server.Query(t, "postgres", "show synchronous_standby_names") == "nobody"
	})
	const waiting = "from pg_stat_activity where wait_event = 'SyncRep' and application_name = 'caddy-relay'"
	// The server's checkpointer makes the setting hold, when it comes to that: commits
	// before it do not wait.
	var key string
	var stored *atomic.Bool
	var answered chan error
	eventually(t, "a commit waits", func() bool {
		if answered == nil {
			key, stored, answered = key+"k", new(atomic.Bool), make(chan error, 1)
			go func(key string, stored *atomic.Bool, answered chan<- error) {
				_, err := s.Append(context.Background(), keyed("2", key, "crm"), func([]*relay.Event) { stored.Store(true) })
				answered <- err
			}(key, stored, answered)
		}
		select {
		case err := <-answered:
			if err != nil {
				t.Fatalf("Append: %v", err)
			}
			answered = nil
			return false
		default:
			return server.Query(t, "postgres", "select count(*) "+waiting) == "1"
		}
	})
	server.Query(t, "postgres", "select pg_cancel_backend(pid) "+waiting)
	if err := <-answered; !errors.Is(err, relay.ErrBroken) {
		t.Fatalf("Append: %v", err)
	}
	if stored.Load() {
		t.Error("stored was called")
	}
	server.Query(t, "postgres", "alter system reset synchronous_standby_names")
	server.Query(t, "postgres", "select pg_reload_conf()")
	eventually(t, "the store is open again", func() bool { return s.Err() == nil })
	if again := mustAppend(t, s, keyed("2", key, "crm")); !again.Duplicate {
		t.Errorf("the event that is only here is not known: %+v", again)
	}
}
