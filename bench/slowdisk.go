//go:build linux

package bench

import (
	"fmt"
	"os/exec"
	"time"
)

// maxSyncDelay is beyond what any disk takes.
const maxSyncDelay = time.Second

// withSlowDisk returns the command that runs the program with each of its syncs taking so much
// longer, as on a slower disk. strace does it; with -D the program is the process that is started,
// and strace one beside it, so that its CPU is not counted as the program's.
func withSlowDisk(delay time.Duration, program string, args ...string) (*exec.Cmd, error) {
	if delay == 0 {
		return exec.Command(program, args...), nil
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		return nil, fmt.Errorf("-sync-delay: %w", err)
	}
	const syncs = "msync,fsync,fdatasync"
	traced := []string{
		"-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=" + syncs,
		"-e", fmt.Sprintf("inject=%s:delay_exit=%d", syncs, delay.Microseconds()), program,
	}
	return exec.Command(strace, append(traced, args...)...), nil
}
