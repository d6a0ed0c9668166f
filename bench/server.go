//go:build linux

package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// server is the database server of a run: what it spends is told apart from what others do.
type server struct {
	conn *pgx.Conn
	// postmaster is the process that the others are children of; 0 where it does not run on
	// this machine, or in another namespace.
	postmaster int
}

// serverSpent is what a server has used up to a moment.
type serverSpent struct {
	cpu int64 // nanoseconds
	// wal is the end of its log, in bytes; transactions are those that have written.
	wal, transactions int64
}

func openServer(ctx context.Context, dsn string) (*server, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	s := &server{conn: conn}
	var backend int
	if err := conn.QueryRow(ctx, "select pg_backend_pid()").Scan(&backend); err != nil {
		s.close()
		return nil, fmt.Errorf("asking the database for its process: %w", err)
	}
	// "postgres: relay bench 127.0.0.1(41234) idle"
	peer := "[local]"
	if local, ok := conn.PgConn().Conn().LocalAddr().(*net.TCPAddr); ok {
		peer = "(" + strconv.Itoa(local.Port) + ")"
	}
	title, err := os.ReadFile(procPath(backend, "cmdline"))
	if err == nil && bytes.HasPrefix(title, []byte("postgres:")) && bytes.Contains(title, []byte(peer)) {
		s.postmaster, _ = parentOf(backend)
	}
	return s, nil
}

func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	_ = s.conn.Close(ctx)
}

func (s *server) spent(ctx context.Context) (u serverSpent, err error) {
	const ends = `select (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint`
	if err := s.conn.QueryRow(ctx, ends).Scan(&u.wal, &u.transactions); err != nil {
		return u, fmt.Errorf("asking the database what it has written: %w", err)
	}
	if s.postmaster != 0 {
		u.cpu, err = familyTime(s.postmaster)
	}
	return u, err
}

// familyTime returns how long a process has run, with its children, those that have ended too.
func familyTime(pid int) (int64, error) {
	total, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	_, ended := parentOf(pid)
	total += int64(ended)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if parent, _ := parentOf(child); parent == pid {
			if t, err := cpuTime(child); err == nil { // it may have ended just now
				total += t
			}
		}
	}
	return total, nil
}

// parentOf returns the parent of a process, and how long those of its children have run that
// have ended; see proc_pid_stat(5).
func parentOf(pid int) (parent int, ended time.Duration) {
	text, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return 0, 0
	}
	// The name in brackets may hold anything. After it come the fields from the third on.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const state, ppid, cutime, cstime = 3, 4, 16, 17
	if len(fields) <= cstime-state {
		return 0, 0
	}
	parent, _ = strconv.Atoi(fields[ppid-state])
	for _, field := range []int{cutime, cstime} {
		n, _ := strconv.ParseInt(fields[field-state], 10, 64)
		ended += time.Duration(n) * userTick
	}
	return parent, ended
}
