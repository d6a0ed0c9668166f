package expression

import (
	"errors"

	"cel.dev/cel-go/common/types/ref"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// response is a [Response] with its body, once that was asked for.
type response struct {
	*Response
	document *payload.Document
}

// json reads the body. It comes from outside: nobody has checked it.
func (r *response) json() (ref.Val, error) {
	if r.document == nil {
		if !jsontext.Value(r.Body).IsValid(payload.Lenient...) {
			return nil, errors.New("the body of the response is no JSON")
		}
		r.document = payload.OpenDocument(r.Body)
	}
	return toCEL(r.document.Root()), nil
}

func (r *response) close() {
	if r.document != nil {
		r.document.Close()
	}
}
