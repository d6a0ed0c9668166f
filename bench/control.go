//go:build linux

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
)

// Load and sink are told what to do by calls over their standard input and output. When
// the benchmark is gone, so is that line, and they end.

// serviceName is the name under which a child's methods are called.
const serviceName = "Child"

// serveParent answers calls until the parent is gone.
func serveParent(service any) {
	server := rpc.NewServer()
	if err := server.RegisterName(serviceName, service); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(exitFailed)
	}
	server.ServeConn(pipes{os.Stdin, os.Stdout})
}

// pipes make one connection of two directions.
type pipes struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipes) Close() error {
	return errors.Join(p.ReadCloser.Close(), p.WriteCloser.Close())
}

// child is a process of this program in a role.
type child struct {
	*process
	calls *rpc.Client
}

// startChild starts this program in the role.
func startChild(o *options, role string) (*child, error) {
	path := o.childProgram
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("finding this program: %w", err)
		}
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		ourOut.Close()
		return nil, err
	}
	cmd := exec.Command(path, o.childArguments...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stdin, cmd.Stdout = theirIn, theirOut
	p, err := startProcess(role, cmd)
	// These ends are the child's; held here too, its end would not show.
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		ourIn.Close()
		ourOut.Close()
		return nil, err
	}
	return &child{process: p, calls: rpc.NewClient(pipes{ourIn, ourOut})}, nil
}

// call calls a method of the child and waits for its answer.
func (c *child) call(ctx context.Context, method string, args, reply any) error {
	call := c.calls.Go(serviceName+"."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if call.Error == nil {
		return nil
	}
	if errors.Is(call.Error, rpc.ErrShutdown) || errors.Is(call.Error, io.ErrUnexpectedEOF) {
		return c.died()
	}
	return fmt.Errorf("%s: %w", c.name, call.Error)
}

// stop ends the child. It has nothing to lose.
func (c *child) stop() {
	c.kill()
	_ = c.calls.Close()
}

// None is what methods take or return that need nothing.
type None struct{}
