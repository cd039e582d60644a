package grpcauth_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/examples/live/grpcauth"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
)

// fragile is a store that can be down, its log included.
type fragile struct {
	*memory.Store
	down atomic.Bool
}

var errDown = errors.New("the store at 192.0.2.7 is down")

func (f *fragile) Sessions() handstamp.Sessions { return fragileSessions{f.Store.Sessions(), f} }
func (f *fragile) Log() revoke.Log              { return fragileLog{f.Store.Log(), f} }

type fragileSessions struct {
	handstamp.Sessions
	f *fragile
}

func (s fragileSessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	if s.f.down.Load() {
		return handstamp.Found{}, errDown
	}
	return s.Sessions.Find(ctx, l)
}

type fragileLog struct {
	revoke.Log
	f *fragile
}

func (l fragileLog) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	if l.f.down.Load() {
		return revoke.Answer{}, errDown
	}
	return l.Log.Renew(ctx, r)
}

// server is an echo service behind a policy.
type server struct {
	auth    *handstamp.Auth
	store   *fragile
	ahead   atomic.Int64
	conn    *grpc.ClientConn
	ran     atomic.Int64
	handler atomic.Pointer[func(grpc.ServerStream) error] // instead of the echo
	over    chan error                                    // what each stream's handler returned
}

const (
	methodEcho   = "/test.Echo/Echo"
	methodAdmin  = "/test.Echo/Admin"
	methodRecent = "/test.Echo/Recent"
	methodPublic = "/test.Echo/Public"
	methodOther  = "/test.Echo/Other" // which nobody listed
	methodChat   = "/test.Echo/Chat"
	methodOpen   = "/test.Echo/Open" // a stream that is public
)

func serve(t testing.TB) *server {
	t.Helper()
	s := &server{store: &fragile{Store: memory.New()}, over: make(chan error, 100)}
	var err error
	s.auth, err = handstamp.Open(t.Context(), s.store, handstamp.Options{
		PublicURL: "http://127.0.0.1:3000", Lease: 500 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) },
		Permissions: func(_ context.Context, u handstamp.UserID) (handstamp.Grants, error) {
			if u == "ada" {
				return handstamp.Grants{Permissions: []string{"echo:admin"}}, nil
			}
			return handstamp.Grants{}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	policy := grpcauth.Policy{
		Verifier: s.auth.Verifier, Public: map[string]bool{methodPublic: true, methodOpen: true},
		Methods: map[string][]handstamp.Rule{
			methodEcho: nil, methodChat: nil, methodAdmin: {handstamp.Permission("echo:admin")},
			methodRecent: {handstamp.MaxAuthAge(time.Minute)},
		},
	}
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer(grpc.UnaryInterceptor(policy.Unary()), grpc.StreamInterceptor(policy.Stream()))
	desc := &grpc.ServiceDesc{ServiceName: "test.Echo", HandlerType: (*any)(nil)}
	for _, full := range []string{methodEcho, methodAdmin, methodRecent, methodPublic, methodOther} {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: name(full), Handler: s.echo(full)})
	}
	for _, full := range []string{methodChat, methodOpen} {
		desc.Streams = append(desc.Streams, grpc.StreamDesc{
			StreamName: name(full), ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				s.ran.Add(1)
				handle := s.chat
				if other := s.handler.Load(); other != nil {
					handle = *other
				}
				err := handle(stream)
				s.over <- err
				return err
			},
		})
	}
	g.RegisterService(desc, s)
	go func() { _ = g.Serve(l) }()
	s.conn, err = grpc.NewClient("passthrough:///echo", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.store.down.Store(false)
		err := errors.Join(s.conn.Close(), s.auth.Close(), s.store.Close())
		g.Stop()
		if err != nil {
			t.Error(err)
		}
	})
	return s
}

func name(full string) string { return full[strings.LastIndexByte(full, '/')+1:] }

