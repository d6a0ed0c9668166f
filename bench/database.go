//go:build linux

package bench

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
)

// schemaOf names the schema of a run, which no other has.
func schemaOf(round int) string { return fmt.Sprintf("bench_%d_%d", os.Getpid(), round) }

// dropSchema removes what a run has left in the database.
func dropSchema(dsn, schema string) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("removing the schema %s: %w", schema, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "drop schema if exists "+pgx.Identifier{schema}.Sanitize()+" cascade"); err != nil {
		return fmt.Errorf("removing the schema %s: %w", schema, err)
	}
	return nil
}
