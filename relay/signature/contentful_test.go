package signature

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

var contentfulSecret = strings.Repeat("a", 64)

// The signatures were made with signRequest of @contentful/node-apps-toolkit 3.16.1.
func TestContentfulMakesTheSignaturesOfTheToolkit(t *testing.T) {
	at := time.UnixMilli(1603379941037)
	for _, tt := range []struct {
		name, method, uri, body string
		header                  http.Header
		want                    string
	}{
		{"post", "POST", "/webhooks/contentful", `{"sys":{"type":"Entry","id":"e1"}}`, http.Header{
			"Content-Type": {"application/vnd.contentful.management.v1+json"}, "X-Contentful-Topic": {"ContentManagement.Entry.publish"},
			"X-Contentful-Webhook-Name": {"aws lambda"},
		}, "a65c56bc6bbd4d7ac387899da620d3924686bbd0839dc2c81048de8753cbdbeb"},
		{"query", "POST", "/api/resources?q=1&w=2", `{}`, http.Header{"X-Contentful-Topic": {"ContentManagement.Entry.publish"}}, "fcfe3ad042e5ffef1cec9478e4a3385b6bc164803b8ea1e2773861141e6f1c8f"},
		{"no body", "GET", "/api/resources/1", "", nil, "3b21d63c31a2a92d38945394da0b1a2a0dc2d9bf13ef4dfd91b9f3fa1440b404"},
		{"delete", "DELETE", "/x", "", http.Header{"X-Contentful-Webhook-Request-Attempt": {"2"}}, "a96e0e97c5c4d732bd3740c1e84d9603389ee28bda5c8aae4effac5a5a8ae179"},
	} {
		s := must[*Contentful](t)(NewContentful(TimedSecret{Secret: contentfulSecret}))
		h := tt.header.Clone()
		if h == nil {
			h = http.Header{}
		}
		h["User-Agent"], h["Traceparent"], h["Authorization"] = []string{"x"}, []string{"y"}, []string{"z"} // are not signed
		u, err := url.Parse("https://example.com" + tt.uri)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Sign(h, Message{ID: "evt_1", Time: at, Method: tt.method, URL: u, Body: []byte(tt.body)}); err != nil {
			t.Fatal(err)
		}
		if got := h.Get("X-Contentful-Signature"); got != tt.want || h.Get("X-Contentful-Timestamp") != "1603379941037" {
			t.Errorf("%s: %v; want %s", tt.name, h, tt.want)
		}
		if err := VerifyContentful(contentfulSecret, tt.method, tt.uri, h, []byte(tt.body), at, ContentfulTolerance); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// What the toolkit makes of paths, by its own vectors and by ECMA-262.
func TestContentfulPathIsEncodedTwice(t *testing.T) {
	for uri, want := range map[string]string{
		"/webhooks/contentful":   "/webhooks/contentful",
		"/api/resources?q=1&w=2": "/api/resources?q%253D1%2526w%253D2",
		"/webhook?a=b c&d=e":     "/webhook?a%253Db%2520c%2526d%253De",
		"/héllo wörld":           "/h%C3%A9llo%20w%C3%B6rld",
		"/a%20b":                 "/a%2520b",
		"/a?":                    "/a",
		"/a?b?c":                 "/a?b",
		"/;,/:@&=+$-_.!~*'()#":   "/;,/:@&=+$-_.!~*'()#",
		"/?;,/:@&=+$-_.!~*'()":   "/?%253B%252C%252F%253A%2540%2526%253D%252B%2524-_.!~*'()",
		`/"<>^|{}[]\`:            "/%22%3C%3E%5E%7C%7B%7D%5B%5D%5C",
	} {
		if got := contentfulPath(uri); got != want {
			t.Errorf("%s becomes %s; want %s", uri, got, want)
		}
	}
}

func TestVerifyContentfulSaysWhatIsWrong(t *testing.T) {
	at := time.UnixMilli(1603379941037)
	u := &url.URL{Path: "/hook"}
	for _, tt := range []struct {
		name   string
		change func(http.Header)
		uri    string
		body   string
		now    time.Time
		part   error
		want   string
	}{
		{name: "right"},
		{name: "old", now: at.Add(31 * time.Second), part: ErrTimestamp, want: "x-contentful-timestamp is wrong: 1603379941037 (2020-10-22T15:19:01Z) is 31s ago"},
		{name: "seconds", change: func(h http.Header) { h.Set("X-Contentful-Timestamp", "1.5") }, part: ErrTimestamp, want: "milliseconds"},
		{name: "no timestamp", change: func(h http.Header) { h.Del("X-Contentful-Timestamp") }, part: ErrTimestamp, want: "missing"},
		{name: "no signature", change: func(h http.Header) { h.Del("X-Contentful-Signature") }, part: ErrSignature, want: "is the delivery signed at all"},
		{name: "timestamp not signed", change: func(h http.Header) { h.Set("X-Contentful-Signed-Headers", "x-contentful-signed-headers") }, part: ErrSignature, want: "does not list x-contentful-timestamp"},
		{name: "another topic", change: func(h http.Header) { h.Set("X-Contentful-Topic", "Entry.delete") }, part: ErrMismatch, want: "a header field that is listed"},
		{name: "another path", uri: "/other", part: ErrMismatch},
		{name: "written again", body: "{ \"a\": 1 }", part: ErrMismatch, want: "white space that was not signed"},
	} {
		s := must[*Contentful](t)(NewContentful(TimedSecret{Secret: contentfulSecret}))
		h := http.Header{"X-Contentful-Topic": {"Entry.publish"}}
		if err := s.Sign(h, Message{ID: "evt_1", Time: at, Method: "POST", URL: u, Body: []byte(`{"a":1}`)}); err != nil {
			t.Fatal(err)
		}
		if tt.change != nil {
			tt.change(h)
		}
		uri, body, now := "/hook", `{"a":1}`, at
		if tt.uri != "" {
			uri = tt.uri
		}
		if tt.body != "" {
			body = tt.body
		}
		if !tt.now.IsZero() {
			now = tt.now
		}
		err := VerifyContentful(contentfulSecret, "POST", uri, h, []byte(body), now, ContentfulTolerance)
		if !errors.Is(err, tt.part) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %v, %s", tt.name, err, tt.part, tt.want)
		}
	}
}

// Whatever the path, the canonical one keeps a request in one line, and no two paths that a
// receiver could tell apart look alike, but for what the toolkit drops.
func FuzzContentfulPath(f *testing.F) {
	for _, uri := range []string{"/a?b=c", "/%2e%2e", "/?%26", "/\r\n", "?", "/a?b?c"} {
		f.Add(uri, uri+"x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		first, second := contentfulPath(a), contentfulPath(b)
		if strings.ContainsAny(first, "\r\n ") {
			t.Fatalf("%q becomes %q", a, first)
		}
		kept := func(uri string) string {
			parts := strings.SplitN(uri, "?", 3)
			if len(parts) < 2 || parts[1] == "" {
				return parts[0]
			}
			return parts[0] + "?" + parts[1]
		}
		if kept(a) != kept(b) && first == second {
			t.Fatalf("%q and %q become %q", a, b, first)
		}
	})
}
