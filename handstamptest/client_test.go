package handstamptest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/handstamptest"
)

// app is what a test server serves: a protected handler, a login and a log-out.
func app(h *handstamptest.Harness) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/notes", h.Auth.Require()(notes))
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		p, err := h.Auth.Prove(r.Context(), "eve")
		if err == nil {
			_, err = h.Auth.Login(w, r, p)
		}
		if err != nil {
			h.Auth.Deny(w, r, err)
			return
		}
		http.Redirect(w, r, "/notes", http.StatusSeeOther)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := h.Auth.CheckOrigin(r); err != nil {
			h.Auth.Deny(w, r, err)
			return
		}
		if _, err := h.Auth.LogOutRequest(w, r, handstamp.EndOptions{}); err != nil {
			h.Auth.Deny(w, r, err)
		}
	})
	return mux
}

// TestClient: the browser works whatever the public URL and the test server are.
func TestClient(t *testing.T) {
	urls := []string{
		handstamptest.DefaultPublicURL, "http://localhost:3000", "https://app.example.com", "https://app.example.com/shop",
	}
	for _, public := range urls {
		for kind, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "tls": httptest.NewTLSServer} {
			t.Run(kind+" "+public, func(t *testing.T) {
				t.Parallel()
				h := handstamptest.New(t, func(o *handstamp.Options) { o.PublicURL = public })
				srv := start(app(h))
				t.Cleanup(srv.Close)
				clientWorks(t, h, srv.URL)
			})
		}
	}
}

func clientWorks(t *testing.T, h *handstamptest.Harness, url string) {
	t.Helper()
	ada := h.Client(t, "ada", "notes:write")
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	want("page", get(t, ada, url+"/notes"), "200 ada true")
	want("form", post(t, ada, url+"/notes"), "200 ada true")

	visitor := h.Client(t, "")
	want("visitor", get(t, visitor, url+"/notes"), "401 missing_credential")
	want("login and redirect", post(t, visitor, url+"/login"), "200 eve false")
	want("after the login", post(t, visitor, url+"/notes"), "200 eve false")

	want("log-out", post(t, ada, url+"/logout"), "200 ")
	want("after the log-out", get(t, ada, url+"/notes"), "401 missing_credential")
	h.End("eve")
	want("after End", get(t, visitor, url+"/notes"), "401 revoked")
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, res)
}

// TestClientElsewhere: another host gets neither the cookie nor a word about the origin.
func TestClientElsewhere(t *testing.T) {
	h := handstamptest.New(t, func(o *handstamp.Options) { o.PublicURL = "https://app.example.com" })
	c := h.Client(t, "ada")
	r := httptest.NewRequest("GET", "https://evil.example/", nil)
	if got := c.Jar.Cookies(r.URL); len(got) != 0 {
		t.Errorf("another host is sent %v", got)
	}
	r = httptest.NewRequest("GET", "https://app.example.com/", nil)
	if got := c.Jar.Cookies(r.URL); len(got) != 1 || got[0].Name != "__Host-handstamp" {
		t.Errorf("the application is sent %v", got)
	}
}

// TestClientKeepsHeaders: a test of the origin rules sets the header itself, and the caller's request is not changed.
func TestClientKeepsHeaders(t *testing.T) {
	h := handstamptest.New(t)
	srv := httptest.NewServer(app(h))
	defer srv.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/notes", nil)
	if err != nil {
		t.Fatal(err)
	}
	ada := h.Client(t, "ada")
	res, err := ada.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, res); got != "200 ada false" || r.Header.Get("Sec-Fetch-Site") != "" {
		t.Errorf("%s; the request has %v", got, r.Header)
	}
	r.Header.Set("Origin", "https://evil.example")
	if res, err = ada.Do(r); err != nil {
		t.Fatal(err)
	}
	if got := read(t, res); got != "403 cross_origin" {
		t.Error(got)
	}
}

// TestClientStoreDown: an outage is 503 and takes no cookie.
func TestClientStoreDown(t *testing.T) {
	h := handstamptest.New(t)
	srv := httptest.NewServer(app(h))
	defer srv.Close()
	ada := h.Client(t, "ada")
	h.StoreDown(true)
	if got := get(t, ada, srv.URL+"/notes"); got != "503 unavailable" {
		t.Error(got)
	}
	if got := post(t, ada, srv.URL+"/logout"); got != "503 unavailable" {
		t.Error(got)
	}
	h.StoreDown(false)
	if got := get(t, ada, srv.URL+"/notes"); got != "200 ada false" {
		t.Error(got)
	}
}

// told is a test that only says what it was told.
type told struct {
	testing.TB
	text string

	own      bool // output and cleanups are kept here
	out      bytes.Buffer
	cleanups []func()
}

