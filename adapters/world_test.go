package adapters_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/memory"
)

// fragile is a store that can be down.
type fragile struct {
	*memory.Store
	down atomic.Bool
}

func (f *fragile) Sessions() handstamp.Sessions { return fragileSessions{f.Store.Sessions(), f} }

type fragileSessions struct {
	handstamp.Sessions
	f *fragile
}

func (s fragileSessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	if s.f.down.Load() {
		return handstamp.Found{}, errors.New("the store is down")
	}
	return s.Sessions.Find(ctx, l)
}

// clock is moved by the test.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// world is one Auth, and how often a handler behind it ran.
type world struct {
	*handstamp.Auth
	store *fragile
	clock *clock
	ran   atomic.Int64
}

func open(t testing.TB, change func(*handstamp.Options)) *world {
	t.Helper()
	w := &world{store: &fragile{Store: memory.New()}, clock: &clock{}}
	o := handstamp.Options{
		PublicURL: "http://127.0.0.1:3000", LoginURL: "/login", Now: w.clock.now,
		Secrets:     [][]byte{bytes.Repeat([]byte{7}, 32)},
		Permissions: func(_ context.Context, u handstamp.UserID) (handstamp.Grants, error) { return grants(u), nil },
		Logger:      slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	var err error
	if w.Auth, err = handstamp.Open(t.Context(), w.store, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.Close(), w.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func grants(u handstamp.UserID) handstamp.Grants {
	if u == "ada" {
		return handstamp.Grants{Permissions: []string{"notes:write"}}
	}
	return handstamp.Grants{}
}

// session begins a session, and answers its credential.
func (w *world) session(t testing.TB, u handstamp.UserID) (handstamp.SessionID, string) {
	t.Helper()
	p, err := w.Prove(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	g, err := w.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return g.Session.ID, g.AccessToken.Reveal()
}

// adopt takes over who has the cookie old=<user>.
func (w *world) adopt(r *http.Request) (handstamp.Proof, error) {
	c, err := r.Cookie("old")
	if err != nil {
		return handstamp.Proof{}, handstamp.ErrUnauthenticated
	}
	p, err := w.Prove(r.Context(), handstamp.UserID(c.Value))
	if err != nil {
		return handstamp.Proof{}, err
	}
	return p.Replacing(c.Value, time.Time{}), nil
}

// middleware is what Require, Optional and Adopt return.
type middleware = func(http.Handler) http.Handler

// route is one route of every router.
type route struct {
	path  string // for GET and POST
	wraps []middleware
	// say is what the handler behind answers; it is told the user and the request's body.
	say func(user, body string) string
	// serve answers instead, with net/http's two arguments.
	serve http.HandlerFunc
}

func (w *world) routes() []route {
	hello := func(user, body string) string {
		w.ran.Add(1)
		return "hello " + user + body
	}
	return []route{
		{path: "/me", wraps: []middleware{w.Require()}, say: hello},
		{path: "/notes", wraps: []middleware{w.Require(handstamp.Permission("notes:write"))}, say: hello},
		{path: "/recent", wraps: []middleware{w.Require(handstamp.MaxAuthAge(time.Minute))}, say: hello},
		{path: "/open", wraps: []middleware{w.Optional()}, say: hello},
		{path: "/both", wraps: []middleware{w.Optional(), w.Require()}, say: hello},
		{path: "/adopted", wraps: []middleware{w.Adopt(w.adopt), w.Require()}, say: hello},
		{path: "/panic", wraps: []middleware{w.Require()}, say: func(string, string) string { w.ran.Add(1); panic("boom") }},
		{path: "/login", wraps: []middleware{w.Optional()}, serve: func(out http.ResponseWriter, r *http.Request) {
			w.ran.Add(1)
			p, err := w.Prove(r.Context(), "ada")
			if err == nil {
				_, err = w.Login(out, r, p)
			}
			if err != nil {
				w.Deny(out, r, err)
				return
			}
			http.Redirect(out, r, "/me", http.StatusSeeOther)
		}},
		{path: "/logout", serve: func(out http.ResponseWriter, r *http.Request) {
			w.ran.Add(1)
			if _, err := w.LogOutRequest(out, r, handstamp.EndOptions{}); err != nil {
				w.Deny(out, r, err)
				return
			}
			_, _ = io.WriteString(out, "<!doctype html>bye") // the type is found out from this
		}},
	}
}

// userOf is who a handler behind finds.
func userOf(ctx context.Context) string {
	p, ok := handstamp.FromContext(ctx)
	if !ok {
		return "visitor"
	}
	return string(p.User)
}

// serveHTTP runs a handler of net/http, and answers its address.
func serveHTTP(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// exchange sends the bytes of a request, and reads the answer: status line, headers sorted, body.
func exchange(t testing.TB, addr, request string) *answer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"Date", "Connection"} { // of the connection, not of the answer
		res.Header.Del(k)
	}
	return &answer{status: res.StatusCode, header: res.Header, body: string(body)}
}

type answer struct {
	status int
	header http.Header
	body   string
}

// drawn is what is different each time: the secret, and the end, which is drawn from a range.
var drawn = regexp.MustCompile(`(handstamp=|Max-Age=)[^;]+`)

func (a *answer) String() string {
	var text bytes.Buffer
	fmt.Fprintln(&text, a.status)
	_ = a.header.Write(&text)
	return drawn.ReplaceAllString(text.String(), "${1}…") + "\n" + a.body
}

// request is the text of a request. A line of headers may be there twice.
func request(method, path string, lines ...string) string {
	body := ""
	if method == http.MethodPost {
		body = "!"
		lines = append(lines, "Content-Type: text/plain", "Content-Length: 1")
	}
	lines = append([]string{method + " " + path + " HTTP/1.1", "Host: 127.0.0.1:3000", "Connection: close"}, lines...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}
