//go:build unix

package caddymodule

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// postgresApp is the JSON of an app with this storage.
func postgresApp(storage string) string {
	return `{"storage": {"engine": "postgres"` + storage + `}}`
}

func TestPostgresInJSON(t *testing.T) {
	t.Setenv("DSN", "postgres://relay:pass-0123456789@127.0.0.1/relay?sslmode=disable")
	t.Setenv("BAD_DSN", "postgres://relay:pass-0123456789@127.0.0.1:port/relay")
	t.Setenv("EMPTY", "")
	for storage, want := range map[string]string{
		``:                                           "storage postgres: the DSN is missing; write: storage postgres <dsn>",
		`, "dsn": "{env.UNSET}"`:                     "storage postgres: {env.UNSET} is not set; set the variable where Caddy is started",
		`, "dsn": "{env.EMPTY}"`:                     "storage postgres: {env.EMPTY} is set, but empty",
		`, "dsn": "{env.BAD_DSN}"`:                   "storage postgres: the DSN cannot be read; write it as a URL",
		`, "dsn": "{env.DSN}", "schema": "A"`:        `storage postgres: schema: "A" is no name`,
		`, "dsn": "{env.DSN}", "max_conns": 1`:       "storage postgres: max_conns: 1 connections are not possible",
		`, "dsn": "{env.DSN}", "shards": -1`:         "storage postgres: shards: -1 shards are not possible: write 1 to 1024",
		`, "dsn": "{env.DSN}", "shards": 1025`:       "storage postgres: shards: 1025 shards are not possible",
		`, "dsn": "{env.DSN}", "max_connections": 1`: "max_connections",
	} {
		_, err := provision(t, postgresApp(storage))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pass-0123456789") {
			t.Errorf("%s: %v; want %q", storage, err, want)
		}
	}
	a := mustProvision(t, postgresApp(`, "dsn": "{env.DSN}"`))
	if got := a.opener.String(); got != "postgres 127.0.0.1:5432/relay schema caddyrelay" {
		t.Errorf("it is called %q", got)
	}
}

func TestPostgresWarnings(t *testing.T) {
	t.Setenv("PASS", "pass-0123456789")
	for dsn, want := range map[string][]string{
		"postgres://relay:{env.PASS}@db.example.com/relay?sslmode=verify-full": nil,
		"postgres://relay:{env.PASS}@127.0.0.1/relay?sslmode=disable":          nil,
		"postgres://relay:{env.PASS}@db.example.com/relay?sslmode=disable":     {"storage postgres: the connection to db.example.com may be without TLS"},
		"postgres://relay:{env.PASS}@db.example.com/relay":                     {"storage postgres: the connection to db.example.com may be without TLS"},
		"postgres://relay:open@127.0.0.1/relay":                                {"storage postgres: the password: a secret is written in clear"},
		"host=127.0.0.1 dbname=relay user=relay password=open":                 {"storage postgres: the password: a secret is written in clear"},
		"host=127.0.0.1 dbname=relay user=relay password={env.PASS}":           nil,
	} {
		got := mustProvision(t, postgresApp(fmt.Sprintf(`, "dsn": %q`, dsn))).warnings()
		if !slices.EqualFunc(got, want, strings.HasPrefix) {
			t.Errorf("%s\ngot:  %q\nwant: %q", dsn, got, want)
		}
	}
}

// TestPostgresAtReload: a reload keeps the store, takes another number of connections, and
// refuses another schema while the old configuration goes on. Nothing shows the password.
func TestPostgresAtReload(t *testing.T) {
	server := postgrestest.New(t)
	t.Setenv("DSN", strings.Replace(server.DSN("postgres"), "relay@", "relay:pass-0123456789@", 1))
	c := startCaddy(t)
	load := func(options string) error {
		text := c.json(config{})
		at := strings.Index(text, `"engine": "badger"`)
		end := at + strings.Index(text[at:], "}")
		return caddy.Load([]byte(text[:at]+`"engine": "postgres", "dsn": "{env.DSN}"`+options+text[end:]), true)
	}
	if err := load(``); err != nil {
		t.Fatal(err)
	}
	c.publish("a")
	engine := c.engine()
	if err := load(`, "max_conns": 3`); err != nil {
		t.Fatal(err)
	}
	if c.engine() != engine {
		t.Error("the reload has opened the store anew")
	}
	c.publish("a")
	err := load(`, "schema": "other"`)
	if err == nil || !strings.Contains(err.Error(), "has the schema caddyrelay of") || !strings.Contains(err.Error(), "start it with the new schema") {
		t.Fatalf("another schema: %v", err)
	}
	err = load(`, "shards": 8`)
	if err == nil || !strings.Contains(err.Error(), "shards: the schema caddyrelay of") || !strings.Contains(err.Error(), "UPDATE caddyrelay.store SET shards = 8") {
		t.Fatalf("another number of shards: %v", err)
	}
	c.publish("a")
	if got := server.Query(t, "postgres", "select count(*) from caddyrelay.events"); got != "3" {
		t.Errorf("%s events are stored; want 3", got)
	}
	stats, err := c.engine().Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log, readErr := os.ReadFile(c.log)
	if readErr != nil {
		t.Fatal(readErr)
	}
	for what, text := range map[string]string{"the log": string(log), "the status": fmt.Sprint(stats), "the error": fmt.Sprint(err)} {
		if strings.Contains(text, "pass-0123456789") {
			t.Errorf("%s shows the password", what)
		}
	}
}
