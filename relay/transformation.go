package relay

import (
	"context"

	"github.com/caddyrelay/caddyrelay/relay/payload"
	"github.com/caddyrelay/caddyrelay/relay/transform"
)

// Transformation makes the body of each request.
type Transformation struct {
	transform.Transform
	// ContentType is that of what it makes. Empty: that of the event's data.
	ContentType string
}

// apply replaces the body of a message. What is sent as JSON must be JSON.
func (t *Transformation) apply(ctx context.Context, m *message, e *Event) error {
	body, err := t.Apply(ctx, transform.Input{
		ID: e.ID, Type: e.Type, Source: e.Source, Subject: e.Subject, Time: e.When(),
		ContentType: e.ContentType, Data: e.Data,
	})
	if err != nil {
		return err
	}
	if t.ContentType != "" {
		m.contentType, m.typed = t.ContentType, true
	}
	if payload.IsJSON(m.contentType) {
		if err := transform.CheckJSON(body); err != nil {
			return err
		}
	}
	m.body = body
	return nil
}
