package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// fragile is a store that can be down, its log included.
type fragile struct {
	*memory.Store
	down atomic.Bool
}

var errDown = errors.New("the store is down")

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

// world is the application, serving.
type world struct {
	*app
	store *fragile
	ahead atomic.Int64
	url   string
	rpc   *grpc.ClientConn
	stop  func() // ends it, and waits
}

func start(t testing.TB) *world {
	t.Helper()
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	calls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{store: &fragile{Store: memory.New()}, url: "http://" + web.Addr().String()}
	w.app, err = open(t.Context(), w.store, handstamp.Options{
		PublicURL: w.url, Lease: 500 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.grace = time.Minute // whoever is told is told, on a slow machine, too
	if w.rpc, err = grpc.NewClient(calls.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.serve(ctx, web, calls) }()
	w.stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		served <- nil
	}
	t.Cleanup(func() {
		w.store.down.Store(false)
		w.stop()
		if err := errors.Join(w.rpc.Close(), w.auth.Close(), w.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

// login begins a session, and answers its credential.
func (w *world) login(t testing.TB, user handstamp.UserID) (handstamp.SessionID, string) {
	t.Helper()
	p, err := w.auth.Prove(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	g, err := w.auth.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return g.Session.ID, g.AccessToken.Reveal()
}

// browser is a client that keeps cookies and says where its requests come from.
func (w *world) browser(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Transport: &http.Transport{}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func (w *world) post(t testing.TB, c *http.Client, path string, form url.Values) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", w.url)
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// client is a connection of any kind: what the room says, and what its end is called.
type client struct {
	user handstamp.UserID
	kind string
	told chan message
	over chan struct{} // closed at the end
	end  string        // then: "logged out", "unavailable", "going away", or else a text
	at   time.Time     // then: when the end was told
	say  func(text string) error
}

func newClient(user handstamp.UserID, kind string) *client {
	return &client{user: user, kind: kind, told: make(chan message, 1000), over: make(chan struct{})}
}

func (c *client) finish(end string) {
	c.end, c.at = end, time.Now()
	close(c.over)
}

func (c *client) hear(t testing.TB, b []byte) {
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		t.Errorf("%s: %q: %v", c.kind, b, err)
	}
	c.told <- m
}

func nameOf(code int, text string) string {
	switch code {
	case int(statusLoggedOut):
		return "logged out"
	case int(websocket.StatusTryAgainLater):
		return "unavailable"
	case int(websocket.StatusGoingAway):
		return "going away"
	}
	return fmt.Sprintf("%d %s", code, text)
}

// dial opens a WebSocket, as our own page does unless header says otherwise.
func (w *world) dial(t testing.TB, credential string, header http.Header) (*websocket.Conn, *http.Response, error) {
	h := header.Clone()
	if h == nil {
		h = http.Header{"Origin": {w.url}}
	}
	h.Set("Cookie", "handstamp="+credential)
	conn, res, err := websocket.Dial(t.Context(), strings.Replace(w.url, "http", "ws", 1)+"/socket", &websocket.DialOptions{HTTPHeader: h})
	if err == nil {
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, res, err
}

func (w *world) byWebSocket(t testing.TB, user handstamp.UserID, credential string) *client {
	t.Helper()
	conn, _, err := w.dial(t, credential, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(user, "WebSocket")
	c.say = func(text string) error { return conn.Write(t.Context(), websocket.MessageText, []byte(text)) }
	go func() {
		for {
			_, b, err := conn.Read(context.WithoutCancel(t.Context()))
			if err != nil {
				var closed websocket.CloseError
				if errors.As(err, &closed) {
					c.finish(nameOf(int(closed.Code), closed.Reason))
				} else {
					c.finish(err.Error())
				}
				return
			}
			c.hear(t, b)
		}
	}()
	return c
}

// byEvents opens an event stream.
func (w *world) byEvents(t testing.TB, user handstamp.UserID, credential string) *client {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", "handstamp="+credential)
	transport := &http.Transport{}
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close(); transport.CloseIdleConnections() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	c := newClient(user, "event stream")
	go func() {
		event, end := "", "without a word"
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				event = text
			}
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			switch {
			case ok && event == "room":
				c.hear(t, []byte(data))
			case ok && event == "end":
				var why struct {
					Code int
					Text string
				}
				if err := json.Unmarshal([]byte(data), &why); err != nil {
					t.Error(err)
				}
				end = nameOf(why.Code, why.Text)
			}
		}
		c.finish(end)
	}()
	return c
}

func as(ctx context.Context, credential string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+credential)
}

// byCall listens over gRPC.
func (w *world) byCall(t testing.TB, user handstamp.UserID, credential string) *client {
	t.Helper()
	stream, err := w.rpc.NewStream(as(t.Context(), credential), &grpc.StreamDesc{ServerStreams: true}, methodListen)
	if err == nil {
		err = errors.Join(stream.SendMsg(&emptypb.Empty{}), stream.CloseSend())
	}
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(user, "gRPC stream")
	go func() {
		for {
			in := &wrapperspb.StringValue{}
			if err := stream.RecvMsg(in); err != nil {
				switch status.Code(err) {
				case codes.Unauthenticated:
					c.finish("logged out")
				case codes.Unavailable:
					c.finish("unavailable")
				default:
					c.finish(err.Error())
				}
				return
			}
			c.hear(t, []byte(in.GetValue()))
		}
	}()
	return c
}

// all opens a connection of each kind.
func (w *world) all(t testing.TB, user handstamp.UserID, credential string) []*client {
	t.Helper()
	return []*client{w.byWebSocket(t, user, credential), w.byEvents(t, user, credential), w.byCall(t, user, credential)}
}

// hears waits until the room says something to a client, and reports whether it was told before the end.
func (c *client) hears(kind, text string) bool {
	for {
		select {
		case m := <-c.told:
			if m.Kind == kind && m.Text == text {
				return true
			}
		case <-c.over:
			for { // what was told before
				select {
				case m := <-c.told:
					if m.Kind == kind && m.Text == text {
						return true
					}
				default:
					return false
				}
			}
		}
	}
}

func body(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
