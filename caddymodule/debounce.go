package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// Debounce sends only the last event of a key within a window of time.
type Debounce struct {
	// The window. It opens with the first event of a key and does not slide.
	Window Duration `json:"window"`

	// The key: a placeholder of the event, e.g. `{event.data.sys.id}`. An event that does
	// not have it is sent at once.
	By string `json:"by"`
}

func (d *Debounce) check() error {
	if d == nil {
		return nil
	}
	if err := checkDuration("debounce", time.Duration(d.Window)); err != nil {
		return err
	}
	if _, err := relay.ParsePlaceholder(d.By); err != nil {
		return fmt.Errorf("debounce: %w", err)
	}
	return nil
}

func (d *Debounce) parse(args []string) (err error) {
	if d.Window, err = parseDuration("debounce", args[0]); err != nil {
		return err
	}
	d.By = args[1]
	return d.check()
}

// build makes what the engine knows of a debounce that was checked.
func (d *Debounce) build() (*relay.Debounce, error) {
	if d == nil {
		return nil, nil //nolint:nilnil // none is a valid choice
	}
	by, err := relay.ParsePlaceholder(d.By)
	if err != nil {
		return nil, fmt.Errorf("debounce: %w", err)
	}
	return &relay.Debounce{Window: time.Duration(d.Window), By: by}, nil
}
