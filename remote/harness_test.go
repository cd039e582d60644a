package remote_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/remote"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/memory"
)

const public = "https://auth.example.com"

// network is an http.RoundTripper without sockets, so that time in a test is the bubble's: a request is given to the
// handler of its host, and hosts can be cut off, made slow, and counted.
type network struct {
	mu      sync.Mutex
	hosts   map[string]http.Handler
	cut     map[string]bool          // nothing gets through, and what is on the way waits
	refused map[string]bool          // connections are refused
	slow    map[string]time.Duration // how long each answer is on its way
	silent  bool                     // no event streams
	changed chan struct{}
	asked   map[string]int // by path
	running sync.WaitGroup // handlers
}

func newNetwork() *network {
	return &network{
		hosts: map[string]http.Handler{}, cut: map[string]bool{}, refused: map[string]bool{}, slow: map[string]time.Duration{},
		changed: make(chan struct{}), asked: map[string]int{},
	}
}

// set changes the network.
func (n *network) set(change func(n *network)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *network) count(path string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[path]
}

// pass waits until the host is not cut off.
func (n *network) pass(ctx context.Context, host string) error {
	for {
		n.mu.Lock()
		cut, changed := n.cut[host], n.changed
		n.mu.Unlock()
		if !cut {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *network) RoundTrip(req *http.Request) (*http.Response, error) {
	host, ctx := req.URL.Host, req.Context()
	n.mu.Lock()
	n.asked[req.URL.Path]++
	handler, refused, slow, silent := n.hosts[host], n.refused[host], n.slow[host], n.silent
	n.mu.Unlock()
	switch {
	case handler == nil || refused:
		return nil, errors.New("connection refused")
	case silent && strings.Contains(req.Header.Get("Accept"), "event-stream"):
		return nil, errors.New("no streams here")
	}
	if err := n.pass(ctx, host); err != nil {
		return nil, err
	}
	r := req.Clone(ctx)
	if req.Body == nil {
		r.Body = http.NoBody
	}
	r.RequestURI, r.RemoteAddr = req.URL.RequestURI(), "192.0.2.1:1234"
	from, to := io.Pipe()
	w := &writer{header: http.Header{}, out: to, ready: make(chan struct{})}
	n.running.Go(func() {
		handler.ServeHTTP(w, r)
		w.WriteHeader(http.StatusOK)
		_ = to.Close()
	})
	stop := context.AfterFunc(ctx, func() { _ = to.CloseWithError(ctx.Err()) })
	select {
	case <-w.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := n.pass(ctx, host); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: w.status, Header: w.sent, Request: req, ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
		Body: &body{n: n, host: host, ctx: ctx, from: from, stop: stop},
	}, nil
}

type writer struct {
	header, sent http.Header
	status       int
	out          *io.PipeWriter
	once         sync.Once
	ready        chan struct{}
}

func (w *writer) Header() http.Header { return w.header }
func (w *writer) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.ready)
	})
}
func (w *writer) Write(b []byte) (int, error) { w.WriteHeader(http.StatusOK); return w.out.Write(b) }
func (w *writer) Flush()                      { w.WriteHeader(http.StatusOK) }

type body struct {
	n    *network
	host string
	ctx  context.Context
	from *io.PipeReader
	stop func() bool
}

func (b *body) Read(p []byte) (int, error) {
	count, err := b.from.Read(p)
	if passed := b.n.pass(b.ctx, b.host); passed != nil {
		return 0, passed
	}
	return count, err
}
func (b *body) Close() error { b.stop(); return b.from.Close() }

// fleet is servers on one store, and a network to them.
type fleet struct {
	t     testing.TB
	store *fragile
	net   *network
	nodes []*node
	key   string // a service key that may do what a remote verifier does
	opt   handstamp.Options
	ring  keyring.Options
	hide  bool // publish no keys
}

type node struct {
	host     string
	store    *fragile // the same data as the others', which this node may lose sight of
	auth     *handstamp.Auth
	accounts *account.Accounts
	server   *server.Server
	ring     *keyring.Ring
}

func secrets() [][]byte { return [][]byte{[]byte("a secret of at least thirty-two bytes for tests")} }

// newFleet opens so many nodes: a.test, b.test, …; the public address is answered by the first.
func newFleet(t testing.TB, nodes int, change ...func(*handstamp.Options)) *fleet {
	t.Helper()
	return newFleetOf(t, nodes, keyring.Options{}, change...)
}

