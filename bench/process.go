//go:build linux

package bench

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one that the benchmark started. It never outlives the benchmark.
type process struct {
	name   string
	cmd    *exec.Cmd
	stderr tail
	exited chan struct{} // closed when it has ended
}

// startProcess starts a command. Its standard error is kept for [process.died].
func startProcess(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, exited: make(chan struct{})}
	cmd.Stderr = &p.stderr
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// The terminal's Ctrl-C is for the benchmark, which then ends the others.
		Setpgid: true,
		// However the benchmark ends, the kernel ends its children.
		Pdeathsig: syscall.SIGKILL,
	}
	var err error
	onSpawner(func() { err = cmd.Start() })
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = cmd.Wait() // the state says the same
		close(p.exited)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// died is the error of a process that has ended although it should not have.
func (p *process) died() error {
	select {
	case <-p.exited:
	case <-time.After(2 * time.Second): // its standard output has ended, it is about to
		return fmt.Errorf("%s does not answer any more:\n%s", p.name, p.stderr.String())
	}
	return fmt.Errorf("%s ended on its own (%s):\n%s", p.name, p.cmd.ProcessState, p.stderr.String())
}

// terminate asks the process to end, and makes it if it takes too long.
func (p *process) terminate(patience time.Duration) (inTime bool) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.exited:
		return true
	case <-time.After(patience):
		p.kill()
		return false
	}
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

// onSpawner runs f on a thread that lives as long as the program: Pdeathsig fires when
// the thread that started a process ends, not the program (go.dev/issue/27505).
func onSpawner(f func()) {
	spawnerOnce.Do(func() {
		go func() {
			runtime.LockOSThread()
			for f := range spawner {
				f()
			}
		}()
	})
	done := make(chan struct{})
	spawner <- func() { defer close(done); f() }
	<-done
}

var (
	spawnerOnce sync.Once
	spawner     = make(chan func())
)

// tail keeps the first and the last of what is written to it. It is safe for use by
// several goroutines.
type tail struct {
	mu          sync.Mutex
	first, last []byte
	dropped     bool
}

const tailSize = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	if room := tailSize - len(t.first); room > 0 {
		take := min(room, len(b))
		t.first = append(t.first, b[:take]...)
		b = b[take:]
	}
	t.last = append(t.last, b...)
	if over := len(t.last) - tailSize; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
		t.dropped = true
	}
	return n, nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := string(t.first)
	if t.dropped {
		text += "\n...\n"
	}
	text = strings.TrimSpace(text + string(t.last))
	if text == "" {
		return "(it said nothing)"
	}
	return text
}

// errors returns the first line that Caddy logged as an error and how many there are
// among what was kept.
func (t *tail) errors() (first string, n int) {
	t.mu.Lock()
	all := append(bytes.Clone(t.first), t.last...)
	t.mu.Unlock()
	for line := range strings.Lines(string(all)) {
		if strings.Contains(line, `"level":"error"`) || strings.Contains(line, "\tERROR\t") {
			if n == 0 {
				first = strings.TrimSpace(line)
			}
			n++
		}
	}
	return first, n
}
