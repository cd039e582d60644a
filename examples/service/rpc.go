package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/examples/live/grpcauth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The same service over gRPC. The messages are well-known types and the service is described by hand, so that the example
// needs no generated code; in an application protoc writes this file's lower half.

// The methods of service shop.Orders. Orders are JSON in a StringValue.
const (
	methodList   = "/shop.Orders/List"   // Empty → StringValue
	methodPlace  = "/shop.Orders/Place"  // StringValue → StringValue
	methodRefund = "/shop.Orders/Refund" // Int64Value → StringValue
	methodFeed   = "/shop.Orders/Feed"   // Empty → stream of StringValue
)

// rpcServer makes the server. Every call is checked by package grpcauth before it reaches a method below: it takes the
// Verifier as it is, whether it is an Auth's or a remote one.
func (s *service) rpcServer() *grpc.Server {
	policy := grpcauth.Policy{
		Verifier: s.verifier,
		Methods: map[string][]handstamp.Rule{
			methodList:   {handstamp.Permission("orders:read")},
			methodPlace:  {handstamp.Permission("orders:write")},
			methodRefund: refundRules(),
			methodFeed:   {handstamp.Permission("orders:read")},
		},
	}
	g := grpc.NewServer(
		grpc.UnaryInterceptor(policy.Unary()), grpc.StreamInterceptor(policy.Stream()),
		grpc.MaxRecvMsgSize(64<<10), grpc.MaxConcurrentStreams(100),
	)
	g.RegisterService(ordersService(), s)
	return g
}

func (s *service) rpcList(ctx context.Context, _ *emptypb.Empty) (*wrapperspb.StringValue, error) {
	p, _ := handstamp.FromContext(ctx)
	list, _ := s.orders.of(p.User)
	return message(list)
}

func (s *service) rpcPlace(ctx context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	p, _ := handstamp.FromContext(ctx)
	placed, err := s.orders.place(p.User, in.GetValue())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return message(placed)
}

func (s *service) rpcRefund(_ context.Context, in *wrapperspb.Int64Value) (*wrapperspb.StringValue, error) {
	refunded, err := s.orders.refund(int(in.GetValue()))
	if err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	return message(refunded)
}

// rpcFeed goes on until its context ends, which it does with the session: package grpcauth has put a Guard around it, and
// tells the caller why.
func (s *service) rpcFeed(_ *emptypb.Empty, stream grpc.ServerStream) error {
	ctx := stream.Context()
	p, _ := handstamp.FromContext(ctx)
	for {
		list, changed := s.orders.of(p.User)
		m, err := message(list)
		if err != nil {
			return err
		}
		if err := stream.SendMsg(m); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-changed:
		}
	}
}

func message(v any) (*wrapperspb.StringValue, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, status.Error(codes.Internal, "the answer could not be written")
	}
	return wrapperspb.String(string(text)), nil
}

// ordersServer is what the description below asks of whoever is registered.
type ordersServer interface {
	rpcList(ctx context.Context, in *emptypb.Empty) (*wrapperspb.StringValue, error)
	rpcPlace(ctx context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error)
	rpcRefund(ctx context.Context, in *wrapperspb.Int64Value) (*wrapperspb.StringValue, error)
	rpcFeed(in *emptypb.Empty, stream grpc.ServerStream) error
}

func ordersService() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "shop.Orders", HandlerType: (*ordersServer)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "List", Handler: unary(methodList, ordersServer.rpcList)},
			{MethodName: "Place", Handler: unary(methodPlace, ordersServer.rpcPlace)},
			{MethodName: "Refund", Handler: unary(methodRefund, ordersServer.rpcRefund)},
		},
		Streams: []grpc.StreamDesc{{StreamName: "Feed", ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
			in := &emptypb.Empty{}
			if err := stream.RecvMsg(in); err != nil {
				return err
			}
			return srv.(ordersServer).rpcFeed(in, stream)
		}}},
	}
}

// unary makes of a method what grpc.MethodDesc holds.
func unary[In, Out any](name string, call func(ordersServer, context.Context, *In) (Out, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		s, ok := srv.(ordersServer)
		if !ok || intercept == nil { // without the interceptor nobody was asked who calls
			return nil, errors.New("the service is not set up")
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: name}, func(ctx context.Context, req any) (any, error) {
			return call(s, ctx, req.(*In))
		})
	}
}
