package server_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/memory"
)

// slowStore takes a second for each call, which no bound of a store's own is reached by.
type slowStore struct {
	*memory.Store
	slow *bool
}

func (s slowStore) Sessions() handstamp.Sessions { return slowSessions{s.Store.Sessions(), s} }
func (s slowStore) Work() handstamp.UnitOfWork[handstamp.Tx] {
	return slowWork[handstamp.Tx]{s.Store.Work(), s}
}

func (s slowStore) AccountWork() handstamp.UnitOfWork[account.Tx] {
	return slowWork[account.Tx]{s.Store.AccountWork(), s}
}

func (s slowStore) wait(ctx context.Context) error {
	if !*s.slow {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
		return nil
	}
}

// dripping is a body that comes in three parts, with two seconds before each.
type dripping struct{ rest string }

func (d *dripping) Read(p []byte) (int, error) {
	time.Sleep(2 * time.Second) // of the bubble
	if d.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, d.rest[:min(20, len(d.rest))])
	d.rest = d.rest[n:]
	return n, nil
}

type slowSessions struct {
	handstamp.Sessions
	s slowStore
}

func (x slowSessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	if err := x.s.wait(ctx); err != nil {
		return handstamp.Found{}, err
	}
	return x.Sessions.Find(ctx, l)
}

func (x slowSessions) List(ctx context.Context, f handstamp.SessionFilter) ([]handstamp.Session, error) {
	for range 2 { // a page, and what its sessions are judged by
		if err := x.s.wait(ctx); err != nil {
			return nil, err
		}
	}
	return x.Sessions.List(ctx, f)
}

func (x slowSessions) Rotate(ctx context.Context, s handstamp.SessionID, from uint32, r handstamp.Rotation) (handstamp.Found, error) {
	if err := x.s.wait(ctx); err != nil {
		return handstamp.Found{}, err
	}
	return x.Sessions.Rotate(ctx, s, from, r)
}

type slowWork[T any] struct {
	handstamp.UnitOfWork[T]
	s slowStore
}

func (x slowWork[T]) Do(ctx context.Context, fn func(T) error) error {
	for range 2 { // what it asks, and the commit
		if err := x.s.wait(ctx); err != nil {
			return err
		}
	}
	return x.UnitOfWork.Do(ctx, fn)
}

// TestSlowStore: whoever asks hears within 3 s that nothing can be said, also where the stores are asked several times for
// one answer and each time is within its own bound. A wait for the fleet is not part of that.
func TestSlowStore(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		slow := false
		s := slowStore{memory.New(), &slow}
		const public = "https://id.example.com"
		auth, err := handstamp.Open(t.Context(), s, handstamp.Options{PublicURL: public, CacheBytes: -1})
		must(err)
		defer auth.Close()
		srv, err := server.New(server.Options{Auth: auth, Accounts: account.New(auth, s), PublicURL: public, Logger: slog.New(slog.DiscardHandler)})
		must(err)
		start := func(user handstamp.UserID) handstamp.Grant {
			p, err := auth.Prove(t.Context(), user)
			must(err)
			p.Transport, p.Methods = handstamp.TransportBearer, []string{"pwd"}
			p.Grants = &handstamp.Grants{Roles: []string{account.RoleAdmin}}
			g, err := auth.Start(t.Context(), p)
			must(err)
			return g
		}
		admin, other := start("ada"), start("bob")
		send := func(method, path string, body io.Reader) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), method, public+path, body)
			r.Header.Set("Authorization", "Bearer "+admin.AccessToken.Reveal())
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, r)
			return w
		}
		call := func(method, path, body string) *httptest.ResponseRecorder {
			return send(method, path, strings.NewReader(body))
		}
		slow = true
		for _, c := range [][3]string{
			{"DELETE", "/v1/admin/sessions/" + string(other.Session.ID), ""},
			{"DELETE", "/v1/admin/sessions/" + string(other.Session.ID) + "?wait=fleet", ""},
			{"DELETE", "/v1/admin/users/bob/sessions", ""},
			{"PUT", "/v1/admin/users/bob/roles", `{"roles":[]}`},
			{"PUT", "/v1/admin/roles/editor", `{"permissions":["posts:read"]}`},
			{"DELETE", "/v1/sessions?keep=current", ""},
			{"DELETE", "/v1/sessions/" + string(admin.Session.ID), ""},
			{"POST", "/v1/logout", ""},
			{"GET", "/v1/sessions", ""},
			{"GET", "/v1/admin/sessions?limit=1000", ""},
			{"POST", "/v1/admin/sessions", `{"user":"carl","methods":["pwd"]}`},
		} {
			began := time.Now()
			w := call(c[0], c[1], c[2])
			took := time.Since(began)
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || took > 3*time.Second {
				t.Errorf("%s %s is answered %d with Retry-After %q after %v, want 503 within 3 s", c[0], c[1], w.Code, w.Header().Get("Retry-After"), took)
			}
			if took < 2*time.Second {
				t.Errorf("%s %s is given up after %v", c[0], c[1], took)
			}
		}
		slow = false
		if w := call("DELETE", "/v1/admin/sessions/"+string(other.Session.ID)+"?wait=fleet", ""); w.Code != http.StatusOK {
			t.Errorf("when it is quick again: %d %s", w.Code, w.Body)
		}
		// What the network takes for the request itself says nothing about a store.
		if w := send("PUT", "/v1/admin/roles/editor", &dripping{rest: `{"permissions":["posts:read"]}`}); w.Code != http.StatusOK {
			t.Errorf("a body that comes slowly: %d %s", w.Code, w.Body)
		}
	})
}
