package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// maxShown is how much of a payload a page shows, in bytes.
const maxShown = 128 << 10

// shownPayload is text from outside, as a page shows it.
type shownPayload struct {
	Text string
	// Note says why it is not, or not whole, what was received.
	Note string
	// Hidden says that it takes a click to see it.
	Hidden bool
}

// eventPayload shows the data of an event, and returns what is not to be shown elsewhere.
func (v *visit) eventPayload(e *relay.Event) (shownPayload, []string) {
	if !e.Erased.IsZero() {
		return shownPayload{Note: "The data was erased."}, nil
	}
	data, hidden, note := e.Data, []string(nil), ""
	switch {
	case len(data) == 0:
		note = "The event has no data."
	case len(v.redact) > 0:
		var err error
		if data, hidden, err = v.redact.apply(e.Data); err != nil {
			return shownPayload{Note: "Not shown: " + err.Error() + "."}, nil
		}
	case payload.IsJSON(e.ContentType):
		data = indented(data)
	}
	return v.text(data, note), hidden
}

// text shows bytes from outside.
func (v *visit) text(data []byte, note string) shownPayload {
	if !v.payloads && len(data) > 0 {
		return shownPayload{Hidden: true, Note: note}
	}
	if len(data) > maxShown {
		note = strings.TrimSpace(fmt.Sprintf("%s Only the first %d KiB are shown.", note, maxShown>>10))
		data = data[:maxShown]
	}
	if !utf8.Valid(data) {
		return shownPayload{Text: string(bytes.ToValidUTF8(data, []byte("\uFFFD"))), Note: note}
	}
	return shownPayload{Text: string(data), Note: note}
}

// indented returns JSON with a line for each value, in the order in which it came.
func indented(data []byte) []byte {
	var out bytes.Buffer
	if json.Indent(&out, data, "", "  ") != nil {
		return data
	}
	return out.Bytes()
}

// excerpt shows what an endpoint answered. It may be an echo of what is not to be shown.
func (v *visit) excerpt(answer []byte, hidden []string) shownPayload {
	if len(answer) == 0 {
		return shownPayload{}
	}
	if len(v.redact) > 0 {
		if shown, more, err := v.redact.applyAnywhere(answer); err == nil {
			answer, hidden = shown, append(more, hidden...)
		}
	}
	return v.text([]byte(veil(string(answer), hidden)), "")
}
