package telemetry

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// noRoute is the route of requests that no route took, as in the metrics.
const noRoute = "none"

// place is where [Route] leaves the route of a request.
type place struct{ route string }

type placeKey struct{}

// Route says which pattern of a closed list took the request of ctx; the span is named after it. It must be a pattern,
// not a path: a path holds what a client wrote. Where no handler of a [Tracer] is above, it does nothing. It is for the
// goroutine that serves the request.
func Route(ctx context.Context, pattern string) {
	if p, ok := ctx.Value(placeKey{}).(*place); ok {
		p.route = pattern
	}
}

// Handler makes a span of each request that next answers. The span's name is the method and the route: what [Route]
// said, else the pattern of an http.ServeMux that took the very request it was given.
func (t *Tracer) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		where := &place{}
		method := knownMethod(r.Method)
		ctx, span := t.tracer.Start(t.parent(r), method, trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("http.request.method", method)))
		rec := &recorder{ResponseWriter: w}
		req := r.WithContext(context.WithValue(ctx, placeKey{}, where))
		whole := false
		defer func() {
			if where.route == "" {
				where.route = req.Pattern
			}
			finish(span, method, where.route, rec, whole)
		}()
		next.ServeHTTP(rec, req)
		whole = true
	})
}

// finish writes the end of a request into its span. whole is false for a handler that panicked, whose panic goes on.
func finish(span trace.Span, method, route string, rec *recorder, whole bool) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	if _, path, found := strings.Cut(route, " "); found {
		route = path // of a pattern with a method, which stands in front already
	}
	if route == "" || route == "/" {
		route = noRoute
	}
	status := rec.status
	if status == 0 && whole {
		status = http.StatusOK // net/http answers so for a handler that wrote nothing
	}
	span.SetName(method + " " + route)
	span.SetAttributes(attribute.String("http.route", route))
	if id := rec.Header().Get("Request-Id"); id != "" {
		// Ours, from the answer: by it a span is found in the log, and an entry of the audit log in a trace.
		span.SetAttributes(attribute.String("handstamp.request_id", id))
	}
	if status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	switch {
	case !whole:
		span.SetStatus(codes.Error, "")
		span.SetAttributes(attribute.String("error.type", "panic"))
	case status >= http.StatusInternalServerError:
		span.SetStatus(codes.Error, "")
		span.SetAttributes(attribute.String("error.type", strconv.Itoa(status)))
	}
}

// parent is the context in which the span of a request begins. It holds a trusted proxy's span as the parent, or none.
func (t *Tracer) parent(r *http.Request) context.Context {
	values := r.Header.Values("Traceparent")
	if len(values) != 1 || !t.trusts(r.RemoteAddr) {
		return r.Context()
	}
	return t.context.Extract(r.Context(), propagation.MapCarrier{"traceparent": values[0]})
}

// trusts reports whether a peer's word about traces counts: the address at the other end of the connection, since
// anything else is a header.
func (t *Tracer) trusts(remote string) bool {
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := peer.Addr().Unmap().WithZone("")
	for _, p := range t.trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// knownMethod keeps methods to a closed list; _OTHER is the name that the conventions for HTTP spans give to the rest.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return method
	}
	return "_OTHER"
}

// recorder remembers which status was written. It changes nothing.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status and passes it on. An answer that is only informational is followed by another.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write passes on.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the writer behind.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
