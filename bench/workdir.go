//go:build linux

package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// workdirPrefix begins with a dot, so that Go does not look into it where the working
// directory is a module.
const workdirPrefix = ".relay-bench-"

// makeWorkdir makes the folder in which everything of a run lies, and removes those of
// benchmarks that were killed.
func makeWorkdir(dir string) (string, error) {
	old, err := filepath.Glob(filepath.Join(dir, workdirPrefix+"*"))
	if err != nil {
		return "", fmt.Errorf("-dir: %w", err)
	}
	for _, path := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), workdirPrefix), "-")
		n, err := strconv.Atoi(pid)
		if err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			_ = os.RemoveAll(path) // the next run tries again
		}
	}
	path, err := os.MkdirTemp(dir, fmt.Sprintf("%s%d-", workdirPrefix, os.Getpid()))
	if err != nil {
		return "", fmt.Errorf("making a temporary folder (-dir): %w", err)
	}
	return path, nil
}

// Ports below those that the kernel gives to outgoing connections (32768 on): one of
// these could be taken by a connection of the load just before it is listened on.
const (
	lowestPort  = 20000
	highestPort = 32000
)

// listenLow listens on a free port of the loopback.
func listenLow() (net.Listener, error) {
	var last error
	for range 100 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return listener, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no free port from %d to %d on 127.0.0.1: %w", lowestPort, highestPort, last)
}

// freePort returns a port that was free just now.
func freePort() (int, error) {
	listener, err := listenLow()
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}
