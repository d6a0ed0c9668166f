package caddymodule

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/egress"
)

// Caddy events about the addresses of regions. They are no events of the relay: receivers
// are told of changes that are meant, and cannot do anything about others.
const (
	eventEgressDown = "relay.egress.down"
	eventEgressUp   = "relay.egress.up"
)

// addressWatch looks after the addresses of one configuration's regions while that runs.
type addressWatch struct {
	mu     sync.Mutex
	cancel context.CancelFunc
}

// addressChange is what a Caddy event tells.
type addressChange struct {
	region string
	egress.AddressStatus
	at time.Time
}

// changeQueue is how many changes may wait for the handlers of Caddy events.
const changeQueue = 64

// start watches in the background, until stop is called.
func (w *addressWatch) start(a *App) {
	ctx, cancel := context.WithCancel(context.Background())
	w.mu.Lock()
	w.cancel = cancel
	w.mu.Unlock()
	changes := make(chan addressChange, changeQueue)
	watch := &egress.Watch{Regions: a.egress, Changed: func(r *egress.Region, s egress.AddressStatus) {
		for _, t := range a.transports {
			t.CloseUnusable()
		}
		change := addressChange{r.Name, s, time.Now()}
		change.log(a.logger)
		select {
		case changes <- change:
		default: // a handler is stuck; the log has it
		}
	}}
	go func() {
		defer close(changes)
		watch.Run(ctx)
	}()
	go func() { // handlers may take their time: the watch does not wait for them
		for change := range changes {
			a.emitAddress(change)
		}
	}()
}

// stop ends the watch. It does not wait.
func (w *addressWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cancel != nil {
		w.cancel()
	}
}

func (c *addressChange) log(logger *zap.Logger) {
	fields := []zap.Field{zap.String("region", c.region), zap.Stringer("address", c.Address), zap.String("public", c.PublicText())}
	switch {
	case !c.Up && c.Active:
		logger.Warn("an address is not on this machine; what would leave from it leaves from another one of the region, or is held",
			append(fields, zap.Error(c.Err))...)
	case !c.Up:
		logger.Info("an address that is not in use now is not on this machine", append(fields, zap.Error(c.Err))...)
	case !c.Active:
		logger.Info("an address is on this machine, and not in use now", fields...)
	default:
		logger.Info("an address is in use", fields...)
	}
}

// emitAddress makes a Caddy event of a change.
func (a *App) emitAddress(c addressChange) {
	name := eventEgressUp
	detail := ""
	if !c.Up {
		name, detail = eventEgressDown, c.Err.Error()
	}
	if a.events == nil || !a.events.ShouldEmit(name) {
		return
	}
	a.events.Emit(a.ctx, name, map[string]any{
		"region":  c.region,
		"address": c.Address.String(),
		"public":  c.PublicText(),
		"active":  c.Active,
		"detail":  detail,
		"at":      c.at,
	})
}
