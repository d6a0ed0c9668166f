package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/intake"
)

// Draft implements [console.Setup]: it judges the lines of a subscription as a Caddyfile
// that has them would be judged, by the same code, and returns what chooses its events.
// Placeholders stay what they are: nothing is read for them.
func (s consoleSetup) Draft(text string) (*relay.Subscription, error) {
	tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
	if err != nil {
		return nil, err
	}
	d := caddyfile.NewDispenser(tokens)
	d.Next()
	draft := new(Subscription)
	if err := draft.declare(d.RemainingArgs()); err != nil {
		return nil, err
	}
	var regionAt *caddyfile.Dispenser
	if err := nestedBlock(d, fmt.Sprintf("subscription %q", draft.Name), settingsWords(d, &draft.Settings, &regionAt)); err != nil {
		return nil, err
	}
	if d.Next() {
		return nil, errors.New("something follows the subscription")
	}
	if slices.ContainsFunc(s.app.Subscriptions, func(other *Subscription) bool { return other.Name == draft.Name }) {
		return nil, fmt.Errorf("subscription %q: the configuration has one of this name already; names are unique", draft.Name)
	}
	if err := draft.check(); err != nil {
		return nil, err
	}
	if err := s.app.checkWithin(draft, nil); err != nil {
		return nil, err
	}
	effective := draft.Settings.over(s.app.Defaults)
	built := &relay.Subscription{Name: draft.Name, Expression: effective.condition}
	if built.Topics, err = parseTopics(effective.Topics); err != nil {
		return nil, draft.wrap(err)
	}
	if built.Filters, err = effective.buildFilters(); err != nil {
		return nil, draft.wrap(err)
	}
	return built, nil
}

// Publish implements [console.Setup]: the event is judged as the intake judges those of
// applications.
func (s consoleSetup) Publish(ctx context.Context, typ string, data []byte) (string, error) {
	h, err := intake.New(intake.Options{
		Engine:       func(ctx context.Context) (intake.Engine, error) { return s.app.Relay(ctx) },
		MaxEventSize: relay.MaxDataSize,
		Catalogue:    s.app.catalogue,
		Logger:       s.app.logger.Named("intake"),
		Observer:     s.app.intakeObserver(),
	})
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "/v1/events/"+url.PathEscape(typ), bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	answer := answerKept{header: make(http.Header)}
	h.Accept(&answer, request, typ)
	var said struct{ ID, Title, Detail string }
	if err := json.Unmarshal(answer.body.Bytes(), &said); err != nil {
		return "", fmt.Errorf("reading the answer of the intake: %w", err)
	}
	if answer.status != http.StatusAccepted {
		return "", errors.New(said.Title + ": " + said.Detail)
	}
	return said.ID, nil
}

// answerKept keeps what a handler answers.
type answerKept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (a *answerKept) Header() http.Header { return a.header }

// WriteHeader implements [http.ResponseWriter].
func (a *answerKept) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements [http.ResponseWriter].
func (a *answerKept) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}
