package remote_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/remote"
	"github.com/handstamp/handstamp/token"
)

// TestOpenSaysWhatToConfigure: every mistake in what Open is given is an error that says what to do, and none repeats the
// service key.
func TestOpenSaysWhatToConfigure(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		some := token.Generate(token.ServiceKey).Reveal()
		noRevocations, noIntrospect := f.newKey("handstamp.introspect"), f.newKey("handstamp.revocations")
		session := text(f.logIn(handstamp.ModeSession, "ada"))
		at, letter := len(f.key)-7, "x"
		if f.key[at] == 'x' {
			letter = "y"
		}
		for name, c := range map[string]struct{ url, key, want string }{
			"no address":         {"", f.key, "address"},
			"no scheme":          {"auth.example.com", f.key, "address"},
			"another scheme":     {"ftp://auth.example.com", f.key, "address"},
			"a query":            {public + "?key=" + f.key, f.key, "address"},
			"a password":         {"https://x:" + f.key + "@auth.example.com", f.key, "address"},
			"one of two":         {public + ",", f.key, "address"},
			"plain http":         {"http://auth.example.com", f.key, "InsecureHTTP"},
			"no key":             {public, "", "handstamp.introspect"},
			"a line end":         {public, f.key + "\n", "white space"},
			"half a key":         {public, f.key[:20], "no service key"},
			"a mistyped key":     {public, f.key[:at] + letter + f.key[at+1:], "no service key"},
			"a session":          {public, session, "no service key"},
			"a made-up key":      {public, some, "401"},
			"no revocations":     {public, noRevocations, "handstamp.revocations"},
			"no introspection":   {public, noIntrospect, "handstamp.introspect"},
			"another path":       {public + "/app", f.key, "public_url"},
			"nobody there":       {"https://elsewhere.example.com", f.key, "refused"},
			"another public URL": {public, f.key, ""},
		} {
			_, err := f.tryRemote(c.url, c.key)
			if c.want == "" {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if err == nil {
				t.Errorf("%s: no error", name)
				continue
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want something about %s", name, err, c.want)
			}
			for _, secret := range []string{f.key, some, noRevocations, noIntrospect, session, f.key[:20]} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: the error repeats a secret: %v", name, err)
				}
			}
		}
	})
}

// TestNothingPrintsTheServiceKey: neither the Verifier nor what is logged while the server fails holds the key.
func TestNothingPrintsTheServiceKey(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1)
		var logged safeBuilder
		v := f.remote(public, func(o *remote.Options) {
			o.Verifier.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		g := f.logIn(handstamp.ModeSession, "ada")
		f.net.set(func(n *network) { n.refused["auth.example.com"] = true })
		time.Sleep(10 * time.Minute)
		_, err := v.VerifyToken(t.Context(), text(g))
		if err == nil || errors.Is(err, handstamp.ErrUnauthenticated) {
			t.Errorf("the answer is %v", err)
		}
		for _, printed := range []string{logged.String(), fmt.Sprintf("%v %+v %#v", v, v, v), fmt.Sprint(err)} {
			if strings.Contains(printed, f.key) || strings.Contains(printed, text(g)) {
				t.Errorf("a secret is in %s", printed)
			}
		}
		if logged.String() == "" {
			t.Error("nothing was logged")
		}
	})
}

type safeBuilder struct {
	mu sync.Mutex
	strings.Builder
}

func (b *safeBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.Write(p)
}

func (b *safeBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.String()
}

// TestHostileAnswers: a host that answers anything but what a server says gets neither a yes nor a no out of a Verifier: at
// the beginning it is an error of Open, later "don't know" once the lease is over.
func TestHostileAnswers(t *testing.T) {
	body := func(status int, media, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if media != "" {
				w.Header().Set("Content-Type", media)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	const yes = `{"active":true,"sub":"ada","sid":"ses_01jdbz0p0efa5r7qk0m2s8x4yc","exp":4102444800,"ep":0,"scope":"*","keys":[],` +
		`"log":"L","head":0,"tag":"","low":0,"now":"2026-11-21T08:00:00Z","age_ms":0,"lease_ms":2000,"more":false,"events":[]}`
	cases := map[string]http.HandlerFunc{
		"a page":          body(200, "text/html", "<html>welcome"),
		"a page for JSON": body(200, "application/json", "<html>welcome"),
		"yes without a type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, yes)
		},
		"yes as text":    body(200, "text/plain", yes),
		"yes with 500":   body(500, "application/json", yes),
		"yes with 201":   body(201, "application/json", yes),
		"yes with 204":   body(204, "application/json", ""),
		"yes with 401":   body(401, "application/json", yes),
		"no with 404":    body(404, "application/json", `{"active":false}`),
		"no with 401":    body(401, "application/json", `{"active":false}`),
		"a redirect":     body(302, "application/json", yes),
		"nothing":        body(200, "application/json", ""),
		"null":           body(200, "application/json", "null"),
		"half":           body(200, "application/json", yes[:40]),
		"twice":          body(200, "application/json", yes+yes),
		"active twice":   body(200, "application/json", `{"active":false,"active":true}`),
		"active in text": body(200, "application/json", `{"active":"true"}`),
		"garbage":        body(200, "application/json", strings.Repeat("\x00\xff", 1000)),
		"depths":         body(200, "application/json", strings.Repeat(`{"a":`, 100_000)),
		"a huge number":  body(200, "application/json", `{"active":true,"exp":1e999}`),
		"kept by a cache": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Age", "1")
			body(200, "application/json", yes)(w, nil)
		},
		"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a short body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "999")
			body(200, "application/json", yes)(w, nil)
		},
		"20 MB":              func(w http.ResponseWriter, _ *http.Request) { flood(w, 20<<20) },
		"a body without end": func(w http.ResponseWriter, _ *http.Request) { flood(w, 1<<30) },
		"a header of a MB": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
			body(200, "application/json", yes)(w, nil)
		},
		"compressed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			body(200, "application/json", "\x1f\x8b\x08")(w, nil)
		},
		"every trouble (503)": body(503, "application/problem+json", `{"code":"unavailable"}`),
	}
	f := newFleet(t, 1, func(o *handstamp.Options) { o.Lease = 500 * time.Millisecond })
	var wrong atomic.Pointer[http.HandlerFunc]
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := wrong.Load(); h != nil {
			(*h)(w, r)
			return
		}
		f.nodes[0].server.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	trusting := func(o *remote.Options) { o.Transport = transportFor(srv) }
	v := f.remote(srv.URL, trusting)
	value, opaque := f.logIn(handstamp.ModeToken, "ada"), f.logIn(handstamp.ModeSession, "ada")
	made := token.Generate(token.Reference).Reveal()
	for name, h := range cases {
		t.Run(name, func(t *testing.T) {
			wrong.Store(&h)
			if _, err := f.tryRemote(srv.URL, f.key, trusting); err == nil {
				t.Error("a Verifier was opened")
			}
			for _, c := range []string{text(value), text(opaque), made} {
				for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
					got := says(v, c)
					if got == "don't know" {
						break
					}
					if got != "yes" || c == made || time.Now().After(deadline) { // within the lease memory may go on
						t.Fatalf("the answer is %s", got)
					}
				}
			}
			wrong.Store(nil)
			for _, c := range []string{text(value), text(opaque)} {
				eventually(t, 20*time.Second, v, c, "yes")
			}
			want(t, "made up", says(v, made), "invalid_token")
		})
	}
}

