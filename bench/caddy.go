//go:build linux

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// caddyProcess is the Caddy under test.
type caddyProcess struct {
	*process
	address string // of the site, host:port
	admin   *http.Client
	self    bool // it is this program
}

const (
	startPatience = 60 * time.Second // a store on a slow disk, a build with -race
	startPoll     = 20 * time.Millisecond
	stopPatience  = 10 * time.Second
	// maxSocketPath is what sun_path holds, see unix(7).
	maxSocketPath = 107
)

// startCaddy starts a Caddy with the configuration and waits until it serves. Each has
// a folder of its own.
func startCaddy(ctx context.Context, o *options, s system, c site, folder string) (*caddyProcess, error) {
	const tries = 3 // a port that was free may be taken by now
	for try := 1; ; try++ {
		p, err := tryCaddy(ctx, o, s, c, folder)
		if err == nil || try == tries || !strings.Contains(err.Error(), "address already in use") {
			return p, err
		}
	}
}

func tryCaddy(ctx context.Context, o *options, s system, c site, folder string) (*caddyProcess, error) {
	var err error
	if c.port, err = freePort(); err != nil {
		return nil, err
	}
	c.admin = filepath.Join(folder, "admin.sock")
	if len(c.admin) > maxSocketPath {
		return nil, fmt.Errorf("%s is too long for a socket; give a shorter -dir", c.admin)
	}
	if c.store, err = filepath.Abs(filepath.Join(folder, "store")); err != nil {
		return nil, err
	}
	home, err := filepath.Abs(filepath.Join(folder, "home"))
	if err != nil {
		return nil, err
	}
	config := filepath.Join(folder, "Caddyfile")
	if err := os.WriteFile(config, []byte(s.caddyfile(c)), 0o600); err != nil {
		return nil, err
	}
	path, self, err := o.caddyCommand()
	if err != nil {
		return nil, err
	}
	cmd, err := withSlowDisk(o.syncDelay, path, "run", "--config", config, "--adapter", "caddyfile")
	if err != nil {
		return nil, err
	}
	// Nothing of it may land in the user's own folders.
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	if self {
		cmd.Env = append(cmd.Env, roleVariable+"="+roleCaddy)
		if o.profile != "" {
			cmd.Env = append(cmd.Env, contentionVariable+"=1")
		}
	}
	started, err := startProcess("caddy ("+s.name+")", cmd)
	if err != nil {
		return nil, err
	}
	p := &caddyProcess{
		process: started, self: self,
		address: fmt.Sprintf("127.0.0.1:%d", c.port),
		admin: &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", c.admin)
			},
		}},
	}
	if err := p.waitReady(ctx); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// waitReady asks until the site answers 200: intake then has its store open, and
// reverse_proxy reaches the sink.
func (p *caddyProcess) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience,
		fmt.Errorf("%s is not ready after %s", p.name, startPatience))
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: startPatience}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/readyz", nil)
		if err != nil {
			return err
		}
		if answer, err := client.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.exited:
			return p.died()
		case <-ctx.Done():
			return fmt.Errorf("%w\n%s", context.Cause(ctx), p.stderr.String())
		case <-time.After(startPoll):
		}
	}
}

// guard ends a run whose Caddy has ended, and says so. It returns when ctx ends.
func (p *caddyProcess) guard(ctx context.Context, fail context.CancelCauseFunc) {
	select {
	case <-p.exited:
		fail(p.died())
	case <-ctx.Done():
	}
}

// stop ends Caddy as its user would; where the run has failed anyway, at once.
func (p *caddyProcess) stop(ctx context.Context) {
	if ctx.Err() != nil {
		p.kill()
		return
	}
	p.terminate(stopPatience)
}

// steer pauses or resumes the subscription through the admin API.
func (p *caddyProcess) steer(ctx context.Context, verb string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1/relay/subscriptions/s0/"+verb, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := p.admin.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("%s: %s: %s", verb, answer.Status, bytes.TrimSpace(text))
	}
	return nil
}

// contentionVariable makes a Caddy that is this program record where goroutines wait
// for each other, which no other Caddy does.
const contentionVariable = "RELAY_BENCH_CONTENTION"

func profileContention() {
	if os.Getenv(contentionVariable) != "" {
		runtime.SetMutexProfileFraction(10)
		runtime.SetBlockProfileRate(int(100 * time.Microsecond))
	}
}

// takeProfiles writes the profiles of a Caddy that is under load: the CPU's takes the
// given time, the others say what was since its start.
func (p *caddyProcess) takeProfiles(ctx context.Context, prefix string, length time.Duration) error {
	err := p.fetch(ctx, fmt.Sprintf("profile?seconds=%d", max(1, int(length.Seconds()))), prefix+".cpu.pprof")
	err = errors.Join(err, p.fetch(ctx, "allocs", prefix+".allocs.pprof"))
	if p.self {
		err = errors.Join(err, p.fetch(ctx, "mutex", prefix+".mutex.pprof"), p.fetch(ctx, "block", prefix+".block.pprof"))
	}
	return err
}

func (p *caddyProcess) fetch(ctx context.Context, what, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/debug/pprof/"+what, nil)
	if err != nil {
		return err
	}
	answer, err := p.admin.Do(request)
	if err != nil {
		return fmt.Errorf("taking a profile: %w", err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return fmt.Errorf("taking a profile: %w", err)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("taking a profile: %s: %s", answer.Status, bytes.TrimSpace(content))
	}
	return os.WriteFile(path, content, 0o600)
}
