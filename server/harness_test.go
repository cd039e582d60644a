package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/login/password"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/sqlite"
)

// world is one server over real HTTP on a store in memory, with a clock to move.
type world struct {
	t        testing.TB
	clock    *clock
	logs     *logs
	store    backend
	auth     *handstamp.Auth
	accounts *account.Accounts
	flow     *login.Flow
	method   *password.Method
	hasher   *password.Hasher
	ring     *keyring.Ring
	server   *server.Server
	http     *httptest.Server
	url      string // the public URL, with the prefix
	document map[string]any
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logs is everything that was logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *logs) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// backend is a store with all its views.
type backend interface {
	handstamp.Store
	account.Store
	login.Store
	Keys() keyring.Store
}

// settings changes what a world is made of.
type settings struct {
	plain  bool   // plain http
	prefix string // path of the public URL
	mount  string // below which path the server stands in an application's own mux; the public URL has prefix alone
	app    func(server http.Handler) http.Handler
	auth   func(*handstamp.Options)
	server func(*server.Options)
	login  func(*login.Options)
	audit  func(audit.Log) audit.Log
	wrap   func(server.Passwords) server.Passwords
	store  func(handstamp.Store) handstamp.Store // what the engine sees
	sqlite bool                                  // a file instead of memory
	file   string                                // the name of that file; empty makes one
}

const secret = "a secret of at least thirty-two bytes for tests"

func newWorld(t testing.TB, set settings) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{t: t, clock: &clock{now: time.Now().UTC().Truncate(time.Microsecond)}, logs: &logs{}, store: memory.New()}
	if set.sqlite {
		if set.file == "" {
			set.file = filepath.Join(t.TempDir(), "test.db")
		}
		file, err := sqlite.Open(ctx, set.file, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		w.store = file
	}
	logger := slog.New(slog.NewJSONHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var handler http.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.server.ServeHTTP(rw, r) })
	if set.app != nil {
		handler = set.app(handler)
	}
	w.http = httptest.NewUnstartedServer(handler)
	w.http.Config.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	w.http.Config.MaxHeaderBytes = 16 << 10
	if set.plain {
		w.http.Start()
	} else {
		w.http.StartTLS()
	}
	public := w.http.URL + set.prefix
	w.url = public
	if set.mount != "" {
		w.url = w.http.URL + set.mount
	}
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w.ring, err = keyring.Open(ctx, w.store.Keys(), keyring.Options{Secrets: [][]byte{[]byte(secret)}, Now: w.clock.Now})
	must(err)
	opt := handstamp.Options{
		PublicURL: public, Secrets: [][]byte{[]byte(secret)}, Keys: w.ring, Now: w.clock.Now, Logger: logger,
		Token: handstamp.TokenOptions{Issuer: public, Audience: public}, Name: "test",
	}
	if set.mount != "" {
		opt.RefreshPath = set.mount + "/v1/refresh"
	}
	if set.auth != nil {
		set.auth(&opt)
	}
	var engineStore handstamp.Store = w.store
	if set.store != nil {
		engineStore = set.store(engineStore)
	}
	w.auth, err = handstamp.Open(ctx, engineStore, opt)
	must(err)
	w.accounts = account.New(w.auth, w.store)
	flowOpt := login.Options{MaxFailures: 1000}
	if set.login != nil {
		set.login(&flowOpt)
	}
	w.flow, err = login.New(w.auth, w.store, flowOpt)
	must(err)
	w.hasher, err = password.NewHasher(password.HasherOptions{
		Params: password.Params{MemoryKiB: 64, Iterations: 1, Parallelism: 1}, InsecureCost: true,
	})
	must(err)
	policy, err := password.NewPolicy(0)
	must(err)
	w.method = password.New(w.flow, w.accounts, w.hasher, policy)
	var passwords server.Passwords = w.method
	if set.wrap != nil {
		passwords = set.wrap(passwords)
	}
	log := w.store.Audit()
	if set.audit != nil {
		log = set.audit(log)
	}
	serverOpt := server.Options{
		Auth: w.auth, Accounts: w.accounts, Passwords: passwords, Audit: log, Keys: w.ring, PublicURL: public, Prefix: set.mount,
		Secrets: [][]byte{[]byte(secret)}, Roles: w.store.Roles, Logger: logger, Version: "test",
	}
	if set.server != nil {
		set.server(&serverOpt)
	}
	w.server, err = server.New(serverOpt)
	must(err)
	t.Cleanup(func() {
		w.http.Close()
		must(w.auth.Close())
	})
	w.document = w.stranger().get("/openapi.json").want(200).body
	return w
}

// client is a browser or a program: it has a jar, and headers that it always sends.
type client struct {
	w      *world
	jar    http.CookieJar
	http   *http.Client
	header http.Header
	grant  map[string]any // of its last login
	email  string
}

// stranger is a browser of this application that nobody is logged in with.
func (w *world) stranger() *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{w: w, jar: jar, header: http.Header{}}
	c.http = &http.Client{
		Transport: w.http.Client().Transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.header.Set("Origin", w.http.URL)
	return c
}

