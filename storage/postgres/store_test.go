package postgres

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	postgrestest.Stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// quick are times that leave no test waiting. What bounds an answer is generous, since the
// machine may be busy: a test in which no answer comes sets impatience.
var quick = times{
	lease: time.Minute, renew: 200 * time.Millisecond, vanished: time.Millisecond, patience: 300 * time.Millisecond,
	commit: 30 * time.Second, read: 30 * time.Second, connect: 15 * time.Second,
	mendFirst: 10 * time.Millisecond, mendMost: 100 * time.Millisecond,
}

// impatience is how long a commit is waited for whose answer does not come.
const impatience = 3 * time.Second

var schemas atomic.Int64

// options are those of a store in a new schema of the shared server.
func options(t testing.TB) Options {
	t.Helper()
	server := postgrestest.Shared(t)
	o := Options{
		DSN: server.SocketDSN("postgres"), Schema: fmt.Sprint("test", schemas.Add(1)), Logger: zap.NewNop(),
		Owner: t.Name(), times: quick,
	}
	t.Cleanup(func() {
		server.Query(t, "postgres", "set client_min_messages = warning; drop schema if exists "+o.Schema+" cascade")
	})
	return o
}

// openWith opens a store that is closed at the end of the test, if it was not before.
func openWith(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) { storagetest.Run(t, openHarness) }

func TestMoving(t *testing.T) { storagetest.RunMoving(t, openHarness) }

func openHarness(t *testing.T) storagetest.Harness {
	o := options(t)
	clock := storagetest.NewClock(storagetest.Start)
	o.Clock = clock.Now
	store := openWith(t, o)
	return storagetest.Harness{
		Store: store,
		Clock: clock,
		Reopen: func(t *testing.T) relay.Store {
			t.Helper()
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			store = openWith(t, o)
			return store
		},
		Kill: func(t *testing.T) relay.Store {
			t.Helper()
			store.abandon()
			store = openWith(t, o)
			return store
		},
	}
}

// TestRepeatedOutcomes: a commit whose answer was lost is made again, with more in it. What is
// there already is replaced, by who is alone and by one of several.
func TestRepeatedOutcomes(t *testing.T) {
	for _, several := range []bool{false, true} {
		o := options(t)
		o.Shared = several
		s := openWith(t, o)
		if several {
			openWith(t, o)
		}
		var events []*relay.Event
		for range 3 {
			if _, err := s.Append(t.Context(), one("1", "crm"), func(all []*relay.Event) { events = append(events, all...) }); err != nil {
				t.Fatal(err)
			}
		}
		commit := func(status int, numbers ...int) {
			t.Helper()
			u := relay.Update{Progress: relay.Progress{Subscription: "crm", Low: 3}}
			for _, e := range events {
				for _, n := range numbers {
					u.Attempts = append(u.Attempts, relay.AttemptRecord{Seq: e.Seq, Attempt: relay.Attempt{Number: n, Status: status}})
				}
			}
			if err := s.Commit(t.Context(), []relay.Update{u}); err != nil {
				t.Fatal(err)
			}
		}
		commit(500, 1)
		commit(503, 1, 2)
		commit(200, 3)
		for _, e := range events {
			all, err := s.Attempts(t.Context(), e.Seq, "crm")
			if err != nil || len(all) != 3 || all[0].Status != 503 || all[1].Status != 503 || all[2].Status != 200 {
				t.Errorf("several %v: %+v, %v", several, all, err)
			}
		}
		if err := s.Err(); err != nil {
			t.Error(err)
		}
	}
}
