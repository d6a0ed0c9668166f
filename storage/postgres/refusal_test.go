package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// refused opens a store that must not be opened, and returns what is said.
func refused(t *testing.T, o Options, target error, words ...string) string {
	t.Helper()
	s, err := Open(o)
	if err == nil {
		_ = s.Close()
		t.Fatal("the store was opened")
	}
	if target != nil && !errors.Is(err, target) {
		t.Fatalf("Open: %v; want %v", err, target)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Fatalf("Open: %v; it does not say %q", err, word)
		}
	}
	return err.Error()
}

func TestOtherSchemasAreRefused(t *testing.T) {
	server := postgrestest.Shared(t)
	t.Run("another application", func(t *testing.T) {
		o := options(t)
		server.Query(t, "postgres", fmt.Sprintf("create schema %s; create table %[1]s.orders (id int)", o.Schema))
		refused(t, o, ErrOtherSchema, "orders", "schema caddyrelay")
	})
	t.Run("another application with such tables", func(t *testing.T) {
		o := options(t)
		server.Query(t, "postgres", fmt.Sprintf("create schema %s; create table %[1]s.store (id int); create table %[1]s.migrations (id int)", o.Schema))
		refused(t, o, ErrOtherSchema, "another application")
		if got := server.Query(t, "postgres", "select count(*) from pg_tables where schemaname = '"+o.Schema+"'"); got != "2" {
			t.Fatalf("a refused schema has %s tables now", got)
		}
	})
	t.Run("newer", func(t *testing.T) {
		o := options(t)
		if err := openWith(t, o).Close(); err != nil {
			t.Fatal(err)
		}
		server.Query(t, "postgres", "insert into "+o.Schema+".migrations values (99)")
		refused(t, o, ErrOtherSchema, "version 99", "versions up to", "as new as")
	})
	t.Run("empty", func(t *testing.T) {
		o := options(t)
		server.Query(t, "postgres", "create schema "+o.Schema)
		mustAppend(t, openWith(t, o), one("1", "crm"))
	})
}

func TestNamesOfSchemas(t *testing.T) {
	for _, name := range []string{"", "Relay", "a-b", "1a", "pg_relay", "information_schema", strings.Repeat("a", 64), `a"b`} {
		if CheckSchema(name) == nil {
			t.Errorf("the schema %q is taken", name)
		}
	}
	for _, name := range []string{"relay", "_", "relay_2", DefaultSchema, strings.Repeat("a", 63)} {
		if err := CheckSchema(name); err != nil {
			t.Error(err)
		}
	}
	for n, ok := range map[int]bool{-1: false, 1: false, 2: true, 1000: true, 1001: false} {
		if err := CheckMaxConns(n); (err == nil) != ok {
			t.Errorf("%d connections: %v", n, err)
		}
	}
}

