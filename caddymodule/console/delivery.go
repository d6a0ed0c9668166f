package console

import (
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/caddyrelay/caddyrelay/relay"
)

// deliveryPage is one delivery.
type deliveryPage struct {
	Delivery relay.Delivery
	Event    *relay.Event
	// Setup is the subscription of today; nil if the configuration has it no more.
	Setup *Subscription
	// Attempts come newest first.
	Attempts []attempt
	// Left is the number of attempts that are no longer kept.
	Left    int
	Request requestShown
}

// Due reports whether an attempt is to be made, or shown, within moments: the page then follows.
func (p *deliveryPage) Due() bool {
	return !p.Delivery.State.Finished() && p.Delivery.NextAttempt.IsZero()
}

// attempt is one try, as it is shown.
type attempt struct {
	relay.Attempt
	Answer shownPayload
}

// requestShown is the next request as it would be made now.
type requestShown struct {
	// Problem says why it could not be made, or shown.
	Problem string
	Method  string
	URL     string
	Fields  []field
	// Configured are what the configuration adds, without what is secret.
	Configured []Setting
	Body       shownPayload
	Curl       string
}

type field struct{ Name, Value string }

func (v *visit) delivery() error {
	e, err := v.engine.Event(v.context(), v.param("id"))
	if err != nil {
		return err
	}
	d, err := v.engine.Delivery(v.context(), e, v.param("subscription"))
	if err != nil {
		return err
	}
	_, hidden := v.eventPayload(e)
	p := deliveryPage{Delivery: d, Event: e, Left: d.AttemptCount - len(d.Attempts)}
	for _, a := range slices.Backward(d.Attempts) {
		a.Error = veil(a.Error, hidden)
		p.Attempts = append(p.Attempts, attempt{a, v.excerpt(a.Excerpt, hidden)})
	}
	if s, ok := v.options.Setup.Subscription(d.Subscription); ok {
		p.Setup = &s
		p.Request = v.request(e, &d, &s, hidden)
	}
	return v.show("delivery", e.Type+" to "+d.Subscription, &p)
}

// configuredWords are what the configuration adds to requests.
var configuredWords = []string{"header", "secret_header", "auth", "sign", "tls_client_auth"}

// request shows what would be sent now. What an attempt of the past has sent is not kept.
func (v *visit) request(e *relay.Event, d *relay.Delivery, s *Subscription, hidden []string) requestShown {
	preview, err := v.engine.Preview(v.context(), e, d.Subscription, d.AttemptCount+1)
	if err != nil {
		return requestShown{Problem: veil(err.Error(), hidden)}
	}
	shown := requestShown{Method: preview.Method, URL: s.URL}
	for name, values := range preview.Header {
		for _, value := range values {
			shown.Fields = append(shown.Fields, field{wireName(name), veil(value, hidden)})
		}
	}
	sort.Slice(shown.Fields, func(i, j int) bool { return shown.Fields[i].Name < shown.Fields[j].Name })
	for _, setting := range s.Settings {
		if slices.Contains(configuredWords, setting.Word) && setting.From != "built-in" {
			shown.Configured = append(shown.Configured, setting)
		}
	}
	shown.Body = v.body(preview, hidden)
	shown.Curl = v.curl(&shown, preview)
	return shown
}

// body shows the body of a request: the data, unless a transform or a format made
// something else of it.
func (v *visit) body(p *relay.Preview, hidden []string) shownPayload {
	if len(v.redact) == 0 {
		return v.text(p.Body, "")
	}
	body, more, err := v.redact.applyAnywhere(p.Body)
	if err != nil {
		return shownPayload{Note: "Not shown: the body is no JSON, and redact is set."}
	}
	return v.text([]byte(veil(string(body), append(more, hidden...))), "")
}

// wireName is how receivers of webhooks write a field's name.
func wireName(name string) string {
	if lower := strings.ToLower(name); strings.HasPrefix(lower, "webhook-") || strings.HasPrefix(lower, "trace") {
		return lower
	}
	return name
}

// data answers with the bytes of an event as they were received. Whatever they are, no
// browser does more than show them.
func (v *visit) data() error {
	e, err := v.engine.Event(v.context(), v.param("id"))
	switch {
	case err != nil:
		return err
	case len(v.redact) > 0:
		return &pageError{http.StatusForbidden, "The bytes as received are not shown, since redact is set."}
	case !e.Erased.IsZero():
		return &pageError{http.StatusGone, "The data of this event was erased."}
	}
	h := v.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	_, _ = v.w.Write(e.Data)
	return nil
}
