package caddymodule

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

// engines holds the engine of each open store, by the key of the store. It belongs to
// the process: two configurations with one store share its engine, which is how a
// reload takes over what is under way.
var engines = caddy.NewUsagePool()

// engine is a running relay with its store.
type engine struct {
	relay *relay.Relay
	// name is that of the store, for people.
	name string
	live *liveLogger
}

// acquire returns the engine of a store, and starts it if no configuration has it yet.
// Each call needs one of release.
func acquire(key string, opener StorageOpener, logger *zap.Logger) (*engine, error) {
	value, _, err := engines.LoadOrNew(key, func() (caddy.Destructor, error) {
		return openEngine(opener, logger)
	})
	if err != nil {
		return nil, err
	}
	return value.(*engine), nil
}

func openEngine(opener StorageOpener, logger *zap.Logger) (*engine, error) {
	live := newLiveLogger(logger)
	store, err := opener.OpenStore(live.logger("relay.storage"))
	if err != nil {
		return nil, fmt.Errorf("opening storage %s: %w", opener, err)
	}
	r, err := relay.Open(context.Background(), store, relay.Options{Logger: live.logger("relay")})
	if err != nil {
		if closeErr := store.Close(); closeErr != nil {
			err = fmt.Errorf("%w (and closing it failed: %w)", err, closeErr)
		}
		return nil, fmt.Errorf("starting with storage %s: %w", opener, err)
	}
	return &engine{relay: r, name: opener.String(), live: live}, nil
}

// release gives an engine back; the last one closes it.
func release(key string) error {
	_, err := engines.Delete(key)
	return err
}

// attach lays a configuration's plan on top.
func (e *engine) attach(p *relay.Plan, logger *zap.Logger) {
	e.live.push(logger)
	e.relay.Attach(p)
}

// detach takes it away, wherever it lies. It does not wait.
func (e *engine) detach(p *relay.Plan, logger *zap.Logger) {
	e.relay.Detach(p)
	e.live.remove(logger)
}

// Destruct implements [caddy.Destructor]. The engine closes its store.
func (e *engine) Destruct() error {
	e.warnLeftBehind()
	if err := e.relay.Close(); err != nil {
		return fmt.Errorf("closing storage %s: %w", e.name, err)
	}
	return nil
}

// warnLeftBehind tells of deliveries that no configuration will make any more, since
// the last one that had this store is gone while the process goes on.
func (e *engine) warnLeftBehind() {
	n := e.relay.Unfinished()
	if n == 0 || exiting() {
		return
	}
	logger := caddy.Log().Named("relay")
	engines.Range(func(_, other any) bool {
		logger = other.(*engine).live.logger("relay")
		return false
	})
	logger.Warn("deliveries stay behind in a store that is no longer configured; configure it again to have them made",
		zap.String("storage", e.name), zap.Uint64("unfinished", n))
}

// exiting is replaced in tests.
var exiting = caddy.Exiting
