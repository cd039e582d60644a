package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver is an OTLP receiver in this process.
type receiver struct {
	*httptest.Server
	status int // what it answers; 0 is 200

	mu       sync.Mutex
	raw      bytes.Buffer // everything that was sent, unpacked: for looking what is not in it
	resource map[string]string
	spans    []*tracepb.Span
	paths    []string
}

func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{resource: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.paths = append(r.paths, req.URL.Path)
		body := io.Reader(req.Body)
		if req.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(req.Body); err != nil {
				t.Error(err)
				return
			}
		}
		data, err := io.ReadAll(body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(data, &sent)
		}
		if err != nil {
			t.Errorf("no OTLP: %v", err)
		}
		r.raw.Write(data)
		for _, rs := range sent.ResourceSpans {
			for _, a := range rs.Resource.Attributes {
				r.resource[a.Key] = a.Value.GetStringValue()
			}
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
		if r.status != 0 {
			w.WriteHeader(r.status)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func attributes(s *tracepb.Span) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes {
		if text := a.Value.GetStringValue(); text != "" {
			all[a.Key] = text
			continue
		}
		all[a.Key] = a.Value.String()
	}
	return all
}

// tracer opens a Tracer that sends to r, and what ends it so that everything has been sent.
func tracer(t *testing.T, r *receiver, opt Options) (*Tracer, func()) {
	t.Helper()
	opt.Endpoint = r.URL
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	tr, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return tr, sync.OnceFunc(func() {
		if err := tr.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// routes is a server as ours is: the mux gets another request than the handler of the Tracer made, and says the route.
func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/users/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	mux.HandleFunc("POST /v1/login", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) })
	mux.HandleFunc("GET /v1/session", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("GET /quiet", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Request-Id", "REQUESTID")
		other := r.Clone(r.Context())
		defer func() { Route(r.Context(), other.Pattern) }()
		mux.ServeHTTP(w, other)
	})
}

func ask(h http.Handler, method, target string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(`{"email":"ada@example.com","password":"CANARY-password"}`))
	for k, v := range header {
		r.Header[k] = v
	}
	w := httptest.NewRecorder()
	func() {
		defer func() { _ = recover() }()
		h.ServeHTTP(w, r)
	}()
	return w
}

func TestHandler_spans(t *testing.T) {
	r := receive(t)
	tr, end := tracer(t, r, Options{SampleRatio: 1, Version: "v1.2.3"})
	h := tr.Handler(routes())
	tests := []struct {
		method, target, name, status, kind string
	}{
		{"GET", "/v1/users/usr_1?token=x", "GET /v1/users/{id}", "int_value:404", ""},
		{"POST", "/v1/login", "POST /v1/login", "int_value:503", "503"},
		{"GET", "/v1/session", "GET /v1/session", "int_value:200", ""},
		{"GET", "/quiet", "GET /quiet", "int_value:200", ""},
		{"GET", "/panic", "GET /panic", "", "panic"},
		{"GET", "/nothing/here", "GET none", "int_value:404", ""},
		{"MADEUP", "/v1/session", "_OTHER none", "int_value:405", ""},
	}
	for _, tt := range tests {
		ask(h, tt.method, tt.target, nil)
	}
	end()
	if len(r.spans) != len(tests) {
		t.Fatalf("%d spans of %d requests", len(r.spans), len(tests))
	}
	for i, tt := range tests {
		s, a := r.spans[i], attributes(r.spans[i])
		if s.Name != tt.name || a["http.response.status_code"] != tt.status || a["error.type"] != tt.kind ||
			a["handstamp.request_id"] != "REQUESTID" || s.Kind != tracepb.Span_SPAN_KIND_SERVER || len(s.ParentSpanId) != 0 {
			t.Errorf("%s %s: %q %v %v", tt.method, tt.target, s.Name, a, s.Kind)
		}
		if isError := s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR; isError != (tt.kind != "") {
			t.Errorf("%s %s: status %v", tt.method, tt.target, s.Status)
		}
		for k := range a {
			switch k {
			case "http.request.method", "http.route", "http.response.status_code", "handstamp.request_id", "error.type":
			default:
				t.Errorf("attribute %s is not in the list", k)
			}
		}
	}
	if r.resource["service.name"] != "handstamp" || r.resource["service.version"] != "v1.2.3" || r.resource["service.instance.id"] == "" {
		t.Errorf("resource %v", r.resource)
	}
	for _, p := range r.paths {
		if p != "/v1/traces" {
			t.Errorf("sent to %s", p)
		}
	}
}

