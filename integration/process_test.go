package integration

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// instance is a Caddy with the relay, in a process of its own and with a directory of
// its own, over restarts.
type instance struct {
	t    testing.TB
	dir  string
	port int
	// bind is the address that intake listens on, grace Caddy's grace_period.
	bind, grace string
	// intake holds the lines of relay_intake, sites further sites, globals further
	// global options, env further environment variables.
	intake, sites, globals string
	env                    []string
	// storage are the lines of the option; empty: a store in the instance's directory.
	storage string
	// wrapper is a command that the process is started with, such as strace.
	wrapper []string
	// logged is where the log of the present process begins.
	logged int64
	// reloads is how often a configuration was loaded while it ran.
	reloads int

	cmd    *exec.Cmd
	exited chan struct{}
	err    error
}

// option changes an instance before it is started.
type option func(*instance)

func withIntake(lines string) option  { return func(c *instance) { c.intake = lines } }
func withGlobals(lines string) option { return func(c *instance) { c.globals = lines } }
func withGrace(grace string) option   { return func(c *instance) { c.grace = grace } }
func withEnv(env ...string) option {
	return func(c *instance) { c.env = append(c.env, env...) }
}
func withWrapper(wrapper ...string) option { return func(c *instance) { c.wrapper = wrapper } }

