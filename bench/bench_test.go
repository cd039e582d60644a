package bench

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	_ "modernc.org/sqlite"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/sqlite"
)

// How many sessions there are, and how many other values each of them has where it says "10 others".
const (
	sessions = 100
	others   = 10
	size     = 100 // bytes of a value
)

func text() string { return strings.Repeat("x", size) }

// subject is one way to keep sessions. Each handler answers 200 only if it found out who asks, and what else it is for.
type subject struct {
	name    string
	cookies []string // one for each session
	check   http.Handler
	read    http.Handler
	write   http.Handler
}

// discard is an answer that goes nowhere, and keeps its status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header { return d.header }

func (d *discard) Write(p []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	return len(p), nil
}

func (d *discard) WriteHeader(status int) {
	if d.status == 0 {
		d.status = status
	}
}

// answer is what the handlers of all subjects do with what they found.
func answer(w http.ResponseWriter, ok bool) {
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func ask(tb testing.TB, h http.Handler, cookie string) {
	r := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: "/"}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Cookie": {cookie}}, Host: "localhost", RemoteAddr: "127.0.0.1:1234",
	}
	w := &discard{header: http.Header{}}
	h.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		tb.Errorf("answer %d", w.status)
	}
}

// BenchmarkRequest has the rows subject/stores/values/what/how.
func BenchmarkRequest(b *testing.B) {
	for _, store := range []string{"memory", "sqlite"} {
		for _, n := range []int{0, others} {
			for _, open := range []func(testing.TB, string, int) subject{openSCS, openSCSIdle, openReference, openHMAC, openValue} {
				s := open(b, store, n)
				b.Run(fmt.Sprintf("%s/others=%d/%s", store, n, s.name), func(b *testing.B) { run(b, s) })
			}
		}
	}
}

func run(b *testing.B, s subject) {
	for _, what := range []struct {
		name string
		h    http.Handler
	}{{"check", s.check}, {"read", s.read}, {"write", s.write}} {
		b.Run(what.name+"/sequential", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				ask(b, what.h, s.cookies[i*37%len(s.cookies)])
			}
		})
		b.Run(what.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					ask(b, what.h, s.cookies[i*37%len(s.cookies)])
				}
			})
		})
	}
}

func file(tb testing.TB) string { return filepath.Join(tb.TempDir(), "bench.db") }

// openDB opens a database with the settings that Handstamp's writer has: package sqlite says why.
func openDB(tb testing.TB) *sql.DB {
	tb.Helper()
	v := url.Values{"_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(2)", "secure_delete(1)", "cache_size(-4096)", "temp_store(2)",
		"mmap_size(0)", "foreign_keys(1)", "trusted_schema(0)", "cell_size_check(1)", "wal_autocheckpoint(1000)",
	}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+file(tb)+"?"+v.Encode())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	_, err = db.ExecContext(context.Background(), `CREATE TABLE sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL);
		CREATE INDEX sessions_expiry ON sessions (expiry)`)
	if err != nil {
		tb.Fatal(err)
	}
	return db
}

func openSCS(tb testing.TB, store string, n int) subject {
	s := newSCS(tb, store, n, 0)
	s.name = "scs"
	return s
}

// openSCSIdle has an idle end, as Handstamp's sessions do.
func openSCSIdle(tb testing.TB, store string, n int) subject {
	s := newSCS(tb, store, n, time.Hour)
	s.name = "scs-idle"
	return s
}

func newSCS(tb testing.TB, store string, n int, idle time.Duration) subject {
	tb.Helper()
	m := scs.New()
	m.IdleTimeout = idle
	if store == "memory" {
		m.Store = memstore.NewWithCleanupInterval(0)
	} else {
		m.Store = sqlite3store.NewWithCleanupInterval(openDB(tb), 0)
	}
	s := subject{}
	begin := m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "user", "ada")
		m.Put(r.Context(), "value", text())
		for i := range n {
			m.Put(r.Context(), fmt.Sprint("other", i), text())
		}
	}))
	for range sessions {
		w := httptest.NewRecorder()
		begin.ServeHTTP(w, httptest.NewRequestWithContext(tb.Context(), http.MethodGet, "/", nil))
		c := w.Result().Cookies()[0]
		s.cookies = append(s.cookies, c.Name+"="+c.Value)
	}
	s.check = m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, m.GetString(r.Context(), "user") == "ada")
	}))
	s.read = m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, m.GetString(r.Context(), "user") == "ada" && len(m.GetString(r.Context(), "value")) == size)
	}))
	s.write = m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.Put(r.Context(), "value", text())
		answer(w, m.GetString(r.Context(), "user") == "ada")
	}))
	return s
}

