package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/bubbletest"
)

// life is the life of an identity, one step after the other. A step that answered "don't know" may be done again.
type life struct {
	e     *engine
	mode  handstamp.Mode
	proof handstamp.Proof
	g     handstamp.Grant
	given []handstamp.Grant
}

func (l *life) keep(g handstamp.Grant, err error) error {
	if err == nil {
		l.g = g
		l.given = append(l.given, g)
	}
	return err
}

func (l *life) steps() []struct {
	name string
	do   func(ctx context.Context) error
} {
	type step = struct {
		name string
		do   func(ctx context.Context) error
	}
	verify := step{"verify", func(ctx context.Context) error {
		_, err := l.e.CheckToken(ctx, l.g.AccessToken.Reveal(), handstamp.Fresh())
		return err
	}}
	prove := step{"prove", func(ctx context.Context) (err error) {
		l.proof, err = l.e.Prove(ctx, "ada")
		l.proof.Mode = l.mode
		return err
	}}
	refresh := step{"refresh", func(ctx context.Context) error {
		if l.mode != handstamp.ModeHybrid {
			return nil
		}
		return l.keep(l.e.Refresh(ctx, handstamp.RefreshRequest{Token: l.g.RefreshToken}))
	}}
	return []step{
		prove,
		{"start", func(ctx context.Context) error { return l.keep(l.e.Start(ctx, l.proof)) }},
		verify, refresh, verify,
		{"list", func(ctx context.Context) error {
			_, err := l.e.Sessions(ctx, handstamp.SessionFilter{User: "ada"})
			return err
		}},
		{"roles change", func(ctx context.Context) error {
			_, err := l.e.Changed(ctx, "somebody", handstamp.EndOptions{})
			return err
		}},
		prove,
		{"new secrets", func(ctx context.Context) error { return l.keep(l.e.Renew(ctx, l.g.Session.ID, l.proof)) }},
		verify, refresh, verify,
		{"end the others", func(ctx context.Context) error {
			_, err := l.e.EndUser(ctx, "ada", handstamp.EndOptions{Except: l.g.Session.ID})
			return err
		}},
		verify,
		{"log out", func(ctx context.Context) error {
			_, err := l.e.LogOut(ctx, l.g.AccessToken, handstamp.EndOptions{})
			return err
		}},
	}
}

// TestI7_EveryCallFailsOnce: whichever call of the store fails in the life of an identity, before its effect or after it,
// the step answers "don't know" and never a refusal; done again it works; and in the end everything is dead that was ended.
func TestI7_EveryCallFailsOnce(t *testing.T) {
	for _, b := range backends() {
		for _, mode := range modes() {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/after=%v", b.name, mode, after), func(t *testing.T) {
					for n := 1; ; n++ {
						if reached := failNth(t, b, mode, n, after); !reached {
							if n < 20 {
								t.Fatalf("the whole life made %d calls only", n)
							}
							return
						}
					}
				})
			}
		}
	}
}

func failNth(t *testing.T, b backing, mode handstamp.Mode, n int, after bool) (reached bool) {
	t.Helper()
	e := setup{store: b.open(t)}.open(t)
	calls, failed := 0, ""
	e.store.set(func(op string, call func() error) error {
		if strings.HasPrefix(op, "log.") || op == "Touch" || op == "Roles" {
			return call() // of the background
		}
		if calls++; calls != n {
			return call()
		}
		failed = op
		if after {
			if err := call(); err != nil {
				return err
			}
		}
		return errDown
	})
	l := &life{e: e, mode: mode}
	for _, step := range l.steps() {
		err := step.do(t.Context())
		if err == nil {
			continue
		}
		if failed == "" || verdict(err) != "don't know" || errors.Is(err, handstamp.ErrUnauthenticated) ||
			errors.Is(err, handstamp.ErrForbidden) || errors.Is(err, handstamp.ErrDisabled) {
			t.Fatalf("call %d (%s): %s = %v", n, failed, step.name, err)
		}
		if p := handstamp.ProblemOf(err); p.Status != http.StatusServiceUnavailable || p.RetryAfter <= 0 {
			t.Errorf("call %d: the answer is %d", n, p.Status)
		}
		if err := step.do(t.Context()); err != nil {
			t.Fatalf("call %d (%s): %s again = %v", n, failed, step.name, err)
		}
	}
	e.store.set(nil)
	for _, g := range l.given {
		if _, err := e.verify(g); verdict(err) == "yes" || verdict(err) == "don't know" {
			t.Fatalf("call %d (%s): in the end a credential is answered %s", n, failed, verdict(err))
		}
	}
	for _, s := range must[[]handstamp.Session](t)(e.Sessions(t.Context(), handstamp.SessionFilter{User: "ada"})) {
		if s.ID == l.g.Session.ID {
			t.Fatalf("call %d (%s): the session that was logged out is listed", n, failed)
		}
	}
	return failed != ""
}