// TestUnsafeServers: what a server does not keep it must not acknowledge.
func TestUnsafeServers(t *testing.T) {
	server := postgrestest.New(t, "fsync=off")
	o := Options{DSN: server.DSN("postgres"), times: quick}
	refused(t, o, ErrUnsafe, "fsync", "postgresql.conf")

	server.Kill()
	server.Set("synchronous_commit=off", "full_page_writes=off")
	server.Start(t)
	core, logs := observer.New(zap.WarnLevel)
	o.Logger = zap.New(core)
	s := openWith(t, o)
	if logs.FilterMessageSnippet("synchronous_commit is off").Len() != 1 || logs.FilterMessageSnippet("full_page_writes").Len() != 1 {
		t.Errorf("warnings: %v", logs.All())
	}
	var own string
	s.requests <- &asking{sql: "select current_setting('synchronous_commit')", reply: &own}
	mustAppend(t, s, one("1", "crm"))
	if own != "on" {
		t.Errorf("the relay's own commits have synchronous_commit %q", own)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	server.Kill()
	server.Set("synchronous_commit=local")
	server.Start(t)
	openWith(t, o)
	if logs.FilterMessageSnippet("weaker than on").Len() != 1 {
		t.Errorf("warnings: %v", logs.All())
	}
}

// TestStandbyIsRefused, and promoted it is gone on with.
func TestStandbyIsRefused(t *testing.T) {
	primary := postgrestest.New(t)
	o := Options{DSN: primary.DSN("postgres"), times: quick}
	s := openWith(t, o)
	mustAppend(t, s, keyed("1", "k", "crm"))
	standby := primary.Standby(t)
	refused(t, Options{DSN: standby.DSN("postgres"), times: quick}, ErrReadOnly, "standby", "primary")

	// Of two servers the one is found that takes writes, before and after the promotion.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.DSN = fmt.Sprintf("postgres://relay@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable", standby.Port, primary.Port)
	s = openWith(t, o)
	before := mustAppend(t, s, keyed("2", "k2", "crm"))
	eventually(t, "the standby has it", func() bool {
		return standby.Query(t, "postgres", "select count(*) from caddyrelay.events") == "2"
	})
	primary.Kill()
	standby.Promote(t)
	eventually(t, "the store is open again", func() bool {
		receipts, err := s.Append(t.Context(), keyed("2", "k2", "crm"), nil)
		return err == nil && receipts[0].Duplicate && receipts[0].ID == before.ID
	})
	mustAppend(t, s, one("3", "crm"))
	checkLog(t, s, "crm", 3)
}

func TestLeastRights(t *testing.T) {
	server := postgrestest.Shared(t)
	o := options(t)
	server.Query(t, "postgres", "create role least login")
	t.Cleanup(func() { server.Query(t, "postgres", "drop owned by least cascade; drop role least") })
	o.DSN = strings.Replace(server.DSN("postgres"), "relay@", "least@", 1)
	refused(t, o, nil, "permission denied", "AUTHORIZATION")
	// As documented: the role owns its schema, and nothing else.
	server.Query(t, "postgres", "create schema "+o.Schema+" authorization least")
	s := openWith(t, o)
	mustAppend(t, s, one("1", "crm"))
	s.abandon()
	s = openWith(t, o)
	mustAppend(t, s, one("2", "crm"))
	if _, err := s.Stats(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	const password = "correct-horse"
	for _, dsn := range []string{
		"postgres://relay:" + password + "@127.0.0.1:1/relay?sslmode=disable",
		"postgres://relay:" + password + "@127.0.0.1:1/relay?sslmode=nonsense",
		"postgres://relay:" + password + "%zz@127.0.0.1:1/relay",
		"host=127.0.0.1 port=1 user=relay password=" + password + " connect_timeout=" + password,
		"host=127.0.0.1 port=1 user=relay password=" + password,
		password,
	} {
		text := refused(t, Options{DSN: dsn, times: quick}, nil)
		if strings.Contains(text, password) {
			t.Errorf("the password is shown: %s", text)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, test := range []struct{ dsn, location, plain string }{
		{"postgres://relay:secret@db.example.com/shop?sslmode=verify-full", "db.example.com:5432/shop", ""},
		{"postgres://relay@db.example.com/shop?sslmode=disable", "db.example.com:5432/shop", "db.example.com"},
		{"postgres://relay@db.example.com/shop?sslmode=prefer", "db.example.com:5432/shop", "db.example.com"},
		{"postgres://relay@127.0.0.1:6000/shop?sslmode=disable", "127.0.0.1:6000/shop", ""},
		{"postgres://relay@localhost/shop?sslmode=disable", "localhost:5432/shop", ""},
		{"host=/run/postgresql user=relay dbname=shop", "/run/postgresql/.s.PGSQL.5432/shop", ""},
		{"postgres://relay@a,b:6000/shop?sslmode=require", "a:5432,b:6000/shop", ""},
		{"postgres://relay@a/?sslmode=require", "a:5432/relay", ""},
	} {
		got, err := ParseDSN(test.dsn)
		if err != nil || got.Location != test.location || strings.Join(got.Plain, " ") != test.plain {
			t.Errorf("%s: %+v, %v", test.dsn, got, err)
		}
	}
	one, _ := ParseDSN("postgres://relay:secret@a,b/shop")
	two, _ := ParseDSN("host=b,a user=other dbname=shop")
	if one.Key != two.Key || one.Key == "" {
		t.Errorf("one database has two keys: %q and %q", one.Key, two.Key)
	}
}

// TestDatabaseInAnotherEncodingIsRefused: it could not keep each character of an event.
func TestDatabaseInAnotherEncodingIsRefused(t *testing.T) {
	server := postgrestest.New(t)
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		server.Query(t, "postgres", "create database "+strings.ToLower(encoding)+" encoding '"+encoding+"' lc_collate 'C' lc_ctype 'C' template template0")
		refused(t, Options{DSN: server.DSN(strings.ToLower(encoding)), times: quick}, ErrEncoding, encoding, "ENCODING 'UTF8'")
	}
}
