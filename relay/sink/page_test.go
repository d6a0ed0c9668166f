package sink

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

func get(s *Sink, path, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// hostile is what an attacker would put into every field.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}'`

func hostileSink(t *testing.T) *Sink {
	t.Helper()
	s := mustNew(t, Options{})
	deliver(s, hostile, 1, body(hostile), func(r *http.Request) {
		r.Method, r.URL.Path, r.RemoteAddr = hostile, hostile, hostile
		for _, name := range []string{"Relay-Event", "Relay-Subscription", "Content-Type"} {
			r.Header.Set(name, hostile)
		}
	})
	return s
}

func TestPageEscapesEverything(t *testing.T) {
	page := get(hostileSink(t), "/", "text/html").Body.String()
	if n := strings.Count(page, "alert(1)"); n != 16 { // twice in each of eight fields
		t.Errorf("the page shows the text %d times", n)
	}
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		switch n.Data {
		case "script", "img", "iframe", "link", "form":
			if n.Type == html.ElementNode {
				t.Errorf("there is a <%s>", n.Data)
			}
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("there is an attribute %s=%q", a.Key, a.Val)
			}
			if a.Key == "href" && a.Val != "?" {
				t.Errorf("there is a link to %q", a.Val)
			}
		}
	}
}

func TestPagePolicyAllowsTheStyleAlone(t *testing.T) {
	w := get(hostileSink(t), "/", "")
	_, rest, _ := strings.Cut(w.Body.String(), "<style>")
	style, _, ok := strings.Cut(rest, "</style>")
	if !ok || !strings.Contains(style, "color-scheme: light dark") {
		t.Fatalf("style: %q", style)
	}
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if got := w.Header().Get("Content-Security-Policy"); got != want {
		t.Errorf("policy: %s\nwant: %s", got, want)
	}
	for name, want := range map[string]string{
		"Content-Type":           "text/html; charset=utf-8",
		"X-Content-Type-Options": "nosniff",
		"Referrer-Policy":        "no-referrer",
		"Cache-Control":          "no-store",
		"Vary":                   "Accept",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q; want %q", name, got, want)
		}
	}
}

func TestPageSaysWhatCame(t *testing.T) {
	s := mustNew(t, Options{Secret: secret, FailFirst: true})
	empty := get(s, "/", "").Body.String()
	if !strings.Contains(empty, "No request has come yet") || !strings.Contains(empty, "Signatures are checked") {
		t.Errorf("the empty page: %s", empty)
	}
	now := time.Now()
	deliver(s, "evt_1", 1)
	deliver(s, "evt_2", 1, sign(t, secret, now))
	deliver(s, "evt_2", 2, sign(t, secret, now))
	for _, path := range []string{"/", "/?x=y"} {
		page := get(s, path, "text/html,application/xhtml+xml,*/*;q=0.8").Body.String()
		for _, want := range []string{
			`<html lang="en">`, "<main>", "<h1>", "<caption>3 requests so far, newest first.</caption>",
			`<th scope="row">3</th>`, "evt_1", "evt_2", "order.paid", "crm", "{&#34;n&#34;:1}",
			"503 (on purpose)", "<td>verified</td>", "<td>not verified</td>", "webhook-timestamp is wrong: it is missing",
		} {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
		if strings.Index(page, "evt_2") > strings.Index(page, "evt_1") {
			t.Error("the newest is not first")
		}
	}
	if page := get(mustNew(t, Options{}), "/", "").Body.String(); !strings.Contains(page, "this sink has no secret") {
		t.Error("the page does not say that nothing is checked")
	}
}

func TestJSONForThoseWhoAcceptIt(t *testing.T) {
	s := hostileSink(t)
	deliver(s, "evt_1", 2)
	for _, accept := range []string{"application/json", "text/plain, application/json;q=0.5"} {
		w := get(s, "/", accept)
		if w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %s", accept, w.Header().Get("Content-Type"))
		}
		if strings.Contains(w.Body.String(), "<script>") {
			t.Error("JSON holds markup as it is")
		}
		var got struct {
			Items   []Record
			Total   int
			Checked *bool `json:"signatures_checked"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Items) != 2 || got.Total != 2 || got.Checked == nil || *got.Checked {
			t.Fatalf("got %+v", got)
		}
		if got.Items[0].ID != "evt_1" || got.Items[0].Attempt != 2 || got.Items[1].Body != hostile {
			t.Errorf("items %+v", got.Items)
		}
	}
	for _, accept := range []string{"", "*/*", "text/html,application/json", "nonsense;;"} {
		if got := get(s, "/", accept).Header().Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
			t.Errorf("Accept %q gets %s", accept, got)
		}
	}
	if got := get(mustNew(t, Options{}), "/", "application/json").Body.String(); !strings.Contains(got, `"items":[]`) {
		t.Errorf("the empty list: %s", got)
	}
}

func TestWhatBrowsersAskForIsNoDelivery(t *testing.T) {
	s := mustNew(t, Options{FailShare: 1})
	for _, path := range []string{"/favicon.ico", "/hooks"} {
		w := get(s, path, "")
		if p := problemOf(t, w); p.Status != 404 {
			t.Errorf("%s: %+v", path, p)
		}
	}
	// Behind a prefix that Caddy strips, nothing may be left of the path.
	r := httptest.NewRequest(http.MethodHead, "/", nil)
	r.URL.Path = ""
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != 200 {
		t.Errorf("HEAD of the empty path: %d", w.Code)
	}
	if list, total := s.records.last(); len(list) != 0 || total != 0 {
		t.Errorf("remembered %+v", list)
	}
}
