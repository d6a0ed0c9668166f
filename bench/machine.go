//go:build linux

package bench

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what the figures depend on.
type machine struct {
	Time      time.Time `json:"time"`
	Cores     int       `json:"cores"`
	CPU       string    `json:"cpu"`
	MemoryMiB int64     `json:"memory_mib"`
	Kernel    string    `json:"kernel"`
	Go        string    `json:"go"` // of load and sink
	// Caddy is "this program" where it is no binary of its own.
	Caddy   string `json:"caddy"`
	CaddyGo string `json:"caddy_go"`
	// CaddyBuilt is the age of the binary: one from before the last change measures the
	// wrong thing.
	CaddyBuilt time.Time `json:"caddy_built"`
	// Load is the number of processes that ran or wanted to, in the last minute before.
	Load float64 `json:"load_average"`

	Directory  string `json:"directory,omitempty"`
	Filesystem string `json:"filesystem"`
	Device     string `json:"device"`
	// Sync is what it costs to write 1 KiB to the end of a file and sync it.
	Sync latency `json:"sync"`
}

const (
	syncs    = 200
	syncSize = 1 << 10
)

func machineFacts(o *options, workdir string) (m machine, err error) {
	m = machine{Time: time.Now().UTC().Truncate(time.Second), Cores: runtime.NumCPU(), Go: runtime.Version()}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, fmt.Errorf("asking for the kernel: %w", err)
	}
	m.Kernel = unix.ByteSliceToString(name.Release[:])
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = lineAfter(text, "model name\t:")
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.MemoryMiB = field(text, "MemTotal:") >> 10
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &m.Load) // 0 says as much
	}
	path, self, err := o.caddyCommand()
	if err != nil {
		return m, err
	}
	m.Caddy = path
	if self {
		m.Caddy = "this program"
	}
	if info, err := os.Stat(path); err == nil {
		m.CaddyBuilt = info.ModTime().UTC().Truncate(time.Second)
	}
	if info, err := buildinfo.ReadFile(path); err == nil {
		m.CaddyGo = info.GoVersion
	}
	if m.Directory, err = filepath.Abs(workdir); err != nil {
		return m, err
	}
	m.Directory = filepath.Dir(m.Directory) // the one that is still there later
	m.Filesystem, m.Device = mountOf(m.Directory)
	m.Sync, err = measureSync(workdir)
	return m, err
}

// print writes the facts for people.
func (m *machine) print(w io.Writer) {
	const minute = "2006-01-02 15:04 UTC"
	fmt.Fprintf(w, "%s · %d cores (%s), %d MiB · Linux %s · %s · load average before: %.2f\n",
		m.Time.Format(minute), m.Cores, m.CPU, m.MemoryMiB, m.Kernel, m.Go, m.Load)
	fmt.Fprintf(w, "Caddy: %s, built %s with %s\n", m.Caddy, m.CaddyBuilt.Format(minute), m.CaddyGo)
	fmt.Fprintf(w, "store on %s (%s): 1 KiB and fdatasync p50 %.3f ms, p99 %.3f ms\n", m.Filesystem, m.Device, m.Sync.P50, m.Sync.P99)
	if warning := m.warning(); warning != "" {
		fmt.Fprintln(w, "WARNING:", warning)
	}
}

// warning is what keeps the figures from saying anything about disks; empty if nothing.
func (m *machine) warning() string {
	if m.Filesystem == "tmpfs" || m.Filesystem == "ramfs" {
		return fmt.Sprintf("%s is in memory (%s): nothing is synced to a disk; give another -dir", m.Directory, m.Filesystem)
	}
	return ""
}

func lineAfter(text []byte, prefix string) string {
	_, rest, _ := bytes.Cut(text, []byte(prefix))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimSpace(line))
}

// mountOf finds what a directory lies on, see proc_pid_mountinfo(5).
func mountOf(dir string) (filesystem, device string) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "unknown", "unknown"
	}
	longest := -1
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		const mountPoint = 4
		if len(left) <= mountPoint || len(right) < 2 {
			continue
		}
		point := left[mountPoint]
		under := point == "/" || dir == point || strings.HasPrefix(dir, point+"/")
		// Of two mounts on one point the later one is seen.
		if under && len(point) >= longest {
			longest, filesystem, device = len(point), right[0], right[1]
		}
	}
	return filesystem, device
}

// measureSync appends to a file and syncs it, as often as it takes to know the usual
// and the bad case.
func measureSync(dir string) (latency, error) {
	file, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return latency{}, err
	}
	defer file.Close() // it is removed with its folder
	record := fillText[:syncSize]
	durations := make([]int64, 0, syncs)
	for range syncs {
		begin := now()
		if _, err := file.Write(record); err != nil {
			return latency{}, fmt.Errorf("measuring the cost of a sync: %w", err)
		}
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			return latency{}, fmt.Errorf("measuring the cost of a sync: %w", err)
		}
		durations = append(durations, now()-begin)
	}
	return newLatency(durations), nil
}
