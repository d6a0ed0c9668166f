//go:build unix

package postgrestest

import (
	"os"
	"testing"
)

// Standby makes a server that follows this one, and starts it.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	follower := &Server{bin: s.bin, user: s.user}
	var err error
	if follower.Dir, err = os.MkdirTemp(base(), "relaypg"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(follower.remove)
	if s.user != nil {
		if err := os.Chown(follower.Dir, int(s.user.Uid), int(s.user.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.command("pg_basebackup", "-D", follower.data(), "--write-recovery-conf", "--checkpoint=fast", "--no-sync").CombinedOutput()
	if err != nil {
		t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	if err := follower.startFirst(); err != nil {
		t.Fatal(err)
	}
	return follower
}

// Promote makes a standby the primary.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	if got := s.Query(t, "postgres", "select pg_promote()"); got != "t" {
		t.Fatalf("pg_promote: %s", got)
	}
}
