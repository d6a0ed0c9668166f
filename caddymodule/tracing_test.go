package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/caddyrelay/caddyrelay/relay"
)

// spanSink is a collector that takes OTLP over HTTP.
type spanSink struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*trace.Span
	about string // what all of them say of the process
	// faults are requests that it could not read.
	faults []error
}

// newSpanSink starts a collector, and names it in the environment.
func newSpanSink(t *testing.T) *spanSink {
	s := new(spanSink)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.faults = append(s.faults, err)
			return
		}
		for _, of := range request.GetResourceSpans() {
			s.about = of.GetResource().String()
			for _, scope := range of.GetScopeSpans() {
				s.spans = append(s.spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	return s
}

func (s *spanSink) all() []*trace.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.spans)
}

// want waits for spans of a name.
func (s *spanSink) want(t *testing.T, name string, n int) []*trace.Span {
	t.Helper()
	var found []*trace.Span
	eventually(t, func() bool {
		found = nil
		for _, span := range s.all() {
			if span.GetName() == name {
				found = append(found, span)
			}
		}
		return len(found) >= n
	}, func() string { return fmt.Sprintf("%d spans %q, want %d: %v", len(found), name, n, s.all()) })
	return found
}

// attributes of a span, as texts.
func attributes(span *trace.Span) map[string]string {
	all := make(map[string]string)
	for _, a := range span.GetAttributes() {
		v := a.GetValue()
		text := v.GetStringValue()
		if text == "" {
			text = fmt.Sprint(v.GetIntValue())
		}
		all[a.GetKey()] = text
	}
	return all
}

const (
	senderTrace  = "0af7651916cd43dd8448eb211c80319c"
	senderParent = "00-" + senderTrace + "-b7ad6b7169203331-01"
)

