package integration

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay/intake/openapitest"
)

// described is the document that an instance serves at /openapi.json. All instances serve
// the same.
var described struct {
	sync.Mutex
	*openapitest.Document
}

// description fetches the document, once. It returns nil while nobody answers.
func (c *instance) description() *openapitest.Document {
	described.Lock()
	defer described.Unlock()
	if described.Document != nil {
		return described.Document
	}
	resp, err := http.Get(c.url("/openapi.json"))
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil
	}
	document, err := openapitest.New(text)
	if err != nil {
		c.t.Errorf("GET /openapi.json: %v", err)
		return nil
	}
	described.Document = document
	return document
}

// conform holds what intake was asked and answered against the document that it serves.
func (c *instance) conform(req *http.Request, body string, a answer) {
	if a.status == http.StatusRequestHeaderFieldsTooLarge && strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		return // by net/http, before Caddy sees the request
	}
	document := c.description()
	if a.err != nil || document == nil {
		return
	}
	_, err := document.Check(openapitest.Exchange{
		Method: req.Method, Path: req.URL.EscapedPath(), Header: req.Header, Body: []byte(body),
		Status: a.status, AnswerHeader: a.header, Answer: a.body,
	})
	if err != nil {
		c.t.Errorf("%v\n%s %s %.200q is answered %.500s", err, req.Method, req.URL.Path, body, a)
	}
}

func TestOpenAPIDocumentIsServedWithoutToken(t *testing.T) {
	t.Parallel()
	c := run(t, subscribed("crm", newReceiver(t)), withIntake("token {env.TOKEN}"), withEnv("TOKEN=open-sesame"))
	a := c.request(http.MethodGet, "/openapi.json", "")
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%.300s", a)
	}
	if _, err := openapitest.New(a.body); err != nil {
		t.Error(err)
	}
}
