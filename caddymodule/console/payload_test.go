package console_test

import (
	"context"
	"html"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// hostile is text that means something to browsers, templates, shells and terminals.
const hostile = `</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>"'` + "`{{.}}${7*7}<!--\u202e\u0000"

// Whatever an application sends is text on every page that shows it.
func TestWhatComesFromOutsideIsText(t *testing.T) {
	run(t, func(w *world) {
		w.answers["sick"] = answer(500, hostile)
		data := `{"` + `<img src=x>` + `":"</pre><script>alert(1)</script>"}`
		receipts, err := w.engine.Publish(context.Background(), []relay.Publication{{Event: &relay.Event{
			Type: `a.<script>alert(1)</script>`, Source: hostile, Subject: hostile, SourceID: hostile, ContentType: `text/html"><script>alert(1)</script>`,
			Data: []byte(data + hostile + "\xff\xfe"), Extensions: map[string]string{"ext": hostile},
			Time: time.Now(), TraceParent: "00-<b>",
		}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.wait(time.Minute)
		id := receipts[0].ID
		for _, target := range []string{"/", "/deliveries", "/events", "/events/" + id, "/events/" + id + "?explain=filtered", delivery(id, "sick"), delivery(id, "well"), "/deliveries?type=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "/subscriptions?name=%22%3E%3Cimg%20src=x%3E"} {
			page := w.get(target)
			elements(t, page, func(name string, attributes map[string]string) {
				if name == "script" && !strings.Contains(attributes["src"], "assets/") || name == "img" && !strings.Contains(attributes["src"], "assets/icon.svg") {
					t.Errorf("%s: the data became an element: %s %v", target, name, attributes)
				}
			})
		}
		if page := w.get("/events/" + id); !strings.Contains(html.UnescapeString(page), `<script>alert(1)</script><img src=x onerror=alert(2)>`) {
			t.Error("the data is not shown as it came")
		}
		raw := w.ask(request(http.MethodGet, "/events/"+id+"/data"))
		if raw.Header().Get("Content-Type") != "text/plain; charset=utf-8" || !strings.Contains(raw.Header().Get("Content-Security-Policy"), "sandbox") || !strings.HasPrefix(raw.Body.String(), data) {
			t.Errorf("%v %s", raw.Header(), raw.Body)
		}
	})
}

// What stands at a path that is not to be shown is on no page at all, also where an
// endpoint echoes it, or a filter quotes it.
func TestWhatIsRedactedIsNowhere(t *testing.T) {
	run(t, func(w *world) {
		w.options.Redact = []string{"customer.email", "lines.card", "pin"}
		w.answers["sick"] = answer(500, `{"echo":"4111-1111-1111-1111","pin":123456,"note":"for a@example.com"}`)
		w.answers["well"] = answer(500, `cannot book 987654321 for a@example.com`)
		id := w.publish("order.paid", `{"customer":{"email":"a@example.com","name":"Zoé"},"lines":[{"card":"4111-1111-1111-1111","n":1},{"card":["in-a-list"]}],"pin":987654321,"ok":"shown"}`)
		for target, page := range w.crawl() {
			for _, secret := range []string{"a@example.com", "4111-1111", "in-a-list", "987654321", "123456"} {
				if strings.Contains(page, secret) {
					t.Errorf("%s shows %s", target, secret)
				}
			}
		}
		w.wants("/events/"+id, `"email": "[redacted]"`, `"name": "Zoé"`, `"ok": "shown"`, `"n": 1`)
		w.wants("/events/"+id+"?explain=filtered", "(not shown)")
		w.wants(delivery(id, "well"), "cannot book [redacted] for [redacted]", "--data-binary @body")
		if got := w.ask(request(http.MethodGet, "/events/"+id+"/data")).Code; got != http.StatusForbidden {
			t.Errorf("the bytes as received: %d", got)
		}
	})
}

// Where nobody can tell what stands at a path, nothing is shown.
// Data may be written with escapes, stand deeper in a request or an answer, and be quoted by a clause
// about what it is a part of; names may have dots.
func TestWhatIsRedactedIsNowhereHoweverItIsWritten(t *testing.T) {
	for name, data := range map[string]string{
		"escaped": `{"customer":{"name":"J\u00fcrgen M\u00fcller","e.mail":"a\/b@example.com","pin":42,"vip":true},"$secret":"hunter22","shown":"this"}`,
		"plain":   `{"customer":{"name":"Jürgen Müller","e.mail":"a/b@example.com","pin":42,"vip":true},"$secret":"hunter22","shown":"this"}`,
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.options.Redact = []string{"customer.name", `customer.e\.mail`, "customer.pin", "customer.vip", `\$secret`}
				w.setup.names = []string{"structured"}
				w.attach()
				w.answers["structured"] = answer(500, `{"echo":{"customer":{"pin":42}},"who":"J\u00fcrgen M\u00fcller","mail":"a\/b@example.com","and":"Jürgen Müller"}`)
				id := w.publish("order.paid", data)
				for _, path := range []string{"/events/" + id, "/events/" + id + "?explain=structured", delivery(id, "structured")} {
					page := w.get(path)
					for _, text := range []string{"rgen M", "b@example.com", "42", "hunter22", `vip&#34;: true`, `vip&#34;:true`} {
						if strings.Contains(page, text) {
							t.Errorf("%s shows %q", path, text)
						}
					}
					if !strings.Contains(page, "this") {
						t.Errorf("%s does not show the rest", path)
					}
				}
			})
		})
	}
}

func TestWhatCannotBeRedactedIsNotShown(t *testing.T) {
	run(t, func(w *world) {
		w.options.Redact = []string{"email"}
		for _, data := range []string{"email=a@example.com", `{"email":"a@example.com"`, `{"x":1} {"email":"a@example.com"}`} {
			receipts, err := w.engine.Publish(context.Background(), []relay.Publication{{Event: &relay.Event{Type: "a", ContentType: "text/plain", Data: []byte(data)}}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			w.wait(time.Minute)
			for _, target := range []string{"/events/" + receipts[0].ID, delivery(receipts[0].ID, "sick")} {
				if page := w.get(target); strings.Contains(page, "a@example.com") || !strings.Contains(page, "Not shown") {
					t.Errorf("%s: %s", target, page)
				}
			}
		}
	})
}

func TestLargeAndMissingData(t *testing.T) {
	run(t, func(w *world) {
		id := w.publish("order.paid", `"`+strings.Repeat("x", 200<<10)+`"`)
		if page := w.get("/events/" + id); len(page) > 150<<10 || !strings.Contains(page, "Only the first 128 KiB are shown.") {
			t.Errorf("%d bytes", len(page))
		}
		receipts, err := w.engine.Publish(context.Background(), []relay.Publication{{Event: &relay.Event{Type: "a"}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.wants("/events/"+receipts[0].ID, "The event has no data.")
		if err := w.engine.Erase(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		w.wants("/events/"+id, "The data was erased.")
		if got := w.ask(request(http.MethodGet, "/events/"+id+"/data")).Code; got != http.StatusGone {
			t.Errorf("the bytes of what was erased: %d", got)
		}
	})
}
