package caddymodule

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/sink"
)

func init() { caddy.RegisterModule(new(Sink)) }

// Sink is a receiver of webhooks for trying things out. It verifies and logs each
// request, and shows the last ones at `GET /`. It needs no relay app.
type Sink struct {
	// The secret of the subscription. With one, requests must carry a Standard Webhooks
	// signature of it, others get 401. It should be a placeholder, `{file.*}` or
	// `{env.*}`. Default: none, nothing is checked.
	Secret string `json:"secret,omitempty"`

	// The part of the requests that fails on purpose, 0 to 1. Default: 0
	FailShare float64 `json:"fail_share,omitempty"`

	// The status that they get, 300 to 599. Default: 503
	FailStatus int `json:"fail_status,omitempty"`

	// Whether the first attempt of each delivery fails, with that status. The Caddyfile has
	// no word for it. Default: false
	FailFirst bool `json:"fail_first,omitempty"`

	// The time before each answer. Default: none
	Delay Duration `json:"delay,omitempty"`

	sink *sink.Sink
}

// CaddyModule returns the Caddy module information.
func (*Sink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.relay_sink",
		New: func() caddy.Module { return new(Sink) },
	}
}

// Provision checks the options and resolves the secret.
func (s *Sink) Provision(ctx caddy.Context) error {
	options := s.options()
	logger := ctx.Logger()
	if s.Secret != "" {
		secret, err := resolve(s.Secret)
		if err != nil {
			return fmt.Errorf("relay_sink: secret: %w", err)
		}
		if !hasPlaceholder(s.Secret) {
			logger.Warn("relay_sink: secret: " + literalWarning)
		}
		options.Secret = secret
	}
	options.OnRequest = func(r sink.Record) {
		logger.Info("received a delivery",
			zap.String("event", r.ID), zap.String("type", r.Type), zap.String("subscription", r.Subscription),
			zap.Int("attempt", r.Attempt), zap.Int("status", r.Status), zap.Bool("verified", r.Verified),
			zap.Bool("simulated", r.Simulated), zap.Int("size", r.BodySize), zap.String("error", r.Error))
	}
	var err error
	if s.sink, err = sink.New(options); err != nil {
		return fmt.Errorf("relay_sink: %w", err)
	}
	return nil
}

// options returns those that need no secret.
func (s *Sink) options() sink.Options {
	return sink.Options{FailShare: s.FailShare, FailFirst: s.FailFirst, FailStatus: s.FailStatus, Delay: time.Duration(s.Delay)}
}

// check judges everything but the secret.
func (s *Sink) check() error {
	_, err := sink.New(s.options())
	return err
}

// ServeHTTP takes a request; there is no next handler for it.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	s.sink.ServeHTTP(w, r)
	return nil
}

var (
	_ caddy.Provisioner           = (*Sink)(nil)
	_ caddyhttp.MiddlewareHandler = (*Sink)(nil)
	_ caddyfile.Unmarshaler       = (*Sink)(nil)
)
