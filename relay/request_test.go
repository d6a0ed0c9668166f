package relay_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// post publishes an event with all its attributes and returns its receipt.
func (w *world) post(e *relay.Event) relay.Receipt {
	w.t.Helper()
	receipts, err := w.engine.Publish(context.Background(), []relay.Publication{{Event: e}}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return receipts[0]
}

func textOf(t testing.TB, text string) *relay.Text {
	t.Helper()
	parsed, err := relay.ParseText(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func guard(t testing.TB) *destination.Guard {
	t.Helper()
	g, err := destination.New(destination.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// template makes that of a URL as the configuration does.
func template(t testing.TB, raw string) (*relay.URLTemplate, error) {
	t.Helper()
	marked, err := relay.MarkURL(raw)
	if err != nil {
		return nil, err
	}
	judged, err := guard(t).CheckURL(marked)
	if err != nil {
		return nil, err
	}
	return relay.NewURLTemplate(raw, judged, guard(t).CheckURL)
}

func TestHeaderFieldsTakeValuesOfTheEvent(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to)
		s.Header = []relay.HeaderRule{
			{Op: '=', Field: "X-Event", Text: textOf(t, "{event.type}/{event.id}")},
			{Op: '+', Field: "X-Tag", Text: textOf(t, "for {event.data.customer.name}")},
			{Op: '+', Field: "X-Tag", Value: "{event.type}"}, // what is no text is not replaced
			{Op: '=', Field: "X-Absent", Text: textOf(t, "<{event.subject}>")},
		}
		w.plan(s)
		id := w.publish("order.paid", `{"customer":{"name":"{env.PATH} {event.id} {file./etc/passwd}"}}`).ID
		w.wait(time.Second)
		h := to.all()[0].header
		if h.Get("X-Event") != "order.paid/"+id || h.Get("X-Absent") != "<>" {
			t.Errorf("%v", h)
		}
		if got := strings.Join(h["X-Tag"], "|"); got != "for {env.PATH} {event.id} {file./etc/passwd}|{event.type}" {
			t.Errorf("X-Tag: %s; what an event says must stay text", got)
		}
	})
}

// What cannot stand in a header field fails the attempt, and nothing is sent.
func TestHeaderInjectionIsRefused(t *testing.T) {
	for value, want := range map[string]string{
		"a\r\nX-Evil: 1":          "{event.data.v} has a line break in it, which a header field cannot carry",
		"a\n":                     "line break",
		"a\rb":                    "line break",
		"a\x00b":                  "control character",
		"a\x7f":                   "control character",
		"Zoë":                     "a character outside ASCII",
		strings.Repeat("a", 8193): "has 8193 bytes, and at most 8192",
	} {
		run(t, func(w *world) {
			var to receiver
			s := subscription("crm", &to)
			s.Retry = relay.RetryPolicy{Off: true}
			s.Header = []relay.HeaderRule{{Op: '=', Field: "X-Value", Text: textOf(t, "v={event.data.v}")}}
			w.plan(s)
			quoted, err := json.Marshal(map[string]string{"v": value})
			if err != nil {
				t.Fatal(err)
			}
			id := w.publish("a", string(quoted)).ID
			w.wait(time.Second)
			d := w.delivery(id)
			if len(to.all()) != 0 || d.State != relay.StateFailed || d.Attempts[0].ErrorKind != relay.KindTransform {
				t.Errorf("%.20q: %d requests, %+v", value, len(to.all()), d)
			}
			if got := d.Attempts[0].Error; !strings.Contains(got, "header X-Value: ") || !strings.Contains(got, want) {
				t.Errorf("%.20q: %s; want %s", value, got, want)
			}
		})
	}
}

func TestURLsTakeValuesOfTheEvent(t *testing.T) {
	for _, tt := range []struct{ raw, data, want string }{
		{"https://api.example.com/items/{event.data.id}", `{"id":"a b"}`, "https://api.example.com/items/a%20b"},
		{"https://api.example.com/items/{event.data.id}.json?v={event.data.id}&t={event.type}", `{"id":"ä/ö?#&%"}`, "https://api.example.com/items/%C3%A4%2F%C3%B6%3F%23&%25.json?v=%C3%A4%2F%C3%B6%3F%23%26%25&t=order.paid"},
		{"https://API.example.com:443?x={event.data.missing}", `{}`, "https://api.example.com/?x="},
		{"https://api.example.com/{event.type}/{event.data.n}", `{"n":-1.50}`, "https://api.example.com/order.paid/-1.50"},
		{"https://api.example.com/a%2Fb/{event.data.id}", `{"id":"..."}`, "https://api.example.com/a%2Fb/..."},
		{"https://api.example.com/{event.data.id}", `{"id":"{event.type}"}`, "https://api.example.com/%7Bevent.type%7D"},
		{"https://api.example.com/x?q={event.data.id}", `{"id":"../..//\r\nHost: evil"}`, "https://api.example.com/x?q=..%2F..%2F%2F%0D%0AHost%3A+evil"},
		{"https://api.example.com/{event.data.id}", `{"id":"//evil.example.com"}`, "https://api.example.com/%2F%2Fevil.example.com"},
		{"https://api.example.com/{event.data.id}", `{"id":"@evil.example.com:80"}`, "https://api.example.com/@evil.example.com:80"},
	} {
		u, err := template(t, tt.raw)
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
			continue
		}
		got, err := u.URL(&relay.Event{ID: "evt_1", Type: "order.paid", Data: []byte(tt.data)})
		if err != nil || got.String() != tt.want {
			t.Errorf("%s with %s: %v, %v; want %s", tt.raw, tt.data, got, err, tt.want)
		}
	}
}

func TestURLsThatWouldLeadElsewhereAreRefused(t *testing.T) {
	for _, raw := range []string{
		"https://{event.data.host}/", "https://{event.data.host}.example.com/", "{event.data.scheme}://example.com/", "https://example.com:{event.data.port}/",
		"https://{event.id}@example.com/", "{event.data.url}", "{event.data.url}/x", "https://example.com{event.data.path}",
	} {
		if _, err := template(t, raw); err == nil || !strings.Contains(err.Error(), "may only stand in the path or the query") {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if _, err := template(t, "https://example.com/a/../{event.id}"); err == nil || !strings.Contains(err.Error(), `a segment "." or ".."`) {
		t.Error(err)
	}
	if _, err := template(t, "https://example.com/{event.nothing}"); err == nil || !strings.Contains(err.Error(), "is not known") {
		t.Error(err)
	}
	if _, err := template(t, "https://example.com/{event.id"); err == nil || !strings.Contains(err.Error(), "has no end") {
		t.Error(err)
	}
	u, err := template(t, "https://api.example.com/items/.{event.data.id}?q={event.data.q}")
	if err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]string{
		`{}`:                      "{event.data.id} is empty for this event",
		`{"id":""}`:               "is empty for this event",
		`{"id":null}`:             "is empty for this event",
		`{"id":"."}`:              `a segment "." or ".."`,
		`{"id":"/../admin"}`:      `a segment "." or ".."`,
		`{"id":"a\\..\\b"}`:       `a segment "." or ".."`,
		`{"id":"x/%2e%2e/admin"}`: `a segment "." or ".."`,
		`{"id":"/..;/admin"}`:     `a segment "." or ".."`,
		`{"id":".;a=b"}`:          `a segment "." or ".."`,
		`{"id":"/..%3b/admin"}`:   `a segment "." or ".."`,
		`{"id":"/..%2fadmin%"}`:   `a segment "." or ".."`,
		`{"id":"%252E"}`:          `a segment "." or ".."`,
		`{"id":"a\u0000b"}`:       "control character",
		`{"id":"` + strings.Repeat("a", 9000) + `"}`: "at most 8192",
	} {
		if got, err := u.URL(&relay.Event{Data: []byte(data)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, %v; want %s", data, got, err, want)
		}
	}
}

// The URL of an event is judged again: what was public when the configuration was loaded
// may be an address of this machine by now.
func TestURLsAreJudgedAtEachAttempt(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to)
		s.Retry = relay.RetryPolicy{Off: true}
		judge := guard(t).CheckURL
		marked, err := relay.MarkURL("https://api.example.com/{event.id}")
		if err != nil {
			t.Fatal(err)
		}
		if s.URL, err = judge(marked); err != nil {
			t.Fatal(err)
		}
		blocked := false
		s.URLTemplate, err = relay.NewURLTemplate("https://api.example.com/{event.id}", s.URL, func(raw string) (*url.URL, error) {
			if blocked {
				return nil, &destination.BlockedError{Host: "api.example.com", Reason: "it is own"}
			}
			return judge(raw)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.plan(s)
		id := w.publish("a", `{}`).ID
		w.wait(time.Second)
		w.expect(id, relay.StateDelivered, "", 1)
		if got := to.all()[0].url; got != "https://api.example.com/"+id {
			t.Errorf("went to %s", got)
		}
		blocked = true
		id = w.publish("a", `{}`).ID
		w.wait(time.Second)
		if d := w.delivery(id); d.State != relay.StateFailed || d.Attempts[0].ErrorKind != relay.KindBlocked || len(to.all()) != 1 {
			t.Errorf("%+v, %d requests", d, len(to.all()))
		}
	})
}

// Whatever an event says, its URL has the same scheme and host, and as many segments.
func FuzzURLTemplate(f *testing.F) {
	for _, value := range []string{"a", "..", "%2e%2e%2f", "/", "\\", "?x#y", "a/../b", "@h:1", "\r\n", "\xff", "%", "\u2025", "．．", ";a=b"} {
		f.Add(value, "q"+value)
	}
	u, err := template(f, "https://api.example.com/items/x{event.subject}/{event.subject}/end?q={event.source}&r=1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		got, err := u.URL(&relay.Event{Subject: path, Source: query})
		if err != nil {
			return
		}
		if got.Scheme != "https" || got.Host != "api.example.com" || got.User != nil || got.Fragment != "" {
			t.Fatalf("%q leads to %s", path, got)
		}
		sent := got.RequestURI()
		escaped, rest, _ := strings.Cut(sent, "?")
		if strings.Count(escaped, "/") != 4 || !strings.HasPrefix(escaped, "/items/x") || !strings.HasSuffix(escaped, "/end") {
			t.Fatalf("%q becomes the path %s", path, escaped)
		}
		if strings.ContainsFunc(sent, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%q and %q are sent as %q", path, query, sent)
		}
		values, err := url.ParseQuery(rest)
		if err != nil || values.Get("q") != query || values.Get("r") != "1" || len(values) != 2 {
			t.Fatalf("%q becomes the query %s", query, rest)
		}
		plain, err := url.PathUnescape(escaped)
		if err != nil || plain != "/items/x"+path+"/"+path+"/end" {
			t.Fatalf("%q is read as %q", path, plain)
		}
	})
}

// An arbitrary value either stands in its field as it is, or fails the attempt.
func FuzzHeaderValue(f *testing.F) {
	for _, value := range []string{"a", "a\r\nb: c", "\x00", " a ", "é", "{env.HOME}", "\t"} {
		f.Add(value)
	}
	text := textOf(f, "<{event.subject}>")
	f.Fuzz(func(t *testing.T, value string) {
		got, err := relay.ExpandHeader(text, &relay.Event{Subject: value})
		if err != nil {
			return
		}
		if got != "<"+value+">" || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
			t.Fatalf("%q becomes %q", value, got)
		}
	})
}

