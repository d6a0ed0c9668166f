package caddymodule

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// exporters holds what exports spans, while a configuration that traces runs: one for the
// process, so that a reload loses no span. Caddy's own tracing has another one, which it
// shares with nobody.
var exporters = caddy.NewUsagePool()

// exporterKey is the only key of exporters: all comes from the environment.
const exporterKey = "environment"

// spanExporter is where spans go.
type spanExporter struct {
	// tracer samples as OTEL_TRACES_SAMPLER says; linked takes all, since what it is given
	// was decided about before.
	tracer, linked trace.Tracer
	providers      []*sdktrace.TracerProvider
}

// exportTimeout bounds how long the end of the process waits for the last spans.
const exportTimeout = 5 * time.Second

const instrumentation = "github.com/caddyrelay/caddyrelay"

func newSpanExporter(ctx context.Context) (*spanExporter, error) {
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, err
	}
	described, err := describeProcess()
	if err != nil {
		return nil, err
	}
	processor := sdktrace.NewBatchSpanProcessor(exporter)
	options := []sdktrace.TracerProviderOption{sdktrace.WithSpanProcessor(processor), sdktrace.WithResource(described)}
	bySampler := sdktrace.NewTracerProvider(options...)
	all := sdktrace.NewTracerProvider(append(options, sdktrace.WithSampler(sdktrace.AlwaysSample()))...)
	named := func(p *sdktrace.TracerProvider) trace.Tracer {
		return p.Tracer(instrumentation, trace.WithInstrumentationVersion(version()))
	}
	return &spanExporter{named(bySampler), named(all), []*sdktrace.TracerProvider{bySampler, all}}, nil
}

// describeProcess is what OpenTelemetry knows of it by itself and from its variables; those
// may name the service, which otherwise is caddy-relay.
func describeProcess() (*resource.Resource, error) {
	own := []attribute.KeyValue{attribute.String("service.version", version())}
	if environment("OTEL_SERVICE_NAME") == "" && !strings.Contains(environment("OTEL_RESOURCE_ATTRIBUTES"), "service.name=") {
		own = append(own, attribute.String("service.name", "caddy-relay"))
	}
	return resource.Merge(resource.Default(), resource.NewSchemaless(own...))
}

// Destruct implements [caddy.Destructor]: it sends what is left.
func (x *spanExporter) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), exportTimeout)
	defer cancel()
	for _, p := range x.providers {
		// They share their processor, which is shut down once.
		if err := p.Shutdown(ctx); err != nil {
			return fmt.Errorf("sending the last spans: %w", err)
		}
	}
	return nil
}

// start takes the exporter. Without one nothing is traced, and everything else goes on: no
// webhook waits for a mistake about traces.
func (t *tracing) start(logger *zap.Logger) {
	if t == nil {
		return
	}
	x, _, err := exporters.LoadOrNew(exporterKey, func() (caddy.Destructor, error) {
		return newSpanExporter(context.Background())
	})
	if err != nil {
		logger.Error("traces are not exported; correct the variables OTEL_..., or set OTEL_TRACES_EXPORTER to none", zap.Error(err))
		return
	}
	t.exporter.Store(x.(*spanExporter))
	t.held = true
}

// stop gives it back; it may be called at any time, and again.
func (t *tracing) stop(logger *zap.Logger) {
	if t == nil || !t.held {
		return
	}
	t.held = false
	if _, err := exporters.Delete(exporterKey); err != nil {
		logger.Warn("spans are lost", zap.Error(err))
	}
}
