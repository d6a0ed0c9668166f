package intake

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// fakeEngine keeps what is published, and knows idempotency keys as a store does.
type fakeEngine struct {
	mu        sync.Mutex
	published []relay.Publication
	batches   []int // the number of events of each call
	known     map[relay.Key]stored
	down      error // what Err returns
	fails     error // what Publish returns
	inspect   func(id string) (*relay.Event, []relay.Delivery, error)
	receipts  func([]relay.Receipt) []relay.Receipt
	// publishing is called while events are published, if it is set; ctx is the context then.
	publishing func()
	ctx        context.Context
}

type stored struct {
	sum      [32]byte
	receipts []relay.Receipt
}

func (f *fakeEngine) Publish(ctx context.Context, events []relay.Publication, whole *relay.Key) ([]relay.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.publishing != nil {
		f.ctx = ctx
		f.publishing()
	}
	if f.fails != nil {
		return nil, f.fails
	}
	if whole != nil {
		if s, ok := f.known[space(whole)]; ok {
			if s.sum != whole.Sum || len(s.receipts) != len(events) {
				return nil, &relay.KeyReusedError{Item: -1}
			}
			return duplicates(s.receipts), nil
		}
	}
	var receipts []relay.Receipt
	var fresh []relay.Publication
	learned := map[relay.Key]stored{}
	for i, p := range events {
		receipt := relay.Receipt{
			ID:      relay.FormatID(relay.Seq(len(f.published)+len(fresh)+1), 7),
			Type:    p.Event.Type,
			Matched: append([]string{}, p.Event.Only...),
		}
		if p.Key != nil {
			s, ok := f.known[space(p.Key)]
			if !ok {
				s, ok = learned[space(p.Key)]
			}
			if ok {
				if s.sum != p.Key.Sum {
					return nil, &relay.KeyReusedError{Item: i}
				}
				receipts = append(receipts, duplicates(s.receipts)...)
				continue
			}
			learned[space(p.Key)] = stored{p.Key.Sum, []relay.Receipt{receipt}}
		}
		fresh = append(fresh, p)
		receipts = append(receipts, receipt)
	}
	if whole != nil {
		learned[space(whole)] = stored{whole.Sum, receipts}
	}
	if f.known == nil {
		f.known = learned
	}
	maps.Copy(f.known, learned)
	f.published = append(f.published, fresh...)
	f.batches = append(f.batches, len(events))
	if f.receipts != nil {
		receipts = f.receipts(receipts)
	}
	return receipts, nil
}

// space is a key without what it stands for.
func space(k *relay.Key) relay.Key { return relay.Key{Kind: k.Kind, Text: k.Text} }

func duplicates(receipts []relay.Receipt) []relay.Receipt {
	receipts = slices.Clone(receipts)
	for i := range receipts {
		receipts[i].Duplicate = true
	}
	return receipts
}

func (f *fakeEngine) Inspect(_ context.Context, id string) (*relay.Event, []relay.Delivery, error) {
	if f.inspect == nil {
		return nil, nil, relay.ErrNotFound
	}
	return f.inspect(id)
}

func (f *fakeEngine) Err() error { return f.down }

// last returns what was published last, and how much was.
func (f *fakeEngine) last(t *testing.T) relay.Publication {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.published) == 0 {
		t.Fatal("nothing was published")
	}
	return f.published[len(f.published)-1]
}

// tally is an [Observer].
type tally struct {
	mu       sync.Mutex
	rejected []string
	took     int
}

func (c *tally) Rejected(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rejected = append(c.rejected, reason)
}

func (c *tally) Took(time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took++
}

// setup is a handler with its surroundings. What it answers is held against the OpenAPI
// document.
type setup struct {
	*Handler
	t      testing.TB
	engine *fakeEngine
	tally  *tally
}

func newSetup(t testing.TB, change ...func(*Options)) *setup {
	t.Helper()
	s := &setup{t: t, engine: &fakeEngine{}, tally: &tally{}}
	o := Options{
		Engine:   func(context.Context) (Engine, error) { return s.engine, nil },
		Observer: s.tally,
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if s.Handler, err = New(o); err != nil {
		t.Fatal(err)
	}
	return s
}

// ask is a request to be made; from this machine unless it says otherwise.
type ask struct {
	method string // POST unless given
	path   string
	header string // lines; "Content-Type: application/json" for a POST unless given
	host   string // localhost:4665 unless given
	body   string
	local  net.Addr
}

var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4665}

func (a ask) request() *http.Request {
	if a.method == "" {
		a.method = http.MethodPost
	}
	r := httptest.NewRequest(a.method, a.path, strings.NewReader(a.body))
	r.Host = "localhost:4665"
	if a.host != "" {
		r.Host = a.host
	}
	if a.local == nil {
		a.local = loopback
	}
	if a.method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for line := range strings.Lines(a.header) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if value = strings.TrimSpace(value); value == "none" && name == "Content-Type" {
			r.Header.Del(name)
		} else if http.CanonicalHeaderKey(name) == "Content-Type" && !strings.HasPrefix(line, "content-type") {
			r.Header.Set(name, value)
		} else {
			r.Header.Add(name, value)
		}
	}
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, a.local))
}

func (s *setup) do(a ask) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, a.request())
	return w
}

// accepted is the body of a 202.
type accepted struct {
	ID        string
	Type      string
	Matched   []string
	Duplicate bool
}

func (s *setup) accept(t *testing.T, a ask) accepted {
	t.Helper()
	w := s.do(a)
	if w.Code != http.StatusAccepted {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var answer accepted
	strict := json.NewDecoder(w.Body)
	strict.DisallowUnknownFields()
	if err := strict.Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if got := w.Header().Get("Location"); got != "/v1/events/"+answer.ID {
		t.Errorf("Location %q for id %q", got, answer.ID)
	}
	if got := w.Header().Get("Idempotency-Replayed"); (got == "true") != answer.Duplicate {
		t.Errorf("Idempotency-Replayed %q, duplicate %v", got, answer.Duplicate)
	}
	return answer
}

// problemBody is an answer of the type application/problem+json.
type problemBody struct {
	Type, Title, Detail string
	Status              int
	Errors              []fault
	Fits                *int
}

func (p problemBody) slug() string { return strings.TrimPrefix(p.Type, problemBase) }

// problemOf checks the form of a problem and returns it.
func problemOf(t *testing.T, w *httptest.ResponseRecorder) problemBody {
	t.Helper()
	if got := w.Header().Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("X-Content-Type-Options: %q: a browser may take what is quoted for HTML", got)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("status %d, Content-Type %q, body %s", w.Code, got, w.Body)
	}
	var p problemBody
	strict := json.NewDecoder(w.Body)
	strict.DisallowUnknownFields()
	if err := strict.Decode(&p); err != nil {
		t.Fatal(err)
	}
	if p.Status != w.Code || p.Title == "" || p.Detail == "" || !strings.HasPrefix(p.Type, problemBase) {
		t.Fatalf("status %d with %+v", w.Code, p)
	}
	return p
}

// refused expects a problem and that nothing was published.
func (s *setup) refused(t *testing.T, a ask, status int, slug string) problemBody {
	t.Helper()
	before := len(s.engine.published)
	w := s.do(a)
	p := problemOf(t, w)
	if p.Status != status || p.slug() != slug {
		t.Fatalf("%d %s (%s), want %d %s", p.Status, p.slug(), p.Detail, status, slug)
	}
	if len(s.engine.published) != before {
		t.Error("it was published all the same")
	}
	return p
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %#v, want %#v", what, got, want)
	}
}
