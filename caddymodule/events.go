package caddymodule

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddyrelay/caddyrelay/relay"
)

// loadEvents finds Caddy's events app, through which operational events can run handlers
// of the configuration, such as a command.
func (a *App) loadEvents(ctx caddy.Context) error {
	app, err := ctx.AppIfConfigured("events")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil // nobody handles events
	}
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	a.events = app.(*caddyevents.App)
	return nil
}

// emit makes a Caddy event of an operational one, under the same name. The engine calls
// it from a goroutine that no delivery waits for, since handlers run before it returns.
func (a *App) emit(n relay.Notice) {
	if a.events == nil || !a.events.ShouldEmit(string(n.Topic)) {
		return
	}
	a.events.Emit(a.ctx, string(n.Topic), map[string]any{
		"subscription": n.Subscription,
		"event":        n.Event,
		"event_type":   n.EventType,
		"detail":       n.Detail,
		"at":           n.At,
	})
}
