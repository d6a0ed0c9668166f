package intake

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/relay"
)

// occurrence is a request that is refused, and what makes it so.
type occurrence struct {
	// curl is the request as documented.
	curl    string
	options func(*Options)
	engine  func(*setup)
	local   net.Addr
	// schema is that of order.paid, if it has one.
	schema string
	// fails is how reading the body ends, if it does not end well.
	fails error
}

// setup makes the circumstances.
func (o occurrence) setup(t *testing.T) (*setup, ask) {
	t.Helper()
	var options []func(*Options)
	if o.options != nil {
		options = append(options, o.options)
	}
	if o.schema != "" {
		options = append(options, withSchema(t, o.schema))
	}
	s := newSetup(t, options...)
	if o.engine != nil {
		o.engine(s)
	}
	a := ask{method: http.MethodPost, path: "/v1/events/order.paid"}
	if strings.HasPrefix(o.curl, "curl ") {
		a = parseCurl(t, o.curl)
	}
	a.local = o.local
	return s, a
}

func (o occurrence) request(a ask) *http.Request {
	r := a.request()
	if o.fails != nil && r.Method == http.MethodPost {
		r.Body = io.NopCloser(errReader{o.fails})
	}
	return r
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

const (
	toOrder = " http://localhost:4665/v1/events/order.paid"
	toOpen  = " http://localhost:4665/v1/events"
	anOrder = ` --json '{"order":42}'`
	good    = "curl" + anOrder + toOrder
)

// occurrences has one for each type of problem, by its slug. They are documented in
// docs/problems.md.
var occurrences = map[string]occurrence{
	"not-found":              {curl: "curl" + anOrder + " http://localhost:4665/events/order.paid"},
	"no-such-event":          {curl: "curl http://localhost:4665/v1/events/evt_38g0gyzn40000z5h"},
	"method-not-allowed":     {curl: "curl -X PUT" + anOrder + toOrder},
	"unauthorized":           {curl: "curl -H 'Authorization: Bearer wrong'" + anOrder + toOrder, options: func(o *Options) { o.Tokens = []string{"t"} }},
	"not-local":              {curl: "curl" + anOrder + " http://192.168.1.5:4665/v1/events/order.paid", local: lan},
	"foreign-host":           {curl: "curl -H 'Host: shop.example.com'" + anOrder + toOrder},
	"foreign-origin":         {curl: "curl -H 'Origin: https://shop.example.com'" + anOrder + toOrder},
	"unsupported-media-type": {curl: `curl -d '{"order":42}'` + toOrder},
	"content-encoding":       {curl: `curl -H 'Content-Type: application/json' -H 'Content-Encoding: gzip' --data-binary @order.json.gz` + toOrder},
	"too-many-fields":        {curl: "curl -H @many-fields.txt" + anOrder + toOrder},
	"body-too-large":         {curl: "curl -H 'Content-Type: application/json' --data-binary @large.json" + toOrder},
	"body-too-slow":          {curl: "curl --limit-rate 1" + anOrder + toOrder, fails: os.ErrDeadlineExceeded},
	"body-unreadable": {
		curl:  `printf 'POST /v1/events/order.paid HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n' | nc localhost 4665`,
		fails: errors.New("malformed chunked encoding"),
	},
	"malformed-json": {curl: `curl --json '{"order":42,}'` + toOrder},
	"duplicate-name": {curl: `curl --json '{"order":42,"order":43}'` + toOrder},
	"too-deep":       {curl: `curl --json '` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `'` + toOrder},
	"not-utf-8":      {curl: `curl --json $'{"city":"M\xfcnchen"}'` + toOrder},
	"invalid-idempotency-key": {
		curl: `curl -H 'Idempotency-Key: "order 42'` + anOrder + toOrder,
	},
	"invalid-key": {
		curl:    `curl --json '{"webhookId":"1\n2"}'` + toOrder,
		options: func(o *Options) { o.KeyFrom = []Locator{{Path: "webhookId"}, {Path: "data.webhookId"}} },
	},
	"invalid-type":       {curl: "curl" + anOrder + " http://localhost:4665/v1/events/order..paid"},
	"invalid-envelope":   {curl: `curl --json '{"type":"order.paid","time":"yesterday","sorce":"/shop"}'` + toOpen},
	"invalid-cloudevent": {curl: `curl -H 'Content-Type: application/cloudevents+json' -d '{"specversion":"1.0","type":"order.paid","id":"A-1"}'` + toOpen},
	"invalid-batch":      {curl: `curl -H 'Content-Type: application/x-ndjson' --data-binary $'{"type":"order.paid","data":1}\n{"type":"order.paid"}\n'` + toOpen},
	"invalid-data": {
		curl:   `curl --json '{"order":"42"}'` + toOrder,
		schema: `{"properties":{"order":{"type":"integer"}}}`,
	},
	"unknown-subscription": {
		curl:   "curl -H 'Relay-Subscriptions: crm, nope'" + anOrder + toOrder,
		engine: refuses(&relay.UnknownSubscriptionError{Name: "nope"}),
	},
	"key-reused":       {curl: "curl -H 'Idempotency-Key: order-42'" + anOrder + toOrder, engine: refuses(relay.ErrKeyReused)},
	"batch-too-large":  {curl: "curl -H 'Content-Type: application/x-ndjson' --data-binary @orders.ndjson" + toOpen, engine: refuses(&relay.BatchTooLargeError{Fits: 1})},
	"too-much-at-once": {curl: good, engine: func(s *setup) { fill(s.budget, ask{path: "/"}.request().RemoteAddr, 64<<10) }},
	"busy":             {curl: good, engine: func(s *setup) { s.budget.used.Store(s.budget.size) }},
	"store-full":       {curl: good, engine: func(s *setup) { s.engine.down = relay.ErrFull }},
	"store-failed":     {curl: good, engine: fails(relay.ErrBroken)},
	"not-ready":        {curl: good, engine: fails(relay.ErrClosed)},
	"internal-error":   {curl: good, engine: fails(io.ErrNoProgress)},
}

// refuses makes the engine refuse events.
func refuses(err error) func(*setup) { return func(s *setup) { s.engine.fails = err } }

// fails makes the engine fail in all that it is asked.
func fails(err error) func(*setup) {
	return func(s *setup) {
		s.engine.fails = err
		s.engine.inspect = func(string) (*relay.Event, []relay.Delivery, error) { return nil, nil, err }
	}
}
