package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyrelay/caddyrelay/caddymodule/console"
)

func init() { caddy.RegisterModule(new(Console)) }

// Console shows an operator what was delivered, what was not, and why, in plain pages. It
// answers its own pages, under any path, and leaves everything else to the next handler.
//
// It only takes requests that arrived on a loopback address or a unix socket and passed no
// proxy, unless its site is for a host name or Hosts is set. Then put authentication in
// front of it: it has none of its own.
type Console struct {
	// Whether nothing can be changed by the console: no replay, no pause, no test.
	// Default: false
	ReadOnly bool `json:"read_only,omitempty"`

	// Dotted paths into the data of events, such as `customer.email`. What stands there is
	// never shown. The elements of a list have the path of the list. Default: none
	Redact []string `json:"redact,omitempty"`

	// Host names under which the console may be asked for, beside localhost and loopback
	// addresses. With them, requests may come from other machines. Default: none
	Hosts []string `json:"hosts,omitempty"`

	handler *console.Handler
	sites   sync.Map // *caddyhttp.Server to *consoleSite
}

// consoleHistory lives with the process, so that charts survive reloads.
var consoleHistory console.History

// CaddyModule returns the Caddy module information.
func (*Console) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.relay_console",
		New: func() caddy.Module { return new(Console) },
	}
}

// Provision checks the options and finds the app.
func (h *Console) Provision(ctx caddy.Context) error {
	app, err := neededApp(ctx, "relay_console")
	if err != nil {
		return err
	}
	consoleHistory.Record()
	h.handler, err = console.New(console.Options{
		Engine: func(ctx context.Context) (console.Engine, error) {
			engine, err := app.Relay(ctx)
			if err != nil {
				return nil, err // and no nil *Relay in an interface
			}
			return engine, nil
		},
		Setup:       consoleSetup{app},
		WhileActive: app.WhileActive,
		History:     &consoleHistory,
		ReadOnly:    h.ReadOnly,
		Redact:      h.Redact,
		Hosts:       h.Hosts,
		Logger:      app.logger.Named("console"),
	})
	if err != nil {
		return fmt.Errorf("relay_console: %w", err)
	}
	return nil
}

// check judges the options.
func (h *Console) check() error {
	_, err := console.New(console.Options{Redact: h.Redact, Hosts: h.Hosts})
	return err
}

// ServeHTTP answers the console's pages, and passes the rest on.
func (h *Console) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	site := h.site(r)
	mount := site.mount(r.URL.Path)
	if r.URL.Path+"/" == mount {
		// Links lead from the folder. The name of it is in the URL that was asked for: here
		// it may have been cut off.
		asked := r.URL.Path
		if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
			asked = original.URL.Path
		}
		w.Header().Set("Location", "./"+path.Base(asked)+"/")
		w.WriteHeader(http.StatusPermanentRedirect)
		return nil
	}
	if h.handler.Serve(w, r, console.Site{Mount: mount, Named: site.named}) {
		return nil
	}
	return next.ServeHTTP(w, r)
}

func parseConsole(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Console)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads
//
//	relay_console [<matcher>] {
//		read_only
//		redact <path>...
//		hosts <name>...
//	}
func (h *Console) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return bareBlock(d, h.words())
}

func (h *Console) words() vocabulary {
	return vocabulary{
		"read_only": {usage: "read_only", parse: func([]string) error {
			h.ReadOnly = true
			return nil
		}},
		"redact": {usage: "redact <path>...", least: 1, most: -1, many: true, parse: func(args []string) error {
			h.Redact = append(h.Redact, args...)
			return h.check()
		}},
		"hosts": {usage: "hosts <name>...", least: 1, most: -1, many: true, parse: func(args []string) error {
			h.Hosts = append(h.Hosts, args...)
			return h.check()
		}},
	}
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Console)(nil)
	_ caddyhttp.MiddlewareHandler = (*Console)(nil)
	_ caddyfile.Unmarshaler       = (*Console)(nil)
)
