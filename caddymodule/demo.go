package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/signature"
)

func demoCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See the relay work: a receiver that fails once, a retry, a signed delivery",
		Long: `Runs a relay with a receiver of its own in a temporary folder, sends it a first event,
and shows what happens: the receiver fails the first attempt of each event, and the
relay makes another one. Then it waits for more events. Nothing of it is for
production, and nothing is left behind.`,
		Example: `  caddy relay demo
  caddy relay demo --once`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runDemo(ctx, cmd.OutOrStdout(), once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "exit after the first delivery")
	return cmd
}

// demo is what one run of the command needs.
type demo struct {
	folder       string
	secret       string // its placeholder
	intake, sink *demoListener
}

// demoListener is a port that this run has to itself. Caddy is handed the open socket: it
// would let another process listen at the same port (SO_REUSEPORT), such as a second demo
// that found it free at the same moment.
type demoListener struct {
	socket  *os.File
	address string // host:port
}

// listen is how a configuration of Caddy names the socket.
func (l *demoListener) listen() string { return fmt.Sprintf("fd/%d", l.socket.Fd()) }

// demoPorts are tried first; applications can rely on them if they are free.
const (
	demoIntakePort = 4665
	demoSinkPort   = 4667
	// demoPatience is how long the first delivery may take.
	demoPatience = 20 * time.Second
	// demoMinFree is in bytes: a demo shall also run where there is little room.
	demoMinFree = 16 << 20
)

// errDemoFailed means that the first event did not arrive.
var errDemoFailed = errors.New("the first event was not delivered")

func runDemo(ctx context.Context, out io.Writer, once bool) (err error) {
	folder, err := os.MkdirTemp("", "caddy-relay-demo-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	// In a file, as everybody should have it: then nothing warns of it.
	secret := filepath.Join(folder, "secret")
	if err := os.WriteFile(secret, []byte(signature.NewStandardSecret()), 0o600); err != nil {
		return fmt.Errorf("writing the demo's secret: %w", err)
	}
	d := &demo{folder: folder, secret: "{file." + secret + "}"}
	if d.intake, err = listenFrom(demoIntakePort); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.intake.socket.Close()) }()
	if d.sink, err = listenFrom(demoSinkPort); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.sink.socket.Close()) }()
	if err := caddy.Load(d.config(), true); err != nil {
		return fmt.Errorf("starting the demo: %w", err)
	}
	defer func() { err = errors.Join(err, caddy.Stop()) }()

	fmt.Fprintf(out, `relay demo: nothing here is for production; data in %[1]s
  intake    http://%[2]s/v1/events
  console   http://%[2]s/
  receiver  http://%[3]s/  fails the first attempt of each event on purpose
  admin     --address %[4]s

`, folder, d.intake.address, d.sink.address, d.admin())

	app, err := caddy.ActiveContext().AppIfConfigured("relay")
	if err != nil {
		return err
	}
	engine, err := app.(*App).Relay(ctx)
	if err != nil {
		return err
	}
	watch := newWatcher(engine, "http://"+d.sink.address+"/", out)
	if err := d.first(ctx, engine, watch); err != nil {
		return err
	}
	if once {
		return nil
	}
	fmt.Fprintf(out, `
It waits for more; stop it with Ctrl-C. Try, in another terminal:
  curl --json '{"order":43}' http://%s/v1/events/order.paid

`, d.intake.address)
	return watch.follow(ctx)
}

// first sends an event and waits until it is delivered.
func (d *demo) first(ctx context.Context, engine *relay.Relay, watch *watcher) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	receipts, err := engine.Publish(ctx, []relay.Publication{{Event: &relay.Event{
		Type: "order.paid", ContentType: "application/json", Data: []byte(`{"order":42}`),
	}}}, nil)
	if err != nil {
		return fmt.Errorf("sending the first event: %w", err)
	}
	state, err := watch.until(ctx, receipts[0].ID)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errDemoFailed, err)
	case state != relay.StateDelivered:
		return fmt.Errorf("%w: it is %s", errDemoFailed, state)
	}
	return nil
}

// admin is the address of the demo's admin endpoint: a socket, so that a Caddy that runs
// on this machine keeps its own.
func (d *demo) admin() string { return "unix/" + filepath.Join(d.folder, "admin.sock") }

// config is the whole configuration, kept in memory.
func (d *demo) config() []byte {
	persist := false
	site := func(listen string, handlers ...any) map[string]any {
		return map[string]any{
			"listen":          []string{listen},
			"automatic_https": map[string]any{"disable": true},
			"routes":          []any{map[string]any{"handle": handlers}},
		}
	}
	app := &App{
		StorageRaw: caddyconfig.JSON(map[string]any{
			"engine": "badger", "directory": filepath.Join(d.folder, "store"), "min_free": Size(demoMinFree),
		}, nil),
		Regions: []*Region{{Name: "demo", Egress: []Egress{{Address: "127.0.0.1"}}}},
		Subscriptions: []*Subscription{{
			Name: "demo",
			URL:  "http://" + d.sink.address + "/",
			Settings: Settings{
				AllowIPs: []string{"127.0.0.0/8"},
				SignRaw: []json.RawMessage{caddyconfig.JSON(map[string]any{
					"scheme": "standard", "secrets": []any{map[string]any{"secret": d.secret}},
				}, nil)},
				Retry: &Retry{Delays: []Duration{Duration(time.Second)}, Jitter: new(float64)},
			},
		}},
	}
	return caddyconfig.JSON(&caddy.Config{
		Admin: &caddy.AdminConfig{Listen: d.admin(), Config: &caddy.ConfigSettings{Persist: &persist}},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{
			"default": {BaseLog: caddy.BaseLog{Level: zap.ErrorLevel.CapitalString()}},
		}},
		AppsRaw: caddy.ModuleMap{
			"relay": caddyconfig.JSON(app, nil),
			"http": caddyconfig.JSON(map[string]any{"servers": map[string]any{
				"intake":   site(d.intake.listen(), map[string]any{"handler": "relay_console"}, map[string]any{"handler": "relay_intake"}),
				"receiver": site(d.sink.listen(), map[string]any{"handler": "relay_sink", "secret": d.secret, "fail_first": true}),
			}}, nil),
		},
	}, nil)
}

// listenFrom listens at the port of 127.0.0.1, or at the next free one.
func listenFrom(port int) (*demoListener, error) {
	for p := port; p < port+1000; p += 10 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(p))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		socket, err := listener.(*net.TCPListener).File()
		if err := errors.Join(err, listener.Close()); err != nil {
			return nil, fmt.Errorf("listening at %s: %w", address, err)
		}
		return &demoListener{socket: socket, address: address}, nil
	}
	return nil, fmt.Errorf("no port from %d on is free on 127.0.0.1", port)
}
