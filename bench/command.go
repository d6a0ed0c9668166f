//go:build linux

package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
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

	if err := o.do(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", interrupted(ctx, err))
		return exitFailed
	}
	return exitOK
}

// do does what the options ask for.
func (o *options) do(ctx context.Context, out io.Writer) error {
	if len(o.files) > 0 {
		return o.show(out)
	}
	progress := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	if o.grow != nil {
		g, err := measureGrowth(ctx, *o, progress)
		if err != nil {
			return err
		}
		g.print(out)
		return errors.Join(o.keep(g), o.draw(g), worthless(g.Problems))
	}
	r, err := measure(ctx, *o, progress)
	if err != nil {
		return err
	}
	r.print(out)
	return errors.Join(o.keep(r), worthless(r.Problems))
}

// keep writes what was measured to the file of -json, if there is one.
func (o *options) keep(measured briefer) error {
	switch {
	case o.json == "":
		return nil
	case o.brief:
		return writeJSON(o.json, measured.brief())
	}
	return writeJSON(o.json, measured)
}

// draw draws a growth into the folder of -plot, if there is one.
func (o *options) draw(g *growth) error {
	if o.plot == "" {
		return nil
	}
	return g.draw(o.plot)
}

// show writes, or draws, what was measured before.
func (o *options) show(out io.Writer) error {
	f, err := readFigures(o.files)
	if err != nil {
		return err
	}
	for _, g := range f.growths {
		if err := o.draw(g); err != nil {
			return err
		}
	}
	if o.report {
		_, err = io.WriteString(out, f.markdown())
	}
	return err
}

// worthless is the error of figures that do not count; nil if they do.
func worthless(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("these figures do not count: %s", strings.Join(problems, "; "))
}

func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted; nothing is left behind")
	}
	return err
}