// program is a client without a jar and without the headers of a browser.
func (w *world) program(credential string) *client {
	c := w.stranger()
	c.header, c.http.Jar = http.Header{}, nil
	if credential != "" {
		c.header.Set("Authorization", "Bearer "+credential)
	}
	return c
}

const typed = "correct horse battery staple"

// signUp makes a user and logs them in.
func (w *world) signUp(email, mode, transport string) *client {
	w.t.Helper()
	c := w.stranger()
	c.email = email
	c.start("/v1/signup", mode, transport, 201)
	return c
}

// start logs in, and keeps what a bearer client keeps.
func (c *client) start(path, mode, transport string, status int) *response {
	c.w.t.Helper()
	body := m{"email": c.email, "password": typed}
	if mode != "" {
		body["mode"] = mode
	}
	if transport != "" {
		body["transport"] = transport
	}
	a := c.post(path, body).want(status)
	if status < 300 {
		c.keep(a)
	}
	return a
}

func (c *client) keep(a *response) {
	c.grant = a.body
	if access, ok := a.body["access_token"].(string); ok {
		c.header.Set("Authorization", "Bearer "+access)
	}
}

func (c *client) logIn(mode, transport string) *client {
	c.w.t.Helper()
	c.w.clock.add(time.Second) // a later login is a later id
	other := c.w.stranger()
	other.email = c.email
	other.start("/v1/login", mode, transport, 200)
	return other
}

// admin is a user with the role admin.
func (w *world) admin() *client {
	w.t.Helper()
	c := w.signUp("admin@example.com", "session", "bearer")
	w.give(c.user(), "admin")
	return c
}

func (w *world) give(user string, roles ...string) {
	w.t.Helper()
	if _, err := w.accounts.SetRoles(context.Background(), handstamp.UserID(user), roles, handstamp.EndOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// key makes a service key.
func (w *world) key(permissions ...string) string {
	w.t.Helper()
	_, s, err := w.accounts.AddServiceKey(context.Background(), account.NewServiceKey{Name: "test", Permissions: permissions}, handstamp.Client{Actor: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Reveal()
}

func (c *client) user() string    { return c.grant["user"].(m)["id"].(string) }
func (c *client) session() string { return c.grant["session"].(m)["id"].(string) }
func (c *client) token(n string) string {
	s, _ := c.grant[n].(string)
	return s
}

// cookie returns the value of a cookie that the jar would send to a path.
func (c *client) cookie(path, name string) string {
	u, err := url.Parse(c.w.url + path)
	if err != nil {
		c.w.t.Fatal(err)
	}
	for _, k := range c.jar.Cookies(u) {
		if k.Name == name {
			return k.Value
		}
	}
	return ""
}

type m = map[string]any

// response is what came back, read and checked against the document.
type response struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	raw    string
	body   m
}

func (c *client) get(path string) *response            { return c.do("GET", path, nil) }
func (c *client) post(path string, body any) *response { return c.do("POST", path, body) }
func (c *client) put(path string, body any) *response  { return c.do("PUT", path, body) }
func (c *client) del(path string) *response            { return c.do("DELETE", path, nil) }

// do sends a request. A body that is no string is sent as JSON.
func (c *client) do(method, path string, body any, headers ...string) *response {
	c.w.t.Helper()
	var r io.Reader
	kind := ""
	switch b := body.(type) {
	case nil:
	case string:
		r, kind = strings.NewReader(b), "application/json"
	case url.Values:
		r, kind = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			c.w.t.Fatal(err)
		}
		r, kind = bytes.NewReader(raw), "application/json"
	}
	req, err := http.NewRequest(method, c.w.url+path, r)
	if err != nil {
		c.w.t.Fatal(err)
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	return c.send(req)
}

func (c *client) send(req *http.Request) *response {
	c.w.t.Helper()
	resp, err := c.http.Do(req)
	if err != nil {
		c.w.t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.w.t.Fatal(err)
	}
	a := &response{t: c.w.t, what: req.Method + " " + req.URL.RequestURI(), status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") && req.Method != "HEAD" {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			c.w.t.Fatalf("%s: the body is no JSON object: %v", a.what, err)
		}
	}
	if c.w.document != nil {
		c.w.conforms(req, a)
	}
	return a
}

func (a *response) want(status int) *response {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s = %d %s, want %d", a.what, a.status, a.raw, status)
	}
	return a
}

// refused wants a problem of a status and a code.
func (a *response) refused(status int, code string) *response {
	a.t.Helper()
	a.want(status)
	if a.body["code"] != code {
		a.t.Fatalf("%s = code %v, want %s", a.what, a.body["code"], code)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("%s: Content-Type = %q, want application/problem+json", a.what, got)
	}
	if a.body["type"] != "urn:handstamp:problem:"+code || a.body["status"] != float64(status) || a.body["title"] == "" {
		a.t.Errorf("%s: no whole problem document: %s", a.what, a.raw)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		a.t.Errorf("%s: Cache-Control = %q, want no-store", a.what, got)
	}
	return a
}

// fields are the names in errors.
func (a *response) fields() []string {
	var names []string
	list, _ := a.body["errors"].([]any)
	for _, e := range list {
		names = append(names, e.(m)["field"].(string))
	}
	return names
}

func (a *response) setCookies() []*http.Cookie { return (&http.Response{Header: a.header}).Cookies() }
