//go:build linux

package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

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

// Act does what the environment asks for and ends the process, or returns where it asks for
// nothing. runCaddy is called where the process is to be Caddy; it reads os.Args.
func Act(runCaddy func()) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		return
	case roleSink:
		serveParent(newSink())
	case roleLoad:
		serveParent(new(load))
	case roleCaddy:
		profileContention()
		runCaddy()
	default:
		fmt.Fprintf(os.Stderr, "bench: unknown role %q in %s\n", role, roleVariable)
		os.Exit(exitUsage)
	}
	os.Exit(exitOK)
}

// Command runs the benchmark with the flags that its README lists, and returns the exit code.
// The program must call [Act] first.
func Command(args []string) int {
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
		fmt.Fprintln(os.Stderr, "bench:", interrupted(ctx, err))
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

func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted; nothing is left behind")
	}
	return err
}

// Options are those of [Measure]. The zero value of each stands for its default.
type Options struct {
	// Rounds is how often the relay and reverse_proxy are measured, in turn. Default: 3
	Rounds int
	// Duration is that of each of these, after a warm-up of a second. Default: 8s
	Duration time.Duration
	// Posters are connections with one request under way each. Default: 64
	Posters int
	// Rate is in events a second; 0: as fast as answers come.
	Rate float64
	// Size is in bytes of each body. Default: 1024
	Size int
	// Directory is where the stores lie meanwhile; its disk counts. Default: the present one.
	Directory string
	// Program and Arguments start what calls [Act] first.
	Program   string
	Arguments []string
	// Progress is told after each measurement.
	Progress func(done, total int)
}

// Measure measures. The program itself is the Caddy that is measured.
func Measure(ctx context.Context, from Options) (*Result, error) {
	o := defaultOptions()
	o.caddy, o.childProgram, o.childArguments = from.Program, from.Program, from.Arguments
	o.rate = from.Rate
	for _, field := range []struct {
		to    *int
		value int
	}{{&o.rounds, from.Rounds}, {&o.posters, from.Posters}, {&o.size, from.Size}} {
		if field.value != 0 {
			*field.to = field.value
		}
	}
	if from.Duration != 0 {
		o.duration = from.Duration
	}
	if from.Directory != "" {
		o.dir = from.Directory
	}
	if err := errors.Join(o.check(), o.choose("relay,proxy")); err != nil {
		return nil, err
	}
	done, total := 0, o.rounds*len(o.systems)
	report, err := measure(ctx, o, func(string, ...any) {
		done++
		from.Progress(min(done, total), total)
	})
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	return &Result{report}, nil
}
