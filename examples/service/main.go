package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/handstamp/handstamp/remote"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8095", "where to listen for HTTP")
	rpc := flag.String("grpc-addr", "127.0.0.1:8096", "where to listen for gRPC, without TLS: keep it on loopback")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *rpc); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. Where Handstamp cannot be reached it does not begin: whoever starts it starts it again.
func run(ctx context.Context, addr, rpc string) (err error) {
	verifier, err := remote.Open(ctx, os.Getenv("HANDSTAMP_URL"), os.Getenv("HANDSTAMP_KEY"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, verifier.Close()) }()

	web, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	calls, err := (&net.ListenConfig{}).Listen(ctx, "tcp", rpc)
	if err != nil {
		return errors.Join(err, web.Close())
	}
	fmt.Printf("service: http://%s, gRPC %s\n", web.Addr(), calls.Addr())
	return newService(verifier).serve(ctx, web, calls)
}

// errShutdown is the cause with which streams end when the program does.
var errShutdown = errors.New("the service is going down")

// serve answers on both listeners until ctx ends or one of them fails.
func (s *service) serve(ctx context.Context, web, calls net.Listener) error {
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(errShutdown)
	srv := &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		// Shutdown waits for streams, which have no end of their own: they end with what their contexts come from.
		BaseContext: func(net.Listener) context.Context { return life },
	}
	rpc := s.rpcServer()
	failed := make(chan error, 2)
	go func() { failed <- srv.Serve(web) }()
	go func() { failed <- rpc.Serve(calls) }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	end(errShutdown)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = errors.Join(err, srv.Shutdown(last))
	rpc.Stop()
	return err
}
