package caddymodule

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddyrelay/caddyrelay/relay"
)

// tracing makes spans with OpenTelemetry, as one configuration needs them. It is made where
// the environment asks for it; what exports the spans belongs to the process, and is there
// while configurations run.
type tracing struct {
	// exporter is nil before the start. It stays after the end: attempts that begin with the
	// plan of before are traced as long as another configuration has the exporter, too.
	exporter atomic.Pointer[spanExporter]
	// held says that the exporter has to be given back.
	held     bool
	incoming propagation.TextMapPropagator
}

// newTracing returns nil unless the environment names where spans go, in the variables that
// OpenTelemetry defines.
func newTracing(getenv func(string) string) *tracing {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil
	}
	for _, name := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if getenv(name) != "" {
			return &tracing{incoming: autoprop.NewTextMapPropagator()}
		}
	}
	return nil
}

// tracer is what the engine is given: nil where nothing is traced, so that it pays nothing.
func (t *tracing) tracer() relay.Tracer {
	if t == nil {
		return nil
	}
	return t
}

// wrap makes a handler of events a part of the sender's trace: "receive events". From then on
// the event carries the context of this span in place of its sender's; the trace is the same.
func (t *tracing) wrap(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := t.exporter.Load()
		if x == nil || r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		ctx := r.Context()
		if !trace.SpanContextFromContext(ctx).IsValid() { // otherwise Caddy's tracing is before us
			ctx = t.incoming.Extract(ctx, propagation.HeaderCarrier(r.Header))
		}
		ctx, span := x.tracer.Start(ctx, "receive events", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("messaging.system", messagingSystem),
			attribute.String("messaging.operation.type", "receive"),
			attribute.String("http.request.method", r.Method),
		))
		defer span.End()
		r = r.WithContext(ctx)
		r.Header = r.Header.Clone()
		r.Header.Del("Tracestate") // one of a broken traceparent would be left
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(r.Header))
		noted := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(noted, r)
		span.SetAttributes(attribute.Int("http.response.status_code", noted.status))
		if noted.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(noted.status))
		}
	})
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	if status >= http.StatusOK { // those before it are informational
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

const messagingSystem = "caddy_relay"

// Publishing implements [relay.Tracer].
func (t *tracing) Publishing(ctx context.Context, events int) (context.Context, func([]relay.Receipt, error)) {
	x := t.exporter.Load()
	if x == nil {
		return ctx, nil
	}
	ctx, span := x.tracer.Start(ctx, "send events", trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(
		attribute.String("messaging.system", messagingSystem),
		attribute.Int("messaging.batch.message_count", events),
	))
	return ctx, func(receipts []relay.Receipt, err error) {
		if len(receipts) == 1 {
			span.SetAttributes(
				attribute.String("messaging.message.id", receipts[0].ID),
				attribute.StringSlice("relay.matched", receipts[0].Matched),
				attribute.Bool("relay.duplicate", receipts[0].Duplicate),
			)
		}
		if err != nil {
			span.SetStatus(codes.Error, "not stored")
		}
		span.End()
	}
}

// Attempting implements [relay.Tracer]. No attribute holds the URL of a subscription.
func (t *tracing) Attempting(ctx context.Context, e *relay.Event, s *relay.Subscription, number int) (context.Context, func(relay.Attempt)) {
	x := t.exporter.Load()
	if x == nil {
		return ctx, nil
	}
	ctx, span := x.apart(ctx, s.Method+" "+s.Name, e, s, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("messaging.operation.type", "send"),
		attribute.Int("messaging.message.delivery_attempt", number),
		attribute.String("http.request.method", s.Method),
		attribute.String("server.address", s.URL.Hostname()),
	))
	return ctx, func(a relay.Attempt) {
		if number > 1 {
			span.SetAttributes(attribute.Int("http.request.resend_count", number-1))
		}
		if a.Status != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", a.Status))
		}
		setAddress(span, "network.local", a.Local)
		setAddress(span, "network.peer", a.Remote)
		if a.Error != "" {
			span.SetAttributes(attribute.String("error.type", errorType(a)))
			span.SetStatus(codes.Error, a.Error)
		}
		span.End()
	}
}

// Waited implements [relay.Tracer].
func (t *tracing) Waited(e *relay.Event, s *relay.Subscription, since time.Time, how relay.Waited) {
	if x := t.exporter.Load(); x != nil {
		_, span := x.apart(context.Background(), "wait "+s.Name, e, s, trace.WithTimestamp(since),
			trace.WithAttributes(attribute.String("relay.waited", string(how))))
		span.End()
	}
}

// apart begins a span that is a trace of its own, and links to the one that the event
// carries.
func (x *spanExporter) apart(ctx context.Context, name string, e *relay.Event, s *relay.Subscription, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	tracer := x.tracer
	options = append(options, trace.WithNewRoot(), trace.WithAttributes(
		attribute.String("messaging.system", messagingSystem),
		attribute.String("messaging.destination.subscription.name", s.Name),
		attribute.String("messaging.message.id", e.ID),
		attribute.String("relay.event_type", e.Type),
		attribute.String("relay.region", s.Region),
	))
	carrier := propagation.MapCarrier{"traceparent": e.TraceParent, "tracestate": e.TraceState}
	origin := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	if origin.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: origin}))
		tracer = x.linked // whether it is recorded was decided with the event
	}
	return tracer.Start(ctx, name, options...)
}

// errorType is the status where there is one, as the conventions for HTTP say, else the kind.
func errorType(a relay.Attempt) string {
	switch {
	case a.Status != 0:
		return strconv.Itoa(a.Status)
	case a.ErrorKind != relay.KindNone:
		return string(a.ErrorKind)
	}
	return "not_attempted"
}

// setAddress sets the address and port of one end of a connection.
func setAddress(span trace.Span, end, address string) {
	if at, err := netip.ParseAddrPort(address); err == nil {
		span.SetAttributes(attribute.String(end+".address", at.Addr().String()), attribute.Int(end+".port", int(at.Port())))
	}
}

// environment is replaced in tests.
var environment = os.Getenv
