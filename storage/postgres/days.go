package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

// day counts the days since 1970, in UTC. Each has a partition of events and one of
// attempts, by the time of acceptance, and one of keys, if there are any.
type day int64

// seqsPerDay is how many positions a day has: 20 bits count within a millisecond.
const seqsPerDay = 24 * 60 * 60 * 1000 << 20

func dayOf(s relay.Seq) day { return day(s / seqsPerDay) }

func (d day) first() int64 { return int64(d) * seqsPerDay }

// partition is the name of a table's partition. The prefix is followed by the date.
func (d day) partition(table string) string {
	return table + "_" + relay.Seq(d.first()).Time().Format("20060102")
}

// dayOfPartition is the reverse of partition.
func dayOfPartition(bound string) (day, bool) {
	// FOR VALUES FROM ('1869169767219200000') TO ('1869260365258752000')
	_, rest, _ := strings.Cut(bound, "FROM ('")
	number, _, found := strings.Cut(rest, "')")
	var first int64
	if n, err := fmt.Sscan(number, &first); !found || n != 1 || err != nil {
		return 0, false
	}
	return dayOf(relay.Seq(first)), true
}

// tables are those that have partitions.
var tables = []string{"events", "attempts", "keys"}

// partitions are those that there are, by table.
type partitions map[string]map[day]bool

const listPartitions = `select parent.relname, pg_get_expr(child.relpartbound, child.oid)
	from pg_inherits i join pg_class parent on parent.oid = i.inhparent join pg_class child on child.oid = i.inhrelid
	where parent.relnamespace = (select oid from pg_namespace where nspname = $1)
	and parent.relname = any($2)`

func loadPartitions(ctx context.Context, conn *pgx.Conn, schema string) (partitions, error) {
	all := make(partitions)
	for _, table := range tables {
		all[table] = make(map[day]bool)
	}
	rows, err := conn.Query(ctx, listPartitions, schema, tables)
	if err != nil {
		return nil, err
	}
	var table, bound string
	_, err = pgx.ForEachRow(rows, []any{&table, &bound}, func() error {
		if d, ok := dayOfPartition(bound); ok {
			all[table][d] = true
		}
		return nil
	})
	return all, err
}

// loadDays finds out which partitions there are: other relays make some and drop some.
func (c *committer) loadDays(ctx context.Context) error {
	parts, err := loadPartitions(ctx, c.conn, c.s.current().Schema)
	if err != nil {
		return fmt.Errorf("reading the partitions: %w", err)
	}
	c.partitions = parts
	return nil
}

// partition is one of a table.
type partition struct {
	table string
	day   day
}

// missing lists the partitions that the group needs and that are not known to be there.
func (c *committer) missing() (all []partition) {
	events, keys := c.group.days()
	for _, d := range events {
		for _, table := range []string{"events", "attempts"} {
			if !c.partitions[table][d] {
				all = append(all, partition{table, d})
			}
		}
	}
	for _, d := range keys {
		if p := (partition{"keys", d}); !c.partitions["keys"][d] && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// makePartition makes a table and attaches it, both or neither. To make one as a partition would
// wait for everybody who reads, a backup that goes on over midnight say, and others for it.
func (c *committer) makePartition(ctx context.Context, table string, d day) error {
	_, err := c.conn.Exec(ctx, fmt.Sprintf(`create table %[1]s (like %[2]s including all);
		alter table %[2]s attach partition %[1]s for values from (%[3]d) to (%[4]d)`,
		d.partition(table), table, d.first(), (d+1).first()), pgx.QueryExecModeSimpleProtocol)
	if isCode(err, "42P07", "42710", "23505") { // another member makes it at the same time, or has
		err = nil
	}
	if err != nil {
		return fmt.Errorf("making the partition %s: %w", d.partition(table), err)
	}
	c.partitions[table][d] = true
	return nil
}

// dropPartition drops one that is empty, unless members have come or gone since they were
// last looked at. It does not wait for those who read: all others would wait for it. Nor does it
// look for long, as it would through a large one from which VACUUM has not cleared what was removed:
// the server ends that, since if the time of the group ended it, the connection would be gone.
func (c *committer) dropPartition(ctx context.Context, table string, d day) error {
	name := d.partition(table)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.s.times.commit)
	defer cancel()
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, "set local statement_timeout = "+milliseconds(c.s.times.drop())); err != nil {
		return err
	}
	var occupied bool
	if err := tx.QueryRow(ctx, "select exists (select 1 from "+name+")").Scan(&occupied); err != nil || occupied {
		return err
	}
	if t, err := scanTail(tx.QueryRow(ctx, lockTail)); err != nil || t.epoch != c.place.epoch {
		return err
	}
	if _, err := tx.Exec(ctx, "set local lock_timeout = 200"); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "drop table "+name); err != nil {
		return fmt.Errorf("dropping the partition %s: %w", name, err)
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	delete(c.partitions[table], d)
	return nil
}
