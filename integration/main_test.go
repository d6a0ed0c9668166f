// Package integration tests the relay from outside: Caddy runs as a process of its own,
// is configured by a Caddyfile, posted to over HTTP and killed by signals. What is
// expected is what the documentation promises, and nothing of the product's packages is
// called, but for tests that open a store whose files were damaged hundreds of times.
package integration

import (
	"flag"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // as xcaddy's builds have it

	_ "github.com/caddyrelay/caddyrelay" // the modules under test
)

// asCaddy makes this test binary behave as the command caddy, so that the tests need no
// build by xcaddy.
const asCaddy = "CADDYRELAY_TEST_AS_CADDY"

// lifeline is the descriptor of a pipe whose other end the tests hold.
const lifeline = 3

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) == "" {
		moreAtOnce()
		os.Exit(m.Run())
	}
	// Tests that panic or run out of time leave no Caddy behind.
	go func() {
		_, _ = io.Copy(io.Discard, os.NewFile(lifeline, "lifeline"))
		os.Exit(98)
	}()
	caddycmd.Main()
}

// moreAtOnce lets more tests run in parallel than there are cores, unless -parallel says how
// many: most of their time they wait, for retries, timeouts and restarts.
func moreAtOnce() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(max(4, 2*runtime.GOMAXPROCS(0)))) // it is there: this is a test
	}
}

// patience bounds every wait for something that will happen. It is generous, since the
// machine may be busy: only what never happens takes so long.
const patience = 45 * time.Second

// eventually waits until done, and fails the test with what failure says if that takes
// too long.
func eventually(t testing.TB, done func() bool, failure func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("after " + patience.String() + ": " + failure())
		}
	}
}

// need skips a test that lacks a command, and names the command and what it is part of. In
// CI, where .ci/run installs all of them, it fails the test: one that is never run proves
// nothing, and nobody would notice.
func need(t testing.TB, command, of string) {
	t.Helper()
	if _, err := exec.LookPath(command); err != nil {
		lacks(t)("needs the command %s, of %s", command, of)
	}
}

// lacks ends a test that lacks something: in CI as a failure.
func lacks(t testing.TB) func(format string, args ...any) {
	if os.Getenv("CI") != "" {
		return t.Fatalf
	}
	return t.Skipf
}
