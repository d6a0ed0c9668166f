// Package transform makes the body of a request out of an event: by a Go template or by a
// jq program. It asks nobody, reads no file and no environment, and is bounded in time and
// size.
package transform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// Limits of one transformation. The first is less than any attempt takes; what is larger
// than the second would not have been taken as an event.
const (
	MaxTime = time.Second
	MaxSize = 1000 << 10 // bytes
)

// Transform makes a body. It may be used by many goroutines at once.
type Transform interface {
	// Apply returns the body for an event. Its error says why there is none.
	Apply(ctx context.Context, in Input) ([]byte, error)
}

// Input is an event as a transformation sees it: one object with the members id, type,
// source, subject, time and data.
type Input struct {
	ID, Type, Source, Subject string
	Time                      time.Time
	// ContentType is that of Data.
	ContentType string
	Data        []byte
}

// object returns the input as what encoding/json makes of one. Data that is no JSON is
// text; without data it is null. Numbers go through convert.
func (in *Input) object(convert func(json.Number) any) (map[string]any, error) {
	var data any
	switch {
	case len(in.Data) == 0:
	case payload.IsJSON(in.ContentType):
		d := json.NewDecoder(bytes.NewReader(in.Data))
		d.UseNumber()
		if err := d.Decode(&data); err != nil {
			return nil, fmt.Errorf("the data is no JSON, although its content type says so: %w", err)
		}
		data = numbers(data, convert)
	default:
		data = string(in.Data)
	}
	return map[string]any{
		"id": in.ID, "type": in.Type, "source": in.Source, "subject": in.Subject,
		"time": in.Time.UTC().Format(time.RFC3339Nano), "data": data,
	}, nil
}

// numbers converts all numbers in a value, in place.
func numbers(v any, convert func(json.Number) any) any {
	switch v := v.(type) {
	case json.Number:
		return convert(v)
	case []any:
		for i := range v {
			v[i] = numbers(v[i], convert)
		}
	case map[string]any:
		for name := range v {
			v[name] = numbers(v[name], convert)
		}
	}
	return v
}

// CheckJSON says why a body that is sent as JSON is none, or returns nil. The body itself is
// not shown.
func CheckJSON(body []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	if _, err := d.ReadValue(); err != nil {
		at := int(d.InputOffset())
		if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			at = int(syntax.ByteOffset)
		}
		at = min(at, len(body))
		return fmt.Errorf("the result is sent as JSON, and is none: it is wrong from byte %d (line %d)", at+1, 1+bytes.Count(body[:at], []byte{'\n'}))
	}
	if d.PeekKind() != jsontext.KindInvalid || len(bytes.TrimSpace(body[d.InputOffset():])) > 0 {
		return fmt.Errorf("the result is sent as JSON, and has more than one value: there is another from byte %d", d.InputOffset()+1)
	}
	return nil
}

func errTooLarge() error {
	return fmt.Errorf("the result has more than %d bytes", MaxSize)
}

func errTooSlow() error {
	return fmt.Errorf("it takes longer than %s", MaxTime)
}
