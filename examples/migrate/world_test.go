package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/handstamp/handstamp/examples/migrate/after"
	"github.com/handstamp/handstamp/examples/migrate/before"
	"github.com/handstamp/handstamp/examples/migrate/shop"
)

const (
	email    = "ada@example.com"
	password = "correct horse battery"
)

func jwtKey() []byte { return []byte("the key that the tokens of the version before are signed with") }

// world is one database with both versions on it.
type world struct {
	shop          *shop.Shop
	user          string
	before, after string // addresses
}

func newWorld(t *testing.T) world {
	t.Helper()
	file := filepath.Join(t.TempDir(), "shop.db")
	s, err := shop.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	w := world{shop: s}
	if w.user, err = s.AddUser(t.Context(), email, password); err != nil {
		t.Fatal(err)
	}
	b, err := before.Open(t.Context(), s, jwtKey())
	if err != nil {
		t.Fatal(err)
	}
	var a *after.App
	w.before = serve(t, func(string) http.Handler { return b.Handler() })
	w.after = serve(t, func(addr string) http.Handler {
		secret := []byte("a secret of at least thirty-two bytes")
		if a, err = after.Open(t.Context(), s, file, addr, secret, jwtKey()); err != nil {
			t.Fatal(err)
		}
		return a.Handler()
	})
	t.Cleanup(func() {
		for _, c := range []io.Closer{a, b, s} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

func serve(t *testing.T, handler func(addr string) http.Handler) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	addr := "http://" + srv.Listener.Addr().String()
	srv.Config.Handler = handler(addr)
	srv.Start()
	t.Cleanup(srv.Close)
	return addr
}

// written counts what Handstamp keeps about anybody.
func (w world) written(t *testing.T) string {
	t.Helper()
	out := ""
	for _, table := range []string{"sessions", "subjects", "data", "audit", "events"} {
		var n int
		if err := w.shop.DB.QueryRowContext(t.Context(), "SELECT count(*) FROM handstamp_"+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprintf("%s %d, ", table, n)
	}
	return out
}

// sessions counts the live sessions of the user.
func (w world) sessions(t *testing.T) (n int) {
	t.Helper()
	err := w.shop.DB.QueryRowContext(t.Context(), "SELECT count(*) FROM handstamp_sessions WHERE user = ? AND ended_by = 0", w.user).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// browser keeps cookies, which know no ports: they go along from one version to the other.
type browser struct {
	t    *testing.T
	c    *http.Client
	base string
}

// answer is what came back.
type answer struct {
	status         int
	body, location string
	cookies        []*http.Cookie
}

func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, base: base, c: &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) do(method, path string, form ...string) answer {
	b.t.Helper()
	v := url.Values{}
	for i := 0; i < len(form); i += 2 {
		v.Set(form[i], form[i+1])
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, strings.NewReader(v.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == http.MethodGet && !strings.HasPrefix(path, "/api/") {
		r.Header.Set("Accept", "text/html")
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := b.c.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, string(body), res.Header.Get("Location"), res.Cookies()}
}

func (b *browser) get(path string) answer { b.t.Helper(); return b.do(http.MethodGet, path) }
func (b *browser) post(path string, form ...string) answer {
	b.t.Helper()
	return b.do(http.MethodPost, path, form...)
}

func (b *browser) login() {
	b.t.Helper()
	if a := b.post("/login", "email", email, "password", password); a.status != http.StatusSeeOther {
		b.t.Fatalf("login: %+v", a)
	}
}

func (b *browser) cookies() []*http.Cookie {
	u, _ := url.Parse(b.base)
	return b.c.Jar.Cookies(u)
}

// keep drops all cookies but those named.
func (b *browser) keep(names ...string) {
	b.t.Helper()
	var kept []*http.Cookie
	for _, c := range b.cookies() {
		for _, n := range names {
			if c.Name == n {
				kept = append(kept, c)
			}
		}
	}
	if len(kept) != len(names) {
		b.t.Fatalf("has %v, want %v", b.cookies(), names)
	}
	b.set(kept...)
}

func (b *browser) set(cookies ...*http.Cookie) {
	b.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	u, _ := url.Parse(b.base)
	for _, c := range cookies {
		jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/"}})
	}
	b.c.Jar = jar
}

func (b *browser) value(name string) string {
	for _, c := range b.cookies() {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func (b *browser) isLoggedIn() bool {
	b.t.Helper()
	switch a := b.get("/orders"); {
	case a.status == http.StatusOK && strings.Contains(a.body, email):
		return true
	case a.status == http.StatusFound && a.location == "/login?return_to=%2Forders":
		return false
	default:
		b.t.Fatalf("GET /orders: %+v", a)
		return false
	}
}

// inCart is how many of product 1 the cart has.
func (b *browser) inCart() string {
	b.t.Helper()
	a := b.get("/")
	m := regexp.MustCompile(`Tea \(in your cart: (\d+)\)`).FindStringSubmatch(a.body)
	if m == nil {
		b.t.Fatalf("GET /: %+v", a)
	}
	return m[1]
}
