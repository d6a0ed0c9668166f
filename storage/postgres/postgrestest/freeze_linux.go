package postgrestest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Freeze stops all processes of the server where they are: its connections stay, and nothing
// answers on them.
func (s *Server) Freeze(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw(t testing.TB) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	// The first one first, so that it makes no more of them.
	if err := s.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		pid, parent := processOf(path)
		if parent == s.cmd.Process.Pid {
			_ = syscall.Kill(pid, signal) // it may have ended
		}
	}
}

// processOf reads the numbers of a process and of its parent.
func processOf(path string) (pid, parent int) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0
	}
	// The name in brackets may hold anything.
	_, rest, found := strings.Cut(string(text[max(0, strings.LastIndexByte(string(text), ')')):]), ") ")
	if !found {
		return 0, 0
	}
	var state string
	if _, err := fmt.Sscan(rest, &state, &parent); err != nil {
		return 0, 0
	}
	pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(path)))
	return pid, parent
}