func (f *told) Output() io.Writer {
	if f.own {
		return &f.out
	}
	return f.TB.Output()
}

func (f *told) Cleanup(fn func()) {
	if f.own {
		f.cleanups = append(f.cleanups, fn)
	} else {
		f.TB.Cleanup(fn)
	}
}

func (f *told) Helper()                   {}
func (f *told) Errorf(s string, a ...any) { f.text += fmt.Sprintf(s, a...) }
func (f *told) Fatalf(s string, a ...any) {
	f.text += fmt.Sprintf(s, a...)
	runtime.Goexit()
}

// failure runs fn in a test of its own and returns what it failed with.
func failure(t *testing.T, fn func(t testing.TB)) string {
	t.Helper()
	f := &told{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(f)
	}()
	<-done
	return f.text
}

// TestFailures: what goes wrong is said with what to do about it.
func TestFailures(t *testing.T) {
	get := func() *http.Request { return httptest.NewRequest("GET", "/", nil) }
	for name, test := range map[string]struct {
		run  func(t testing.TB)
		want []string
	}{
		"options": {
			func(t testing.TB) {
				handstamptest.New(t, func(o *handstamp.Options) { o.PublicURL = "app.example.com" })
			},
			[]string{"New", "the options are refused", "PublicURL"},
		},
		"clock": {
			func(t testing.TB) { handstamptest.New(t, func(o *handstamp.Options) { o.Now = time.Now }) },
			[]string{"leave Options.Now alone", "Advance"},
		},
		"user": {
			func(t testing.TB) { handstamptest.New(t).Login(get(), "a\nb") },
			[]string{`Login("a\nb")`, "control characters"},
		},
		"permission": {
			func(t testing.TB) { handstamptest.New(t).Token("ada", "two words") },
			[]string{"Token", `"two words" is no permission`, "Options.Permissions"},
		},
		"role is missing": {
			func(t testing.TB) {
				h := handstamptest.New(t, func(o *handstamp.Options) {
					o.Permissions = func(context.Context, handstamp.UserID) (handstamp.Grants, error) {
						return handstamp.Grants{Permissions: []string{"notes:read"}}, nil
					}
				})
				h.Login(get(), "ada", "notes:read")
				h.Login(get(), "ada", "notes:write")
			},
			[]string{`Login("ada")`, `does not say "notes:write" but ["notes:read"]`},
		},
		"bearer": {
			func(t testing.TB) { h := handstamptest.New(t); h.Login(bearer("GET", h.Token("ada")), "ada") },
			[]string{"Authorization: Bearer", "take it out"},
		},
		"down": {
			func(t testing.TB) { h := handstamptest.New(t); h.StoreDown(true); h.Client(t, "ada") },
			[]string{`Login("ada")`, "the store is down", "StoreDown(false)"},
		},
		"end while down": {
			func(t testing.TB) { h := handstamptest.New(t); h.StoreDown(true); h.End("ada") },
			[]string{`End("ada")`, "StoreDown(false)"},
		},
		"back in time": {
			func(t testing.TB) { handstamptest.New(t).Advance(-time.Second) },
			[]string{"time does not go back"},
		},
		"disabled": {
			func(t testing.TB) {
				h := handstamptest.New(t)
				err := h.Store.Work().Do(t.Context(), func(tx handstamp.Tx) error {
					return tx.PutSubject(t.Context(), handstamp.Subject{User: "ada", Disabled: true})
				})
				if err != nil {
					t.Error(err)
				}
				h.Token("ada")
			},
			[]string{`Token("ada")`, "the user is disabled"},
		},
		"two cookies": {
			func(t testing.TB) {
				h := handstamptest.New(t)
				r := get()
				r.Header.Set("Cookie", "handstamp=a; handstamp=b")
				h.Login(r, "ada")
			},
			[]string{`Login("ada")`, "duplicate_credential"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := failure(t, test.run)
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("failed with %q, which does not say %q", got, want)
				}
			}
			if !strings.HasPrefix(got, "handstamptest") {
				t.Errorf("failed with %q, which does not say where", got)
			}
		})
	}
}

// TestHandlerOutlivesTest: a handler that is left running after the test and logs then would panic in the test's output.
func TestHandlerOutlivesTest(t *testing.T) {
	f := &told{TB: t, own: true}
	h := handstamptest.New(f)
	deny := func() {
		h.Auth.Deny(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), errors.New("some cause"))
	}
	deny()
	if !strings.Contains(f.out.String(), "some cause") {
		t.Errorf("the test's output is %q", f.out.String())
	}
	for _, fn := range f.cleanups {
		fn()
	}
	f.out.Reset()
	deny()
	if f.out.Len() > 0 {
		t.Errorf("after the test: %q", f.out.String())
	}
}
