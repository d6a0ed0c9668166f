package postgres

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

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

// isFenced reports whether a write was refused since members have come or gone.
func isFenced(err error) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && server.Code == "23514" && server.ConstraintName == "fenced"
}

// isWithoutDay reports whether a write was refused since there is no partition for it.
func isWithoutDay(err error) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && server.Code == "23514" && server.ConstraintName == ""
}

// isRepeated reports whether a write was refused since an attempt is there already: of a
// commit whose answer was lost, or by another relay.
func isRepeated(err error) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && server.Code == "23505" && strings.HasPrefix(server.TableName, "attempts")
}
