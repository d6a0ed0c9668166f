//go:build linux

// Command bench measures the relay beside Caddy's own reverse_proxy in one run: the
// same load, the same receiver, the same Caddy binary, in alternation. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what xcaddy builds in as well

	_ "github.com/caddyrelay/caddyrelay/caddymodule" // the relay's modules
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	actRole() // a child of a benchmark never returns from it
	os.Exit(command(os.Args[1:]))
}

// roleVariable tells a process that the benchmark started what it is to be. The
// program starts itself again, so that the CPU of load and receiver can be told from
// that of the Caddy under test.
const roleVariable = "RELAY_BENCH_ROLE"

// Roles of a process.
const (
	roleSink  = "sink"
	roleLoad  = "load"
	roleCaddy = "caddy"
)

// actRole does what the environment asks for and ends the process, or returns where it
// asks for nothing.
func actRole() {
	switch role := os.Getenv(roleVariable); role {
	case "":
		return
	case roleSink:
		serveParent(newSink())
	case roleLoad:
		serveParent(new(load))
	case roleCaddy:
		profileContention()
		caddycmd.Main() // it reads os.Args and ends the process
	default:
		fmt.Fprintf(os.Stderr, "bench: unknown role %q in %s\n", role, roleVariable)
		os.Exit(exitUsage)
	}
	os.Exit(exitOK)
}

func command(args []string) int {
	o, err := parseOptions(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitUsage
	}
	// A signal ends the context, and the way out of there ends processes and removes
	// folders.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	progress := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	report, err := measure(ctx, o, progress)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; nothing is left behind")
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitFailed
	}
	report.print(os.Stdout)
	if o.json != "" {
		if err := report.writeJSON(o.json); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return exitFailed
		}
	}
	if len(report.Problems) > 0 {
		return exitFailed
	}
	return exitOK
}
