package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// ErrUnsafe means that the server does not keep what it says it has committed.
var ErrUnsafe = errors.New("the server does not keep what it commits")

// ErrEncoding means that the database is not in UTF-8.
var ErrEncoding = errors.New("the database is not in UTF-8")

// ErrReadOnly means that the server takes no writes.
var ErrReadOnly = errors.New("the server takes no writes")

// leastVersion is PostgreSQL 13: before it, not all that is used here is there.
const leastVersion = 130000

// checkServer refuses a server that cannot keep what is acknowledged, and warns of one that
// keeps it less well than it could.
func (o *Options) checkServer(ctx context.Context, conn *pgx.Conn) error {
	var version int
	var standby bool
	var readOnly, fsync, pages, commit, encoding string
	err := conn.QueryRow(ctx, `select current_setting('server_version_num')::integer, pg_is_in_recovery(), current_setting('default_transaction_read_only'),
		current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
		current_setting('server_encoding')`).Scan(&version, &standby, &readOnly, &fsync, &pages, &commit, &encoding)
	switch {
	case err != nil:
		return fmt.Errorf("asking for the server's settings: %w", err)
	case version < leastVersion:
		return fmt.Errorf("the server is PostgreSQL %d; the least version is %d", version/10000, leastVersion/10000)
	case standby:
		return fmt.Errorf("%w: it is a standby, which only follows its primary; name the primary, or all servers: the one that takes writes is found, e.g. postgres://relay@db1.example.com,db2.example.com/relay", ErrReadOnly)
	case readOnly != "off":
		return fmt.Errorf("%w: default_transaction_read_only is on; set it off for this role: ALTER ROLE relay SET default_transaction_read_only = off", ErrReadOnly)
	case encoding != "UTF8":
		return fmt.Errorf("%w: it is in %s, and events have characters that it cannot keep; make another: CREATE DATABASE relay OWNER relay ENCODING 'UTF8' TEMPLATE template0", ErrEncoding, encoding)
	case fsync != "on":
		return fmt.Errorf("%w: fsync is off, so that events that were acknowledged are lost with the power; set fsync = on in postgresql.conf and restart the server", ErrUnsafe)
	}
	if pages != "on" {
		o.Logger.Warn("full_page_writes is off on the server: a power cut may damage the database; set it on, unless the file system never writes pages in part")
	}
	switch commit {
	case "on", "remote_apply":
	case "off":
		o.Logger.Warn("synchronous_commit is off for this role: commits would be acknowledged before they are on the disk; the relay sets it on for its own connections")
		if _, err := conn.Exec(ctx, "set synchronous_commit = on"); err != nil {
			return fmt.Errorf("setting synchronous_commit: %w", err)
		}
	default:
		o.Logger.Warn("synchronous_commit is weaker than on: what is acknowledged may be lost if the server is lost and a standby takes its place", zap.String("synchronous_commit", commit))
	}
	return nil
}