// newFleetOf opens nodes that sign with keys of some kind.
func newFleetOf(t testing.TB, nodes int, ring keyring.Options, change ...func(*handstamp.Options)) *fleet {
	t.Helper()
	f := &fleet{t: t, store: &fragile{Store: memory.New()}, net: newNetwork(), ring: ring}
	f.ring.Secrets, f.hide = secrets(), ring.Encrypt || ring.Algorithm == jwt.HS256
	t.Cleanup(f.net.running.Wait)
	f.opt = handstamp.Options{
		PublicURL: public, Secrets: secrets(), Logger: quiet(),
	}
	for _, fn := range change {
		fn(&f.opt)
	}
	for i := range nodes {
		f.add(string(rune('a'+i)) + ".test")
	}
	f.role("editor", "posts:write")
	f.role("reader", "posts:read")
	f.key = f.newKey("handstamp.revocations", "handstamp.introspect")
	f.net.set(func(n *network) { n.hosts["auth.example.com"] = f.nodes[0].server })
	return f
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (f *fleet) add(host string) *node {
	f.t.Helper()
	n := &node{host: host}
	var err error
	n.ring, err = keyring.Open(f.t.Context(), f.store.Keys(), f.ring)
	must(f.t, err)
	opt := f.opt
	opt.Keys, opt.Name = n.ring, host
	n.store = &fragile{Store: f.store.Store}
	n.auth, err = handstamp.Open(f.t.Context(), n.store, opt)
	must(f.t, err)
	n.accounts = account.New(n.auth, f.store)
	n.server, err = server.Handler(n.auth, n.accounts, server.Options{PublicURL: public, Keys: n.ring, Logger: quiet(), HideKeys: f.hide})
	must(f.t, err)
	f.nodes = append(f.nodes, n)
	f.net.set(func(net *network) { net.hosts[host] = n.server })
	f.t.Cleanup(func() {
		n.server.EndStreams()
		n.store.down.Store(false)
		if err := n.auth.Close(); err != nil {
			f.t.Error(err)
		}
	})
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fleet) newKey(permissions ...string) string {
	f.t.Helper()
	_, s, err := f.nodes[0].accounts.AddServiceKey(f.t.Context(), account.NewServiceKey{Name: "test", Permissions: permissions}, handstamp.Client{Actor: "test"})
	must(f.t, err)
	return s.Reveal()
}

func (f *fleet) role(name string, permissions ...string) {
	f.t.Helper()
	_, err := f.nodes[0].accounts.PutRole(f.t.Context(), account.Role{Name: name, Permissions: permissions}, handstamp.EndOptions{})
	must(f.t, err)
}

// remote opens a Verifier over the test's network.
func (f *fleet) remote(url string, change ...func(*remote.Options)) *handstamp.Verifier {
	f.t.Helper()
	v, err := f.tryRemote(url, f.key, change...)
	must(f.t, err)
	return v
}

func (f *fleet) tryRemote(url, key string, change ...func(*remote.Options)) (*handstamp.Verifier, error) {
	opt := remote.Options{
		Transport: f.net,
		Verifier:  handstamp.Options{PublicURL: "https://app.example.com", Token: handstamp.TokenOptions{Issuer: public}, Logger: quiet()},
	}
	for _, fn := range change {
		fn(&opt)
	}
	v, err := remote.OpenWith(f.t.Context(), url, key, opt)
	if err == nil {
		f.t.Cleanup(func() {
			if err := v.Close(); err != nil {
				f.t.Error(err)
			}
		})
	}
	return v, err
}

// logIn starts a session with roles at the first node.
func (f *fleet) logIn(mode handstamp.Mode, user handstamp.UserID, roles ...string) handstamp.Grant {
	f.t.Helper()
	return f.logInAt(f.nodes[0], mode, user, roles...)
}

func (f *fleet) logInAt(n *node, mode handstamp.Mode, user handstamp.UserID, roles ...string) handstamp.Grant {
	f.t.Helper()
	p, err := n.auth.Prove(f.t.Context(), user)
	must(f.t, err)
	p.Mode, p.Transport, p.Methods = mode, handstamp.TransportBearer, []string{"pwd"}
	p.Grants = &handstamp.Grants{Roles: roles}
	g, err := n.auth.Start(f.t.Context(), p)
	must(f.t, err)
	return g
}

func text(g handstamp.Grant) string { return g.AccessToken.Reveal() }

// says is the answer in one word: "yes", the reason of a no, or "don't know".
func says(v *handstamp.Verifier, credential string, rules ...handstamp.Rule) string {
	_, err := v.CheckToken(context.Background(), credential, rules...)
	if why, ok := handstamp.ReasonOf(err); ok {
		return string(why)
	}
	if err != nil {
		return "don't know"
	}
	return "yes"
}

func want(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// eventually waits for an answer, and says how long that took.
func eventually(t testing.TB, within time.Duration, v *handstamp.Verifier, credential, answer string) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		got := says(v, credential)
		took := time.Since(began)
		if got == answer {
			return took
		}
		if took > within {
			t.Fatalf("after %v the answer is still %s, want %s", took, got, answer)
		}
		time.Sleep(time.Millisecond)
	}
}

// fragile is a store that can be lost sight of.
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

// user makes an account.
func (f *fleet) user(email string) handstamp.UserID {
	f.t.Helper()
	address, err := account.ParseAddress(email)
	must(f.t, err)
	u, err := f.nodes[0].accounts.Create(f.t.Context(), account.NewUser{Email: address}, handstamp.Client{Actor: "test"})
	must(f.t, err)
	return u.ID
}
