package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/internal/telemetry"
	"github.com/handstamp/handstamp/server"
)

// serveCmd is "handstamp serve".
type serveCmd struct{}

// Run serves until a signal ends it: then the listeners close, what is under way gets ten seconds, and a second signal
// ends the process at once. Nothing that was acknowledged is lost by that.
func (c *serveCmd) Run(ctx context.Context, a *app) (err error) {
	cfg, warnings, err := a.settings()
	if err != nil {
		return err
	}
	log := a.logger(cfg)
	open, err := config.CheckPlaces(cfg)
	if err != nil {
		return err
	}
	for _, w := range append(warnings, open...) {
		log.Warn("configuration", "key", w.Key, "warning", w.Text)
	}
	stopClock, err := a.moveClock()
	if err != nil {
		return err
	}
	defer stopClock()
	e, err := openEngine(ctx, cfg, log, a.now)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.end()) }()
	api, err := e.api(cfg, log, a.now)
	if err != nil {
		return err
	}
	l, err := listen(ctx, cfg)
	if err != nil {
		return err
	}
	tracer, err := openTracer(ctx, cfg, log)
	if err != nil {
		return errors.Join(err, l.close())
	}
	defer closeTracer(ctx, tracer, log)
	servers, err := newServers(cfg, l, entrance{api: api, tracer: tracer}, log)
	if err != nil {
		return errors.Join(err, l.close())
	}
	// The link is made when the port is ours: a second server that finds the port taken must not void the link of the first.
	if err := a.welcome(ctx, cfg, e, l, log); err != nil {
		return errors.Join(err, l.close())
	}
	return servers.run(ctx, a.release)
}

// listeners are the two ports, bound and not yet served.
type listeners struct{ public, ops net.Listener }

func (l listeners) close() error { return errors.Join(l.public.Close(), l.ops.Close()) }

func listen(ctx context.Context, cfg *config.Config) (listeners, error) {
	public, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return listeners{}, fmt.Errorf("listen at addr: %w", err)
	}
	ops, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.OpsAddr)
	if err != nil {
		return listeners{}, errors.Join(fmt.Errorf("listen at ops_addr: %w", err), public.Close())
	}
	return listeners{public: public, ops: ops}, nil
}

// The limits of a connection. A client that is slower than these holds a goroutine and a file for nothing.
const (
	maxHeaderBytes    = 16 << 10
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	leastWriteTimeout = 15 * time.Second
	idleTimeout       = 60 * time.Second
	stopTimeout       = 10 * time.Second

	maxOpsConnections = 64
)

// writeTimeout leaves room for a caller who waits for the fleet, which takes up to 1.12 times the lease.
func writeTimeout(cfg *config.Config) time.Duration {
	return max(leastWriteTimeout, cfg.Revocation.Lease*112/100+5*time.Second)
}

// servers are the two HTTP servers.
type servers struct {
	public, ops *http.Server
	listeners   listeners
	tls         bool
	log         *slog.Logger
	stopTLS     func()
}

func newServers(cfg *config.Config, l listeners, f entrance, log *slog.Logger) (*servers, error) {
	limit, opsLimit := newConnLimit(l.public, maxConnections()), newConnLimit(l.ops, maxOpsConnections)
	s := &servers{log: log, listeners: listeners{public: limit, ops: opsLimit}, stopTLS: func() {}}
	s.public = httpServer(f.handler(writeTimeout(cfg)-time.Second), writeTimeout(cfg), log)
	s.public.ConnState = limit.note
	s.public.RegisterOnShutdown(f.api.EndStreams) // they have no end of their own
	s.ops = httpServer(withDeadline(f.api.Ops(), leastWriteTimeout-time.Second), leastWriteTimeout, log)
	s.ops.ConnState = opsLimit.note
	if cfg.TLS.Cert == "" {
		return s, nil
	}
	pair, err := loadPair(cfg.TLS, log)
	if err != nil {
		return nil, err
	}
	s.tls, s.public.TLSConfig, s.stopTLS = true, pair.config(), pair.watch(reloadEvery)
	return s, nil
}

func httpServer(h http.Handler, write time.Duration, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h,
		// net/http reads up to 4 KiB more than it is told.
		MaxHeaderBytes: maxHeaderBytes - 4<<10, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: write, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // broken handshakes and the like: anybody can make them
	}
}

// entrance is what answers the public.
type entrance struct {
	api    *server.Server
	tracer *telemetry.Tracer // nil without traces
}

// handler puts a deadline on everything but event streams, which set one for each write, and traces it.
func (f entrance) handler(deadline time.Duration) http.Handler {
	limited := withDeadline(f.api, deadline)
	h := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.api.Streams(r) {
			f.api.ServeHTTP(w, r)
			return
		}
		limited.ServeHTTP(w, r)
	}))
	if f.tracer != nil {
		h = f.tracer.Handler(h)
	}
	return h
}

// openTracer is nil where no traces are wanted.
func openTracer(ctx context.Context, cfg *config.Config, log *slog.Logger) (*telemetry.Tracer, error) {
	if cfg.OTel.Endpoint == nil {
		return nil, nil
	}
	return telemetry.Open(ctx, telemetry.Options{
		Endpoint: cfg.OTel.Endpoint.String(), SampleRatio: cfg.OTel.SampleRatio, Version: version(), Trusted: cfg.TrustedProxies, Logger: log,
	})
}

// closeTracer sends what is left. A receiver that is away loses the last spans; it does not hold up the stop.
func closeTracer(ctx context.Context, t *telemetry.Tracer, log *slog.Logger) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Warn("the last spans were not sent", "error", err)
	}
}

// withDeadline ends the work for a request a moment before its connection ends: an answer that nobody can receive is not
// worth a place in a queue.
func withDeadline(h http.Handler, d time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), d)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// run serves until ctx ends. release gives the signals back, so that the next one ends the process.
func (s *servers) run(ctx context.Context, release func()) error {
	defer s.stopTLS()
	failed := make(chan error, 2)
	go func() {
		if s.tls {
			failed <- s.public.ServeTLS(s.listeners.public, "", "")
			return
		}
		failed <- s.public.Serve(s.listeners.public)
	}()
	go func() { failed <- s.ops.Serve(s.listeners.ops) }()
	select {
	case err := <-failed:
		_ = s.public.Close()
		_ = s.ops.Close()
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	release()
	s.log.Info("handstamp is stopping: requests under way are answered, a second signal ends it at once")
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := s.public.Shutdown(stop)
	_ = s.public.Close()
	_ = s.ops.Close() // probes are answered to the end
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("some requests were cut off: they took longer than ten seconds")
		err = nil
	}
	s.log.Info("handstamp has stopped")
	return err
}

// durability says in words what the store promises.
func durability(d handstamp.Durability) string {
	switch d.Class {
	case handstamp.Durable:
		return "durable"
	case handstamp.Window:
		return fmt.Sprintf("a crash may lose the last %v", d.Window)
	default:
		return "lost when the process ends"
	}
}