func full() *relay.Event {
	return &relay.Event{
		Type: "Entry.publish", Source: "/shop", SourceID: "A-1", Subject: "Zoë", Time: time.Date(2026, 6, 22, 18, 42, 22, 587e6, time.UTC),
		ContentType: "application/json", Data: []byte(`{ "sys": {"type":"Entry","id":"e1","space":{"sys":{"id":"s1"}},"environment":{"sys":{"id":"master"}}} }`),
		Extensions: map[string]string{"partitionkey": "p"},
	}
}

func TestFormatsOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		format      relay.Format
		contentType string
		body        string
		header      map[string]string
	}{
		{"", "application/json", string(full().Data), map[string]string{"Ce-Id": "", "User-Agent": "caddy-relay/test"}},
		{relay.FormatData, "application/json", string(full().Data), map[string]string{"Ce-Id": ""}},
		{relay.FormatBinary, "application/json", string(full().Data), map[string]string{
			"Ce-Specversion": "1.0", "Ce-Id": "A-1", "Ce-Source": "/shop", "Ce-Type": "Entry.publish", "Ce-Subject": "Zo%C3%AB", "Ce-Time": "2026-06-22T18:42:22.587Z",
			"Ce-Partitionkey": "p",
		}},
		{
			relay.FormatStructured, "application/cloudevents+json",
			`{"specversion":"1.0","id":"A-1","source":"/shop","type":"Entry.publish","subject":"Zoë","time":"2026-06-22T18:42:22.587Z","partitionkey":"p","datacontenttype":"application/json","data":` + string(full().Data) + `}`,
			map[string]string{"Ce-Id": ""},
		},
		{relay.FormatContentful, "application/vnd.contentful.management.v1+json", string(full().Data), map[string]string{
			"X-Contentful-Topic": "ContentManagement.Entry.publish", "X-Contentful-Webhook-Name": "crm", "X-Contentful-Webhook-Request-Attempt": "1",
			"X-Contentful-Event-Datetime": "2026-06-22T18:42:22.587Z", "X-Contentful-Crn": "crn:contentful:::content:spaces/s1/environments/master/entries/e1",
		}},
		{relay.FormatPhraseanet, "application/json", string(full().Data), map[string]string{"User-Agent": "Phraseanet/4.1 (caddy-relay/test)"}},
	} {
		run(t, func(w *world) {
			var to receiver
			s := subscription("crm", &to)
			s.Format = tt.format
			w.plan(s)
			id := w.post(full()).ID
			w.wait(time.Second)
			got := to.all()[0]
			if got.body != tt.body || got.header.Get("Content-Type") != tt.contentType {
				t.Errorf("%s: %s %s; want %s %s", tt.format, got.header.Get("Content-Type"), got.body, tt.contentType, tt.body)
			}
			for field, want := range tt.header {
				if value := got.header.Get(field); value != want {
					t.Errorf("%s: %s: %q; want %q", tt.format, field, value, want)
				}
			}
			if got.header.Get("Webhook-Id") != id || got.header.Get("Relay-Event") != "Entry.publish" {
				t.Errorf("%s: %v; want the relay's own fields in each format", tt.format, got.header)
			}
		})
	}
}

