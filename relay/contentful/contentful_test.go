package contentful

import (
	"net/http"
	"testing"
	"time"
)

func TestTopicIsSentInItsFullForm(t *testing.T) {
	for typ, want := range map[string]string{
		"Entry.publish":                   "ContentManagement.Entry.publish",
		"ContentManagement.Entry.publish": "ContentManagement.Entry.publish",
		"contentmanagement.Entry.publish": "contentmanagement.Entry.publish",
		"ContentManagement":               "ContentManagement.ContentManagement",
		"order.paid":                      "ContentManagement.order.paid",
	} {
		if got := Topic(typ); got != want {
			t.Errorf("%s becomes %s; want %s", typ, got, want)
		}
	}
}

func TestCRNNamesWhatTheBodyIsAbout(t *testing.T) {
	const link = `"space":{"sys":{"id":"s1"}},"environment":{"sys":{"id":"master"}}`
	for body, want := range map[string]string{
		`{"sys":{"type":"Entry","id":"e1",` + link + `},"fields":{}}`:    "crn:contentful:::content:spaces/s1/environments/master/entries/e1",
		`{"sys":{"type":"Asset","id":"a.1_-",` + link + `}}`:             "crn:contentful:::content:spaces/s1/environments/master/assets/a.1_-",
		`{"sys":{"type":"DeletedEntry","id":"e1",` + link + `}}`:         "crn:contentful:::content:spaces/s1/environments/master/entries/e1",
		`{"sys":{"type":"ContentType","id":"c1",` + link + `}}`:          "",
		`{"sys":{"type":"Entry","id":"e1","space":{"sys":{"id":"s1"}}}}`: "",
		`{"sys":{"type":"Entry","id":"e/1",` + link + `}}`:               "",
		`{"sys":{"type":"Entry","id":"e\r\n1",` + link + `}}`:            "",
		`{"sys":{"type":"Entry","id":7,` + link + `}}`:                   "crn:contentful:::content:spaces/s1/environments/master/entries/7",
		`{"sys":[]}`: "", `null`: "", ``: "", `{"sys"`: "", "\x00\xff": "",
	} {
		if got := CRN([]byte(body)); got != want {
			t.Errorf("%s: %q; want %q", body, got, want)
		}
	}
}

// The idempotency key is the same on every attempt of a delivery, and on no other's.
func TestHeaderOfACall(t *testing.T) {
	header := func(event, webhook string, attempt int) http.Header {
		h := http.Header{}
		c := Call{Event: event, Webhook: webhook, Type: "Entry.publish", Time: time.Date(2026, 6, 22, 20, 42, 22, 587e6, time.FixedZone("", 7200)), Attempt: attempt, Body: []byte(`{}`)}
		c.SetHeader(h)
		return h
	}
	h := header("evt_1", "crm", 2)
	for field, want := range map[string]string{
		"X-Contentful-Topic": "ContentManagement.Entry.publish", "X-Contentful-Webhook-Name": "crm", "X-Contentful-Event-Datetime": "2026-06-22T18:42:22.587Z",
		"X-Contentful-Webhook-Request-Attempt": "2", "X-Contentful-CRN": "",
	} {
		if got := h.Get(field); got != want {
			t.Errorf("%s: %q; want %q", field, got, want)
		}
	}
	key := func(h http.Header) string { return h.Get("X-Contentful-Idempotency-Key") }
	if len(key(h)) != 64 || key(h) != key(header("evt_1", "crm", 1)) || key(h) == key(header("evt_1", "erp", 1)) || key(h) == key(header("evt_2", "crm", 1)) {
		t.Errorf("keys %s", key(h))
	}
}

func FuzzCRN(f *testing.F) {
	f.Add([]byte(`{"sys":{"type":"Entry","id":"e1","space":{"sys":{"id":"s1"}},"environment":{"sys":{"id":"m"}}}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, c := range []byte(CRN(body)) {
			if c <= ' ' || c > '~' {
				t.Fatalf("%q gives %q", body, CRN(body))
			}
		}
	})
}
