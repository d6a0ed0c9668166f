package intake

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/intake/openapitest"
)

// document is what all exchanges of these tests are held against, and met the cases of
// it that happened.
var (
	document = sync.OnceValues(func() (*openapitest.Document, error) { return openapitest.New(OpenAPI()) })
	metMu    sync.Mutex
	met      = make(map[openapitest.Case]bool)
)

// TestMain asks at the end whether all happened that the document has, if all tests ran.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 && allRan() {
		code = unmet()
	}
	os.Exit(code)
}

func allRan() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

func unmet() int {
	d, err := document()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	code := 0
	for _, c := range d.Cases() {
		if !met[c] {
			fmt.Printf("openapi.json has %q, but no test is answered so\n", c)
			code = 1
		}
	}
	return code
}

// ServeHTTP serves a request and holds it and its answer against the document.
func (s *setup) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent := new(bytes.Buffer)
	header, path := r.Header.Clone(), r.URL.EscapedPath()
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, sent), r.Body}
	}
	answer := &tee{ResponseWriter: w, status: http.StatusOK}
	s.Handler.ServeHTTP(answer, r)
	d, err := document()
	if err != nil {
		s.t.Error(err)
		return
	}
	e := openapitest.Exchange{
		Method: r.Method, Path: path, Header: header, Body: sent.Bytes(),
		Status: answer.status, AnswerHeader: w.Header(), Answer: answer.body.Bytes(),
	}
	seen, err := d.Check(e)
	if err != nil {
		s.t.Errorf("%v\nthe request: %s %.200s %v %.200q\nthe answer: %d %v %.500s", err, e.Method, e.Path, e.Header, e.Body, e.Status, e.AnswerHeader, e.Answer)
	}
	if e.Status == http.StatusAccepted && path == pathEvents && !isBinary(header) && len(s.typeFrom) == 0 && header.Get("Content-Type") == "application/json" {
		// The document allows any JSON there, for handlers that have a locator.
		if err := d.Validate("Envelope", e.Body); err != nil {
			s.t.Errorf("%.200q was taken: %v", e.Body, err)
		}
	}
	metMu.Lock()
	defer metMu.Unlock()
	met[seen] = true
}

// tee keeps what is answered.
type tee struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (t *tee) WriteHeader(status int) {
	t.status = status
	t.ResponseWriter.WriteHeader(status)
}

func (t *tee) Write(p []byte) (int, error) {
	t.body.Write(p)
	return t.ResponseWriter.Write(p)
}

func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func TestOpenAPIIsServedToAnyone(t *testing.T) {
	s := newSetup(t, func(o *Options) { o.Tokens = []string{"t"} })
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		w := s.do(ask{method: method, path: "/openapi.json", local: lan, host: "anything.example", header: "Via: 1.1 proxy"})
		equal(t, "status", w.Code, http.StatusOK)
		equal(t, "Content-Type", w.Header().Get("Content-Type"), "application/json")
		equal(t, "body", w.Body.String(), string(OpenAPI()))
	}
	p := problemOf(t, s.do(ask{path: "/openapi.json", body: "{}"}))
	equal(t, "POST", p.slug(), "method-not-allowed")
}

// The document lists the problems of the table, and no others.
func TestOpenAPIHasAllProblems(t *testing.T) {
	d, err := document()
	if err != nil {
		t.Fatal(err)
	}
	status := make(map[string]int)
	for _, p := range ProblemTypes() {
		status[p.URI()] = p.Status
	}
	// Those that are answered where there is no operation.
	found := map[string]bool{problemTypes[problemNotFound].URI(): true, problemTypes[problemMethod].URI(): true}
	for _, c := range d.Cases() {
		if c.Problem == "" {
			continue
		}
		found[c.Problem] = true
		if status[c.Problem] != c.Status {
			t.Errorf("%s; the table has the status %d", c, status[c.Problem])
		}
	}
	for uri, status := range status {
		if !found[uri] {
			t.Errorf("the document has no operation that answers %s", uri)
		}
		problem := fmt.Sprintf(`{"type":%q,"title":"x","status":%d,"detail":"x"}`, uri, status)
		if err := d.Validate("Problem", []byte(problem)); err != nil {
			t.Error(err)
		}
	}
	if err := d.Validate("Problem", []byte(`{"type":"`+problemBase+`other","title":"x","status":400,"detail":"x"}`)); err == nil {
		t.Error("the document takes any type of problem")
	}
}

