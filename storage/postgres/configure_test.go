package postgres

import (
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// TestPasswordChanges: what is configured later is what connections are made with, without
// a restart of the store.
func TestPasswordChanges(t *testing.T) {
	server := postgrestest.New(t, "password_encryption=scram-sha-256")
	server.Query(t, "postgres", "create role app login password 'first'; create schema own authorization app")
	server.RequirePasswords(t, "app")
	dsn := func(password string) string {
		return strings.Replace(server.DSN("postgres"), "relay@", "app:"+password+"@", 1)
	}
	o := Options{DSN: dsn("first"), Schema: "own", times: quick}
	refused(t, Options{DSN: dsn("wrong"), Schema: "own", times: quick}, nil, "password authentication failed", "pg_hba.conf")
	s := openWith(t, o)
	mustAppend(t, s, one("1", "crm"))
	if err := s.Configure(dsn("first"), 3); err != nil {
		t.Fatal(err)
	}
	server.Query(t, "postgres", "alter role app password 'second'")
	if err := s.Configure(dsn("second"), 3); err != nil {
		t.Fatal(err)
	}
	if got := s.pool.Load().Config().MaxConns; got != 2 {
		t.Errorf("%d connections read; want 2 beside the one that writes", got)
	}
	if _, err := s.Read(t.Context(), "crm", 0, 10, 100); err != nil {
		t.Fatal(err)
	}
	s.requests <- killing{}
	eventually(t, "the store is open again", func() bool {
		_, err := s.Append(t.Context(), one("2", "crm"), nil)
		return err == nil
	})
	if err := s.Configure("postgres://%zz", 0); err == nil {
		t.Error("a DSN that cannot be read is taken")
	}
}

// TestFewConnectionsHaveNoneToListen: the number that is configured is the number that there are.
func TestFewConnectionsHaveNoneToListen(t *testing.T) {
	o := options(t)
	o.Shared, o.MaxConns = true, LeastConns+1
	o.DSN += "&application_name=" + o.Schema
	s := openWith(t, o)
	if err := s.Join(t.Context(), &engine{store: s}); err != nil {
		t.Fatal(err)
	}
	listening := func(want string) {
		t.Helper()
		eventually(t, want+" connections hear notifications", func() bool {
			return postgrestest.Shared(t).Query(t, "postgres", "select count(*) from pg_stat_activity where application_name = '"+o.Schema+"' and query ilike 'listen %'") == want
		})
	}
	listening("1")
	for range 2 {
		for conns, want := range map[int]string{LeastConns: "0", LeastConns + 1: "1", LeastConns + 5: "1"} {
			if err := s.Configure(o.DSN, conns); err != nil {
				t.Fatal(err)
			}
			listening(want)
		}
	}
}
