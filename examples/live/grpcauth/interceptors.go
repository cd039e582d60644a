package grpcauth

import (
	"context"
	"errors"

	"github.com/handstamp/handstamp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// Unary checks each call before its handler runs. The handler finds the principal with handstamp.FromContext(ctx).
func (p Policy) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		checked, _, err := p.check(ctx, info.FullMethod)
		if err != nil {
			return nil, refused(ctx, err)
		}
		return handler(checked, req)
	}
}

// Stream checks each stream when it begins, and ends it with the session: its context ends, every RecvMsg and SendMsg that
// waits comes back with an error, and the caller gets Unauthenticated, or Unavailable when it could not be found out any
// more whether the session goes on. What a handler returns after that is not sent.
//
// After an error a handler returns, as always, and does not use the message that it gave to RecvMsg or SendMsg.
func (p Policy) Stream() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx, who, err := p.check(ss.Context(), info.FullMethod)
		if err != nil {
			return refused(ss.Context(), err)
		}
		if who.IsZero() {
			return handler(srv, ss)
		}
		ctx, cancel := p.Verifier.Guard(ctx, who)
		defer cancel()
		if err := ended(ctx); err != nil {
			return err // before the handler did anything
		}
		err = handler(srv, &guarded{ss, ctx})
		if end := ended(ctx); end != nil {
			return end
		}
		return err
	}
}

// refused is the status for a call that was not let in. One whose caller went away meanwhile, or had no more time, is not
// called unavailable: nothing is wrong with the store.
func refused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return StatusOf(err)
}

// ended answers the status of a stream whose session ended. A caller that went away has no session that ended.
func ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	_, denied := handstamp.ReasonOf(cause)
	_, unknown := errors.AsType[*handstamp.UnavailableError](cause)
	if denied || unknown {
		return StatusOf(cause)
	}
	return nil
}

// guarded is a stream that ends with a session. gRPC's own methods wait for the caller only, and a caller who is silent
// would stay.
type guarded struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (g *guarded) Context() context.Context { return g.ctx }

// RecvMsg implements grpc.ServerStream.
func (g *guarded) RecvMsg(m any) error {
	return g.unlessEnded(func() error { return g.ServerStream.RecvMsg(m) })
}

// SendMsg implements grpc.ServerStream.
func (g *guarded) SendMsg(m any) error {
	return g.unlessEnded(func() error { return g.ServerStream.SendMsg(m) })
}

// unlessEnded lets a call that waits be left behind. It ends when the handler has returned, since the stream does then.
func (g *guarded) unlessEnded(call func() error) error {
	if err := g.over(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		if over := g.over(); over != nil {
			return over // what arrived when the session was over was sent by nobody
		}
		return err
	case <-g.ctx.Done():
		return g.over()
	}
}

// over answers why the stream is over, whoever ended it.
func (g *guarded) over() error {
	if g.ctx.Err() == nil {
		return nil
	}
	if err := ended(g.ctx); err != nil {
		return err
	}
	return status.FromContextError(g.ctx.Err()).Err()
}
