package main

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A server with a receiver of traces sends a span for each request, with the route and nothing that a client wrote, and
// the last ones when it ends.
func TestServe_traces(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	spans, raw := map[string]int{}, ""
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		b, _ := io.ReadAll(body)
		var sent collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(b, &sent); err != nil {
			t.Error(err)
		}
		raw += string(b)
		for _, rs := range sent.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					spans[s.Name]++
				}
			}
		}
	}))
	defer receiver.Close()
	s := newSite(t, "", "HANDSTAMP_OTEL_ENDPOINT="+receiver.URL)
	s.start()
	g := s.signUp("canary@example.com", "session")
	s.check(g.Access)
	s.call("GET", "/v1/admin/users/canary%40example.com?query=canary", g.Access, nil)
	s.call("GET", "/canary", g.Access, nil)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, name := range []string{"POST /v1/signup", "GET /v1/check", "GET /v1/admin/users/{id}", "GET none"} {
		if spans[name] == 0 {
			t.Errorf("no span %s among %v", name, spans)
		}
	}
	if strings.Contains(raw, "canary") || strings.Contains(raw, g.Access) || strings.Contains(raw, goodPassword) || !strings.Contains(raw, "handstamp.request_id") {
		t.Errorf("a span holds what a client wrote, or not what the server did:\n%q", raw)
	}
}
