package caddymodule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/shard"
	"github.com/caddyrelay/caddyrelay/storage/postgres"
)

func init() { caddy.RegisterModule(new(PostgresStorage)) }

// PostgresStorage keeps events in a PostgreSQL database, in a schema of its own. Several
// relays may use one schema at the same time: all of them take events, and each makes the
// deliveries of a part of the subscriptions; when one ends or dies, the others take over.
type PostgresStorage struct {
	// Where the database is: a URL, or words as libpq has them. It is a secret: `{env.*}`
	// and `{file.*}` are replaced when the configuration is loaded. Of several hosts the
	// one is used that takes writes. Another host, user or password applies at reload.
	DSN string `json:"dsn"`

	// The schema. It is made if it is not there and the role may make it; one that holds
	// anything else is refused. Default: `caddyrelay`
	Schema string `json:"schema,omitempty"`

	// The largest number of connections, at least 2. Applies at reload. Default: 8
	MaxConns int `json:"max_conns,omitempty"`

	// Into how many parts the subscriptions of a region are divided among the relays that use
	// the schema, 1 to 1024. It is fixed when the schema is made. Default: 16
	Shards int `json:"shards,omitempty"`

	dsn    string
	target postgres.Target
}

// CaddyModule returns the Caddy module information.
func (*PostgresStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  storageNamespace + ".postgres",
		New: func() caddy.Module { return new(PostgresStorage) },
	}
}

const postgresUsage = "storage postgres <dsn>, e.g. storage postgres {env.RELAY_POSTGRES_DSN}"

// check judges the configuration as far as its text goes.
func (s *PostgresStorage) check() error {
	if s.DSN == "" {
		return errors.New("the DSN is missing; write: " + postgresUsage)
	}
	if !hasPlaceholder(s.DSN) {
		if _, err := postgres.ParseDSN(s.DSN); err != nil {
			return err
		}
	}
	if s.Schema != "" {
		if err := postgres.CheckSchema(s.Schema); err != nil {
			return fmt.Errorf("schema: %w", err)
		}
	}
	if s.MaxConns != 0 {
		if err := postgres.CheckMaxConns(s.MaxConns); err != nil {
			return fmt.Errorf("max_conns: %w", err)
		}
	}
	if s.Shards != 0 {
		if err := shard.Check(s.Shards); err != nil {
			return fmt.Errorf("shards: %w", err)
		}
	}
	return nil
}

// Provision checks the options and resolves the DSN.
func (s *PostgresStorage) Provision(caddy.Context) error {
	err := s.check()
	if err == nil {
		s.dsn, err = resolve(s.DSN)
	}
	if err == nil {
		s.dsn = strings.TrimSpace(s.dsn) // a file ends with a new line
		s.target, err = postgres.ParseDSN(s.dsn)
	}
	if err != nil {
		return fmt.Errorf("storage postgres: %w", err)
	}
	return nil
}

// warnings are about a password that can be seen, here or on the network.
func (s *PostgresStorage) warnings() (all []string) {
	// What is left of the DSN without its placeholders shows what stands there in clear.
	if literal, err := postgres.ParseDSN(anyPlaceholder.ReplaceAllString(s.DSN, "")); err == nil && literal.Password {
		all = append(all, "storage postgres: the password: "+literalWarning)
	}
	if len(s.target.Plain) > 0 {
		all = append(all, fmt.Sprintf("storage postgres: the connection to %s may be without TLS, so that events and the password can be read on the network; add sslmode=verify-full to the DSN",
			strings.Join(s.target.Plain, ", ")))
	}
	return all
}

// String implements [StorageOpener].
func (s *PostgresStorage) String() string {
	return "postgres " + s.target.Location + " schema " + s.schema()
}

func (s *PostgresStorage) schema() string {
	if s.Schema == "" {
		return postgres.DefaultSchema
	}
	return s.Schema
}

func (s *PostgresStorage) shards() int {
	if s.Shards == 0 {
		return shard.Default
	}
	return s.Shards
}

// StoreKey implements [StorageOpener]: all ways to write one database have one key.
func (s *PostgresStorage) StoreKey() (string, error) { return s.target.Key, nil }

// OpenStore implements [StorageOpener].
func (s *PostgresStorage) OpenStore(logger *zap.Logger) (relay.Store, error) {
	return postgres.Open(postgres.Options{DSN: s.dsn, Schema: s.schema(), MaxConns: s.MaxConns, Shards: s.shards(), Shared: true, Logger: logger})
}

// CheckStore implements [StorageConfigurer].
func (s *PostgresStorage) CheckStore(store relay.Store) error {
	p, ok := store.(*postgres.Store)
	if !ok {
		return nil
	}
	if p.Schema() != s.schema() {
		return fmt.Errorf("storage postgres: schema: the relay has the schema %s of %s open, and a reload cannot change to %s; "+
			"to move there, let the deliveries end, stop Caddy, and start it with the new schema", p.Schema(), s.target.Location, s.schema())
	}
	if p.Shards() != s.shards() {
		return fmt.Errorf("storage postgres: shards: the schema %s of %s has %d, and a reload cannot change that to %d; "+
			"to change it, stop all relays that use the schema, run UPDATE %[1]s.store SET shards = %[4]d, and start them with shards %[4]d",
			p.Schema(), s.target.Location, p.Shards(), s.shards())
	}
	return nil
}

// ConfigureStore implements [StorageConfigurer].
func (s *PostgresStorage) ConfigureStore(store relay.Store) {
	if p, ok := store.(*postgres.Store); ok {
		if err := p.Configure(s.dsn, s.MaxConns); err != nil {
			caddy.Log().Named("relay.storage").Error("the database goes on with the connections of the configuration before", zap.Error(err))
		}
	}
}

// UnmarshalCaddyfile reads
//
//	postgres <dsn> {
//		schema <name>
//		max_conns <number>
//		shards <number>
//	}
func (s *PostgresStorage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	at := *d
	args, err := word{usage: "storage postgres <dsn>", least: 1, most: 1, block: true}.line(d, "storage postgres")
	if err != nil {
		return err
	}
	s.DSN = args[0]
	if err := s.check(); err != nil {
		return place(&at, fmt.Errorf("storage postgres: %w", err))
	}
	return nestedBlock(d, "storage postgres", s.words())
}

func (s *PostgresStorage) words() vocabulary {
	return vocabulary{
		"schema": {usage: "schema <name>", least: 1, most: 1, parse: func(args []string) error {
			s.Schema = args[0]
			if s.Schema == "" {
				return errors.New("schema: the name is empty; " + unsetHint)
			}
			return s.check()
		}},
		"max_conns": {usage: "max_conns <number>", least: 1, most: 1, parse: func(args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n == 0 {
				return fmt.Errorf("max_conns: %q is no number of connections; write e.g. max_conns %d", args[0], postgres.DefaultConns)
			}
			s.MaxConns = n
			return s.check()
		}},
		"shards": {usage: "shards <number>", least: 1, most: 1, parse: func(args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n == 0 {
				return fmt.Errorf("shards: %q is no number of shards; write 1 to %d, e.g. shards %d", args[0], shard.Most, shard.Default)
			}
			s.Shards = n
			return s.check()
		}},
	}
}

var (
	_ StorageOpener         = (*PostgresStorage)(nil)
	_ StorageConfigurer     = (*PostgresStorage)(nil)
	_ caddy.Provisioner     = (*PostgresStorage)(nil)
	_ caddyfile.Unmarshaler = (*PostgresStorage)(nil)
)