func openReference(tb testing.TB, store string, n int) subject {
	s := newHandstamp(tb, store, n, handstamp.ModeSession, jwt.ES256)
	s.name = "reference"
	return s
}

func openHMAC(tb testing.TB, store string, n int) subject {
	s := newHandstamp(tb, store, n, handstamp.ModeHybrid, jwt.HS256)
	s.name = "value-HS256"
	return s
}

func openValue(tb testing.TB, store string, n int) subject {
	s := newHandstamp(tb, store, n, handstamp.ModeHybrid, jwt.ES256)
	s.name = "value-ES256"
	return s
}

// backend is what both stores are.
type backend interface {
	handstamp.Store
	Keys() keyring.Store
}

func openAuth(tb testing.TB, store string, alg jwt.Algorithm) *handstamp.Auth {
	tb.Helper()
	ctx, quiet := tb.Context(), slog.New(slog.DiscardHandler)
	var b backend = memory.New()
	if store == "sqlite" {
		s, err := sqlite.Open(ctx, file(tb), sqlite.Options{})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = s.Close() })
		b = s
	}
	secrets := [][]byte{[]byte("a secret of at least thirty-two bytes")}
	ring, err := keyring.Open(ctx, b.Keys(), keyring.Options{Secrets: secrets, Algorithm: alg, TokenLife: time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	auth, err := handstamp.Open(ctx, b, handstamp.Options{
		PublicURL: "http://localhost", Secrets: secrets, Keys: ring, Logger: quiet,
		Token: handstamp.TokenOptions{AccessTTL: time.Hour}, // nothing runs out while it is measured
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = auth.Close() })
	return auth
}

func newHandstamp(tb testing.TB, store string, n int, mode handstamp.Mode, alg jwt.Algorithm) subject {
	tb.Helper()
	ctx, auth := tb.Context(), openAuth(tb, store, alg)
	value := handstamp.NewData[string](auth, "value")
	s := subject{}
	for i := range sessions {
		p, err := auth.Prove(ctx, handstamp.UserID(fmt.Sprintf("ada-%d", i)))
		if err != nil {
			tb.Fatal(err)
		}
		p.Mode, p.Transport = mode, handstamp.TransportCookie
		g, err := auth.Start(ctx, p)
		if err == nil {
			err = value.Set(ctx, g.Session.ID, text())
		}
		for i := 0; i < n && err == nil; i++ {
			err = handstamp.NewData[string](auth, fmt.Sprint("other", i)).Set(ctx, g.Session.ID, text())
		}
		if err != nil {
			tb.Fatal(err)
		}
		s.cookies = append(s.cookies, "handstamp="+g.AccessToken.Reveal())
	}
	require := auth.Require()
	s.check = require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := handstamp.FromContext(r.Context())
		answer(w, ok && p.User != "")
	}))
	s.read = require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := handstamp.FromContext(r.Context())
		v, ok, err := value.Get(r.Context(), p.Session)
		answer(w, err == nil && ok && len(v) == size)
	}))
	s.write = require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := handstamp.FromContext(r.Context())
		answer(w, value.Set(r.Context(), p.Session, text()) == nil)
	}))
	return s
}

// TestRows: every row does what it says, and refuses who is nobody.
func TestRows(t *testing.T) {
	for _, store := range []string{"memory", "sqlite"} {
		for _, open := range []func(testing.TB, string, int) subject{openSCS, openSCSIdle, openReference, openHMAC, openValue} {
			s := open(t, store, 1)
			for _, h := range []http.Handler{s.check, s.read, s.write, s.read} {
				ask(t, h, s.cookies[0])
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
				if w.Code != http.StatusUnauthorized {
					t.Errorf("%s, %s: a visitor gets %d", store, s.name, w.Code)
				}
			}
		}
	}
}
