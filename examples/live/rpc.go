package main

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/examples/live/grpcauth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The room over gRPC. The messages are well-known types and the service is described by hand, so that the example needs
// no generated code; in an application protoc writes this file's lower half.

// The methods of service live.Chat.
const (
	methodSay    = "/live.Chat/Say"    // StringValue → Empty
	methodClear  = "/live.Chat/Clear"  // Empty → Empty
	methodListen = "/live.Chat/Listen" // Empty → stream of StringValue, each one JSON of message
)

// rpcServer makes the server. Every call is checked by package grpcauth before it reaches a method below.
func (a *app) rpcServer() *grpc.Server {
	policy := grpcauth.Policy{
		Verifier: a.auth.Verifier,
		Methods: map[string][]handstamp.Rule{
			methodSay:    nil,
			methodListen: nil,
			// Fresh asks the store: this is no place for what was true a moment ago.
			methodClear: {handstamp.Permission("chat:clear"), handstamp.Fresh()},
		},
	}
	s := grpc.NewServer(
		grpc.UnaryInterceptor(policy.Unary()), grpc.StreamInterceptor(policy.Stream()),
		grpc.MaxRecvMsgSize(maxFrameBytes), grpc.MaxConcurrentStreams(100),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingInterval, Timeout: 10 * time.Second}),
	)
	s.RegisterService(chatService(), a)
	return s
}

func (a *app) rpcSay(ctx context.Context, in *wrapperspb.StringValue) (*emptypb.Empty, error) {
	p, _ := handstamp.FromContext(ctx)
	text := strings.TrimSpace(in.GetValue())
	if text == "" || utf8.RuneCountInString(text) > maxTextLength {
		return nil, status.Error(codes.InvalidArgument, "that is no message")
	}
	a.room.say(p.User, text)
	return &emptypb.Empty{}, nil
}

func (a *app) rpcClear(ctx context.Context, _ *emptypb.Empty) (*emptypb.Empty, error) { //nolint:unparam // the shape of every method
	p, _ := handstamp.FromContext(ctx)
	a.room.clear(p.User)
	return &emptypb.Empty{}, nil
}

func (a *app) rpcListen(_ *emptypb.Empty, stream grpc.ServerStream) error {
	ctx := stream.Context() // ends with the session
	p, _ := handstamp.FromContext(ctx)
	m, err := a.room.join(p.User)
	if err != nil {
		return status.Error(codes.ResourceExhausted, "too many connections")
	}
	defer a.room.leave(m)
	for {
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err() // package grpcauth says why, if the session ended
		case b, ok := <-m.out:
			if !ok {
				return status.Error(codes.ResourceExhausted, "too slow")
			}
			if err := stream.SendMsg(wrapperspb.String(string(b))); err != nil {
				return err
			}
		}
	}
}

// chatServer is what the description below asks of whoever is registered.
type chatServer interface {
	rpcSay(ctx context.Context, in *wrapperspb.StringValue) (*emptypb.Empty, error)
	rpcClear(ctx context.Context, in *emptypb.Empty) (*emptypb.Empty, error)
	rpcListen(in *emptypb.Empty, stream grpc.ServerStream) error
}

func chatService() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "live.Chat", HandlerType: (*chatServer)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Say", Handler: unary(methodSay, chatServer.rpcSay)},
			{MethodName: "Clear", Handler: unary(methodClear, chatServer.rpcClear)},
		},
		Streams: []grpc.StreamDesc{{StreamName: "Listen", ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
			in := &emptypb.Empty{}
			if err := stream.RecvMsg(in); err != nil {
				return err
			}
			return srv.(chatServer).rpcListen(in, stream)
		}}},
	}
}

// unary makes of a method what grpc.MethodDesc holds.
func unary[In, Out any](name string, call func(chatServer, context.Context, *In) (Out, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		s, ok := srv.(chatServer)
		if !ok || intercept == nil { // without the interceptor nobody was asked who calls
			return nil, errors.New("the service is not set up")
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: name}, func(ctx context.Context, req any) (any, error) {
			return call(s, ctx, req.(*In))
		})
	}
}
