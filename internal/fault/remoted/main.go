// Command remoted is a service without a store of its own, for tests: a process that checks requests by package remote. It
// answers GET /v1/check by 200 and who it is, 401 or 503, GET /ready by 200 while it holds a lease, and GET /stats.
//
// It never issues, refreshes or ends anything.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/remote"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "remoted:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var transport http.RoundTripper
	if os.Getenv("REMOTED_DEAF") != "" {
		transport = deaf{&http.Transport{}}
	}
	v, err := remote.OpenWith(ctx, os.Getenv("REMOTED_SERVER"), os.Getenv("REMOTED_KEY"), remote.Options{
		Transport: transport,
		Verifier: handstamp.Options{
			PublicURL: os.Getenv("REMOTED_PUBLIC_URL"),
			Token:     handstamp.TokenOptions{Issuer: os.Getenv("REMOTED_ISSUER"), Audience: os.Getenv("REMOTED_ISSUER")},
		},
	})
	if err != nil {
		return fmt.Errorf("open the verifier: %w", err)
	}
	defer func() { _ = v.Close() }()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/check", func(w http.ResponseWriter, r *http.Request) { check(w, r, v) })
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(v.Stats().Cache)
	})
	srv := &http.Server{Addr: os.Getenv("REMOTED_ADDR"), Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// deaf is a network in which no stream of events comes through: renewals alone must do.
type deaf struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (d deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet && r.URL.Path == "/v1/revocations" {
		return nil, errors.New("no streams here")
	}
	return d.Transport.RoundTrip(r)
}

func check(w http.ResponseWriter, r *http.Request, v *handstamp.Verifier) {
	p, err := v.Verify(r)
	switch {
	case err == nil:
		w.Header().Set("Handstamp-User", string(p.User))
		w.Header().Set("Handstamp-Session", string(p.Session))
	case errors.Is(err, handstamp.ErrUnauthenticated):
		http.Error(w, err.Error(), http.StatusUnauthorized)
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}
