package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

// visit is one request for one page.
type visit struct {
	*Handler
	w http.ResponseWriter
	r *http.Request

	// engine is nil on pages that do without.
	engine   Engine
	params   map[string]string
	payloads bool
	// Root leads to the console's first page, as a relative URL.
	Root string
}

func (v *visit) context() context.Context { return v.r.Context() }

// findEngine gets the engine, or an error that says why there is none.
func (v *visit) findEngine() error {
	engine, err := v.options.Engine(v.context())
	if err != nil {
		return &pageError{http.StatusServiceUnavailable, "The relay does not run yet: " + err.Error()}
	}
	v.engine = engine
	return nil
}

// param returns a part of the path, query a parameter behind it.
func (v *visit) param(name string) string { return v.params[name] }

func (v *visit) query(name string) string { return strings.TrimSpace(v.r.URL.Query().Get(name)) }

// with returns the query of this page with some parameters changed; empty ones are left
// out.
func (v *visit) with(pairs ...string) string {
	values := v.r.URL.Query()
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	for name := range values {
		if values.Get(name) == "" {
			values.Del(name)
		}
	}
	return "?" + values.Encode()
}

// showPayloads: what applications send is shown to whoever sits at this machine. Elsewhere
// it takes a click, so that it is not on a screen by accident.
func (v *visit) showPayloads() bool {
	switch v.query("payload") {
	case "show":
		return true
	case "hide":
		return false
	}
	return near(v.r)
}

// pageError is an error for whoever looks at the page.
type pageError struct {
	status int
	text   string
}

func (e *pageError) Error() string { return e.text }

// failWith answers with an error of the engine, or of what was asked.
func (v *visit) failWith(err error) {
	var page *pageError
	var cursor *relay.CursorError
	var unknown *relay.UnknownNameError
	switch {
	case errors.As(err, &page):
		v.fail(page.status, page.text)
	case errors.Is(err, relay.ErrNotFound):
		v.fail(http.StatusNotFound, "There is no such event, or it is no longer kept. How long events are kept, retention says in the configuration.")
	case errors.Is(err, relay.ErrNoDelivery):
		v.fail(http.StatusNotFound, "The event was not meant for this subscription. The event's page tells why.")
	case errors.As(err, &unknown):
		v.fail(http.StatusNotFound, fmt.Sprintf("There is no subscription named %q, neither in the configuration nor with deliveries left.", unknown.Name))
	case errors.As(err, &cursor):
		v.fail(http.StatusBadRequest, "The link to this page of the list is not whole, or other filters were set. Begin again with the newest.")
	case errors.Is(err, relay.ErrNoJob):
		v.fail(http.StatusNotFound, "There is no such job. They are kept in memory: a restart ends them, and ended ones are forgotten after a while.")
	case errors.Is(err, relay.ErrUnfinished), errors.Is(err, relay.ErrErased), errors.Is(err, relay.ErrPausedByConfiguration):
		v.fail(http.StatusConflict, sentence(err.Error()))
	case errors.Is(err, relay.ErrClosed), errors.Is(err, relay.ErrBroken):
		v.fail(http.StatusServiceUnavailable, "The store does not answer: "+err.Error())
	case errors.Is(err, context.Canceled):
		// Nobody is there to read it.
	default:
		v.logger.Error("a page of the console failed", zap.String("path", v.r.URL.Path), zap.Error(err))
		v.fail(http.StatusInternalServerError, err.Error())
	}
}

// fail answers with a page that says what is wrong.
func (v *visit) fail(status int, text string) {
	v.render(status, "error", http.StatusText(status), struct{ Text string }{text})
}

// sentence makes one of an error.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// form returns a field of what was posted.
func (v *visit) form(name string) string { return strings.TrimSpace(v.r.PostFormValue(name)) }

// goOn leads to another page, which is then asked for by GET.
func (v *visit) goOn(path string) error {
	v.w.Header().Set("Location", v.Root+path)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// deliveryPath and the like are URLs relative to the mount.
func deliveryPath(event, subscription string) string {
	return "events/" + url.PathEscape(event) + "/deliveries/" + url.PathEscape(subscription)
}
