package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrelay/caddyrelay/relay"
)

// selectSizes sums the tables with their indexes, a partition under the name of its parent.
const selectSizes = `select coalesce(parent.relname, c.relname)::text, sum(pg_total_relation_size(c.oid))::bigint
	from pg_class c left join pg_inherits i on i.inhrelid = c.oid left join pg_class parent on parent.oid = i.inhparent
	where c.relnamespace = (select oid from pg_namespace where nspname = $1) and c.relkind = 'r' group by 1`

// Stats implements [relay.Store]. How much room the server has left is not known.
func (s *Store) Stats(ctx context.Context) (relay.StoreStats, error) {
	size := map[string]int64{"events": 0, "logs": 0, "attempts": 0, "other": 0}
	err := s.read(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, selectSizes, s.Schema())
		if err != nil {
			return err
		}
		var table string
		var bytes int64
		_, err = pgx.ForEachRow(rows, []any{&table, &bytes}, func() error {
			switch table {
			case "events", "attempts":
			case "log":
				table = "logs"
			default:
				table = "other"
			}
			size[table] += bytes
			return nil
		})
		return err
	})
	if err != nil {
		return relay.StoreStats{}, err
	}
	return relay.StoreStats{
		Engine:   "postgres",
		Location: s.location + " schema " + s.Schema(),
		Size:     size,
		Free:     -1,
		Events:   s.committed().ordinal,
	}, nil
}
