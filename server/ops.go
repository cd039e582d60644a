package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// healthz: GET /healthz. There is a Server only where an Auth was opened, and that has read the whole log.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, statusOut{Status: "ok"})
}

// readyOut is /readyz: everything that must work, and what of it does not.
type readyOut struct {
	Ready      bool          `json:"ready"`
	Sessions   stateOut      `json:"sessions"`
	Accounts   stateOut      `json:"accounts"`
	Lease      *leaseOut     `json:"lease,omitempty"`
	Durability durabilityOut `json:"durability"`
}

type stateOut struct {
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

type leaseOut struct {
	stateOut
	LeftMS  int64  `json:"left_ms"`
	Applied uint64 `json:"applied"`
}

type durabilityOut struct {
	Class         string `json:"class"`
	WindowSeconds int64  `json:"window_seconds,omitempty"`
}

// readyTimeout is how long a store may take to say that it is there.
const readyTimeout = time.Second

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

// readyz: GET /readyz.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	d := s.auth.Durability()
	out := readyOut{Durability: durabilityOut{Class: string(d.Class), WindowSeconds: int64(d.Window / time.Second)}}
	out.Sessions = s.state(r, "sessions", s.auth.Ping(ctx))
	_, err := s.opt.Accounts.Users().Role(ctx, account.RoleAdmin)
	if errors.Is(err, handstamp.ErrNotFound) {
		err = nil // it answered
	}
	out.Accounts = s.state(r, "accounts", err)
	out.Ready = out.Sessions.OK && out.Accounts.OK
	if s.opt.Health != nil {
		v := s.opt.Health()
		out.Lease = &leaseOut{LeftMS: v.LeaseLeft.Milliseconds(), Applied: v.Applied, stateOut: stateOut{OK: v.LeaseLeft > 0}}
		if !out.Lease.OK {
			out.Lease.Detail = "the log of revocations was not heard from lately: every check asks the store"
		}
		out.Ready = out.Ready && out.Lease.OK
	}
	status := http.StatusOK
	if !out.Ready {
		status = http.StatusServiceUnavailable
	}
	return answer(w, status, out)
}

// state says whether a store answered. Why it did not is for the log: the text may name hosts.
func (s *Server) state(r *http.Request, name string, err error) stateOut {
	if err == nil {
		return stateOut{OK: true}
	}
	s.opt.Logger.WarnContext(r.Context(), "not ready", "part", name, "error", err)
	return stateOut{Detail: "the store does not answer"}
}
