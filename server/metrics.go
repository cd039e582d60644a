package server

import (
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/handstamp/handstamp/revoke"
)

// metrics counts what this server does, and prints it in the Prometheus text format (version 0.0.4). Its labels come
// from closed lists alone (patterns of routes, methods, classes of status, problem codes): a client that makes things up
// makes no new series.
type metrics struct {
	health func() revoke.View

	mu       sync.Mutex
	requests map[requestLabels]uint64
	seconds  map[string]*histogram // by route
	refusals map[string]uint64     // by problem code
}

type requestLabels struct{ route, method, status string }

// bounds of the histogram, in seconds: from a check in memory to a login that waits for its turn to hash.
func bounds() [12]float64 {
	return [12]float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5}
}

type histogram struct {
	buckets [12]uint64
	count   uint64
	sum     float64
}

func newMetrics(health func() revoke.View) *metrics {
	return &metrics{health: health, requests: map[requestLabels]uint64{}, seconds: map[string]*histogram{}, refusals: map[string]uint64{}}
}

// noRoute is the label of requests that no route took.
const noRoute = "none"

func (m *metrics) request(pattern, method string, status int, took time.Duration) {
	if pattern == "" || pattern == "/" {
		pattern = noRoute
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[requestLabels{pattern, knownMethod(method), statusClass(status)}]++
	h := m.seconds[pattern]
	if h == nil {
		h = &histogram{}
		m.seconds[pattern] = h
	}
	h.count++
	h.sum += took.Seconds()
	for i, b := range bounds() {
		if took.Seconds() <= b {
			h.buckets[i]++
		}
	}
}

// refused counts a refusal. Codes are ours: a closed list.
func (m *metrics) refused(code string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refusals[code]++
}

func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

func statusClass(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}

// text prints all series, in a fixed order.
func (m *metrics) text() string {
	var b strings.Builder
	m.mu.Lock()
	b.WriteString("# HELP handstamp_http_requests_total Requests by route, method and class of status.\n# TYPE handstamp_http_requests_total counter\n")
	for _, l := range slices.SortedFunc(maps.Keys(m.requests), requestLabels.compare) {
		fmt.Fprintf(&b, "handstamp_http_requests_total{route=%q,method=%q,status=%q} %d\n", l.route, l.method, l.status, m.requests[l])
	}
	b.WriteString("# HELP handstamp_http_request_seconds How long requests took.\n# TYPE handstamp_http_request_seconds histogram\n")
	for _, route := range slices.Sorted(maps.Keys(m.seconds)) {
		h := m.seconds[route]
		for i, le := range bounds() {
			fmt.Fprintf(&b, "handstamp_http_request_seconds_bucket{route=%q,le=\"%g\"} %d\n", route, le, h.buckets[i])
		}
		fmt.Fprintf(&b, "handstamp_http_request_seconds_bucket{route=%q,le=\"+Inf\"} %d\n", route, h.count)
		fmt.Fprintf(&b, "handstamp_http_request_seconds_sum{route=%q} %g\nhandstamp_http_request_seconds_count{route=%q} %d\n", route, h.sum, route, h.count)
	}
	b.WriteString("# HELP handstamp_refusals_total Answers that were not yes, by problem code.\n# TYPE handstamp_refusals_total counter\n")
	for _, code := range slices.Sorted(maps.Keys(m.refusals)) {
		fmt.Fprintf(&b, "handstamp_refusals_total{code=%q} %d\n", code, m.refusals[code])
	}
	m.mu.Unlock()
	gauge(&b, "go_goroutines", "Goroutines of the process.", float64(runtime.NumGoroutine()))
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	gauge(&b, "go_memstats_heap_alloc_bytes", "Bytes of the heap in use.", float64(mem.HeapAlloc))
	if m.health != nil {
		v := m.health()
		gauge(&b, "handstamp_revocation_applied", "Number of the last event of the log that checks here obey.", float64(v.Applied))
		gauge(&b, "handstamp_revocation_low", "Number of the last event that the log has forgotten.", float64(v.Low))
		gauge(&b, "handstamp_revocation_lease_left_seconds", "How long checks may still answer from memory; 0 is a lapsed lease.", v.LeaseLeft.Seconds())
	}
	return b.String()
}

func gauge(b *strings.Builder, name, help string, value float64) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s gauge\n%s %g\n", name, help, name, name, value)
}

func (l requestLabels) compare(o requestLabels) int {
	return strings.Compare(l.route+" "+l.method+" "+l.status, o.route+" "+o.method+" "+o.status)
}
