// Package telemetry sends traces of HTTP requests to an OpenTelemetry receiver: one span for each request, by OTLP over
// HTTP (opentelemetry.io/docs/specs/otlp).
//
// It gives [Open], which starts what sends; [Tracer.Handler], which makes a span of each request; [Route], by which
// whoever routes a request says which route took it; and [Tracer.Close], which sends what is left and ends.
//
// It never puts into a span what a client wrote: no path, no query, no header, no body, no address. A span has the
// pattern of the route, the method out of a closed list, the status, and the request id that the server made. Of the
// headers traceparent and tracestate (W3C Trace Context) it takes the ids and the flag of the first, and only when the
// peer of the connection is a trusted proxy; the second and baggage are dropped. It never makes a request wait for the
// receiver or fail with it, sets nothing global, and decides nothing about an identity.
//
// Who wants no traces opens none, and installs no handler: then nothing of this is on the way of a request.
package telemetry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options of a [Tracer]. Endpoint is needed.
type Options struct {
	// Endpoint is the base URL of an OTLP receiver over HTTP, http or https, such as http://127.0.0.1:4318. Spans go to
	// v1/traces below it.
	Endpoint string
	// SampleRatio is the share of requests that get a span, 0 to 1, for those about which no trusted proxy has decided.
	SampleRatio float64
	// Version is service.version of every span; empty leaves it out.
	Version string
	// Trusted are the networks whose traceparent counts: whoever sends one chooses which trace a request belongs to, and
	// whether it is sampled. Nobody, by default.
	Trusted []netip.Prefix
	// Logger hears when spans cannot be sent, and when they can again; nil: slog.Default().
	Logger *slog.Logger
}

// The bounds of what waits to be sent. What comes while the queue is full is dropped, and no request waits.
const (
	maxQueue    = 2048
	maxBatch    = 512
	batchEvery  = 2 * time.Second
	sendTimeout = 5 * time.Second
)

// Tracer makes spans and sends them. It is safe for concurrent use.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	context  propagation.TraceContext
	trusted  []netip.Prefix
}

// Open starts sending; the owner calls [Tracer.Close]. It does not ask whether the receiver is there: a server starts
// without it. Attributes of the resource are service.name, service.version, service.instance.id (random) and those of
// the variables OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME; headers for the receiver, such as its key, come from
// OTEL_EXPORTER_OTLP_HEADERS (all three as the OpenTelemetry specification has them).
func Open(ctx context.Context, opt Options) (*Tracer, error) {
	target, err := tracesURL(opt.Endpoint)
	if err != nil {
		return nil, err
	}
	if !(opt.SampleRatio >= 0 && opt.SampleRatio <= 1) {
		return nil, fmt.Errorf("telemetry: a sample ratio of %v, want 0 to 1", opt.SampleRatio)
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	about, err := describe(ctx, opt.Version)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(ctx, otlptracehttp.NewClient(
		otlptracehttp.WithEndpointURL(target), otlptracehttp.WithTimeout(sendTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 2 * time.Second, MaxElapsedTime: sendTimeout,
		}),
	))
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(about),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(opt.SampleRatio))),
		sdktrace.WithBatcher(&quietExporter{SpanExporter: exporter, log: opt.Logger},
			sdktrace.WithMaxQueueSize(maxQueue), sdktrace.WithMaxExportBatchSize(maxBatch),
			sdktrace.WithBatchTimeout(batchEvery), sdktrace.WithExportTimeout(2*sendTimeout)),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer(scope), trusted: opt.Trusted}, nil
}

// scope names who made the spans.
const scope = "github.com/handstamp/handstamp/internal/telemetry"

// tracesURL is where spans go.
func tracesURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		// Not quoted: people put keys into such URLs.
		return "", errors.New("telemetry: the endpoint must be a URL such as http://127.0.0.1:4318, without user name or query")
	}
	base := strings.TrimSuffix(u.Path, "/")
	if !strings.HasSuffix(base, "/v1/traces") {
		base += "/v1/traces"
	}
	u.Path, u.RawPath = base, ""
	return u.String(), nil
}

func describe(ctx context.Context, version string) (*resource.Resource, error) {
	attrs := []attribute.KeyValue{
		attribute.String("service.name", "handstamp"),
		attribute.String("service.instance.id", rand.Text()),
	}
	if version != "" {
		attrs = append(attrs, attribute.String("service.version", version))
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attrs...), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("telemetry: read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return about, nil
}

// Close sends what is left, as far as ctx allows, and ends. Spans that end later are dropped.
func (t *Tracer) Close(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("telemetry: send the last spans: %w", err)
	}
	return nil
}

// quietExporter says once when spans cannot be sent, and once when they can again. The SDK would hand every error to a
// handler that is global and writes past our log.
type quietExporter struct {
	sdktrace.SpanExporter
	log *slog.Logger

	mu   sync.Mutex
	lost int // spans since sending failed; 0: it does not fail
}

// ExportSpans implements sdktrace.SpanExporter. It answers nil: what is lost is said, and is no reason to stop.
func (e *quietExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err != nil && e.lost == 0:
		e.log.Warn("traces cannot be sent; requests are answered as before", "error", short(err))
		e.lost = len(spans)
	case err != nil:
		e.lost += len(spans)
	case e.lost > 0:
		e.log.Info("traces are sent again", "lost_spans", e.lost)
		e.lost = 0
	}
	return nil
}

// maxErrorBytes bounds what is logged of an error: it may hold the answer of whatever listens at the endpoint.
const maxErrorBytes = 300

func short(err error) string {
	text := err.Error()
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "") + "…"
	}
	return text
}