// A mux that gets the very request leaves the pattern in it.
func TestHandler_mux(t *testing.T) {
	r := receive(t)
	tr, end := tracer(t, r, Options{SampleRatio: 1})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /a/{b}", func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("no flushing through the handler: %v", err)
		}
	})
	ask(tr.Handler(mux), "GET", "/a/CANARY", nil)
	end()
	if len(r.spans) != 1 || r.spans[0].Name != "GET /a/{b}" {
		t.Errorf("%v", r.spans)
	}
}

// L2: nothing that a client wrote is in a span, wherever it writes it.
func TestL2_NothingOfTheClientInASpan(t *testing.T) {
	r := receive(t)
	tr, end := tracer(t, r, Options{SampleRatio: 1, Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	h := tr.Handler(routes())
	for _, target := range []string{
		"/v1/users/CANARY-path?access_token=CANARY-query", "/CANARY-unknown?x=CANARY", "/v1/session?email=CANARY@example.com",
	} {
		for _, method := range []string{"GET", "POST", "CANARY"} {
			ask(h, method, target, http.Header{
				"Authorization": {"Bearer CANARY"}, "Cookie": {"__Host-handstamp=CANARY"}, "User-Agent": {"CANARY"}, "Referer": {"https://CANARY"},
				"Tracestate": {"canary=CANARY"}, "Baggage": {"canary=CANARY"}, "X-Forwarded-For": {"CANARY"}, "X-Request-Id": {"CANARY"}, "Request-Id": {"CANARY"},
				"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "Idempotency-Key": {"CANARY"}, "Origin": {"https://CANARY"},
			})
		}
	}
	end()
	if len(r.spans) != 9 {
		t.Fatalf("%d spans", len(r.spans))
	}
	if strings.Contains(strings.ToUpper(r.raw.String()), "CANARY") || strings.Contains(r.raw.String(), "example.com") {
		t.Errorf("a span holds what a client wrote:\n%q", r.raw.String())
	}
}

func TestHandler_parent(t *testing.T) {
	const sampled, not = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("fd00::/8")}
	tests := []struct {
		name    string
		trusted []netip.Prefix
		peer    string
		parents []string
		ratio   float64
		spans   int
		child   bool
	}{
		{"a trusted proxy's trace goes on", trusted, "192.0.2.1:1234", []string{sampled}, 0, 1, true},
		{"and as an address in the other form", trusted, "[::ffff:192.0.2.1]:1234", []string{sampled}, 0, 1, true},
		{"it decides that there is none", trusted, "[fd00::1]:1", []string{not}, 1, 0, false},
		{"a stranger's does not count", trusted, "203.0.113.1:1", []string{sampled}, 1, 1, false},
		{"a stranger cannot have a span made", trusted, "203.0.113.1:1", []string{sampled}, 0, 0, false},
		{"nor prevent one", trusted, "203.0.113.1:1", []string{not}, 1, 1, false},
		{"nobody is trusted by default", nil, "127.0.0.1:1", []string{sampled}, 0, 0, false},
		{"two are none", trusted, "192.0.2.1:1", []string{sampled, sampled}, 0, 0, false},
		{"garbage is none", trusted, "192.0.2.1:1", []string{"00-zz-01"}, 1, 1, false},
		{"a peer without an address", trusted, "@", []string{sampled}, 0, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := receive(t)
			tr, end := tracer(t, r, Options{SampleRatio: tt.ratio, Trusted: tt.trusted})
			req := httptest.NewRequest("GET", "/v1/session", nil)
			req.RemoteAddr = tt.peer
			req.Header["Traceparent"] = tt.parents
			tr.Handler(routes()).ServeHTTP(httptest.NewRecorder(), req)
			end()
			if len(r.spans) != tt.spans {
				t.Fatalf("%d spans, want %d", len(r.spans), tt.spans)
			}
			if tt.spans == 1 && (len(r.spans[0].ParentSpanId) != 0) != tt.child {
				t.Errorf("parent %x", r.spans[0].ParentSpanId)
			}
		})
	}
}

