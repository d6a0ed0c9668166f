package relay_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/auth"
)

// repeating answers with a page made of the request's header.
func repeating(status int, page func(http.Header) string) *receiver {
	return &receiver{answer: func(_ int, r *http.Request) (*http.Response, error) {
		body := page(r.Header)
		return &http.Response{StatusCode: status, Header: http.Header{}, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body))}, nil
	}}
}

// excerptOf delivers one event and returns what is kept of its answer.
func excerptOf(t *testing.T, s *relay.Subscription) (kept string) {
	t.Helper()
	run(t, func(w *world) {
		s.Retry.Off = true
		w.plan(s)
		id := w.publish("a", `{}`).ID
		synctest.Wait()
		kept = string(w.delivery(id).Attempts[0].Excerpt)
	})
	return kept
}

// TestEchoOfASecretIsNotKept: endpoints send back what they got, as it is or written as pages,
// forms and documents write it. What else they say is kept.
func TestEchoOfASecretIsNotKept(t *testing.T) {
	const secret = `s3cr/t+"&'<key>\of mine`
	pages := map[string]func(value string) string{
		"as it is": func(v string) string { return v },
		"a page":   html.EscapeString,
		"a form":   url.QueryEscape,
		"JSON":     func(v string) string { text, _ := json.Marshal(v); return string(text) },
		"PHP":      func(v string) string { return strings.ReplaceAll(v, "/", `\/`) },
	}
	places := map[string]func(*relay.Subscription) (field string){
		"bearer": func(s *relay.Subscription) string { s.Auth = auth.NewBearer(secret); return "Authorization" },
		"basic":  func(s *relay.Subscription) string { s.Auth = auth.NewBasic("relay", secret); return "Authorization" },
		"secret_header": func(s *relay.Subscription) string {
			s.Header = []relay.HeaderRule{{Op: '=', Field: "X-Key", Value: secret, Secret: true}}
			return "X-Key"
		},
		"header": func(s *relay.Subscription) string {
			s.Header = []relay.HeaderRule{{Op: '=', Field: "Cookie", Value: secret}}
			return "Cookie"
		},
	}
	for page, write := range pages {
		for place, in := range places {
			for _, status := range []int{http.StatusOK, http.StatusInternalServerError} {
				s := subscription("crm", nil)
				field := in(s)
				s.Transport = repeating(status, func(h http.Header) string { return "you sent " + write(h.Get(field)) + ", and I failed" })
				kept := excerptOf(t, s)
				for _, form := range []string{write(secret), base64.StdEncoding.EncodeToString([]byte("relay:" + secret)), "of mine"} {
					if strings.Contains(kept, form) {
						t.Errorf("%s, as %s, status %d: %q is kept", place, page, status, kept)
					}
				}
				if !strings.HasPrefix(kept, "you sent ") || !strings.HasSuffix(kept, ", and I failed") {
					t.Errorf("%s, as %s: %q is kept, and not what stands around", place, page, kept)
				}
			}
		}
	}
}

// The password of a user is looked for by itself, too.
func TestPasswordInAnEchoIsNotKept(t *testing.T) {
	s := subscription("crm", repeating(http.StatusForbidden, func(h http.Header) string {
		pair, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(h.Get("Authorization"), "Basic "))
		return "bad login: " + string(pair)
	}))
	s.Auth = auth.NewBasic("relay", "open sesame")
	if kept := excerptOf(t, s); kept != "bad login: relay:***" {
		t.Errorf("%q is kept", kept)
	}
}

// An excerpt that ends within a secret holds nothing of it.
func TestSecretAtTheEndOfAnExcerptIsNotKept(t *testing.T) {
	const secret, kept = "abcdefghijklmnopqrstuvwxyz", 1 << 10
	for cut := range len(secret) + 2 {
		s := subscription("crm", repeating(http.StatusOK, func(h http.Header) string {
			return strings.Repeat(".", kept-cut) + h.Get("X-Key") + strings.Repeat("!", 100)
		}))
		s.Header = []relay.HeaderRule{{Op: '=', Field: "X-Key", Value: secret, Secret: true}}
		if got := excerptOf(t, s); strings.Contains(got, secret[:4]) || !strings.HasPrefix(got, strings.Repeat(".", kept-cut)) || len(got) > kept {
			t.Errorf("cut after %d bytes of the secret: %d bytes are kept, which end with %q", cut, len(got), got[max(0, len(got)-30):])
		}
	}
}

// Answers of endpoints that are told no secret are kept as they are.
func TestAnswerWithoutSecretsIsKeptAsItIs(t *testing.T) {
	for _, s := range []*relay.Subscription{
		subscription("crm", nil),
		{Name: "crm", URL: &url.URL{Scheme: "https", Host: "example.com"}, Header: []relay.HeaderRule{{Op: '=', Field: "X-Stage", Value: "test"}, {Op: '=', Field: "X-Short", Value: "***", Secret: true}}},
	} {
		s.Transport = repeating(http.StatusBadGateway, func(h http.Header) string { return fmt.Sprint("stage ", h["X-Stage"], h["X-Short"]) })
		if kept := excerptOf(t, s); kept != "stage [] []" && kept != "stage [test] [***]" {
			t.Errorf("%q is kept", kept)
		}
	}
}

func FuzzEcho(f *testing.F) {
	f.Add("open sesame", []byte("you said open sesame, and open sesa"))
	f.Add("aaaa", []byte("aaaaaaaaaaa"))
	f.Add("****", []byte("*****"))
	f.Fuzz(func(t *testing.T, secret string, body []byte) {
		s := subscription("crm", nil)
		s.Header = []relay.HeaderRule{{Op: '=', Field: "X-Key", Value: secret, Secret: true}}
		got := relay.HideEcho(s, bytes.Clone(body), http.Header{"X-Key": {secret}})
		if len(got) > len(body) {
			t.Errorf("%q became longer: %q", body, got)
		}
		if len(secret) >= 4 && !strings.Contains(secret, "*") && bytes.Contains(got, []byte(secret)) {
			t.Errorf("%q in %q", secret, got)
		}
		if len(secret) < 4 && !bytes.Equal(got, body) {
			t.Errorf("%q became %q", body, got)
		}
	})
}
