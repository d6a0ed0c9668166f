package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// TestTimeoutsOfTheOperator: what the server has for the role, or the DSN for the connection,
// ends nothing of the relay, which has bounds of its own.
func TestTimeoutsOfTheOperator(t *testing.T) {
	server := postgrestest.Shared(t)
	o := options(t)
	o.Shared, o.MaxConns = true, 3
	server.Query(t, "postgres", "create role hasty login superuser")
	t.Cleanup(func() { server.Query(t, "postgres", "drop owned by hasty cascade; drop role hasty") })
	for _, setting := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		server.Query(t, "postgres", "alter role hasty set "+setting+" = 1")
	}
	// PostgreSQL 14 and later. It would end what hears notifications, and what waits for readers.
	server.Query(t, "postgres", "alter role hasty set idle_session_timeout = 300")
	o.DSN = strings.Replace(server.DSN("postgres"), "relay@", "hasty@", 1) + "&statement_timeout=1&options=-c%20lock_timeout%3D1"

	// The control: these do end something.
	control, err := pgx.Connect(t.Context(), o.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close(t.Context())
	if _, err := control.Exec(t.Context(), "select pg_sleep(1)"); !isCode(err, "57014") {
		t.Fatalf("a statement of a second: %v", err)
	}

	s := openWith(t, o)
	mustAppend(t, s, one("1", "crm"))
	for _, setting := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		show := "select current_setting('" + setting + "')"
		var writes, reads string
		s.requests <- &asking{sql: show, reply: &writes}
		mustAppend(t, s, one("1", "crm")) // comes after it
		if err := s.pool.Load().QueryRow(t.Context(), show).Scan(&reads); err != nil {
			t.Fatal(err)
		}
		if writes != "30s" && writes != "10s" || reads != "30s" && reads != "10s" {
			t.Errorf("%s: %s where it writes, %s where it reads", setting, writes, reads)
		}
	}
	// Somebody has the row that all writing takes turns at, for longer than these.
	tx, appended := appendBehind(t, server, o, s)
	select {
	case err := <-appended:
		t.Errorf("Append while the row is locked: %v", err)
	case <-time.After(700 * time.Millisecond): // and what is idle was ended meanwhile
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Errorf("it was ended: %v", err)
	}
	if err := <-appended; err != nil {
		t.Errorf("Append: %v", err)
	}
	for range 3 {
		time.Sleep(400 * time.Millisecond) // all connections are idle, but that which writes
		if _, err := s.Stats(t.Context()); err != nil {
			t.Errorf("Stats: %v", err)
		}
		mustAppend(t, s, one("3", "crm"))
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
	checkLog(t, s, "crm", 8)
}

// appendBehind appends an event while another transaction holds the row that all writing takes
// turns at. The caller ends that.
func appendBehind(t *testing.T, server *postgrestest.Server, o Options, s *Store) (pgx.Tx, <-chan error) {
	t.Helper()
	other, err := pgx.Connect(t.Context(), server.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close(context.Background()) })
	tx, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), fmt.Sprintf("select from %s.tail for update", o.Schema)); err != nil {
		t.Fatal(err)
	}
	appended := make(chan error, 1)
	go func() {
		_, err := s.Append(t.Context(), one("2", "crm"), nil)
		appended <- err
	}()
	return tx, appended
}

// TestCancelledStatement: an operator who cancels what the relay writes loses nothing. It is
// refused, and all goes on.
func TestCancelledStatement(t *testing.T) {
	server := postgrestest.Shared(t)
	o := options(t)
	s := openWith(t, o)
	mustAppend(t, s, one("1", "crm"))
	tx, appended := appendBehind(t, server, o, s)
	cancel := fmt.Sprintf("select count(*) from (select pg_cancel_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and query like '%%tail%%' and pid in (select backend from %s.members)) c", o.Schema)
	eventually(t, "a statement is cancelled", func() bool { return server.Query(t, "postgres", cancel) == "1" })
	if err := <-appended; !errors.Is(err, relay.ErrBroken) {
		t.Errorf("Append: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the store is open again", func() bool { return s.Err() == nil })
	mustAppend(t, s, one("3", "crm"))
	checkLog(t, s, "crm", 2)
}
