package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/remote"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/memory"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// world is a Handstamp server in one place, and the service in another.
type world struct {
	t     testing.TB
	auth  *handstamp.Auth
	gone  atomic.Bool  // the server cannot be reached
	ahead atomic.Int64 // how far the server's clock was moved
	url   string       // of the service
	rpc   *grpc.ClientConn
}

func start(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var api http.Handler
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.gone.Load() {
			panic(http.ErrAbortHandler)
		}
		api.ServeHTTP(rw, r)
	}))
	t.Cleanup(front.Close)
	ctx, store, secrets := t.Context(), memory.New(), [][]byte{[]byte("a secret of at least thirty-two bytes for tests")}
	now := func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }
	quiet := slog.New(slog.DiscardHandler)
	ring, err := keyring.Open(ctx, store.Keys(), keyring.Options{Secrets: secrets, Now: now})
	must(err)
	w.auth, err = handstamp.Open(ctx, store, handstamp.Options{
		PublicURL: front.URL, Secrets: secrets, Keys: ring, Now: now, Logger: quiet, Lease: 500 * time.Millisecond,
	})
	must(err)
	t.Cleanup(func() { must(w.auth.Close()) })
	accounts := account.New(w.auth, store)
	for role, grants := range map[string][]string{"customer": {"orders:read", "orders:write"}, "clerk": {"orders:read", "orders:refund"}} {
		_, err = accounts.PutRole(ctx, account.Role{Name: role, Permissions: grants}, handstamp.EndOptions{})
		must(err)
	}
	_, key, err := accounts.AddServiceKey(ctx, account.NewServiceKey{
		Name: "orders", Permissions: []string{"handstamp.revocations", "handstamp.introspect"},
	}, handstamp.Client{Actor: "test"})
	must(err)
	handler, err := server.Handler(w.auth, accounts, server.Options{PublicURL: front.URL, Keys: ring, Logger: quiet})
	must(err)
	api = handler
	t.Cleanup(handler.EndStreams)
	w.serve(front.URL, key.Reveal(), quiet)
	return w
}

