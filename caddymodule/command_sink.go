package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/sink"
)

// sinkGrace is how long requests may take that are under way when the sink is ended.
const sinkGrace = 2 * time.Second

func sinkCommand() *cobra.Command {
	var listen, secret, fail, delay string
	cmd := &cobra.Command{
		Use:   "sink [--listen <address>] [--secret <secret>] [--fail <share>[:<status>]] [--delay <duration>]",
		Short: "Run a receiver for trying things out, which verifies, prints, and fails on demand",
		Long: `Takes webhooks, verifies their signature if it has the secret, prints a line for each, and shows
the last ones at GET /. It keeps nothing and forwards nothing. Ctrl-C ends it.

A subscription needs allow_ips 127.0.0.0/8 to deliver to it. In a Caddyfile, relay_sink is
the same thing.`,
		Example: `  caddy relay sink
  caddy relay sink --listen 127.0.0.1:4667 --secret '{env.CRM_WEBHOOK_SECRET}' --fail 0.2:503 --delay 300ms`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := sinkOptions(secret, fail, delay)
			if err != nil {
				return err
			}
			printer := &sinkPrinter{out: cmd.OutOrStdout(), json: wantsJSON(cmd)}
			options.OnRequest = printer.print
			handler, err := sink.New(options)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runSink(ctx, listen, handler, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:4667", "where to listen, as host:port")
	flags.StringVar(&secret, "secret", "", "the secret of sign standard; a placeholder like {env.NAME} keeps it out of the list of processes")
	flags.StringVar(&fail, "fail", "", "the share of requests that fail on purpose, 0 to 1, and their status; default: none, 503")
	flags.StringVar(&delay, "delay", "", "the time before each answer")
	return cmd
}

// sinkOptions reads the flags.
func sinkOptions(secret, fail, delay string) (o sink.Options, err error) {
	if secret != "" {
		if o.Secret, err = resolve(secret); err != nil {
			return o, fmt.Errorf("--secret: %w", err)
		}
	}
	if fail != "" {
		share, status, found := strings.Cut(fail, ":")
		if o.FailShare, err = strconv.ParseFloat(share, 64); err == nil && found {
			o.FailStatus, err = strconv.Atoi(status)
		}
		if err != nil {
			return o, fmt.Errorf("--fail %s: give a share and perhaps a status, for example 0.2:503", fail)
		}
	}
	if delay != "" {
		if o.Delay, err = caddy.ParseDuration(delay); err != nil {
			return o, fmt.Errorf("--delay %s: give a duration, for example 300ms", delay)
		}
	}
	return o, nil
}

// runSink serves until ctx ends.
func runSink(ctx context.Context, listen string, handler http.Handler, notes io.Writer) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w; choose another address with --listen", listen, err)
	}
	fmt.Fprintf(notes, "receiving at http://%s/, which shows the last requests to browsers; Ctrl-C ends it\n", listener.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() {
		ending, cancel := context.WithTimeout(context.Background(), sinkGrace)
		defer cancel()
		_ = server.Shutdown(ending)
	})()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// sinkPrinter prints a line for each request.
type sinkPrinter struct {
	json bool

	mu  sync.Mutex
	out io.Writer
}

func (p *sinkPrinter) print(r sink.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		_ = json.NewEncoder(p.out).Encode(r)
		return
	}
	said := r.Error
	switch {
	case r.Simulated:
		said = "fails on purpose"
	case said == "" && r.Verified:
		said = "signature verified"
	case said == "":
		said = "not verified: no --secret"
	}
	what := fmt.Sprintf("answered %d", r.Status)
	fmt.Fprintln(p.out, eventLine(r.At, r.Type, r.Subscription, what, fmt.Sprintf("attempt %d, %d bytes, %s  %s", r.Attempt, r.BodySize, said, r.ID)))
}
