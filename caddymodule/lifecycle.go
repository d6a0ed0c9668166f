package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Times of the lifecycle.
const (
	// defaultGrace is how long attempts in flight may take when the process exits, if
	// grace_period does not say: Caddy's own default has no end.
	defaultGrace = 30 * time.Second
	// startPatience is how long a request waits for the app to start. Apps start in
	// random order, so that the listener may be open first.
	startPatience = 10 * time.Second
)

// lifecycle is what one configuration has taken from the process. Caddy calls Start,
// Stop and Cleanup one after the other; handlers read it from other goroutines, once
// ready is closed.
type lifecycle struct {
	ready     chan struct{}
	readyOnce sync.Once

	// Set before ready is closed, and never after.
	engine *engine
	err    error

	// over is closed when the configuration is no longer active, or never will be.
	over     chan struct{}
	overOnce sync.Once

	// key is that of the reference to be released; empty if there is none.
	key      string
	attached bool
}

// settle lets those that wait for the start go on, with the engine or an error.
func (l *lifecycle) settle(e *engine, err error) {
	l.readyOnce.Do(func() {
		l.engine, l.err = e, err
		if l.ready != nil {
			close(l.ready)
		}
	})
}

// finish lets go those that stay as long as the configuration is active.
func (l *lifecycle) finish() {
	l.overOnce.Do(func() {
		if l.over != nil {
			close(l.over)
		}
	})
}

// Start takes the engine of the configured store, and opens that if it is the first to
// do so. This configuration is the active one once that before it stops: when all of it has
// started.
func (a *App) Start() error {
	err := a.start()
	if err != nil {
		a.running.settle(nil, err) // nobody shall wait for what failed
	}
	return err
}

func (a *App) start() error {
	key, err := a.opener.StoreKey()
	if err != nil {
		return err
	}
	e, err := acquire(key, a.opener, a.logger)
	if err != nil {
		return err
	}
	a.running.key = key
	a.tracing.start(a.logger)
	e.attach(a.plan, a.opener, a.logger)
	a.running.attached = true
	a.running.settle(e, nil)
	a.warnOfGone(e.relay.Gone(a.plan))
	a.survey.start(a.logger)
	a.watch.start(a)
	a.backlog.start(e.relay)
	return nil
}

// mostGone bounds how many subscriptions are named.
const mostGone = 20

// warnOfGone tells of subscriptions that the configuration does not have, and whose deliveries
// are held for that: perhaps a name was changed by mistake.
func (a *App) warnOfGone(gone map[string]uint64) {
	names := slices.Sorted(maps.Keys(gone))
	for i, name := range names {
		if i == mostGone {
			a.logger.Warn(fmt.Sprintf("%d more subscriptions are not in the configuration, and have deliveries left", len(names)-i))
			return
		}
		a.logger.Warn(fmt.Sprintf("subscription %q is not in the configuration, and its unfinished deliveries (%d) are held; put it back, or give them up: caddy relay drop %s",
			name, gone[name], name))
	}
}

// Stop takes this configuration away from the engine. It returns at once, so that no
// reload waits for receivers; only where the process exits are attempts in flight given
// time to end.
func (a *App) Stop() error {
	a.running.finish() // before the admin endpoint is stopped, which waits for its requests
	a.detach()
	if a.running.engine == nil || !exiting() {
		return nil
	}
	grace := a.grace()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	a.running.engine.relay.Drain(ctx)
	if ctx.Err() != nil {
		a.logger.Warn("attempts in flight were cut when the grace period ended; they are made again after the next start, and not counted as failed",
			zap.Duration("grace_period", grace))
	}
	return nil
}

// Cleanup releases what this instance acquired, and nothing else: Caddy also calls it
// where Start, Stop or even Provision did not happen or failed.
func (a *App) Cleanup() error {
	a.running.settle(nil, errNotStarted)
	a.running.finish()
	a.detach()
	defer a.tracing.stop(a.logger) // after the engine, whose attempts end their spans
	a.releaseSeries()
	for _, t := range a.transports {
		t.CloseIdleConnections() // attempts in flight go on with theirs
	}
	if a.running.key == "" {
		return nil
	}
	key := a.running.key
	a.running.key = ""
	return release(key)
}

func (a *App) detach() {
	if !a.running.attached {
		return
	}
	a.running.attached = false
	a.survey.stop()
	a.watch.stop()
	a.backlog.stop()
	a.running.engine.detach(a.plan, a.opener, a.logger)
}

// grace returns Caddy's grace_period, if there is one.
func (a *App) grace() time.Duration {
	if app, err := a.ctx.AppIfConfigured("http"); err == nil {
		if server, ok := app.(*caddyhttp.App); ok && server.GracePeriod > 0 {
			return time.Duration(server.GracePeriod)
		}
	}
	return defaultGrace
}

var (
	errNotStarted = errors.New("the relay was not started")
	errStarting   = errors.New("the relay is still starting")
	errReplaced   = errors.New("this configuration is no longer active")
)

// WhileActive returns a context that ends with ctx, and when this configuration is stopped or
// another has taken its place: for what stays as long as a client does, so that no reload
// waits for it.
func (a *App) WhileActive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-a.running.over:
			cancel(errReplaced)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// Relay returns the engine as soon as this configuration has started, or an error if it
// could not, or when ctx ends or ten seconds have passed.
func (a *App) Relay(ctx context.Context) (*relay.Relay, error) {
	select {
	case <-a.running.ready:
	default:
		timer := time.NewTimer(startPatience)
		defer timer.Stop()
		select {
		case <-a.running.ready:
		case <-timer.C:
			return nil, errStarting
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if a.running.err != nil {
		return nil, a.running.err
	}
	return a.running.engine.relay, nil
}