// post sends an event through intake, in the sender's trace.
func post(t *testing.T, url, traceparent string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, url+"/v1/events/order.paid", strings.NewReader(`{"card":"SECRET"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Traceparent", traceparent)
	request.Header.Set("Tracestate", "vendor=1")
	if status, body := do(t, http.DefaultClient, request); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
}

// withIntake is a site with relay_intake, as JSON of an app.
func withIntake(port int) string {
	return fmt.Sprintf(`, "http": {"servers": {"s": {"listen": ["127.0.0.1:%d"], "automatic_https": {"disable": true}, "routes": [{"handle": [{"handler": "relay_intake"}]}]}}}`, port)
}

func TestTracesLinkAttemptsToTheRequest(t *testing.T) {
	sink, r := newSpanSink(t), newReceiver(t)
	r.status.Store(500)
	c := startCaddy(t)
	port := freePort(t)
	o := config{
		regions:       `[{"name": "eu", "egress": [{"address": "127.0.0.2"}]}]`,
		subscriptions: "[" + r.subscription("crm", `"region": "eu"`, `"retry": {"delays": ["10ms"], "jitter": 0}`) + "]",
		apps:          withIntake(port),
	}
	o.subscriptions = strings.Replace(o.subscriptions, r.URL, r.URL+"/path-SECRET?key=SECRET", 1)
	c.load(o)
	post(t, fmt.Sprintf("http://127.0.0.1:%d", port), senderParent)

	receive := sink.want(t, "receive events", 1)[0]
	send := sink.want(t, "send events", 1)[0]
	attempts := sink.want(t, "POST crm", 2)
	if got := fmt.Sprintf("%x %x", receive.GetTraceId(), receive.GetParentSpanId()); got != senderTrace+" b7ad6b7169203331" || receive.GetKind() != trace.Span_SPAN_KIND_SERVER {
		t.Errorf("receive events is no child of the sender's span: %s %s", got, receive.GetKind())
	}
	if string(send.GetParentSpanId()) != string(receive.GetSpanId()) || string(send.GetTraceId()) != string(receive.GetTraceId()) {
		t.Errorf("send events is no child of receive events: %v", send)
	}
	for i, span := range attempts {
		links := span.GetLinks()
		if len(links) != 1 || string(links[0].GetSpanId()) != string(receive.GetSpanId()) || string(links[0].GetTraceId()) != string(receive.GetTraceId()) {
			t.Errorf("attempt %d does not link to the request: %v", i+1, links)
		}
		if len(span.GetParentSpanId()) != 0 || string(span.GetTraceId()) == string(receive.GetTraceId()) {
			t.Errorf("attempt %d is a part of the event's trace, which may last for days", i+1)
		}
		got := attributes(span)
		for name, want := range map[string]string{
			"messaging.destination.subscription.name": "crm", "messaging.message.delivery_attempt": fmt.Sprint(i + 1), "relay.region": "eu",
			"http.response.status_code": "500", "error.type": "500", "network.local.address": "127.0.0.2", "server.address": "127.0.0.1",
			"messaging.message.id": attributes(send)["messaging.message.id"],
		} {
			if got[name] != want {
				t.Errorf("attempt %d: %s is %q, want %q", i+1, name, got[name], want)
			}
		}
		if span.GetStatus().GetCode() != trace.Status_STATUS_CODE_ERROR || span.GetKind() != trace.Span_SPAN_KIND_CLIENT {
			t.Errorf("attempt %d: %v", i+1, span)
		}
	}
	// The receiver goes on with the trace that the sender began.
	want := fmt.Sprintf("00-%x-%x-01", receive.GetTraceId(), receive.GetSpanId())
	for _, h := range r.want(t, 2) {
		if h.Get("Traceparent") != want || h.Get("Tracestate") != "vendor=1" {
			t.Errorf("it was sent %q %q, want %q", h.Get("Traceparent"), h.Get("Tracestate"), want)
		}
	}
	for _, span := range sink.all() {
		if text := span.String(); strings.Contains(text, "SECRET") {
			t.Errorf("a span holds a payload or a URL: %s", text)
		}
	}
	if !strings.Contains(sink.about, "caddy-relay") || len(sink.faults) > 0 {
		t.Errorf("the service is %s; faults: %v", sink.about, sink.faults)
	}
}

func TestReloadsShareTheExporter(t *testing.T) {
	sink, r := newSpanSink(t), newReceiver(t)
	c := startCaddy(t)
	for range 3 {
		c.load(config{subscriptions: "[" + r.subscription("crm") + "]"})
		c.publish("order.paid")
		if n, there := exporters.References(exporterKey); n != 1 || !there {
			t.Errorf("%d configurations have the exporter; want 1", n)
		}
	}
	if err := caddy.Load([]byte(c.json(config{apps: `, "relay_test_failing": {}`})), true); err == nil {
		t.Fatal("a configuration was loaded that cannot start")
	}
	r.want(t, 3)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, there := exporters.References(exporterKey); there {
		t.Error("the exporter is there after the last configuration")
	}
	for _, name := range []string{"send events", "POST crm"} {
		if n := len(sink.want(t, name, 3)); n != 3 {
			t.Errorf("%d spans %q of three events", n, name)
		}
	}
}

// A wait is over before it is told of; its span has the time that it took.
func TestWaitIsASpanOfItsTime(t *testing.T) {
	sink, r := newSpanSink(t), newReceiver(t)
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + r.subscription("crm") + "]"})
	since := time.Now().Add(-time.Minute)
	of := c.app().plan.Subscription("crm")
	c.app().tracing.Waited(&relay.Event{ID: "evt_1", Type: "a", TraceParent: senderParent}, of, since, relay.WaitedTimeout)
	span := sink.want(t, "wait crm", 1)[0]
	if took := time.Duration(span.GetEndTimeUnixNano() - span.GetStartTimeUnixNano()); took < time.Minute || attributes(span)["relay.waited"] != "timeout" {
		t.Errorf("it took %s: %v", took, span)
	}
	if links := span.GetLinks(); len(links) != 1 || fmt.Sprintf("%x", links[0].GetTraceId()) != senderTrace {
		t.Errorf("links: %v", span.GetLinks())
	}
}

func TestUnsampledTraceStaysSo(t *testing.T) {
	sink, r := newSpanSink(t), newReceiver(t)
	c := startCaddy(t)
	port := freePort(t)
	c.load(config{subscriptions: "[" + r.subscription("crm") + "]", apps: withIntake(port)})
	post(t, fmt.Sprintf("http://127.0.0.1:%d", port), strings.TrimSuffix(senderParent, "01")+"00")
	got := r.want(t, 1)[0].Get("Traceparent")
	if !strings.HasPrefix(got, "00-"+senderTrace+"-") || !strings.HasSuffix(got, "-00") {
		t.Errorf("it was sent %q", got)
	}
	c.publish("order.paid") // what comes after it is exported after it
	sink.want(t, "POST crm", 1)
	if n := len(sink.all()); n != 2 {
		t.Errorf("%d spans, want those of one event: %v", n, sink.all())
	}
}

func TestTracingIsOffUnlessTheEnvironmentAsks(t *testing.T) {
	for _, c := range []struct {
		environment string
		on          bool
	}{
		{"", false},
		{"OTEL_SERVICE_NAME=shop", false},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318", true},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://localhost:4318/v1/traces", true},
		{"OTEL_TRACES_EXPORTER=console", true},
		{"OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318", false},
		{"OTEL_SDK_DISABLED=true OTEL_TRACES_EXPORTER=otlp", false},
	} {
		got := newTracing(func(name string) string {
			for pair := range strings.FieldsSeq(c.environment) {
				if value, ok := strings.CutPrefix(pair, name+"="); ok {
					return value
				}
			}
			return ""
		})
		if (got != nil) != c.on || (got.tracer() != nil) != c.on {
			t.Errorf("%q: tracing is %v", c.environment, got != nil)
		}
	}
	next := http.NotFoundHandler()
	if got := (*tracing)(nil).wrap(next); fmt.Sprintf("%p", got) != fmt.Sprintf("%p", next) {
		t.Error("a handler is wrapped where nothing is traced")
	}
}

// Webhooks are delivered whatever becomes of traces.
func TestMistakeAboutTracesStopsNoDelivery(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
	r := newReceiver(t)
	c := startCaddy(t)
	c.load(config{subscriptions: "[" + r.subscription("crm") + "]"})
	c.publish("order.paid")
	r.want(t, 1)
	c.wantLog("traces are not exported")
}
