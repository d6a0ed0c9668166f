package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/caddymodule/collector"
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
	name  string
	live  *liveLogger
	store relay.Store

	mu sync.Mutex
	// configured are the storage options of the plans, the active one last.
	configured []StorageOpener
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
	e := value.(*engine)
	if c, ok := opener.(StorageConfigurer); ok {
		if err := c.CheckStore(e.store); err != nil {
			return nil, errors.Join(err, release(key))
		}
	}
	return e, nil
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
	collector.Hold()
	return &engine{relay: r, name: opener.String(), live: live, store: store}, nil
}

// release gives an engine back; the last one closes it.
func release(key string) error {
	_, err := engines.Delete(key)
	return err
}

// attach adds a configuration's plan, with its options of the store.
func (e *engine) attach(p *relay.Plan, opener StorageOpener, logger *zap.Logger) {
	e.live.push(logger)
	e.configure(func(all []StorageOpener) []StorageOpener { return append(all, opener) })
	e.relay.Attach(p)
}

// detach takes it away, wherever it lies. It does not wait.
func (e *engine) detach(p *relay.Plan, opener StorageOpener, logger *zap.Logger) {
	e.relay.Detach(p)
	e.configure(func(all []StorageOpener) []StorageOpener {
		if i := slices.Index(all, opener); i >= 0 {
			return slices.Delete(all, i, i+1)
		}
		return all
	})
	e.live.remove(logger)
}

// configure changes the list of options, and gives the store the first: as of plans, they are in
// force once that of the configuration before is detached.
func (e *engine) configure(change func([]StorageOpener) []StorageOpener) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.configured = change(e.configured)
	if len(e.configured) > 0 {
		if c, ok := e.configured[0].(StorageConfigurer); ok {
			c.ConfigureStore(e.store)
		}
	}
}

// Destruct implements [caddy.Destructor]. The engine closes its store.
func (e *engine) Destruct() error {
	e.warnLeftBehind()
	defer collector.Release()
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
