package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// redacted stands in the place of what is not shown.
const redacted = "[redacted]"

// redaction are the paths into the data of events that are not shown. The elements of a
// list have the path of the list, as well as one with their index.
type redaction []payload.Path

func parseRedaction(paths []string) (redaction, error) {
	var all redaction
	for _, p := range paths {
		if p == "" || slices.Contains(strings.Split(p, "."), "") {
			return nil, fmt.Errorf("redact: %q is no path into the data; write the names of members with dots between them, e.g. customer.email", p)
		}
		path, err := payload.ParsePath(p)
		if err != nil {
			return nil, fmt.Errorf("redact: %w", err)
		}
		if above, _, found := strings.Cut(p, "*"); found {
			return nil, fmt.Errorf("redact: %q: there is no \"*\" in these paths; a path hides all that stands below it, as %q would", p, strings.TrimSuffix(above, "."))
		}
		all = append(all, path)
	}
	return all, nil
}

// quotedBy reports whether a clause with that text may quote what stands at one of the paths: it
// names the path, or what that is a part of.
func (r redaction) quotedBy(text string) bool {
	text = strings.ReplaceAll(text, `\`, "") // of names with dots
	return slices.ContainsFunc(r, func(p payload.Path) bool {
		if strings.Contains(text, strings.Join(p, ".")) {
			return true
		}
		for n := 1; n < len(p); n++ {
			parts := strings.Split(text, strings.Join(p[:n], "."))
			if slices.ContainsFunc(parts[1:], func(behind string) bool { return !strings.HasPrefix(behind, ".") }) {
				return true
			}
		}
		return false
	})
}

// errUnreadable means that there may be something that is not to be shown, and that nobody
// can tell where.
var errUnreadable = errors.New("the data is no JSON, and redact is set")

// apply returns the data of an event, which is JSON, without what stands at the paths, and the
// texts that stood there, so that they are not shown in other places either.
func (r redaction) apply(data []byte) (shown []byte, hidden []string, err error) {
	return r.within(data, false)
}

// applyAnywhere is apply for JSON that data may be a part of, as of a request or an answer: a path
// may begin at any depth.
func (r redaction) applyAnywhere(data []byte) (shown []byte, hidden []string, err error) {
	return r.within(data, true)
}

func (r redaction) within(data []byte, anywhere bool) (shown []byte, hidden []string, err error) {
	var out bytes.Buffer
	w := redactor{
		paths: r, anywhere: anywhere,
		in: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)),
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
	paths    redaction
	anywhere bool
	in       *jsontext.Decoder
	out      *jsontext.Encoder
	hidden   []string
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
	return slices.ContainsFunc(w.paths, func(p payload.Path) bool { return w.leads(all, p) || w.leads(names, p) })
}

// leads reports whether a way is a path, or ends in it.
func (w *redactor) leads(way []string, path payload.Path) bool {
	if beyond := len(way) - len(path); w.anywhere && beyond > 0 {
		way = way[beyond:]
	}
	return slices.Equal(way, path)
}

// leastHidden is how long a text must be to be looked for in other places, in bytes: a
// shorter one would be found everywhere.
const leastHidden = 3

// hide notes the strings and numbers in a value.
func (w *redactor) hide(v jsontext.Value) {
	d := jsontext.NewDecoder(bytes.NewReader(v), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		var scalar jsontext.Value
		var err error
		if kind := d.PeekKind(); kind == '"' || kind == '0' {
			scalar, err = d.ReadValue()
		} else {
			_, err = d.ReadToken()
		}
		if err != nil {
			return // the end: it was read before
		}
		for _, text := range spellings(scalar) {
			if len(text) >= leastHidden {
				w.hidden = append(w.hidden, text)
			}
		}
	}
}

// spellings returns what a string or number of JSON says, and how that may be written in other
// JSON: as it is here, and with escapes for all that is not ASCII, as json_encode of PHP and
// json.dumps of Python write it.
func spellings(scalar jsontext.Value) []string {
	if scalar.Kind() != '"' {
		return []string{string(scalar)}
	}
	said, err := jsontext.AppendUnquote(nil, scalar)
	if err != nil && len(said) == 0 {
		return nil
	}
	var ascii []byte
	for _, r := range string(said) {
		switch {
		case r < utf8.RuneSelf:
			quoted, _ := jsontext.AppendQuote(nil, string(r))
			ascii = append(ascii, quoted[1:len(quoted)-1]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			ascii = fmt.Appendf(ascii, `\u%04x\u%04x`, high, low)
		default:
			ascii = fmt.Appendf(ascii, `\u%04x`, r)
		}
	}
	all := []string{string(said), string(scalar[1 : len(scalar)-1]), string(ascii), strings.ReplaceAll(string(ascii), "/", `\/`)}
	slices.Sort(all)
	return slices.Compact(all)
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
