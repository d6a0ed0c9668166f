package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/intake"
)

func init() { caddy.RegisterModule(new(Intake)) }

// Intake takes events for the relay app: `POST /v1/events/{type}` with JSON, and to
// `/v1/events` envelopes, CloudEvents and batches of both.
// It answers 202 once an event is safe on disk. It answers every request that reaches
// it, with 404 where it does not know the path.
//
// Without a token it only takes requests that arrived on a loopback address or a unix
// socket and passed no proxy.
type Intake struct {
	// Tokens that senders may use as `Authorization: Bearer`; several for a rotation.
	// They should be placeholders, `{file.*}` or `{env.*}`. Default: none; only this
	// machine may send.
	Tokens []string `json:"tokens,omitempty"`

	// The largest body that is taken, at most 1000 KiB. Default: 512 KiB
	MaxEventSize Size `json:"max_event_size,omitempty"`

	// The largest number of events in one request, 1 to 10000. The body of a batch has at
	// most 2 MiB, whatever this says. Default: 1000
	MaxBatch int `json:"max_batch,omitempty"`

	// The source of events that name none.
	DefaultSource string `json:"default_source,omitempty"`

	// Where the type of an event stands in a request to `/v1/events` whose body is the
	// data; the first that finds something counts.
	TypeFrom []intake.Locator `json:"type_from,omitempty"`

	// Where an idempotency key stands, if `Idempotency-Key` does not say.
	KeyFrom []intake.Locator `json:"key_from,omitempty"`

	// Systems whose webhooks are taken as they are, `phraseanet` or `contentful`: where
	// they carry type and key is added to type_from and key_from.
	Accept []string `json:"accept,omitempty"`

	// Host names that requests may be addressed to, beside localhost and loopback
	// addresses.
	Hosts []string `json:"hosts,omitempty"`

	handler http.Handler
}

// accepted are the values of accept.
var accepted = map[string]func() (typeFrom, keyFrom []intake.Locator){
	"phraseanet": intake.AcceptPhraseanet,
	"contentful": intake.AcceptContentful,
}

// CaddyModule returns the Caddy module information.
func (*Intake) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.relay_intake",
		New: func() caddy.Module { return new(Intake) },
	}
}

// Provision checks the options, resolves tokens and finds the app.
func (h *Intake) Provision(ctx caddy.Context) error {
	if err := h.check(); err != nil {
		return fmt.Errorf("relay_intake: %w", err)
	}
	app, err := neededApp(ctx, "relay_intake")
	if err != nil {
		return err
	}
	if err := h.build(app, ctx.Logger()); err != nil {
		return fmt.Errorf("relay_intake: %w", err)
	}
	return nil
}

// leastToken is how many characters a token should have.
const leastToken = 16

// build resolves the tokens and makes the handler.
func (h *Intake) build(app *App, logger *zap.Logger) error {
	options, err := h.options()
	if err != nil {
		return err
	}
	var warnings []string
	if options.Tokens, warnings, err = h.resolveTokens(); err != nil {
		return err
	}
	for _, text := range warnings {
		logger.Warn("relay_intake: " + text)
	}
	// The relay's own logger, so that one log collects all that it says.
	options.Logger = app.logger.Named("intake")
	options.Observer = app.intakeObserver()
	options.Catalogue = app.catalogue
	options.Engine = func(ctx context.Context) (intake.Engine, error) {
		engine, err := app.Relay(ctx)
		if err != nil {
			return nil, err // and no nil *Relay in an interface
		}
		return engine, nil
	}
	handler, err := newIntake(options)
	if err != nil {
		return err
	}
	h.handler = app.tracing.wrap(handler)
	return nil
}

// resolveTokens returns the tokens, and what is allowed but should not be.
func (h *Intake) resolveTokens() (tokens, warnings []string, err error) {
	for _, token := range h.Tokens {
		if !hasPlaceholder(token) {
			warnings = append(warnings, "token: "+literalWarning)
		}
		resolved, err := resolve(token)
		if err != nil {
			return nil, nil, fmt.Errorf("token: %w", err)
		}
		if n := utf8.RuneCountInString(resolved); n < leastToken {
			warnings = append(warnings, fmt.Sprintf("token: it has %d characters, which can be found by trying; use at least %d, e.g. what this prints: caddy relay secret", n, leastToken))
		}
		tokens = append(tokens, resolved)
	}
	return tokens, warnings, nil
}

// check judges everything but the tokens.
func (h *Intake) check() error {
	if h.MaxEventSize < 0 || h.MaxEventSize > relay.MaxDataSize {
		return fmt.Errorf("max_event_size: %d bytes are not possible; write a size from 1B to 1000KiB", int64(h.MaxEventSize))
	}
	if h.MaxBatch < 0 || h.MaxBatch > intake.MaxMaxBatch {
		return fmt.Errorf("max_batch: %d events are not possible; write a number from 1 to %d", h.MaxBatch, intake.MaxMaxBatch)
	}
	options, err := h.options()
	if err != nil {
		return err
	}
	options.Engine = func(context.Context) (intake.Engine, error) { return nil, errNotStarted }
	_, err = newIntake(options)
	return err
}

// options returns those of the handler that need no secret.
func (h *Intake) options() (intake.Options, error) {
	o := intake.Options{
		MaxEventSize:  int(h.MaxEventSize),
		MaxBatch:      h.MaxBatch,
		DefaultSource: h.DefaultSource,
		TypeFrom:      h.TypeFrom,
		KeyFrom:       h.KeyFrom,
		Hosts:         h.Hosts,
	}
	var types, keys []intake.Locator
	for _, name := range h.Accept {
		locators, ok := accepted[name]
		if !ok {
			return o, fmt.Errorf("accept: unknown system %q; known: %s", name, knownNames(accepted))
		}
		typeFrom, keyFrom := locators()
		types, keys = append(types, typeFrom...), append(keys, keyFrom...)
	}
	o.TypeFrom = slices.Concat(o.TypeFrom, headersFirst(types))
	o.KeyFrom = slices.Concat(o.KeyFrom, headersFirst(keys))
	return o, nil
}

// headersFirst puts locators of header fields before those of the body. A field belongs to
// one system, while a member may be in the bodies of others: a content type of
// Contentful has a "name".
func headersFirst(locators []intake.Locator) []intake.Locator {
	slices.SortStableFunc(locators, func(a, b intake.Locator) int {
		switch {
		case (a.Header == "") == (b.Header == ""):
			return 0
		case a.Header != "":
			return -1
		}
		return 1
	})
	return locators
}

// newIntake is intake.New with errors in the words of a configuration.
func newIntake(o intake.Options) (*intake.Handler, error) {
	h, err := intake.New(o)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "intake: "))
	}
	return h, nil
}

// ServeHTTP takes a request; there is no next handler for it.
func (h *Intake) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	h.handler.ServeHTTP(w, r)
	return nil
}

var (
	_ caddy.Provisioner           = (*Intake)(nil)
	_ caddyhttp.MiddlewareHandler = (*Intake)(nil)
	_ caddyfile.Unmarshaler       = (*Intake)(nil)
)