func transportFor(srv *httptest.Server) *http.Transport {
	t := srv.Client().Transport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = 64 << 10
	t.DisableCompression = true
	return t
}

// flood writes so many bytes, or as many as the reader takes.
func flood(w http.ResponseWriter, n int) {
	w.Header().Set("Content-Type", "application/json")
	page := []byte(strings.Repeat(" ", 1<<16))
	for ; n > 0; n -= len(page) {
		if _, err := w.Write(page); err != nil {
			return
		}
	}
}

// TestRedirectIsNotFollowed: the service key goes to nobody who was not named.
func TestRedirectIsNotFollowed(t *testing.T) {
	var shown atomic.Bool
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { shown.Store(true) }))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL+r.URL.Path, status)
		}))
		_, err := remote.Open(t.Context(), srv.URL, token.Generate(token.ServiceKey).Reveal())
		if err == nil || !strings.Contains(err.Error(), "redirect") {
			t.Errorf("%d: %v", status, err)
		}
		srv.Close()
	}
	if shown.Load() {
		t.Error("a redirect was followed")
	}
}

// TestTLS: a server whose certificate is nobody's, or another host's, or that speaks a version of yesterday, is told nothing.
func TestTLS(t *testing.T) {
	var asked atomic.Int32
	start := func(version uint16) *httptest.Server {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		srv.TLS = &tls.Config{MaxVersion: version}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return srv
	}
	key := token.Generate(token.ServiceKey).Reveal()
	srv := start(tls.VersionTLS13)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	for name, c := range map[string]struct {
		url string
		opt remote.Options
	}{
		"a certificate of nobody": {url: srv.URL},
		"of another host":         {"https://localhost:" + port, remote.Options{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}},
		"TLS 1.1":                 {url: start(tls.VersionTLS11).URL},
		"no TLS":                  {url: strings.Replace(srv.URL, "https", "http", 1)},
	} {
		if _, err := remote.OpenWith(t.Context(), c.url, key, c.opt); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if asked.Load() != 0 {
		t.Error("something was asked")
	}
}

// TestSlowAnswers: a host that answers byte by byte, or takes connections and says nothing, costs a check less than 3 s.
func TestSlowAnswers(t *testing.T) {
	for name, slow := range map[string]func(ctx context.Context, w io.Writer){
		"nothing": func(ctx context.Context, _ io.Writer) { <-ctx.Done() },
		"byte by byte": func(ctx context.Context, w io.Writer) {
			for ctx.Err() == nil {
				_, _ = w.Write([]byte(" "))
				time.Sleep(50 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				f := newFleet(t, 1)
				v := f.remote(public)
				g, opaque := f.logIn(handstamp.ModeToken, "ada"), f.logIn(handstamp.ModeSession, "ada")
				f.net.set(func(n *network) {
					n.hosts["auth.example.com"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Content-Type", "application/json")
						w.WriteHeader(200)
						slow(r.Context(), w)
					})
				})
				want(t, "within the lease", says(v, text(g)), "yes")
				time.Sleep(2 * time.Second)
				for _, credential := range []string{text(g), text(opaque)} {
					began := time.Now()
					want(t, "slow", says(v, credential), "don't know")
					if took := time.Since(began); took > 3*time.Second {
						t.Errorf("the answer took %v", took)
					}
				}
				f.net.set(func(n *network) { n.hosts["auth.example.com"] = f.nodes[0].server })
				eventually(t, 5*time.Second, v, text(g), "yes")
			})
		})
	}
}
