package server

import (
	"net/http"

	"github.com/handstamp/handstamp"
)

// healthz: GET /healthz. There is a Server only where an Auth was opened, and that has read the whole log.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, statusOut{Status: "ok"})
}

// Ops answers what is for operators only: /healthz, /readyz, /metrics. It belongs on a listener of its own: what it
// tells is nobody else's business.
func (s *Server) Ops() http.Handler {
	mux := http.NewServeMux()
	metrics := s.metrics.handler(s.opt.Logger)
	printMetrics := func(w http.ResponseWriter, r *http.Request) error {
		metrics.ServeHTTP(w, r)
		return nil
	}
	for pattern, h := range map[string]handler{"/healthz": s.healthz, "/readyz": s.readyz, "/metrics": printMetrics} {
		mux.Handle(pattern, &endpoint{fail: s.failOps, methods: map[string]handler{get: h}, allow: "GET, HEAD, OPTIONS"})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.failOps(w, r, handstamp.ErrNotFound) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

// failOps writes a refusal. There are no pages on the operators' listener.
func (s *Server) failOps(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	s.note(w, r, p, err)
	p.Write(w)
}
