// Package console is the operator's view of a relay: plain pages that say what was
// delivered, what was not, and why. They work without JavaScript, under any path, with
// nothing from outside of this module, and under a content security policy that lets no
// payload do anything.
package console

import (
	"context"
	"net/http"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/arrival"
)

// Options of a console.
type Options struct {
	// Engine returns the engine, or why there is none yet. It may wait.
	Engine func(ctx context.Context) (Engine, error)
	// Setup is the configuration that is shown.
	Setup Setup
	// WhileActive returns a context that also ends when the configuration does, so that
	// nobody waits for who follows; nil: it does not end.
	WhileActive func(ctx context.Context) (context.Context, context.CancelFunc)
	// History is what the charts show; nil: there are none.
	History *History
	// ReadOnly takes everything away that changes something.
	ReadOnly bool
	// Redact are dotted paths into the data of events; what stands there is never shown.
	Redact []string
	// Hosts are the names under which the console is asked for besides localhost. With
	// them, or where the site has a name, requests may come from other machines.
	Hosts []string
	// Logger of what goes wrong; nil: nobody is told.
	Logger *zap.Logger
}

// Handler serves the console. Make it with [New].
type Handler struct {
	options Options
	hosts   arrival.Hosts
	redact  redaction
	logger  *zap.Logger
}

// New checks the options.
func New(o Options) (*Handler, error) {
	h := &Handler{options: o, logger: o.Logger}
	var err error
	if h.hosts, err = parseHosts(o.Hosts); err != nil {
		return nil, err
	}
	if h.redact, err = parseRedaction(o.Redact); err != nil {
		return nil, err
	}
	if h.logger == nil {
		h.logger = zap.NewNop()
	}
	return h, nil
}

// Site is where a console stands, as its handler knows it.
type Site struct {
	// Mount is the path of the console's first page as requests have it when they reach
	// the handler; it begins and ends with a slash.
	Mount string
	// Named says that requests only get here by a host name that the site is for.
	Named bool
}

// Serve answers a request for one of the console's pages. It reports whether the request
// was for one; otherwise it has done nothing.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, site Site) bool {
	found, ok := find(r.URL.Path, site.Mount)
	if !ok {
		return false
	}
	v := &visit{Handler: h, w: w, r: r, params: found.params, Root: found.root()}
	secure(w.Header())
	if text := h.refuse(r, site); text != "" {
		v.fail(http.StatusForbidden, text)
		return true
	}
	if h.options.ReadOnly && found.page.changes {
		v.fail(http.StatusForbidden, "This console is read only: read_only is set in relay_console.")
		return true
	}
	screen := found.page.get
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		screen = found.page.post
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	default:
		screen = nil
	}
	if screen == nil {
		w.Header().Set("Allow", found.page.methods())
		v.fail(http.StatusMethodNotAllowed, "This page cannot be asked in that way.")
		return true
	}
	v.payloads = v.showPayloads()
	if err := v.answer(found.page, screen); err != nil {
		v.failWith(err)
	}
	return true
}

// answer shows a page, or does what was posted to it.
func (v *visit) answer(p *page, screen func(*visit) error) error {
	if !p.still {
		if err := v.findEngine(); err != nil {
			return err
		}
	}
	return screen(v)
}

// maxForm bounds what is posted, in bytes.
const maxForm = 2 << 20

// secure sets what holds for every answer.
func secure(header http.Header) {
	for field, value := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"X-Content-Type-Options": "nosniff",
		"X-Frame-Options":        "DENY",
		// Not no-referrer: under that, forms are posted with the origin "null".
		"Referrer-Policy":              "same-origin",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control":                "no-store",
	} {
		header.Set(field, value)
	}
}
