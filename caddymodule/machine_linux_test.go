package caddymodule

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestMachineIsLookedAt(t *testing.T) {
	var c machineCheck
	c.lookAround(t.TempDir())
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if c.OpenFiles != limit.Cur || (c.Clock != clockSynchronised && c.Clock != clockUnsynchronised) {
		t.Errorf("%+v", c)
	}
	c.Filesystem = ""
	c.lookAround("/proc") // none that a store could be on
	if c.Filesystem != "" {
		t.Errorf("/proc is on %s", c.Filesystem)
	}
}

func TestUnitOfAProcess(t *testing.T) {
	for groups, want := range map[string]string{
		"0::/system.slice/caddy.service\n":                           "caddy.service",
		"12:pids:/system.slice/caddy.service\n0::/\n":                "caddy.service",
		"0::/user.slice/user-0.slice/session-3.scope\n":              "",
		"0::/kubepods.slice/cri-containerd-0123456789abcdef.scope\n": "",
		"": "",
	} {
		if got := unitOf(groups); got != want {
			t.Errorf("%q: %q, want %q", groups, got, want)
		}
	}
}
