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
