package server

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics counts what this server does, in a registry of its own: two servers in one process do not share series. Its
// labels come from closed lists alone (patterns of routes, methods, classes of status, problem codes): a client that
// makes things up makes no new series.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refusals *prometheus.CounterVec
}

func newMetrics(s *Server) (*metrics, error) {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handstamp_http_requests_total", Help: "Requests by route, method and class of status.",
		}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "handstamp_http_request_seconds", Help: "How long requests took.",
			// From a check in memory to a login that waits for its turn to hash.
			Buckets: []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5},
		}, []string{"route"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "handstamp_refusals_total", Help: "Answers that were not yes, by problem code.",
		}, []string{"code"}),
	}
	all := []prometheus.Collector{m.requests, m.seconds, m.refusals, collectors.NewGoCollector(), newReadings(s)}
	var errs []error
	for _, c := range all {
		errs = append(errs, m.registry.Register(c))
	}
	return m, errors.Join(errs...)
}

// handler prints all series. A collector that fails is logged, and what the others say is printed all the same.
func (m *metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), ErrorHandling: promhttp.ContinueOnError,
	})
}

// noRoute is the label of requests that no route took.
const noRoute = "none"

func routeLabel(pattern string) string {
	if pattern == "" || pattern == "/" {
		return noRoute
	}
	return pattern
}

func (m *metrics) request(pattern, method string, status int) {
	m.requests.WithLabelValues(routeLabel(pattern), knownMethod(method), statusClass(status)).Inc()
}

func (m *metrics) took(pattern string, d time.Duration) {
	m.seconds.WithLabelValues(routeLabel(pattern)).Observe(d.Seconds())
}

// refused counts a refusal. Codes are ours: a closed list.
func (m *metrics) refused(code string) { m.refusals.WithLabelValues(code).Inc() }

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
