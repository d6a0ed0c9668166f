package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

const (
	secret      = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	otherSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

func mustNew(t testing.TB, o Options) *Sink {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deliver sends what the relay would send, and returns the answer.
func deliver(s *Sink, id string, attempt int, change ...func(r *http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader(`{"n":1}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("webhook-id", id)
	r.Header.Set("Relay-Event", "order.paid")
	r.Header.Set("Relay-Subscription", "crm")
	r.Header.Set("Relay-Attempt", fmt.Sprint(attempt))
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func body(text string) func(*http.Request) {
	return func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(text)) }
}

// sign signs the body {"n":1}.
func sign(t testing.TB, secret string, at time.Time) func(*http.Request) {
	t.Helper()
	signer, err := signature.NewStandard(signature.TimedSecret{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	return func(r *http.Request) {
		m := signature.Message{ID: r.Header.Get("webhook-id"), Time: at, Body: []byte(`{"n":1}`)}
		if err := signer.Sign(r.Header, m); err != nil {
			t.Fatal(err)
		}
	}
}

func last(t testing.TB, s *Sink) Record {
	t.Helper()
	list, _ := s.records.last()
	if len(list) == 0 {
		t.Fatal("nothing is remembered")
	}
	return list[0]
}

// occurrence is a problem as it was answered.
type occurrence struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func problemOf(t testing.TB, w *httptest.ResponseRecorder) occurrence {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type: %s", got)
	}
	var p occurrence
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if p.Status != w.Code || p.Title == "" || p.Detail == "" {
		t.Errorf("status %d, problem %+v", w.Code, p)
	}
	return p
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options Options
		want    string
	}{
		{"secret", Options{Secret: "hunter2"}, "make one with: caddy relay secret"},
		{"share above one", Options{FailShare: 1.5}, "from 0 (none) to 1 (all)"},
		{"negative share", Options{FailShare: -0.1}, "from 0 (none) to 1 (all)"},
		{"no number", Options{FailShare: math.NaN()}, "from 0 (none) to 1 (all)"},
		{"status that is no failure", Options{FailStatus: 200}, "from 300 to 599"},
		{"no status", Options{FailStatus: 1000}, "from 300 to 599"},
		{"delay", Options{Delay: -time.Second}, "must not be negative"},
		{"two at once", Options{FailShare: 2, FailStatus: 42}, "is 42"},
	} {
		if _, err := New(tt.options); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want: %s", tt.name, err, tt.want)
		}
	}
}

func TestSinkTakesAndRemembers(t *testing.T) {
	var seen []Record
	s := mustNew(t, Options{OnRequest: func(r Record) { seen = append(seen, r) }})
	w := deliver(s, "evt_1", 3)
	if w.Code != http.StatusOK || w.Body.String() != "received\n" {
		t.Errorf("answer: %d %q", w.Code, w.Body)
	}
	got := last(t, s)
	if len(seen) != 1 || seen[0] != got {
		t.Errorf("OnRequest got %+v", seen)
	}
	if got.At.IsZero() || got.At.Location() != time.UTC || got.RemoteAddr == "" {
		t.Errorf("at %v from %q", got.At, got.RemoteAddr)
	}
	got.At, got.RemoteAddr = time.Time{}, ""
	want := Record{
		Number: 1, ID: "evt_1", Type: "order.paid", Subscription: "crm", Attempt: 3,
		Method: "POST", Path: "/hooks", ContentType: "application/json",
		Status: 200, BodySize: 7, Body: `{"n":1}`,
	}
	if got != want {
		t.Errorf("remembered %+v\nwant %+v", got, want)
	}
}

func TestSinkVerifies(t *testing.T) {
	now := time.Now()
	s := mustNew(t, Options{Secret: secret, FailFirst: true})
	for _, tt := range []struct {
		name   string
		change []func(*http.Request)
		want   string
	}{
		{"not signed", []func(*http.Request){func(r *http.Request) { r.Header.Set("webhook-timestamp", fmt.Sprint(now.Unix())) }}, "webhook-signature is wrong: it is missing"},
		{"no timestamp", nil, "webhook-timestamp is wrong: it is missing"},
		{"another secret", []func(*http.Request){sign(t, otherSecret, now)}, "the signature does not match"},
		{"another body", []func(*http.Request){sign(t, secret, now), body("{}")}, "the signature does not match"},
		{"old", []func(*http.Request){sign(t, secret, now.Add(-time.Hour))}, "webhook-timestamp is wrong"},
	} {
		w := deliver(s, "evt_1", 1, tt.change...)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", tt.name, w.Code)
			continue
		}
		if p := problemOf(t, w); !strings.Contains(p.Detail, tt.want) {
			t.Errorf("%s: %s; want %s", tt.name, p.Detail, tt.want)
		}
		if r := last(t, s); r.Verified || r.Simulated || r.Status != 401 || !strings.Contains(r.Error, tt.want) {
			t.Errorf("%s: remembered %+v", tt.name, r)
		}
	}
	// What was refused was no first attempt.
	if w := deliver(s, "evt_1", 1, sign(t, secret, now)); w.Code != DefaultFailStatus {
		t.Errorf("first attempt: %d", w.Code)
	}
	if w := deliver(s, "evt_1", 2, sign(t, secret, now)); w.Code != http.StatusOK {
		t.Errorf("second attempt: %d %s", w.Code, w.Body)
	}
	if r := last(t, s); !r.Verified || r.Error != "" {
		t.Errorf("remembered %+v", r)
	}
}

func TestFailShareIsKeptExactly(t *testing.T) {
	for _, tt := range []struct {
		share float64
		want  int // of 1000
	}{{0, 0}, {0.001, 1}, {0.1, 100}, {0.25, 250}, {0.5, 500}, {0.999, 999}, {1, 1000}} {
		s := mustNew(t, Options{FailShare: tt.share, FailStatus: 500})
		failed := 0
		for i := range 1000 {
			switch w := deliver(s, fmt.Sprint("evt_", i), 1); w.Code {
			case 500:
				failed++
			case 200:
			default:
				t.Fatalf("status %d", w.Code)
			}
		}
		if failed != tt.want {
			t.Errorf("share %v: %d of 1000 failed; want %d", tt.share, failed, tt.want)
		}
	}
}

func TestFailureSaysThatItIsOnPurpose(t *testing.T) {
	s := mustNew(t, Options{FailShare: 1})
	w := deliver(s, "evt_1", 1)
	if p := problemOf(t, w); p.Status != 503 || !strings.Contains(p.Detail, "on purpose") {
		t.Errorf("problem %+v", p)
	}
	if r := last(t, s); !r.Simulated || r.Status != 503 || r.Error != "" {
		t.Errorf("remembered %+v", r)
	}
	// A status that HTTP has no name for, and one that has no body.
	for _, status := range []int{599, 304} {
		s := mustNew(t, Options{FailShare: 1, FailStatus: status})
		if w := deliver(s, "evt_1", 1); w.Code != status {
			t.Errorf("status %d; want %d", w.Code, status)
		}
	}
}

func TestFailFirstKnowsDeliveries(t *testing.T) {
	s := mustNew(t, Options{FailFirst: true, FailStatus: 500})
	other := func(r *http.Request) { r.Header.Set("Relay-Subscription", "shop") }
	anonymous := func(r *http.Request) { r.Header.Del("webhook-id") }
	for i, tt := range []struct {
		id     string
		change func(*http.Request)
		want   int
	}{
		{"evt_1", body("a"), 500},
		{"evt_2", body("a"), 500},
		{"evt_1", body("a"), 200},
		{"evt_1", other, 500}, // one event, two deliveries
		{"evt_1", other, 200},
		{"evt_2", body("a"), 200},
		{"evt_1", body("a"), 200},
		{"", anonymous, 200}, // nobody could tell its second attempt from the first
	} {
		if w := deliver(s, tt.id, 1, tt.change); w.Code != tt.want {
			t.Errorf("request %d: %d; want %d", i+1, w.Code, tt.want)
		}
	}
}

func TestFailFirstForgetsTheOldest(t *testing.T) {
	var f faults
	h := http.Header{}
	first := func(id int) bool {
		h.Set(signature.HeaderID, fmt.Sprint(id))
		return f.firstOf(h)
	}
	for id := range knownDeliveries + 2 {
		if !first(id) {
			t.Fatalf("delivery %d was known", id)
		}
	}
	if len(f.known) != knownDeliveries || len(f.oldest) != knownDeliveries {
		t.Errorf("%d and %d are known", len(f.known), len(f.oldest))
	}
	if first(2) || first(knownDeliveries+1) {
		t.Error("a delivery within the bound was forgotten")
	}
	if !first(0) {
		t.Error("the oldest is still known")
	}
}

func TestDelayPassesBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Options{Delay: time.Minute})
		start := time.Now()
		w := deliver(s, "evt_1", 1)
		if took := time.Since(start); w.Code != 200 || took != time.Minute {
			t.Errorf("%d after %s", w.Code, took)
		}
	})
}

func TestDelayEndsWhenTheSenderGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Options{Delay: time.Hour, FailShare: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		deliver(s, "evt_1", 1, func(r *http.Request) { *r = *r.WithContext(ctx) })
		if took := time.Since(start); took != time.Second {
			t.Errorf("it went on for %s", took)
		}
		if r := last(t, s); r.Status != 0 || r.Simulated || !strings.Contains(r.Error, "went away") {
			t.Errorf("remembered %+v", r)
		}
	})
}

func TestBodiesAreBounded(t *testing.T) {
	s := mustNew(t, Options{})
	if w := deliver(s, "evt_1", 1, body(strings.Repeat("x", MaxBodySize))); w.Code != 200 {
		t.Errorf("a body at the bound: %d", w.Code)
	}
	if r := last(t, s); r.BodySize != MaxBodySize || r.Body != strings.Repeat("x", keptBody) {
		t.Errorf("%d bytes, %d kept", r.BodySize, len(r.Body))
	}
	w := deliver(s, "evt_1", 1, body(strings.Repeat("x", MaxBodySize+1)))
	if p := problemOf(t, w); p.Status != 413 || !strings.Contains(p.Detail, "1048576 bytes") {
		t.Errorf("a body over the bound: %+v", p)
	}
	w = deliver(s, "evt_1", 1, func(r *http.Request) {
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), iotest.ErrReader(errors.New("reset"))))
	})
	if p := problemOf(t, w); p.Status != 400 {
		t.Errorf("a body that breaks off: %+v", p)
	}
	if r := last(t, s); r.Body != "{" || r.Error == "" {
		t.Errorf("remembered %+v", r)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := mustNew(t, Options{})
	long := strings.Repeat("\xff", 5000)
	for range keptRequests + 5 {
		deliver(s, long, 1, body(long), func(r *http.Request) {
			r.Method, r.URL.Path, r.RemoteAddr = long, long, long
			for _, name := range []string{"Relay-Event", "Relay-Subscription", "Content-Type", "Relay-Attempt"} {
				r.Header.Set(name, long)
			}
		})
	}
	list, total := s.records.last()
	if len(list) != keptRequests || total != keptRequests+5 || list[0].Number != total || list[keptRequests-1].Number != 6 {
		t.Errorf("%d of %d are kept, from %d to %d", len(list), total, list[0].Number, list[len(list)-1].Number)
	}
	r := list[0]
	for _, text := range []string{r.ID, r.Type, r.Subscription, r.Method, r.Path, r.ContentType, r.RemoteAddr} {
		// A run of bytes that are not UTF-8 becomes one character.
		if text != "\uFFFD" {
			t.Errorf("%d bytes are kept of a field", len(text))
		}
	}
	if r.Body != "\uFFFD" || r.Attempt != 0 {
		t.Errorf("body %d bytes, attempt %d", len(r.Body), r.Attempt)
	}
}

func TestDeliveriesByGet(t *testing.T) {
	s := mustNew(t, Options{})
	w := deliver(s, "evt_1", 1, func(r *http.Request) { r.Method, r.URL.Path, r.Body = http.MethodGet, "/", http.NoBody })
	if w.Code != 200 || w.Body.String() != "received\n" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if r := last(t, s); r.Method != http.MethodGet || r.BodySize != 0 {
		t.Errorf("remembered %+v", r)
	}
}

func TestSinkServesManyAtOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[uint64]bool{}
	s := mustNew(t, Options{FailShare: 0.5, FailFirst: true, OnRequest: func(r Record) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Number] = true
	}})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				deliver(s, fmt.Sprint(g, "_", i), 1)
				if i%10 == 0 { // a page of a hundred rows is slow under the race detector
					get(s, "/", "")
				}
			}
		})
	}
	wg.Wait()
	if len(seen) != 400 {
		t.Errorf("%d numbers for 400 requests", len(seen))
	}
}