// prepare makes the directory of an instance that is not yet started. Its path is short
// enough for a unix socket.
func prepare(t testing.TB, options ...option) *instance {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay")
	if err != nil {
		t.Fatal(err)
	}
	c := &instance{t: t, dir: dir, port: freePort(t), bind: "127.0.0.1", grace: "3s"}
	t.Cleanup(func() {
		c.inspectLog()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"tmp", "home"} {
		if err := os.Mkdir(c.path(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range options {
		o(c)
	}
	return c
}

// run starts an instance with these lines in its relay option, waits until it is ready,
// and stops it gracefully when the test ends.
func run(t testing.TB, relay string, options ...option) *instance {
	t.Helper()
	c := prepare(t, options...)
	c.configure(relay)
	c.start()
	t.Cleanup(func() {
		if c.cmd == nil {
			return
		}
		if code := c.stop(); code != 0 {
			t.Errorf("stopped with exit code %d; want 0", code)
		}
	})
	return c
}

func (c *instance) path(name string) string { return filepath.Join(c.dir, name) }
func (c *instance) admin() string           { return "unix/" + c.path("admin.sock") }
func (c *instance) store() string           { return c.path("store") }

// configure writes the Caddyfile with these lines in the relay option. They begin on
// line optionLine.
func (c *instance) configure(relay string) {
	c.write("Caddyfile", fmt.Sprintf(`{
	admin %s
	grace_period %s
	relay {
%s
%s
	}
%s
}

http://:%d {
	bind %s
	relay_intake {
%s
	}
}
%s`, c.admin(), c.grace, cmp.Or(c.storage, fmt.Sprintf("\t\tstorage badger %s {\n\t\t\tmin_free 16MiB\n\t\t}", c.store())), strings.TrimRight(relay, "\n"), c.globals, c.port, c.bind, c.intake, c.sites))
}

// optionLine is the first line that configure was given.
const optionLine = 8

// write makes a file in the instance's directory and returns its path.
func (c *instance) write(name, text string) string {
	c.t.Helper()
	if err := os.WriteFile(c.path(name), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return c.path(name)
}

// file reads a file of the instance's directory.
func (c *instance) file(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(c.path(name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// command returns caddy with these arguments, in the instance's environment and nothing
// of the tests' own: no proxy, no home.
func (c *instance) command(ctx context.Context, args ...string) *exec.Cmd {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	line := append(append([]string{}, c.wrapper...), append([]string{self}, args...)...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append([]string{
		asCaddy + "=1",
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + c.path("home"),
		"XDG_DATA_HOME=" + c.path("data"),
		"XDG_CONFIG_HOME=" + c.path("config"),
		"TMPDIR=" + c.path("tmp"),
	}, c.env...)
	read, write, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{read}
	c.t.Cleanup(func() { _, _ = read.Close(), write.Close() })
	return cmd
}

// start runs Caddy and waits until it is ready.
func (c *instance) start() {
	c.t.Helper()
	c.spawn()
	c.ready()
}

// spawn runs Caddy. Its log goes on in one file over restarts.
func (c *instance) spawn() {
	c.t.Helper()
	log, err := os.OpenFile(c.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	if info, err := log.Stat(); err == nil {
		c.logged = info.Size()
	}
	c.cmd = c.command(context.Background(), "run", "--config", c.path("Caddyfile"))
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		c.err = cmd.Wait()
		close(exited)
	}(c.cmd, c.exited)
	c.t.Cleanup(c.kill)
}

// ready waits until events are taken, and until Caddy has started all else: only then
// its admin API knows the configuration.
func (c *instance) ready() {
	c.t.Helper()
	eventually(c.t, func() bool {
		select {
		case <-c.exited:
			c.t.Fatalf("Caddy exited: %v\n%s", c.err, c.log())
		default:
		}
		resp, err := http.Get(c.url("/readyz"))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK && c.get("/relay/status").status == http.StatusOK
	}, func() string { return "Caddy is not ready:\n" + c.log() })
}

// kill ends the process as a crash does (SIGKILL).
func (c *instance) kill() {
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Kill()
	<-c.exited
	c.cmd = nil
}

// stop asks the process to end (SIGTERM) and returns its exit code.
func (c *instance) stop() int {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatal(err)
	}
	return c.wait()
}

// wait waits until the process has ended by itself, and returns its exit code.
func (c *instance) wait() int {
	c.t.Helper()
	select {
	case <-c.exited:
	case <-time.After(patience):
		c.kill()
		c.t.Fatalf("Caddy did not exit:\n%s", c.log())
	}
	cmd := c.cmd
	c.cmd = nil
	return cmd.ProcessState.ExitCode()
}

// result is what a command has left behind.
type result struct {
	code        int
	out, errors string
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\nstdout: %s\nstderr: %s", r.code, r.out, r.errors)
}

// caddy runs a command to its end.
func (c *instance) caddy(args ...string) result {
	c.t.Helper()
	return c.caddyWithInput("", args...)
}

func (c *instance) caddyWithInput(input string, args ...string) result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := c.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		c.t.Fatalf("caddy %s does not end: %s", strings.Join(args, " "), errs.String())
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		c.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// relay runs a subcommand of caddy relay against this instance.
func (c *instance) relay(args ...string) result {
	c.t.Helper()
	return c.caddy(append([]string{"relay", "--address", c.admin()}, args...)...)
}

// reload loads the Caddyfile as it is now.
func (c *instance) reload(flags ...string) result {
	c.t.Helper()
	c.reloads++
	return c.caddy(append([]string{"reload", "--config", c.path("Caddyfile"), "--address", c.admin()}, flags...)...)
}

// mustReload writes the lines and loads them.
func (c *instance) mustReload(relay string) {
	c.t.Helper()
	c.configure(relay)
	if r := c.reload(); r.code != 0 {
		c.t.Fatalf("reload: %s", r)
	}
}

// log returns the log of the present process, or of the last one.
func (c *instance) log() string {
	text, _ := os.ReadFile(c.path("log"))
	if int64(len(text)) < c.logged {
		return string(text)
	}
	return string(text[c.logged:])
}

// inspectLog looks for what must never be in it, and shows its end if the test failed.
func (c *instance) inspectLog() {
	text, err := os.ReadFile(c.path("log"))
	if err != nil {
		return // it was never started
	}
	for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
		if i := strings.Index(string(text), bad); i >= 0 {
			c.t.Errorf("the log has %q:\n%.6000s", bad, text[i:])
		}
	}
	if c.t.Failed() {
		c.t.Logf("the end of the log:\n%s", text[max(0, len(text)-6000):])
	}
}

// nextPort is where freePort looks next. It begins somewhere below the ports that
// kernels choose for outgoing connections, of which any could be taken again before it
// is listened on.
var nextPort atomic.Int64

func init() { nextPort.Store(12000 + rand.Int64N(15000)) }

// freePort returns a port of 127.0.0.1 on which nobody listens, each only once.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := int(nextPort.Add(1))
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port is free on 127.0.0.1")
	return 0
}
