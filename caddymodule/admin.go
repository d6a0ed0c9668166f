package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
)

func init() { caddy.RegisterModule(Admin{}) }

// Admin adds the relay's routes to Caddy's admin endpoint, under /relay/. They always
// answer from the configuration that is running.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.relay",
		New: func() caddy.Module { return Admin{} },
	}
}

// Routes implements [caddy.AdminRouter].
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPrefix, Handler: caddy.AdminHandlerFunc(serveAdmin)}}
}

const adminPrefix = "/relay/"

// adminHandler answers one route from a running engine.
type adminHandler func(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error

// adminRoutes are the routes of the API, in the patterns of [http.ServeMux].
var adminRoutes = map[string]adminHandler{
	"GET /relay/status":           adminStatus,
	"GET /relay/events":           adminEvents,
	"POST /relay/events":          adminPublish,
	"POST /relay/preview":         adminPreview,
	"GET /relay/events/{id}":      adminEvent,
	"DELETE /relay/events/{id}":   adminErase,
	"GET /relay/events/{id}/data": adminEventData,
	"GET /relay/deliveries":       adminDeliveries,
	"GET /relay/stream":           adminStream,
	"GET /relay/export":           adminExport,
	"POST /relay/import":          adminImport,
	"GET /relay/explain":          adminExplain,
	"GET /relay/egress":           adminEgress,
	"GET /relay/egress/check":     adminEgressCheck,
	"GET /relay/machine":          adminMachine,

	"GET /relay/subscriptions/{name}":                          adminSubscription,
	"POST /relay/subscriptions/{name}/pause":                   adminPause,
	"POST /relay/subscriptions/{name}/resume":                  adminResume,
	"POST /relay/subscriptions/{name}/drop":                    adminDrop,
	"POST /relay/subscriptions/{name}/test":                    adminTest,
	"POST /relay/events/{id}/deliveries/{subscription}/replay": adminReplayOne,
	"POST /relay/replay":                                       adminReplay,
	"GET /relay/jobs/{id}":                                     adminJob,
	"DELETE /relay/jobs/{id}":                                  adminCancelJob,

	"GET /relay/health/live":  adminLive,
	"GET /relay/health/ready": adminReady,
}

// adminMux finds the route of a request; the routes' errors go back to Caddy's admin
// endpoint, which is why they do not answer through the mux itself.
var adminMux = func() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern := range adminRoutes {
		mux.Handle(pattern, http.NotFoundHandler())
	}
	return mux
}()

func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	_, pattern := adminMux.Handler(r)
	handler := adminRoutes[pattern]
	if handler == nil {
		return unknownRoute(w, r)
	}
	a, engine, err := runningRelay(r.Context())
	if err != nil {
		return err
	}
	// The mux finds routes, and sets path values only where it serves them itself.
	id, subscription := pathValues(r.URL.EscapedPath())
	r.SetPathValue("id", id)
	r.SetPathValue("subscription", subscription)
	return handler(w, r, a, engine)
}

// unknownRoute tells a path that does not exist from one that takes other methods, which
// the field Allow lists (RFC 9110, section 15.5.6).
func unknownRoute(w http.ResponseWriter, r *http.Request) error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := adminMux.Handler(other); adminRoutes[pattern] != nil {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return adminError(http.StatusNotFound, fmt.Errorf("there is no %s; see the admin API's page in the documentation", r.URL.Path))
	}
	methods := strings.Join(allowed, ", ")
	w.Header().Set("Allow", methods)
	return adminError(http.StatusMethodNotAllowed, fmt.Errorf("%s takes %s, not %s", r.URL.Path, methods, r.Method))
}

// runningRelay returns the app of the configuration that is running, with its engine.
func runningRelay(ctx context.Context) (*App, *relay.Relay, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("relay")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, nil, adminError(http.StatusNotFound, errors.New("the running configuration has no relay; add the global option: relay { ... }"))
	}
	if err != nil {
		return nil, nil, adminError(http.StatusInternalServerError, err)
	}
	a := app.(*App)
	engine, err := a.Relay(ctx)
	if err != nil {
		return nil, nil, adminError(http.StatusServiceUnavailable, err)
	}
	return a, engine, nil
}

// adminError is an error as Caddy's admin endpoint gives them. It must be this value:
// neither a pointer nor a wrapped one is recognised there.
func adminError(status int, err error) error {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// engineError translates an error of the engine.
func engineError(err error) error {
	status := http.StatusInternalServerError
	var cursor *relay.CursorError
	var unknown *relay.UnknownNameError
	var selection *relay.SelectionError
	switch {
	case errors.Is(err, relay.ErrNotFound), errors.Is(err, relay.ErrNoDelivery), errors.As(err, &unknown):
		status = http.StatusNotFound
	case errors.Is(err, relay.ErrNotMovable):
		status = http.StatusNotImplemented
	case errors.Is(err, relay.ErrUnfinished), errors.Is(err, relay.ErrErased), errors.Is(err, relay.ErrPausedByConfiguration):
		status = http.StatusConflict
	case errors.As(err, &cursor), errors.As(err, &selection):
		status = http.StatusBadRequest
	case errors.Is(err, relay.ErrClosed), errors.Is(err, relay.ErrBroken), errors.Is(err, relay.ErrFull):
		status = http.StatusServiceUnavailable
	}
	return adminError(status, err)
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return adminError(http.StatusInternalServerError, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		caddy.Log().Named("relay").Debug("an answer of the admin API was not read", zap.Error(err))
	}
	return nil
}

// Interface guard.
var _ caddy.AdminRouter = Admin{}