func (s *server) echo(full string) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := &wrapperspb.StringValue{}
		if err := decode(in); err != nil {
			return nil, err
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: full}, func(ctx context.Context, _ any) (any, error) {
			s.ran.Add(1)
			return wrapperspb.String(who(ctx) + in.GetValue()), nil
		})
	}
}

func who(ctx context.Context) string {
	p, ok := handstamp.FromContext(ctx)
	if !ok {
		return "nobody: "
	}
	return string(p.User) + ": "
}

// chat sends every message back.
func (s *server) chat(stream grpc.ServerStream) error {
	for {
		in := &wrapperspb.StringValue{}
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		if err := stream.SendMsg(wrapperspb.String(who(stream.Context()) + in.GetValue())); err != nil {
			return err
		}
	}
}

func (s *server) login(t testing.TB, u handstamp.UserID) handstamp.Grant {
	t.Helper()
	p, err := s.auth.Prove(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	p.Transport = handstamp.TransportBearer
	g, err := s.auth.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// as is a context with authorization metadata.
func as(t testing.TB, values ...string) context.Context {
	md := metadata.MD{}
	md.Append("authorization", values...)
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(t.Context(), md), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func bearer(g handstamp.Grant) string { return "Bearer " + g.AccessToken.Reveal() }

func (s *server) call(ctx context.Context, method string) (string, error) {
	out := &wrapperspb.StringValue{}
	err := s.conn.Invoke(ctx, method, wrapperspb.String("hi"), out)
	return out.GetValue(), err
}

func (s *server) open(t testing.TB, ctx context.Context, method string) grpc.ClientStream {
	t.Helper()
	stream, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// talk sends a message, and wants it back.
func talk(t testing.TB, stream grpc.ClientStream, want string) {
	t.Helper()
	out := &wrapperspb.StringValue{}
	if err := stream.SendMsg(wrapperspb.String("hi")); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(out); err != nil || out.GetValue() != want {
		t.Fatalf("%q, %v, want %q", out.GetValue(), err, want)
	}
}

// fails waits for a stream's end.
func fails(t testing.TB, stream grpc.ClientStream, want codes.Code) *status.Status {
	t.Helper()
	for {
		if err := stream.RecvMsg(&wrapperspb.StringValue{}); err != nil {
			got := status.Convert(err)
			if got.Code() != want {
				t.Errorf("the stream ended with %v, want %v", err, want)
			}
			return got
		}
	}
}

// reason and retry are what a client's code goes by.
func reason(s *status.Status) (why string, retry time.Duration) {
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			why = d.GetReason()
		case *errdetails.RetryInfo:
			retry = d.GetRetryDelay().AsDuration()
		}
	}
	return why, retry
}

// TestCodes: who may call what, in both kinds of calls, and what each refusal is called.
func TestCodes(t *testing.T) {
	s := serve(t)
	old := s.login(t, "old")
	s.ahead.Store(int64(25 * time.Hour))
	ada, bob, gone := s.login(t, "ada"), s.login(t, "bob"), s.login(t, "gone")
	if _, err := s.auth.EndSession(t.Context(), gone.Session.ID, handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	s.ahead.Add(int64(time.Hour))
	cases := []struct {
		name   string
		ctx    context.Context
		method string
		code   codes.Code
		want   string // the answer, or the reason
	}{
		{"a user", as(t, bearer(bob)), methodEcho, codes.OK, "bob: hi"},
		{"any spelling of the scheme", as(t, "bEARER  "+bob.AccessToken.Reveal()), methodEcho, codes.OK, "bob: hi"},
		{"beside another scheme", as(t, "Basic eDp5", bearer(bob)), methodEcho, codes.OK, "bob: hi"},
		{"a permission", as(t, bearer(ada)), methodAdmin, codes.OK, "ada: hi"},
		{"public", as(t), methodPublic, codes.OK, "nobody: hi"},
		{"public, whoever calls", as(t, "Bearer x"), methodPublic, codes.OK, "nobody: hi"},
		{"no credential", as(t), methodEcho, codes.Unauthenticated, "MISSING_CREDENTIAL"},
		{"another scheme", as(t, "Basic eDp5"), methodEcho, codes.Unauthenticated, "MISSING_CREDENTIAL"},
		{"no token", as(t, "Bearer "), methodEcho, codes.Unauthenticated, "INVALID_TOKEN"},
		{"made up", as(t, "Bearer x"), methodEcho, codes.Unauthenticated, "INVALID_TOKEN"},
		{"two", as(t, bearer(ada), bearer(bob)), methodEcho, codes.Unauthenticated, "INVALID_TOKEN"},
		{"expired", as(t, bearer(old)), methodEcho, codes.Unauthenticated, "EXPIRED"},
		{"ended", as(t, bearer(gone)), methodEcho, codes.Unauthenticated, "REVOKED"},
		{"permission missing", as(t, bearer(bob)), methodAdmin, codes.PermissionDenied, "FORBIDDEN"},
		{"step-up", as(t, bearer(ada)), methodRecent, codes.PermissionDenied, "STEP_UP_REQUIRED"},
		{"a method that was forgotten", as(t, bearer(ada)), methodOther, codes.PermissionDenied, "FORBIDDEN"},
		{"a stream without a credential", as(t), methodChat, codes.Unauthenticated, "MISSING_CREDENTIAL"},
		{"a stream of an ended session", as(t, bearer(gone)), methodChat, codes.Unauthenticated, "REVOKED"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s.ran.Store(0)
			var got string
			var err error
			if c.method == methodChat {
				err = s.open(t, c.ctx, c.method).RecvMsg(&wrapperspb.StringValue{})
			} else {
				got, err = s.call(c.ctx, c.method)
			}
			if status.Code(err) != c.code {
				t.Fatalf("%v, want %v", err, c.code)
			}
			if err != nil {
				got, _ = reason(status.Convert(err))
			}
			if got != c.want || (s.ran.Load() == 1) != (err == nil) {
				t.Errorf("%q, want %q; %d handlers ran", got, c.want, s.ran.Load())
			}
		})
	}
}

// TestZeroPolicy: nobody may call anything.
func TestZeroPolicy(t *testing.T) {
	var zero grpcauth.Policy
	_, err := zero.Unary()(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: methodEcho}, func(context.Context, any) (any, error) {
		t.Error("the handler ran")
		return nil, nil
	})
	if status.Code(err) != codes.PermissionDenied {
		t.Error(err)
	}
}

// TestOutage: what could not be found out is Unavailable and says when to ask again, and nothing of the cause.
func TestOutage(t *testing.T) {
	s := serve(t)
	ada := s.login(t, "ada")
	s.store.down.Store(true)
	for _, method := range []string{methodEcho, methodAdmin} {
		_, err := s.call(as(t, bearer(ada)), method)
		why, retry := reason(status.Convert(err))
		if status.Code(err) != codes.Unavailable || why != "UNAVAILABLE" || retry <= 0 || strings.Contains(err.Error(), "192.0.2.7") {
			t.Errorf("%s: %v, %s, %v", method, err, why, retry)
		}
	}
	s.store.down.Store(false)
	if got, err := s.call(as(t, bearer(ada)), methodAdmin); err != nil || got != "ada: hi" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

// TestStreamEndsWithItsSession: streams of one user end, whatever they wait for; others go on.
func TestStreamEndsWithItsSession(t *testing.T) {
	s := serve(t)
	ada, bob := s.login(t, "ada"), s.login(t, "bob")
	var adas []grpc.ClientStream
	for range 5 {
		stream := s.open(t, as(t, bearer(ada)), methodChat)
		talk(t, stream, "ada: hi")
		adas = append(adas, stream) // silent from now on: its handler waits in RecvMsg
	}
	bobs, public := s.open(t, as(t, bearer(bob)), methodChat), s.open(t, as(t), methodOpen)
	talk(t, bobs, "bob: hi")
	talk(t, public, "nobody: hi")
	if _, err := s.auth.EndUser(t.Context(), "ada", handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, stream := range adas {
		if why, _ := reason(fails(t, stream, codes.Unauthenticated)); why != "REVOKED" {
			t.Errorf("the reason is %s", why)
		}
		if err := <-s.over; status.Code(err) != codes.Unauthenticated {
			t.Errorf("a handler returned with %v", err)
		}
	}
	talk(t, bobs, "bob: hi")
	talk(t, public, "nobody: hi")
}

// TestStreamOfOneWhoDoesNotRead: a handler that waits for a client to read comes back, too.
func TestStreamOfOneWhoDoesNotRead(t *testing.T) {
	s := serve(t)
	full := make(chan struct{})
	flood := func(stream grpc.ServerStream) error {
		big, sent := wrapperspb.String(strings.Repeat("x", 60<<10)), make(chan error)
		for n := 0; ; n++ {
			go func() { sent <- stream.SendMsg(big) }()
			if n == 2 {
				close(full) // the window is 64 KiB
			}
			if err := <-sent; err != nil {
				return err
			}
		}
	}
	s.handler.Store(&flood)
	s.open(t, as(t, bearer(s.login(t, "ada"))), methodChat)
	<-full
	if _, err := s.auth.EndUser(t.Context(), "ada", handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-s.over; status.Code(err) != codes.Unauthenticated {
		t.Errorf("the handler returned with %v", err)
	}
}

// TestStreamWhoseHandlerIsContent: a handler that says that all was well, after the session ended, does not hide it.
func TestStreamWhoseHandlerIsContent(t *testing.T) {
	s := serve(t)
	content := func(stream grpc.ServerStream) error {
		_ = stream.SendMsg(wrapperspb.String("open"))
		<-stream.Context().Done()
		return nil
	}
	s.handler.Store(&content)
	stream := s.open(t, as(t, bearer(s.login(t, "ada"))), methodChat)
	if err := stream.RecvMsg(&wrapperspb.StringValue{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.auth.EndAll(t.Context(), handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	fails(t, stream, codes.Unauthenticated)
}

// TestStreamOutage: when neither log nor store answer any more, a stream ends with Unavailable; the session goes on.
func TestStreamOutage(t *testing.T) {
	s := serve(t)
	ada := s.login(t, "ada")
	stream := s.open(t, as(t, bearer(ada)), methodChat)
	talk(t, stream, "ada: hi")
	s.store.down.Store(true)
	end := fails(t, stream, codes.Unavailable)
	if _, retry := reason(end); retry <= 0 || strings.Contains(end.Message(), "192.0.2.7") {
		t.Errorf("%v, again in %v", end, retry)
	}
	s.store.down.Store(false)
	talk(t, s.open(t, as(t, bearer(ada)), methodChat), "ada: hi")
}

// TestStreamOfCallers: callers who hang up or are done are told nothing about a session.
func TestStreamOfCallers(t *testing.T) {
	s := serve(t)
	ada := s.login(t, "ada")
	done := s.open(t, as(t, bearer(ada)), methodChat)
	talk(t, done, "ada: hi")
	if err := done.CloseSend(); err != nil {
		t.Fatal(err)
	}
	<-s.over
	ctx, cancel := context.WithCancel(as(t, bearer(ada)))
	gone := s.open(t, ctx, methodChat)
	talk(t, gone, "ada: hi")
	cancel()
	fails(t, gone, codes.Canceled)
	if err := <-s.over; status.Code(err) != codes.Canceled && !errors.Is(err, io.EOF) {
		t.Errorf("the handler returned with %v", err)
	}
}

// TestServerCloses: a closed Auth ends streams with "could not find out".
func TestServerCloses(t *testing.T) {
	s := serve(t)
	stream := s.open(t, as(t, bearer(s.login(t, "ada"))), methodChat)
	talk(t, stream, "ada: hi")
	if err := s.auth.Close(); err != nil {
		t.Fatal(err)
	}
	fails(t, stream, codes.Unavailable)
}