func (w *world) serve(handstampURL, key string, quiet *slog.Logger) {
	w.t.Helper()
	v, err := remote.OpenWith(w.t.Context(), handstampURL, key, remote.Options{Verifier: handstamp.Options{Logger: quiet}})
	if err != nil {
		w.t.Fatal(err)
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	calls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.url = "http://" + web.Addr().String()
	if w.rpc, err = grpc.NewClient(calls.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- newService(v).serve(ctx, web, calls) }()
	w.t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, w.rpc.Close(), v.Close()); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) logIn(mode handstamp.Mode, user handstamp.UserID, roles ...string) handstamp.Grant {
	w.t.Helper()
	p, err := w.auth.Prove(w.t.Context(), user)
	if err != nil {
		w.t.Fatal(err)
	}
	p.Mode, p.Transport, p.Grants = mode, handstamp.TransportBearer, &handstamp.Grants{Roles: roles}
	g, err := w.auth.Start(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *world) end(g handstamp.Grant) {
	w.t.Helper()
	if _, err := w.auth.EndSession(w.t.Context(), g.Session.ID, handstamp.EndOptions{WaitFleet: true}); err != nil {
		w.t.Fatal(err)
	}
}

// do sends a request with a credential, and answers status and body.
func (w *world) do(g handstamp.Grant, method, path, body string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if !g.AccessToken.IsZero() {
		req.Header.Set("Authorization", "Bearer "+g.AccessToken.Reveal())
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (w *world) want(g handstamp.Grant, method, path, body string, status int, holds string) {
	w.t.Helper()
	got, text := w.do(g, method, path, body)
	if got != status || !strings.Contains(text, holds) {
		w.t.Errorf("%s %s = %d %s, want %d and %s", method, path, got, text, status, holds)
	}
}

func (w *world) as(g handstamp.Grant) context.Context {
	ctx := w.t.Context()
	if g.AccessToken.IsZero() {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+g.AccessToken.Reveal())
}

// call answers what came back, or the code and the reason of the refusal.
func (w *world) call(g handstamp.Grant, method string, in any) (string, codes.Code, string) {
	out := &wrapperspb.StringValue{}
	err := w.rpc.Invoke(w.as(g), method, in, out)
	return out.GetValue(), status.Code(err), reason(err)
}

func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func (w *world) wantCall(g handstamp.Grant, method string, in any, code codes.Code, holds string) {
	w.t.Helper()
	out, got, why := w.call(g, method, in)
	if got != code || !strings.Contains(out+why, holds) {
		w.t.Errorf("%s = %s %v %s, want %v and %s", method, out, got, why, code, holds)
	}
}

func modes() []handstamp.Mode {
	return []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken, handstamp.ModeHybrid}
}

// TestRules: what may be done over HTTP and over gRPC is the same, whatever the credential looks like.
func TestRules(t *testing.T) {
	w := start(t)
	for _, mode := range modes() {
		t.Run(string(mode), func(t *testing.T) {
			ada, clerk := w.logIn(mode, "ada", "customer"), w.logIn(mode, "clerk", "clerk")
			w.want(ada, "POST", "/orders", `{"what":"a teapot"}`, 201, `"of":"ada","what":"a teapot"`)
			w.wantCall(ada, methodPlace, wrapperspb.String("two cups"), codes.OK, `"what":"two cups"`)
			w.want(ada, "GET", "/orders", "", 200, "two cups")
			w.wantCall(ada, methodList, &emptypb.Empty{}, codes.OK, "a teapot")
			_, text := w.do(clerk, "GET", "/orders", "")
			if text != "[]\n" {
				t.Errorf("somebody else sees %s", text)
			}
			w.want(ada, "POST", "/orders", `{"what":""}`, 422, "")
			w.want(ada, "POST", "/orders/1/refund", "", 403, "forbidden")
			w.wantCall(ada, methodRefund, wrapperspb.Int64(1), codes.PermissionDenied, "FORBIDDEN")
			w.want(clerk, "POST", "/orders", `{"what":"x"}`, 403, "forbidden")
			w.wantCall(clerk, methodPlace, wrapperspb.String("x"), codes.PermissionDenied, "FORBIDDEN")
			w.want(clerk, "POST", "/orders/1/refund", "", 200, `"refunded":true`)
			w.wantCall(clerk, methodRefund, wrapperspb.Int64(2), codes.OK, `"refunded":true`)
			w.want(clerk, "POST", "/orders/999/refund", "", 404, "")
			nobody := handstamp.Grant{}
			w.want(nobody, "GET", "/orders", "", 401, "missing_credential")
			w.wantCall(nobody, methodList, &emptypb.Empty{}, codes.Unauthenticated, "MISSING_CREDENTIAL")
			w.wantCall(nobody, "/shop.Orders/Forgotten", &emptypb.Empty{}, codes.Unimplemented, "")

			w.end(ada)
			w.want(ada, "GET", "/orders", "", 401, "")
			w.wantCall(ada, methodList, &emptypb.Empty{}, codes.Unauthenticated, "")
		})
	}
}

// TestStepUp: a refund needs a login that is not old. A new one helps.
func TestStepUp(t *testing.T) {
	w := start(t)
	clerk := w.logIn(handstamp.ModeSession, "clerk", "clerk")
	ada := w.logIn(handstamp.ModeSession, "ada", "customer")
	w.want(ada, "POST", "/orders", `{"what":"a teapot"}`, 201, "")
	w.ahead.Store(int64(6 * time.Minute))
	deadline := time.Now().Add(20 * time.Second)
	for { // until the service has heard what time it is at the server
		status, text := w.do(clerk, "POST", "/orders/1/refund", "")
		if status == 403 && strings.Contains(text, "step_up_required") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("an old login: %d %s", status, text)
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.wantCall(clerk, methodRefund, wrapperspb.Int64(1), codes.PermissionDenied, "STEP_UP_REQUIRED")
	w.want(clerk, "GET", "/orders", "", 200, "")
	again := w.logIn(handstamp.ModeSession, "clerk", "clerk")
	w.want(again, "POST", "/orders/1/refund", "", 200, `"refunded":true`)
}

// TestFeedEndsWithTheSession: both kinds of streams tell what happens, and end when their session does, at the server that
// knows nothing of them, with the reason.
func TestFeedEndsWithTheSession(t *testing.T) {
	w := start(t)
	for _, mode := range modes() {
		t.Run(string(mode), func(t *testing.T) {
			ada, other := w.logIn(mode, "ada", "customer"), w.logIn(mode, "ada", "customer")
			events, stays := w.feed(t, ada), w.feed(t, other)
			stream, err := w.rpc.NewStream(w.as(ada), &grpc.StreamDesc{ServerStreams: true}, methodFeed)
			if err == nil {
				err = errors.Join(stream.SendMsg(&emptypb.Empty{}), stream.CloseSend())
			}
			if err != nil {
				t.Fatal(err)
			}
			var m wrapperspb.StringValue
			if err := stream.RecvMsg(&m); err != nil {
				t.Fatal(err)
			}
			events("orders", "[")
			stays("orders", "[")
			w.want(other, "POST", "/orders", `{"what":"`+string(mode)+`"}`, 201, "")
			events("orders", string(mode))
			stays("orders", string(mode))
			if err := stream.RecvMsg(&m); err != nil || !strings.Contains(m.GetValue(), string(mode)) {
				t.Errorf("%s, %v", m.GetValue(), err)
			}
			w.end(ada)
			events("end", "revoked")
			err = stream.RecvMsg(&m)
			if status.Code(err) != codes.Unauthenticated || reason(err) != "REVOKED" {
				t.Errorf("the stream ended with %v", err)
			}
			w.want(other, "POST", "/orders", `{"what":"still here"}`, 201, "")
			stays("orders", "still here")
		})
	}
}

// feed opens an event stream, and answers a function that wants the next event.
func (w *world) feed(t *testing.T, g handstamp.Grant) func(event, holds string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/orders/feed", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+g.AccessToken.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	return func(event, holds string) {
		t.Helper()
		for name := ""; lines.Scan(); {
			if n, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = n
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if name != event || !strings.Contains(data, holds) {
					t.Errorf("event %s: %s, want %s: %s", name, data, event, holds)
				}
				return
			}
		}
		t.Errorf("the stream ended without a word: %v", lines.Err())
	}
}

// TestOutage: while Handstamp cannot be reached, nobody is logged out and nobody is let in; then all is as it was.
func TestOutage(t *testing.T) {
	w := start(t)
	for _, mode := range modes() {
		ada := w.logIn(mode, "ada", "customer")
		w.want(ada, "GET", "/orders", "", 200, "")
		w.gone.Store(true)
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			code, text := w.do(ada, "GET", "/orders", "")
			if code == 503 {
				var problem struct{ Code string }
				if err := json.Unmarshal([]byte(text), &problem); err != nil || problem.Code != "unavailable" {
					t.Errorf("%s, %v", text, err)
				}
				break
			}
			if code != 200 || time.Now().After(deadline) { // for as long as the lease lasts memory may answer
				t.Fatalf("%s, during an outage: %d %s", mode, code, text)
			}
		}
		w.wantCall(ada, methodList, &emptypb.Empty{}, codes.Unavailable, "UNAVAILABLE")
		w.gone.Store(false)
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			code, text := w.do(ada, "GET", "/orders", "")
			if code == 200 {
				break
			}
			if code != 503 || time.Now().After(deadline) {
				t.Fatalf("%s, afterwards: %d %s", mode, code, text)
			}
		}
	}
}

// TestStart: without a server, or with a key that is none, the program ends with what to do, and begins nothing.
func TestStart(t *testing.T) {
	const key = "hs_k_x"
	for _, c := range []struct{ url, key, holds string }{
		{"", key, "address"}, {"auth.example.com", key, "address"}, {"http://127.0.0.1:1", "", "service key"}, {"http://127.0.0.1:1", key, "service key"},
	} {
		t.Setenv("HANDSTAMP_URL", c.url)
		t.Setenv("HANDSTAMP_KEY", c.key)
		if err := run(t.Context(), "127.0.0.1:0", "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), c.holds) {
			t.Errorf("%q, %q: %v, want something about %s", c.url, c.key, err, c.holds)
		}
	}
}