// What the document says of an exchange is said by a program that could be wrong: it
// must notice what is.
func TestWhatIsNotInTheDocumentIsNoticed(t *testing.T) {
	d, err := document()
	if err != nil {
		t.Fatal(err)
	}
	good := openapitest.Exchange{
		Method: http.MethodPost, Path: "/v1/events/a", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte("1"),
		Status:       http.StatusAccepted,
		AnswerHeader: http.Header{"Content-Type": {"application/json"}, "Location": {"/v1/events/evt_1"}},
		Answer:       []byte(`{"id":"evt_1","type":"a","matched":[],"duplicate":false}`),
	}
	if _, err := d.Check(good); err != nil {
		t.Fatal(err)
	}
	problem := func(status int, slug, more string) func(*openapitest.Exchange) {
		return func(e *openapitest.Exchange) {
			e.Status = status
			e.AnswerHeader = http.Header{"Content-Type": {"application/problem+json"}}
			e.Answer = fmt.Appendf(nil, `{"type":%q,"title":"x","status":%d,"detail":"x"%s}`, problemBase+slug, status, more)
		}
	}
	for name, change := range map[string]func(*openapitest.Exchange){
		"status":                 func(e *openapitest.Exchange) { e.Status = http.StatusOK },
		"no Location":            func(e *openapitest.Exchange) { e.AnswerHeader.Del("Location") },
		"wrong Location":         func(e *openapitest.Exchange) { e.AnswerHeader.Set("Location", "/") },
		"unknown header":         func(e *openapitest.Exchange) { e.AnswerHeader.Set("X-New", "1") },
		"member missing":         func(e *openapitest.Exchange) { e.Answer = []byte(`{"id":"evt_1","type":"a","matched":[]}`) },
		"member too many":        func(e *openapitest.Exchange) { e.Answer = append(e.Answer[:len(e.Answer)-1], `,"x":1}`...) },
		"content type":           func(e *openapitest.Exchange) { e.AnswerHeader.Set("Content-Type", "text/plain") },
		"no JSON":                func(e *openapitest.Exchange) { e.Answer = []byte(`{`) },
		"request's content type": func(e *openapitest.Exchange) { e.Header.Set("Content-Type", "text/plain") },
		"no body":                func(e *openapitest.Exchange) { e.Body = nil },
		"parameter":              func(e *openapitest.Exchange) { e.Header.Set("Idempotency-Key", "é") },
		"type in the path":       func(e *openapitest.Exchange) { e.Path = "/v1/events/" + strings.Repeat("x", 256) },
		"path":                   func(e *openapitest.Exchange) { e.Path = "/v1/other" },
		"method":                 func(e *openapitest.Exchange) { e.Method = http.MethodPut },
		"no Allow":               func(e *openapitest.Exchange) { problem(405, "method-not-allowed", "")(e); e.Method = http.MethodPut },
		"problem of another op":  problem(422, "invalid-envelope", ""),
		"problem's status":       problem(400, "key-reused", ""),
		"no Retry-After":         problem(503, "busy", ""),
		"fault":                  problem(400, "malformed-json", `,"errors":[{"pointer":"a"}]`),
		"line of NDJSON": func(e *openapitest.Exchange) {
			e.Path, e.Body = "/v1/events", []byte("{\"type\":\"a\",\"data\":1}\n\n{\"type\":\"a\"}\n")
			e.Header.Set("Content-Type", "application/x-ndjson")
		},
	} {
		e := good
		e.Header, e.AnswerHeader, e.Body, e.Answer = good.Header.Clone(), good.AnswerHeader.Clone(), slices.Clone(good.Body), slices.Clone(good.Answer)
		change(&e)
		if _, err := d.Check(e); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
	for name, text := range map[string]string{
		"version":   `{"openapi":"3.0.3"}`,
		"reference": `{"openapi":"3.1.0","paths":{"/a":{"$ref":"#/nowhere"}}}`,
		"schema":    `{"openapi":"3.1.0","x":{"schema":{"type":"nonsense"}}}`,
		"example":   `{"openapi":"3.1.0","x":{"schema":{"type":"string"},"example":1}}`,
		"no JSON":   `{`,
	} {
		if _, err := openapitest.New([]byte(text)); err == nil {
			t.Errorf("%s: a wrong document is taken", name)
		}
	}
}
