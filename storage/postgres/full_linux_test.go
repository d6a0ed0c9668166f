package postgres

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// TestFullDisk of the server: what would be added is refused as that, for as long as it lasts
// and without a word to the server, the connection stays, and all goes on by itself when there
// is room. Nothing that was acknowledged is missing.
func TestFullDisk(t *testing.T) {
	server := postgrestest.NewSmall(t, 160, true, "max_wal_size=48MB", "min_wal_size=32MB")
	core, logged := observer.New(zap.InfoLevel)
	s := openWith(t, Options{DSN: server.DSN("postgres"), Logger: zap.New(core), times: quick})
	var reopened atomic.Int64
	s.OnReopen(func() { reopened.Add(1) })
	if _, err := s.pool.Load().Exec(t.Context(), "create table control (fill text)"); err != nil {
		t.Fatal(err)
	}
	said := func(text string) int { return logged.FilterMessageSnippet(text).Len() }
	data := `"` + strings.Repeat("x", 100_000) + `"`
	acknowledged := 0
	for round := range 2 {
		mustAppend(t, s, one("1", "crm"))
		acknowledged++
		server.FillUp(t, 256<<10)
		// The control: others are told by the server that its disk is full.
		_, err := s.pool.Load().Exec(t.Context(), "insert into control select repeat(md5(i::text), 30) from generate_series(1, 10000) i")
		if !isCode(err, "53100") {
			t.Fatalf("the disk is not full: %v", err)
		}
		var full error
		for n := 0; full == nil; n++ {
			if n > 1000 {
				t.Fatal("the disk is never full")
			}
			if _, full = s.Append(t.Context(), one(data, "crm"), nil); full == nil {
				acknowledged++
			}
		}
		if !errors.Is(full, relay.ErrFull) || errors.Is(full, relay.ErrBroken) || !strings.Contains(full.Error(), "disk of the database server is full") {
			t.Fatalf("Append: %v", full)
		}
		// It stays full, over many looks, whatever its size.
		before := said("has room again")
		for until := time.Now().Add(10 * quick.mendMost); time.Now().Before(until); time.Sleep(quick.mendMost / 10) {
			if _, err := s.Append(t.Context(), one("1", "crm"), nil); !errors.Is(err, relay.ErrFull) || !errors.Is(s.Err(), relay.ErrFull) {
				t.Fatalf("Append: %v, Err: %v", err, s.Err())
			}
		}
		if n := said("has room again") - before; n != 0 {
			t.Errorf("it says %d times that there is room", n)
		}
		// Outcomes are tried. They fit, or they do not.
		p := relay.Progress{Subscription: "crm", Low: uint64(round + 1)}
		if err := s.Commit(t.Context(), []relay.Update{{Progress: p}}); err != nil && (!errors.Is(err, relay.ErrFull) || errors.Is(err, relay.ErrBroken)) {
			t.Errorf("Commit: %v", err)
		}
		if _, err := s.Stats(t.Context()); err != nil {
			t.Errorf("Stats: %v", err)
		}
		server.MakeRoom(t)
		eventually(t, "there is room", func() bool { return s.Err() == nil })
		mustAppend(t, s, one(data, "crm"))
		acknowledged++
		if got := said("the disk of the database server is full"); got != round+1 {
			t.Errorf("after %d times it was said %d times that the disk is full", round+1, got)
		}
	}
	if n := reopened.Load(); n != 0 {
		t.Errorf("the store was opened again %d times; its connection was well", n)
	}
	checkLog(t, s, "crm", acknowledged)
	if stats, err := s.Stats(t.Context()); err != nil || stats.Events != uint64(acknowledged) {
		t.Errorf("%d events, %v; %d were acknowledged", stats.Events, err, acknowledged)
	}
	if got := server.Query(t, "postgres", "select count(*) from pg_class where relname like 'room%'"); got != "0" {
		t.Errorf("%s tables are left behind", got)
	}
}

// TestFullDiskOfTheLog: where the server cannot write its log it ends itself. That is as if it
// were killed: it is refused what comes, and once somebody has made room and started it, all
// goes on.
func TestFullDiskOfTheLog(t *testing.T) {
	server := postgrestest.NewSmall(t, 160, false, "max_wal_size=48MB", "min_wal_size=32MB")
	s := openWith(t, Options{DSN: server.DSN("postgres"), times: quick})
	mustAppend(t, s, one("1", "crm"))
	acknowledged := 1
	server.FillUp(t, 64<<10)
	server.Query(t, "postgres", "select pg_switch_wal()") // what comes next needs a new file
	eventually(t, "the server ends", func() bool {
		_, err := s.Append(t.Context(), one("1", "crm"), nil)
		switch {
		case err == nil:
			acknowledged++
		case !errors.Is(err, relay.ErrFull) && !errors.Is(err, relay.ErrBroken):
			t.Fatalf("Append: %v", err)
		}
		return server.Ended()
	})
	if _, err := s.Append(t.Context(), one("1", "crm"), nil); !errors.Is(err, relay.ErrBroken) {
		t.Errorf("Append without a server: %v", err)
	}
	server.MakeRoom(t)
	server.Start(t)
	eventually(t, "the store takes events", func() bool {
		_, err := s.Append(t.Context(), one("1", "crm"), nil)
		return err == nil
	})
	checkLog(t, s, "crm", acknowledged+1)
}