// An event that nobody gave an identifier or a source is a CloudEvent all the same.
func TestFormatsFillInWhatACloudEventNeeds(t *testing.T) {
	run(t, func(w *world) {
		var to receiver
		s := subscription("crm", &to)
		s.Format = relay.FormatBinary
		w.plan(s)
		id := w.post(&relay.Event{Type: "a", ContentType: "text/plain", Data: []byte("x")}).ID
		w.wait(time.Second)
		h := to.all()[0].header
		if h.Get("Ce-Id") != id || h.Get("Ce-Source") != "caddy-relay" || h.Get("Ce-Time") == "" || h["Ce-Subject"] != nil || h.Get("Content-Type") != "text/plain" {
			t.Errorf("%v", h)
		}
	})
}

// What a format or a header line makes of a request is what is signed.
func TestSignaturesAreMadeOverWhatIsSent(t *testing.T) {
	run(t, func(w *world) {
		secret := signature.NewStandardSecret()
		signer, err := signature.NewStandard(signature.TimedSecret{Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		var to receiver
		s := subscription("crm", &to)
		s.Format, s.Signers = relay.FormatStructured, []signature.Signer{signer}
		w.plan(s)
		w.post(full())
		w.wait(time.Second)
		parsed, err := signature.ParseStandardSecret(secret)
		if err != nil {
			t.Fatal(err)
		}
		got := to.all()[0]
		if !strings.HasPrefix(got.body, `{"specversion"`) {
			t.Errorf("body %s", got.body)
		}
		if err := signature.Verify(parsed, got.header, []byte(got.body), got.at, time.Minute); err != nil {
			t.Error(err)
		}
	})
}

func TestMethodsWithoutABodySendNone(t *testing.T) {
	for _, format := range relay.Formats {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			run(t, func(w *world) {
				var to receiver
				s := subscription("crm", &to)
				s.Method, s.Format = method, format
				w.plan(s)
				w.post(full())
				w.wait(time.Second)
				if got := to.all()[0]; got.body != "" || got.header.Get("Content-Type") != "" {
					t.Errorf("%s, format %s: %q, %v", method, format, got.body, got.header)
				}
			})
		}
	}
}

func TestAnErrorOfAURLIsFound(t *testing.T) {
	u, err := template(t, "https://api.example.com/{event.id}")
	if err != nil {
		t.Fatal(err)
	}
	_, err = u.URL(&relay.Event{ID: strings.Repeat("x", 8200)})
	if blocked := new(destination.BlockedError); !errors.As(err, &blocked) {
		t.Errorf("%v; want one of the guard", err)
	}
}
