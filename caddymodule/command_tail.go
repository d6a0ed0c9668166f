package caddymodule

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// Times of a tail that has lost its Caddy.
const (
	tailPause = 200 * time.Millisecond
	// tailPatience is how long it looks for it.
	tailPatience = 30 * time.Second
)

func tailCommand() *cobra.Command {
	t := tail{}
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Watch attempts and deliveries as they happen",
		Long: `Prints a line for each attempt, and for each delivery that ends without one, until Ctrl-C. It
goes on over reloads of the configuration and restarts of Caddy.`,
		Example: `  caddy relay tail
  caddy relay tail --subscription crm --state failed
  caddy relay tail --json | jq -r .attempt.error`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			if t.limit < 0 {
				return fmt.Errorf("--limit %d: give at least 1", t.limit)
			}
			t.client, t.out, t.errors, t.json = c, cmd.OutOrStdout(), cmd.ErrOrStderr(), wantsJSON(cmd)
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return t.run(ctx)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&t.subscription, "subscription", "", "only this subscription")
	flags.StringVar(&t.state, "state", "", "only deliveries that are now in this state: retrying, delivered, failed or superseded")
	flags.IntVar(&t.limit, "limit", 0, "end after so many lines")
	return cmd
}

// tail prints what the stream of a running Caddy says.
type tail struct {
	subscription, state string
	// limit is the number of lines that are left; 0: no end.
	limit int
	json  bool

	client      *client
	out, errors io.Writer
	// last is the ID of the last event, from which on a new stream goes.
	last  string
	ended bool
}

// run follows one stream after the other until ctx ends, which is how a user ends it.
func (t *tail) run(ctx context.Context) error {
	uri := "/relay/stream?" + url.Values{"subscription": {t.subscription}, "state": {t.state}}.Encode()
	begun, lost := false, time.Time{}
	for {
		header := make(http.Header)
		if begun {
			header.Set("Last-Event-ID", t.last)
		}
		answered, err := t.connect(ctx, uri, header)
		switch {
		case answered && (err != nil || t.ended):
			return err
		case answered:
			begun, lost = true, time.Time{}
		case !begun, !lost.IsZero() && time.Since(lost) > tailPatience:
			return t.client.explain(err)
		case lost.IsZero():
			lost = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tailPause):
		}
	}
}

// connect follows a new stream to its end, and reports whether there was one.
func (t *tail) connect(ctx context.Context, uri string, header http.Header) (answered bool, err error) {
	resp, err := caddycmd.AdminAPIRequest(t.client.address, http.MethodGet, uri, header, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	defer context.AfterFunc(ctx, func() { _ = resp.Body.Close() })()
	return true, t.follow(resp.Body)
}

// follow prints one stream to its end. The error is that of what is printed.
func (t *tail) follow(body io.Reader) error {
	lines := bufio.NewReader(body)
	var name, id, data string
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil // the configuration was replaced, or Caddy is gone
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if data != "" {
				if err := t.print(name, data); err != nil || t.ended {
					return err
				}
			}
			if id != "" {
				t.last = id
			}
			name, id, data = "", "", ""
		}
	}
}

// print shows one event of the stream.
func (t *tail) print(name, data string) error {
	if name == "missed" {
		var lost missedSettlements
		if err := decode([]byte(data), &lost); err != nil {
			return err
		}
		many := "some"
		if lost.Missed != nil {
			many = fmt.Sprint(*lost.Missed)
		}
		_, err := fmt.Fprintf(t.errors, "%s were missed here; see them with: caddy relay list deliveries\n", many)
		return err
	}
	if name != "" {
		return nil // of a newer Caddy
	}
	if t.json {
		if _, err := fmt.Fprintln(t.out, data); err != nil {
			return err
		}
	} else {
		var s view.Settlement
		if err := decode([]byte(data), &s); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(t.out, settlementLine(&s)); err != nil {
			return err
		}
	}
	if t.limit > 0 {
		t.limit--
		t.ended = t.limit == 0
	}
	return nil
}

// settlementLine is what became of a delivery, in a line.
func settlementLine(s *view.Settlement) string {
	what, from := "-", ""
	if a := s.Attempt; a != nil {
		what = string(a.ErrorKind)
		if a.Status != 0 {
			what = fmt.Sprintf("%d in %d ms", a.Status, a.DurationMS)
		}
		if a.LocalAddress != "" {
			from = "  from " + a.LocalAddress
		}
	}
	next := stateAndReason(&s.Delivery)
	if s.State == relay.StateRetrying && s.Reason == relay.ReasonNone && !s.NextAttempt.IsZero() {
		next = "retry in " + s.NextAttempt.Sub(s.At.Time).Round(100*time.Millisecond).String()
	}
	return eventLine(s.At.Time, s.Type, s.Subscription, what, next+from+"  "+s.Event)
}

// eventLine is a line of those that follow what happens.
func eventLine(at time.Time, typ, who, what, next string) string {
	return fmt.Sprintf("%s  %-12s  %-20s  %-14s  %s", at.Local().Format(time.TimeOnly), typ, who, what, next)
}
