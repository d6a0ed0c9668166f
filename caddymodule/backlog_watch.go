package caddymodule

import (
	"context"

	"github.com/caddyrelay/caddyrelay/relay"
)

// backlogWatch has the console's charts told what waits, as long as a configuration is the
// active one.
type backlogWatch struct{ cancel context.CancelFunc }

func (w *backlogWatch) start(r *relay.Relay) {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go consoleHistory.Watch(ctx, r.Backlogs)
}

// stop ends it. It does not wait.
func (w *backlogWatch) stop() {
	if w.cancel != nil {
		w.cancel()
	}
}
