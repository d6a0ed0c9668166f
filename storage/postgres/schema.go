package postgres

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// application stands in each schema of ours.
const application = "caddyrelay"

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrations are the steps by which a schema comes to the present layout, in their order.
// They are never changed once released: a further step is a further file.
var migrations = func() (all []string) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err)
	}
	slices.Sort(names)
	for _, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			panic(err)
		}
		all = append(all, string(text))
	}
	return all
}()

// ErrOtherSchema means that a schema is not one of this program, or one of a newer version.
var ErrOtherSchema = errors.New("the schema cannot be used")

// ErrOtherShards means that a schema was made with another number of shards.
var ErrOtherShards = errors.New("the schema has another number of shards")

// identity is made once with the schema.
type identity struct {
	id  [16]byte
	tag uint16
}

// migrate brings the schema to the present layout, and makes it if it is not there. Others
// that do the same at that time wait, or are waited for.
func (o *Options) migrate(ctx context.Context, conn *pgx.Conn) (me identity, err error) {
	for try := 0; ; try++ {
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
			me, err = o.migrateIn(ctx, tx)
			return err
		})
		// Two that make the same things at once: one of them has to look again.
		if try == 20 || !isCode(err, "23505", "42P06", "42P07", "42710", "40001", "40P01", "55P03") {
			return me, err
		}
		select {
		case <-time.After(enterPause):
		case <-ctx.Done():
			return me, err
		}
	}
}

func (o *Options) migrateIn(ctx context.Context, tx pgx.Tx) (me identity, err error) {
	found, err := o.inspect(ctx, tx)
	if err != nil {
		return me, err
	}
	if !found {
		if err := o.create(ctx, tx); err != nil {
			return me, err
		}
	}
	// The lock: who applies migrations has the row of the first one.
	if _, err := tx.Exec(ctx, "select from migrations where version = 0 for update"); err != nil {
		return me, fmt.Errorf("locking the migrations: %w", err)
	}
	var version int
	if err := tx.QueryRow(ctx, "select max(version) from migrations").Scan(&version); err != nil {
		return me, fmt.Errorf("reading the version of the schema: %w", err)
	}
	if version > len(migrations) {
		return me, fmt.Errorf("%w: the schema %s has version %d, this program knows versions up to %d; start a version that is as new as the one that made it",
			ErrOtherSchema, o.Schema, version, len(migrations))
	}
	if version == 1 {
		if err := expectEarlier(ctx, tx); err != nil {
			return me, err
		}
	}
	for ; version < len(migrations); version++ {
		if _, err := tx.Exec(ctx, migrations[version], pgx.QueryExecModeSimpleProtocol); err != nil {
			return me, fmt.Errorf("applying migration %d to the schema %s: %w%s", version+1, o.Schema, err, rightsHint(err, o))
		}
		if _, err := tx.Exec(ctx, "insert into migrations (version) values ($1)", version+1); err != nil {
			return me, err
		}
		o.Logger.Info("applied a migration", zap.String("schema", o.Schema), zap.Int("version", version+1))
	}
	return o.identify(ctx, tx)
}

// inspect reports whether the schema is there, and is ours.
func (o *Options) inspect(ctx context.Context, tx pgx.Tx) (bool, error) {
	var tables []string
	err := tx.QueryRow(ctx, `select coalesce(array_agg(relname::text order by relname), '{}') from pg_class
		where relnamespace = (select oid from pg_namespace where nspname = $1) and relkind in ('r', 'p', 'v', 'm', 'f', 'S')`, o.Schema).Scan(&tables)
	switch {
	case err != nil:
		return false, fmt.Errorf("looking for the schema %s: %w", o.Schema, err)
	case len(tables) == 0:
		return false, nil
	case slices.Contains(tables, "migrations") && slices.Contains(tables, "store"):
		var name string
		err := tx.QueryRow(ctx, "select application from store").Scan(&name)
		if err == nil && name == application {
			return true, nil
		}
		if err != nil && !errors.Is(err, pgx.ErrNoRows) && !isCode(err, "42703") {
			return false, fmt.Errorf("reading whose the schema %s is: %w%s", o.Schema, err, rightsHint(err, o))
		}
	}
	return false, fmt.Errorf("%w: the schema %s holds tables of another application (%s); name one of the relay's own, which it makes itself, e.g. storage postgres <dsn> { schema %s }",
		ErrOtherSchema, o.Schema, strings.Join(tables[:min(3, len(tables))], ", "), DefaultSchema)
}

// create makes the schema, if need be, and the table of migrations.
func (o *Options) create(ctx context.Context, tx pgx.Tx) error {
	var there bool
	if err := tx.QueryRow(ctx, "select exists (select 1 from pg_namespace where nspname = $1)", o.Schema).Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := tx.Exec(ctx, "create schema "+o.quoted()); err != nil {
			return fmt.Errorf("making the schema %s: %w%s", o.Schema, err, rightsHint(err, o))
		}
	}
	_, err := tx.Exec(ctx, `create table migrations (version integer primary key, applied timestamptz not null default now());
		insert into migrations (version) values (0)`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return fmt.Errorf("making a table in the schema %s: %w%s", o.Schema, err, rightsHint(err, o))
	}
	return nil
}

// rightsHint tells the mend where a right is missing.
func rightsHint(err error, o *Options) string {
	if !isCode(err, "42501") {
		return ""
	}
	return fmt.Sprintf("; let the role own the schema: CREATE SCHEMA %s AUTHORIZATION <role>", o.Schema)
}

// identify reads the identity of the store, and makes one for a new schema.
func (o *Options) identify(ctx context.Context, tx pgx.Tx) (me identity, err error) {
	_, _ = rand.Read(me.id[:])
	tag := int32(binary.BigEndian.Uint16(me.id[:]))
	_, err = tx.Exec(ctx, "insert into store (application, id, tag, shards) select $1, $2, $3, $4 where not exists (select 1 from store)", application, me.id[:], tag, o.Shards)
	var id []byte
	var shards int
	if err == nil {
		err = tx.QueryRow(ctx, "select id, tag, shards from store").Scan(&id, &tag, &shards)
	}
	if err == nil && len(id) != len(me.id) {
		err = errors.New("it has a wrong length")
	}
	if err != nil {
		return me, fmt.Errorf("reading the identity of the store: %w%s", err, rightsHint(err, o))
	}
	if shards != o.Shards {
		return me, fmt.Errorf("%w: %d, and not %d; write shards %[2]d or, to change it, stop all relays that use the schema and run: UPDATE %[4]s.store SET shards = %[3]d",
			ErrOtherShards, shards, o.Shards, o.Schema)
	}
	copy(me.id[:], id)
	me.tag = uint16(tag)
	return me, nil
}
