package badger

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// lockedError says who has the directory open, as far as it can be found out.
func lockedError(dir string) error {
	raw, _ := os.ReadFile(filepath.Join(dir, pidName))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
	if pid == os.Getpid() {
		return fmt.Errorf("%w: %s is already open in this process", ErrLocked, dir)
	}
	holder := ""
	if pid > 0 {
		holder = fmt.Sprintf(" (pid %d%s)", pid, commandOf(pid))
	}
	return fmt.Errorf("%w: the directory %s is open in another process%s: use \"caddy reload\" instead of starting a second Caddy",
		ErrLocked, dir, holder)
}

// commandOf returns the first two words of a process's command line, if the system
// tells it. The rest may hold what is nobody's business.
func commandOf(pid int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	words := strings.Split(strings.TrimRight(string(raw), "\x00"), "\x00")
	if words[0] == "" {
		return ""
	}
	words[0] = filepath.Base(words[0])
	return fmt.Sprintf(", %q", strings.Join(words[:min(2, len(words))], " "))
}

// isLocked reports whether err is Badger's own complaint about the lock.
func isLocked(err error) bool {
	return strings.Contains(err.Error(), "Another process is using this Badger database")
}
