package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// redacted stands in the place of what is not shown.
const redacted = "[redacted]"

// redaction are the paths into the data of events that are not shown. The elements of a
// list have the path of the list, as well as one with their index.
type redaction []string

func parseRedaction(paths []string) (redaction, error) {
	for _, p := range paths {
		if p == "" || slices.Contains(strings.Split(p, "."), "") {
			return nil, fmt.Errorf("redact: %q is no path into the data; write the names of members with dots between them, e.g. customer.email", p)
		}
		if _, err := payload.ParsePath(p); err != nil {
			return nil, fmt.Errorf("redact: %w", err)
		}
		if above, _, found := strings.Cut(p, "*"); found {
			return nil, fmt.Errorf("redact: %q: there is no \"*\" in these paths; a path hides all that stands below it, as %q would", p, strings.TrimSuffix(above, "."))
		}
	}
	return redaction(paths), nil
}

// errUnreadable means that there may be something that is not to be shown, and that nobody
// can tell where.
var errUnreadable = errors.New("the data is no JSON, and redact is set")

// apply returns JSON without what stands at the paths, and the texts that stood there, so
// that they are not shown in other places either.
func (r redaction) apply(data []byte) (shown []byte, hidden []string, err error) {
	var out bytes.Buffer
	w := redactor{
		paths: r,
		in:    jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)),
		out: jsontext.NewEncoder(&out, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.WithIndent("  "),
			jsontext.PreserveRawStrings(true)),
	}
	if err := w.value(nil); err != nil {
		return nil, nil, errUnreadable
	}
	if _, err := w.in.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, nil, errUnreadable
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), w.hidden, nil
}

// redactor copies JSON.
type redactor struct {
	paths  redaction
	in     *jsontext.Decoder
	out    *jsontext.Encoder
	hidden []string
}

// step is a part of the way to a value.
type step struct {
	name    string
	element bool
}

// value copies the next value, which stands at the end of way.
func (w *redactor) value(way []step) error {
	if w.covered(way) {
		v, err := w.in.ReadValue()
		if err != nil {
			return err
		}
		w.hide(v)
		return w.out.WriteToken(jsontext.String(redacted))
	}
	switch w.in.PeekKind() {
	case '{':
		return w.container('}', func(int) (step, error) {
			name, err := w.in.ReadToken()
			if err != nil {
				return step{}, err
			}
			text := name.String()
			return step{name: text}, w.out.WriteToken(jsontext.String(text))
		}, way)
	case '[':
		return w.container(']', func(i int) (step, error) { return step{fmt.Sprint(i), true}, nil }, way)
	default:
		v, err := w.in.ReadValue()
		if err != nil {
			return err
		}
		return w.out.WriteValue(v)
	}
}

func (w *redactor) container(end jsontext.Kind, next func(i int) (step, error), way []step) error {
	open, err := w.in.ReadToken()
	if err != nil {
		return err
	}
	if err := w.out.WriteToken(open); err != nil {
		return err
	}
	for i := 0; w.in.PeekKind() != end; i++ {
		s, err := next(i)
		if err == nil {
			err = w.value(append(way, s))
		}
		if err != nil {
			return err
		}
	}
	last, err := w.in.ReadToken()
	if err != nil {
		return err
	}
	return w.out.WriteToken(last)
}

// covered reports whether a way is one of the paths, with or without the indices in it.
func (w *redactor) covered(way []step) bool {
	if len(way) == 0 || len(w.paths) == 0 {
		return false
	}
	var all, names []string
	for _, s := range way {
		all = append(all, s.name)
		if !s.element {
			names = append(names, s.name)
		}
	}
	return slices.Contains(w.paths, strings.Join(all, ".")) || slices.Contains(w.paths, strings.Join(names, "."))
}

// leastHidden is how long a text must be to be looked for in other places, in bytes: a
// shorter one would be found everywhere.
const leastHidden = 3

// hide notes the strings and numbers in a value.
func (w *redactor) hide(v jsontext.Value) {
	d := jsontext.NewDecoder(bytes.NewReader(v), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := d.ReadToken()
		if err != nil {
			return // the end: it was read before
		}
		if kind := token.Kind(); kind != '"' && kind != '0' {
			continue
		}
		if text := token.String(); len(text) >= leastHidden {
			w.hidden = append(w.hidden, text)
		}
	}
}

// veil takes texts that are not to be shown out of another one. The longest come first,
// since one may be a part of another.
func veil(text string, hidden []string) string {
	slices.SortFunc(hidden, func(a, b string) int { return len(b) - len(a) })
	for _, h := range hidden {
		text = strings.ReplaceAll(text, h, redacted)
	}
	return text
}
