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
	a.emitEvent(n.Topic, func() map[string]any {
		return map[string]any{
			"subscription": n.Subscription,
			"event":        n.Event,
			"event_type":   n.EventType,
			"detail":       n.Detail,
			"at":           n.At,
		}
	})
}

// emitEgress is emit for changes of addresses.
func (a *App) emitEgress(n relay.EgressNotice) {
	a.emitEvent(n.Topic, func() map[string]any {
		return map[string]any{
			"region":    n.Region,
			"at":        n.At,
			"announced": n.Announced,
			"added":     texts(n.Added),
			"removed":   texts(n.Removed),
			"planned":   n.Planned,
			"detail":    n.Detail,
		}
	})
}

func (a *App) emitEvent(topic relay.Topic, data func() map[string]any) {
	if a.events != nil && a.events.ShouldEmit(string(topic)) {
		a.events.Emit(a.ctx, string(topic), data())
	}
}

// texts writes values as strings, which placeholders of handlers show as they are.
func texts[T fmt.Stringer](list []T) []string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = v.String()
	}
	return all
}
