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

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/memory"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8091", "where to listen for browsers")
	rpc := flag.String("grpc-addr", "127.0.0.1:8092", "where to listen for gRPC, without TLS: keep it on loopback")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *rpc); err != nil {
		fmt.Fprintln(os.Stderr, "live:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, addr, rpc string) (err error) {
	store := memory.New()
	a, err := open(ctx, store, handstamp.Options{PublicURL: "http://" + addr})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	defer func() { err = errors.Join(err, a.auth.Close(), store.Close()) }()

	web, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	calls, err := (&net.ListenConfig{}).Listen(ctx, "tcp", rpc)
	if err != nil {
		return errors.Join(err, web.Close())
	}
	fmt.Println("live: http://" + addr)
	return a.serve(ctx, web, calls)
}

// errShutdown is the cause with which connections end when the program does.
var errShutdown = errors.New("the server is going down")

// serve answers on both listeners until ctx ends or one of them fails. When it returns, every connection is closed.
func (a *app) serve(ctx context.Context, web, calls net.Listener) error {
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(errShutdown)
	srv := &http.Server{
		Handler: a.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		// Shutdown waits for event streams, and knows nothing of WebSockets: both end when what their contexts come from ends.
		BaseContext: func(net.Listener) context.Context { return life },
	}
	rpc := a.rpcServer()
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
	a.sockets.Wait()
	return err
}
