package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddyrelay/caddyrelay/relay"
)

// One relay writes to a schema at a time: the one whose epoch stands in the row of tail.
// Each of its groups begins by updating that row, which fails under another epoch. So a
// relay that was frozen, or cut off, while another one took over can no longer change
// anything. Times are the server's.

// InUseError means that another relay has the lease, and is alive.
type InUseError struct {
	// Owner is what the other relay calls itself.
	Owner string
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("another relay uses this schema: %s; one relay at a time does: stop that one, "+
		"or give this one a schema of its own, e.g. storage postgres <dsn> { schema other }", e.Owner)
}

// TakenOverError means that another relay has taken the lease of this one, which was silent
// for too long. What it still has in memory is out of date.
type TakenOverError struct {
	// Owner is what the other relay calls itself.
	Owner string
}

func (e *TakenOverError) Error() string {
	who := e.Owner
	if who == "" {
		who = "one that has ended since"
	}
	return fmt.Sprintf("another relay has taken over this schema: %s; this one stores nothing more: restart it where it shall be the one that takes over next", who)
}

// tail is where the log ends.
type tail struct {
	last    relay.Seq
	ordinal uint64
	live    int64
}

// holder is what the lease says.
type holder struct {
	epoch   int64
	owner   string
	backend int32
	renewed string
	// expired: nobody need be asked. gone: the connection of the holder is there no more,
	// and idle is how long ago it renewed, in seconds.
	expired, gone bool
	idle          float64
}

const (
	readLease = `select epoch, owner, backend, coalesce(renewed::text, ''),
		owner = '' or until is null or until < clock_timestamp(),
		not exists (select 1 from pg_stat_activity a where a.pid = backend and (a.backend_start is null or a.backend_start = connected)),
		coalesce(extract(epoch from clock_timestamp() - renewed)::float8, 0)
		from tail`
	takeLease = `update tail set epoch = epoch + 1, owner = $2, backend = pg_backend_pid(),
		connected = (select backend_start from pg_stat_activity where pid = pg_backend_pid()),
		renewed = clock_timestamp(), until = clock_timestamp() + $3
		where epoch = $1 returning epoch, last, ordinal, live`
	fence      = `epoch = case when epoch = $1 then epoch else -1 end, renewed = clock_timestamp(), until = clock_timestamp() + $2`
	renewLease = `update tail set ` + fence
	moveTail   = `update tail set ` + fence + `, last = $3, ordinal = $4, live = $5`
	dropLease  = `update tail set owner = '' where epoch = $1`
	// A connection that holds the row though its relay does not answer is ended: otherwise a
	// frozen relay would stop those that take over.
	endHolder = `select pg_terminate_backend(pid) from pg_stat_activity, tail
		where pid = backend and backend_start = connected and epoch = $1 and pid <> pg_backend_pid()`
)

// leasePause is how long is waited before a lease is looked at again.
const leasePause = 50 * time.Millisecond

// acquire takes the lease: as soon as it is free, or anew for who had it under the epoch
// mine (0: nobody). It returns the new epoch.
func acquire(ctx context.Context, conn *pgx.Conn, o *Options, mine int64) (epoch int64, t tail, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.times.lease+o.times.commit)
	defer cancel()
	seen := ""
	for {
		h, err := look(ctx, conn)
		if err != nil {
			return 0, tail{}, err
		}
		switch {
		case mine != 0 && h.epoch != mine:
			return 0, tail{}, &TakenOverError{h.owner}
		case mine != 0 || h.expired || h.gone && h.idle >= o.times.vanished.Seconds():
			epoch, t, err := take(ctx, conn, o, h.epoch)
			if err == nil || !errors.Is(err, errLeaseBusy) {
				return epoch, t, err
			}
		case seen == "":
			seen = h.renewed
		case seen != h.renewed:
			return 0, tail{}, &InUseError{h.owner}
		}
		select {
		case <-time.After(leasePause):
		case <-ctx.Done():
			return 0, tail{}, fmt.Errorf("waiting for the lease of %s: %w", h.owner, ctx.Err())
		}
	}
}

func look(ctx context.Context, conn *pgx.Conn) (h holder, err error) {
	err = conn.QueryRow(ctx, readLease).Scan(&h.epoch, &h.owner, &h.backend, &h.renewed, &h.expired, &h.gone, &h.idle)
	if err != nil {
		err = fmt.Errorf("reading the lease: %w", err)
	}
	return h, err
}

// errLeaseBusy means that somebody else has the row at present.
var errLeaseBusy = errors.New("the lease is being written")

func take(ctx context.Context, conn *pgx.Conn, o *Options, seen int64) (epoch int64, t tail, err error) {
	var last, ordinal int64
	err = conn.QueryRow(ctx, takeLease, seen, o.Owner, o.times.lease).Scan(&epoch, &last, &ordinal, &t.live)
	switch {
	case errors.Is(err, pgx.ErrNoRows), isCode(err, "40001", "40P01"):
		return 0, t, errLeaseBusy
	case isCode(err, "55P03"): // lock_timeout
		if _, err := conn.Exec(ctx, endHolder, seen); err != nil {
			return 0, t, fmt.Errorf("ending the connection of the relay that had the lease: %w", err)
		}
		return 0, t, errLeaseBusy
	case err != nil:
		return 0, t, fmt.Errorf("taking the lease: %w", err)
	}
	t.last, t.ordinal = relay.Seq(last), uint64(ordinal)
	return epoch, t, nil
}

// isCode reports whether err is PostgreSQL's, with one of these codes (SQLSTATE).
func isCode(err error, codes ...string) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	for _, code := range codes {
		if server.Code == code {
			return true
		}
	}
	return false
}

// isFenced reports whether a write was refused since another relay has the lease.
func isFenced(err error) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && server.Code == "23514" && server.ConstraintName == "fenced"
}

func ownName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}