// TestI7_NoAnswerIsNotNo: while the store does not answer, a request is answered with 503 and no cookie is touched; what is
// asked of memory under a fresh lease goes on; afterwards everything is as it was.
func TestI7_NoAnswerIsNotNo(t *testing.T) {
	for _, mode := range modes() {
		t.Run(string(mode), func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				e := inBubble(t, nil)
				p := e.prove(t, "ada", mode)
				p.Transport = handstamp.TransportCookie
				login := httptest.NewRecorder()
				must[handstamp.Grant](t)(e.Login(login, httptest.NewRequest("POST", "/login", nil), p))
				ask := func(wrap func(http.Handler) http.Handler) *httptest.ResponseRecorder {
					w := httptest.NewRecorder()
					wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("in")) })).
						ServeHTTP(w, withCookies("GET", "/", login))
					return w
				}
				e.store.set(func(string, func() error) error { return errDown })
				time.Sleep(500 * time.Millisecond)
				if w := ask(e.Require()); mode != handstamp.ModeSession && w.Code != 200 {
					t.Errorf("under a fresh lease: %d", w.Code)
				}
				time.Sleep(3 * time.Second)
				for name, wrap := range map[string]func(http.Handler) http.Handler{"Require": e.Require(), "Optional": e.Optional(), "fresh": e.Require(handstamp.Fresh())} {
					w := ask(wrap)
					if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" ||
						len(w.Result().Cookies()) != 0 || strings.Contains(w.Body.String(), errDown.Error()) {
						t.Errorf("%s: %d %v %s", name, w.Code, w.Header(), w.Body)
					}
				}
				e.store.set(nil)
				if w := ask(e.Require()); w.Code != 200 {
					t.Errorf("afterwards: %d %s", w.Code, w.Body)
				}
			})
		})
	}
}

// TestRefuseStale: an Auth that must not ask under a lapsed lease says "don't know", but never about an end that it knows.
func TestRefuseStale(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, func(o *handstamp.Options) { o.RefuseStale = true })
		live, dead := e.start(t, "ada", handstamp.ModeToken), e.start(t, "bob", handstamp.ModeToken)
		must[handstamp.Ended](t)(e.EndSession(t.Context(), dead.Session.ID, handstamp.EndOptions{}))
		e.cutLog()
		_, err := e.verify(live)
		wantVerdict(t, err, "don't know")
		_, err = e.verify(live, handstamp.Fresh())
		wantVerdict(t, err, "yes")
		_, err = e.verify(dead)
		wantReason(t, err, handstamp.ReasonRevoked)

		// A token that is older than what the log remembers is looked up, since the lease is fresh.
		e.store.set(nil)
		must[any](t)(e.store.Restored(t.Context(), true, time.Now()))
		time.Sleep(3 * time.Second)
		_, err = e.verify(live)
		wantVerdict(t, err, "yes")
	})
}

// TestUnknownOutcomeOfAnEnd: an end whose answer was lost is known to this process when the retry is answered.
func TestUnknownOutcomeOfAnEnd(t *testing.T) {
	for _, mode := range modes() {
		bubbletest.Test(t, func(t *testing.T) {
			e := inBubble(t, nil)
			g := e.start(t, "ada", mode)
			e.store.set(func(op string, call func() error) error {
				if strings.HasPrefix(op, "log.") {
					return errDown // the log does not tell it either
				}
				if err := call(); err != nil || op != "Do" {
					return err
				}
				return errDown
			})
			_, err := e.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{})
			wantVerdict(t, err, "don't know")
			first := must[handstamp.Ended](t)(e.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{}))
			if first.By == 0 {
				t.Error("the retry does not name the event")
			}
			_, err = e.verify(g)
			wantReason(t, err, handstamp.ReasonRevoked)
		})
	}
}