// A receiver that refuses, or is not there, is said once; requests are answered, and closing ends.
func TestOpen_receiver_down(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusForbidden} {
		var logged bytes.Buffer
		r := receive(t)
		r.status = status
		tr, end := tracer(t, r, Options{SampleRatio: 1, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		for range 3 {
			if w := ask(tr.Handler(routes()), "GET", "/v1/session", nil); w.Code != http.StatusOK {
				t.Errorf("status %d", w.Code)
			}
			_ = tr.provider.ForceFlush(t.Context())
		}
		r.mu.Lock()
		r.status = 0
		r.mu.Unlock()
		ask(tr.Handler(routes()), "GET", "/v1/session", nil)
		end()
		text := logged.String()
		if strings.Count(text, "cannot be sent") != 1 || strings.Count(text, "sent again") != 1 || !strings.Contains(text, "lost_spans=3") {
			t.Errorf("the log is\n%s", text)
		}
	}
	var logged bytes.Buffer
	r := receive(t)
	tr, _ := tracer(t, r, Options{SampleRatio: 1, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	r.Server.Close()
	ask(tr.Handler(routes()), "GET", "/v1/session", nil)
	if err := tr.Close(t.Context()); err != nil || strings.Count(logged.String(), "cannot be sent") != 1 {
		t.Errorf("Close() = %v, log\n%s", err, logged.String())
	}
}

// The queue is bounded, and a receiver that hangs holds up no request.
func TestHandler_receiver_hangs(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer s.Close()
	defer close(hang)
	tr, err := Open(t.Context(), Options{Endpoint: s.URL, SampleRatio: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h := tr.Handler(routes())
	for range 3 * maxQueue {
		ask(h, "GET", "/v1/session", nil)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tr.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Close() = %v, want that it was cut off", err)
	}
}

func TestOpen_refuses(t *testing.T) {
	for _, endpoint := range []string{"", "127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://", "http://user:CANARY@h", "https://h/?k=CANARY", "https://h#CANARY"} {
		if _, err := Open(t.Context(), Options{Endpoint: endpoint}); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("Open(%q) = %v", endpoint, err)
		}
	}
	for _, ratio := range []float64{-0.1, 1.1} {
		if _, err := Open(t.Context(), Options{Endpoint: "http://127.0.0.1:1", SampleRatio: ratio}); err == nil {
			t.Errorf("a ratio of %v is taken", ratio)
		}
	}
	for endpoint, want := range map[string]string{
		"http://h:4318": "http://h:4318/v1/traces", "http://h:4318/": "http://h:4318/v1/traces",
		"https://h/otlp": "https://h/otlp/v1/traces", "https://h/otlp/v1/traces": "https://h/otlp/v1/traces",
	} {
		if got, err := tracesURL(endpoint); got != want || err != nil {
			t.Errorf("tracesURL(%q) = %q, %v, want %q", endpoint, got, err, want)
		}
	}
}

// What the standard variables say is obeyed: the operator's attributes, and the key of the receiver.
func TestOpen_environment(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.namespace=id")
	t.Setenv("OTEL_SERVICE_NAME", "stamps")
	var key string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { key = r.Header.Get("Api-Key") }))
	defer s.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret")
	r := receive(t)
	tr, end := tracer(t, r, Options{SampleRatio: 1})
	ask(tr.Handler(routes()), "GET", "/quiet", nil)
	end()
	if r.resource["service.name"] != "stamps" || r.resource["service.namespace"] != "id" {
		t.Errorf("resource %v", r.resource)
	}
	other, err := Open(t.Context(), Options{Endpoint: s.URL, SampleRatio: 1})
	if err != nil {
		t.Fatal(err)
	}
	ask(other.Handler(routes()), "GET", "/quiet", nil)
	if err := other.Close(t.Context()); err != nil || key != "s3cret" {
		t.Errorf("Close() = %v, key %q", err, key)
	}
}
