package transform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/itchyny/gojq"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// JQ makes a body by a jq program. It has one result, which is written as JSON; text that is
// sent as another content type is written as it is.
type JQ struct {
	code *gojq.Code
	// plain says that text is not written as JSON.
	plain bool
}

// NewJQ compiles a program whose result is sent as a content type. It has no modules, no
// further input and no environment.
func NewJQ(program, contentType string) (*JQ, error) {
	query, err := gojq.Parse(program)
	if err != nil {
		return nil, parseError(program, err)
	}
	if err := boundRepetitions(query); err != nil {
		return nil, err
	}
	code, err := gojq.Compile(query, withRepetitionCheck)
	if err != nil {
		return nil, err
	}
	return &JQ{code: code, plain: !payload.IsJSON(contentType)}, nil
}

// parseError adds the place to an error of the parser.
func parseError(program string, err error) error {
	parse, ok := errors.AsType[*gojq.ParseError](err)
	if !ok {
		return err
	}
	at := min(max(parse.Offset-len(parse.Token), 0), len(program))
	before := program[:at]
	line := 1 + strings.Count(before, "\n")
	column := at - strings.LastIndexByte(before, '\n')
	return fmt.Errorf("line %d, column %d: %w", line, column, err)
}

// Apply implements [Transform].
func (j *JQ) Apply(ctx context.Context, in Input) ([]byte, error) {
	object, err := in.object(func(n json.Number) any { return n })
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, MaxTime, errTooSlow())
	defer cancel()
	results := j.code.RunWithContext(ctx, object)
	result, ok := results.Next()
	if !ok {
		return nil, errors.New("there is no result; to leave an event out, use filter or expression")
	}
	if err, failed := result.(error); failed {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, withoutValues(err)
	}
	if _, more := results.Next(); more {
		return nil, errors.New("there is more than one result; put them into an array: [ ... ]")
	}
	if text, ok := result.(string); ok && j.plain {
		return sized([]byte(text))
	}
	body, err := gojq.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("writing the result: %w", err)
	}
	return sized(body)
}

func sized(body []byte) ([]byte, error) {
	if len(body) > MaxSize {
		return nil, errTooLarge()
	}
	return body, nil
}

// withoutValues cuts what an error of jq shows of the data, which is none of a log's. What
// the program itself says by error/1 stays.
func withoutValues(err error) error {
	if _, halted := errors.AsType[*gojq.HaltError](err); halted {
		return errors.New("the program has halted")
	}
	if said, ok := errors.AsType[gojq.ValueError](err); ok {
		if text, ok := said.Value().(string); ok {
			return errors.New(text)
		}
		return errors.New("the program ended with an error that is no text")
	}
	text := err.Error()
	if at := strings.IndexAny(text, `("{[`); at >= 0 {
		text = strings.TrimRight(text[:at], " :")
	}
	return errors.New(text)
}
