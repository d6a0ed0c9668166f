package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/intake"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// preview is what POST /relay/preview answers of an event.
type preview struct {
	Type          string                `json:"type"`
	Size          int                   `json:"size"`
	Subscriptions []subscriptionPreview `json:"subscriptions"`
}

// subscriptionPreview is what an event would be to one subscription.
type subscriptionPreview struct {
	Subscription string        `json:"subscription"`
	Matches      bool          `json:"matches"`
	Clauses      []view.Clause `json:"clauses"`
	// Request is null if the event does not match, or if Error says why none could be made.
	Request *requestPreview `json:"request"`
	Error   string          `json:"error,omitempty"`
}

// requestPreview is the first request, as far as nothing of it is secret.
type requestPreview struct {
	Method string      `json:"method"`
	Header http.Header `json:"header"`
	// Added are the words that add further fields, as the configuration has them: secrets are
	// not shown.
	Added []effectiveSetting `json:"added"`
	// Body is text; Base64 is there in its place where it is none.
	Body   string `json:"body"`
	Base64 []byte `json:"body_base64,omitempty"`
}

// adminPreview answers POST /relay/preview, which takes what POST /relay/events takes, with
// what would become of it. Nothing is stored, sent or asked for.
func adminPreview(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	taken := &previewed{Engine: engine}
	h, err := intake.New(intake.Options{
		Engine:       func(context.Context) (intake.Engine, error) { return taken, nil },
		MaxEventSize: relay.MaxDataSize,
		Catalogue:    a.catalogue,
	})
	if err != nil {
		return adminError(http.StatusInternalServerError, err)
	}
	answer := &answerBuffer{header: make(http.Header)}
	h.Accept(answer, r, "")
	if taken.events == nil {
		return answer.send(w) // a problem, as intake says it
	}
	all := make([]preview, len(taken.events))
	for i := range taken.events {
		if all[i], err = a.preview(r.Context(), engine, taken.events[i].Event); err != nil {
			return engineError(err)
		}
	}
	return writeJSON(w, http.StatusOK, page[preview]{Items: all})
}

func (a *App) preview(ctx context.Context, engine *relay.Relay, e *relay.Event) (preview, error) {
	explained, err := engine.ExplainNew(e)
	if err != nil {
		return preview{}, err
	}
	p := preview{Type: e.Type, Size: len(e.Data), Subscriptions: make([]subscriptionPreview, len(explained))}
	for i := range explained {
		x := &explained[i]
		s := subscriptionPreview{Subscription: x.Subscription, Matches: x.Matches, Clauses: view.NewExplanation(x).Clauses}
		if x.Matches {
			s.Request, err = a.requestPreview(ctx, engine, x)
			if err != nil {
				s.Error = err.Error()
			}
		}
		p.Subscriptions[i] = s
	}
	return p, nil
}

func (a *App) requestPreview(ctx context.Context, engine *relay.Relay, x *relay.Explanation) (*requestPreview, error) {
	made, err := engine.Preview(ctx, x.Event, x.Subscription, 1)
	if err != nil {
		return nil, err
	}
	p := &requestPreview{Method: made.Method, Header: made.Header, Added: []effectiveSetting{}}
	if utf8.Valid(made.Body) {
		p.Body = string(made.Body)
	} else {
		p.Base64 = made.Body
	}
	if i := slices.IndexFunc(a.Subscriptions, func(s *Subscription) bool { return s.Name == x.Subscription }); i >= 0 {
		for _, word := range a.effective(a.Subscriptions[i]) {
			if slices.Contains([]string{"header", "secret_header", "auth", "sign"}, word.Word) && len(word.Values) > 0 {
				p.Added = append(p.Added, word)
			}
		}
	}
	return p, nil
}

// previewed is an engine that only looks at what it is given.
type previewed struct {
	intake.Engine
	events []relay.Publication
}

// Publish keeps the events for the caller.
func (p *previewed) Publish(_ context.Context, events []relay.Publication, _ *relay.Key) ([]relay.Receipt, error) {
	p.events = events
	return nil, errPreview // nothing was accepted, and intake shall not say so
}

var errPreview = errors.New("this is a preview")

// answerBuffer keeps an answer.
type answerBuffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (b *answerBuffer) Header() http.Header { return b.header }

// WriteHeader implements [http.ResponseWriter].
func (b *answerBuffer) WriteHeader(status int) { b.status = status }

// Write implements [http.ResponseWriter].
func (b *answerBuffer) Write(p []byte) (int, error) { return b.body.Write(p) }

func (b *answerBuffer) send(w http.ResponseWriter) error {
	for field, values := range b.header {
		w.Header()[field] = values
	}
	w.WriteHeader(b.status)
	_, _ = w.Write(b.body.Bytes()) // who does not read it has left
	return nil
}
