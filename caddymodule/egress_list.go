package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/relay/egresslist"
)

func init() { caddy.RegisterModule(new(EgressList)) }

// EgressList tells receivers which addresses deliveries come from, so that their firewalls
// can let them in: `egress.json`, `egress.txt` and a feed of changes, `egress.atom`, under
// any prefix. Everything else is left to the next handler. It may be public.
type EgressList struct {
	// The URL of the folder in which receivers find the three files, such as
	// `https://hooks.example.com/`. It stands in the text that `caddy relay egress` writes
	// for them. Default: none; the text does not say where the list is
	URL string `json:"url,omitempty"`

	files egresslist.Files
}

// CaddyModule returns the Caddy module information.
func (*EgressList) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.relay_egress",
		New: func() caddy.Module { return new(EgressList) },
	}
}

// Provision checks the options and finds the app.
func (h *EgressList) Provision(ctx caddy.Context) error {
	if err := h.check(); err != nil {
		return fmt.Errorf("relay_egress: %w", err)
	}
	app, err := neededApp(ctx, "relay_egress")
	if err != nil {
		return err
	}
	if app.listURL == "" {
		app.listURL = h.URL
	}
	h.files.State = func(ctx context.Context) (*egresslist.State, error) {
		engine, err := app.Relay(ctx)
		if err != nil {
			return nil, err
		}
		state := engine.EgressList()
		if state == nil {
			return nil, errStarting
		}
		return state, nil
	}
	return nil
}

// check judges the options.
func (h *EgressList) check() error {
	if h.URL == "" {
		return nil
	}
	u, err := url.Parse(h.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !strings.HasSuffix(u.Path, "/") {
		return fmt.Errorf("url: %q is not the URL of a folder; write it with its last slash, e.g. https://hooks.example.com/", h.URL)
	}
	return nil
}

// ServeHTTP answers the files of the list, and passes the rest on.
func (h *EgressList) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.files.Serve(w, r) {
		return nil
	}
	return next.ServeHTTP(w, r)
}

func parseEgressList(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(EgressList)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads
//
//	relay_egress [<matcher>] {
//		url <url>
//	}
func (h *EgressList) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return bareBlock(d, h.words())
}

func (h *EgressList) words() vocabulary {
	return vocabulary{
		"url": {usage: "url <url of the folder>", least: 1, most: 1, parse: func(args []string) error {
			if h.URL = args[0]; h.URL == "" {
				return fmt.Errorf("url: it is empty; %s", unsetHint)
			}
			return h.check()
		}},
	}
}

// neededApp returns the relay app for a handler that is nothing without it.
func neededApp(ctx caddy.Context, handler string) (*App, error) {
	// Not ctx.App: it would make up a relay without subscriptions.
	app, err := ctx.AppIfConfigured("relay")
	switch {
	case errors.Is(err, caddy.ErrNotConfigured):
		return nil, fmt.Errorf("%s needs the relay itself; write the global option at the top of the Caddyfile: { relay { subscription <name> <url> } }, each brace on a line of its own", handler)
	case err != nil:
		return nil, err
	}
	return app.(*App), nil
}

// published returns the addresses of all regions, as receivers are told them.
func (a *App) published() ([]egresslist.Region, error) {
	regions := make([]egresslist.Region, len(a.Regions))
	for i, r := range a.Regions {
		built, err := r.build()
		if err != nil {
			return nil, err
		}
		regions[i] = egresslist.Region{Name: r.Name, Entries: entries(built)}
	}
	return regions, nil
}

func entries(r *egress.Region) []egresslist.Entry {
	all := make([]egresslist.Entry, len(r.Addresses))
	for i, a := range r.Addresses {
		all[i] = egresslist.Entry{Prefix: a.Public, From: a.From, Until: a.Until, Pinned: a.Pinned()}
	}
	return all
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*EgressList)(nil)
	_ caddyhttp.MiddlewareHandler = (*EgressList)(nil)
	_ caddyfile.Unmarshaler       = (*EgressList)(nil)
)
