package handstamp_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/token"
)

// TestS6_IdleEnd: a session without activity is over at the idle end exactly, and one with activity is not.
func TestS6_IdleEnd(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t), change: func(o *handstamp.Options) { o.Session.IdleTimeout = time.Hour }}.open(t)
			still := e.start(t, "ada", handstamp.ModeSession)
			busy := e.start(t, "bob", handstamp.ModeSession)
			for range 4 {
				e.clock.Advance(15*time.Minute - time.Microsecond)
				_, err := e.verify(busy)
				wantVerdict(t, err, "yes")
			}
			e.clock.Advance(3 * time.Microsecond) // 1 h - 1 µs
			if _, err := e.verify(busy); err != nil {
				t.Error(err)
			}
			_, err := e.CheckToken(t.Context(), still.AccessToken.Reveal())
			if err != nil {
				t.Errorf("1 µs before the idle end: %v", err)
			}
			gone := e.start(t, "eve", handstamp.ModeSession)
			e.clock.Advance(time.Hour - time.Microsecond)
			list := must[[]handstamp.Session](t)(e.Sessions(t.Context(), handstamp.SessionFilter{User: "eve"}))
			e.clock.Advance(time.Microsecond)
			_, err = e.verify(gone)
			wantReason(t, err, handstamp.ReasonExpired)
			after := must[[]handstamp.Session](t)(e.Sessions(t.Context(), handstamp.SessionFilter{User: "eve"}))
			if len(list) != 1 || len(after) != 0 {
				t.Errorf("listed before the end %d, at the end %d", len(list), len(after))
			}
			e.clock.Advance(-time.Hour) // nothing that is over comes back by asking
			if _, err = e.verify(gone); err != nil {
				t.Errorf("a check changed the record: %v", err)
			}
		})
	}
}

// TestS7_AbsoluteEnd: activity does not extend the absolute end, in any mode, to the microsecond (value tokens: second).
func TestS7_AbsoluteEnd(t *testing.T) {
	for _, b := range backends() {
		for _, mode := range modes() {
			t.Run(b.name+"/"+string(mode), func(t *testing.T) {
				e := setup{store: b.open(t), change: func(o *handstamp.Options) {
					o.Session = handstamp.SessionOptions{IdleTimeout: time.Hour, AbsoluteTimeout: time.Hour}
					o.Token = handstamp.TokenOptions{StatelessTTL: time.Hour, AccessTTL: time.Hour}
					o.Refresh = handstamp.RefreshOptions{IdleTimeout: time.Hour, AbsoluteTimeout: time.Hour}
				}}.open(t)
				g := e.start(t, "ada", mode)
				end := g.Session.ExpiresAt
				if mode != handstamp.ModeSession {
					end = g.Principal.ExpiresAt.Truncate(time.Second)
				}
				if g.Session.ExpiresAt.After(e.clock.Now().Add(time.Hour)) || g.AccessExpiresAt.After(g.Session.ExpiresAt) {
					t.Errorf("ends %v and %v, an hour from %v", g.Session.ExpiresAt, g.AccessExpiresAt, e.clock.Now())
				}
				for end.Sub(e.clock.Now()) > 10*time.Minute {
					e.clock.Advance(10 * time.Minute)
					_, err := e.verify(g)
					wantVerdict(t, err, "yes")
				}
				e.clock.Advance(end.Sub(e.clock.Now()) - time.Microsecond)
				_, err := e.verify(g)
				wantVerdict(t, err, "yes")
				e.clock.Advance(time.Microsecond)
				_, err = e.verify(g)
				wantReason(t, err, handstamp.ReasonExpired)
				must[handstamp.Ended](t)(e.LogOut(t.Context(), g.AccessToken, handstamp.EndOptions{}))
			})
		}
	}
}

// TestJitterNeverLengthens: ends are shortened by up to a twentieth, unevenly, and never lengthened.
func TestJitterNeverLengthens(t *testing.T) {
	for _, d := range []time.Duration{time.Second, time.Minute, time.Hour, 2160 * time.Hour} {
		seen := map[time.Duration]bool{}
		for range 2000 {
			j := handstamp.Jitter(d)
			if j > d || j < d-d/20 {
				t.Fatalf("jitter of %v = %v", d, j)
			}
			seen[j] = true
		}
		if len(seen) < 100 {
			t.Errorf("jitter of %v has %d values in 2,000 draws", d, len(seen))
		}
	}
}

// TestS14_MaxPerUser: fifty logins at once leave no more than the cap; the oldest go first and their record says why.
func TestS14_MaxPerUser(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t), change: func(o *handstamp.Options) { o.Session.MaxPerUser = 5 }}.open(t)
			first := e.start(t, "ada", handstamp.ModeSession)
			stranger := e.start(t, "bob", handstamp.ModeSession)
			e.clock.Advance(time.Second)
			grants := make([]handstamp.Grant, 50)
			atOnce(50, func(i int) {
				p, err := e.Prove(context.Background(), "ada")
				if err != nil {
					t.Error(err)
					return
				}
				p.Mode = modes()[i%3]
				if grants[i], err = e.Start(context.Background(), p); err != nil {
					if _, refused := handstamp.ReasonOf(err); !refused { // evicted before its credential was made
						t.Error(err)
					}
				}
			})
			list := must[[]handstamp.Session](t)(e.Sessions(t.Context(), handstamp.SessionFilter{User: "ada"}))
			if len(list) != 5 {
				t.Errorf("%d sessions", len(list))
			}
			good := 0
			for _, g := range grants {
				if g.AccessToken.IsZero() {
					continue
				}
				if _, err := e.verify(g); err == nil {
					good++
				}
			}
			if good > 5 {
				t.Errorf("%d credentials are good", good)
			}
			row := must[handstamp.Session](t)(e.Session(t.Context(), first.Session.ID))
			if row.EndReason != "limit" {
				t.Errorf("end reason %q", row.EndReason)
			}
			_, err := e.verify(first)
			wantReason(t, err, handstamp.ReasonRevoked)
			_, err = e.verify(stranger)
			wantVerdict(t, err, "yes")
		})
	}
}

// TestMaxPerUserAndReplacement: logging in again in a browser takes that browser's place, and no other device's.
func TestMaxPerUserAndReplacement(t *testing.T) {
	e := newEngine(t, func(o *handstamp.Options) { o.Session.MaxPerUser = 2 })
	phone := e.start(t, "ada", handstamp.ModeSession)
	var last *httptest.ResponseRecorder
	for range 3 {
		e.clock.Advance(time.Second)
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "https://app.example.com/login", nil)
		if last != nil {
			r = withCookies("POST", "https://app.example.com/login", last)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		}
		must[handstamp.Grant](t)(e.Login(w, r, e.prove(t, "ada", handstamp.ModeSession)))
		last = w
		_, err := e.verify(phone)
		wantVerdict(t, err, "yes")
	}
	list := must[[]handstamp.Session](t)(e.Sessions(t.Context(), handstamp.SessionFilter{User: "ada"}))
	if len(list) != 2 {
		t.Errorf("%d sessions", len(list))
	}
}

// TestS3_LoginReplacesTheCookie and S4: the session of the cookie that a login replaces is ended, whoever's it was; what a
// client presents is never adopted.
func TestS3_LoginReplacesTheCookie(t *testing.T) {
	for _, mode := range modes() {
		t.Run(string(mode), func(t *testing.T) {
			e := newEngine(t, nil)
			login := func(user handstamp.UserID, before *httptest.ResponseRecorder) (handstamp.Grant, *httptest.ResponseRecorder) {
				w, r := httptest.NewRecorder(), withCookies("POST", "https://app.example.com/login", before)
				r.Header.Set("Sec-Fetch-Site", "same-origin")
				p := e.prove(t, user, mode)
				p.Transport = handstamp.TransportCookie
				return must[handstamp.Grant](t)(e.Login(w, r, p)), w
			}
			bob, w := login("bob", httptest.NewRecorder())
			ada, _ := login("ada", w)
			if bob.AccessToken.Reveal() == ada.AccessToken.Reveal() || bob.Session.ID == ada.Session.ID {
				t.Error("a login adopted what was there")
			}
			_, err := e.verify(bob)
			wantReason(t, err, handstamp.ReasonRevoked)
			row := must[handstamp.Session](t)(e.Session(t.Context(), bob.Session.ID))
			if row.EndReason != "replaced" {
				t.Errorf("end reason %q", row.EndReason)
			}
			ended := e.audited(t, audit.SessionEnded)
			if len(ended) != 1 || ended[0].Target != "bob" {
				t.Errorf("audit %+v", ended)
			}
		})
	}
}

func TestS4_MadeUpCredentialsAreNeverAdopted(t *testing.T) {
	e := newEngine(t, nil)
	own := token.Generate(token.Reference)
	for _, text := range []string{own.Reveal(), "hs_s_", "x", strings.Repeat("y", 5000), "ses_01h455vb4pex5vsknk084sn02q"} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "https://app.example.com/login", nil)
		r.Header.Set("Cookie", "__Host-handstamp="+text)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		g := must[handstamp.Grant](t)(e.Login(w, r, e.prove(t, "ada", handstamp.ModeSession)))
		if g.AccessToken.Reveal() == text {
			t.Error("a made-up credential was adopted")
		}
		if _, err := e.VerifyToken(t.Context(), text); err == nil {
			t.Errorf("%.20q is accepted", text)
		}
	}
}

// TestD6_LastSeenIsWrittenRarely: a thousand checks in ten seconds cost at most one write; in token mode none.
func TestD6_LastSeenIsWrittenRarely(t *testing.T) {
	for _, mode := range modes() {
		bubbletest.Test(t, func(t *testing.T) {
			e := inBubble(t, nil)
			g := e.start(t, "ada", mode)
			touched := 0
			e.store.set(func(op string, call func() error) error {
				if op == "Touch" {
					touched++
				}
				return call()
			})
			busy := func(d time.Duration) {
				for range 1000 {
					time.Sleep(d / 1000)
					_, err := e.verify(g)
					wantVerdict(t, err, "yes")
				}
			}
			busy(10 * time.Second)
			if touched > 1 {
				t.Errorf("%s: %d writes in 10 s", mode, touched)
			}
			busy(5 * time.Minute)
			if mode == handstamp.ModeSession && (touched < 4 || touched > 6) || mode != handstamp.ModeSession && touched != 0 {
				t.Errorf("%s: %d writes in 5 min", mode, touched)
			}
			row := must[handstamp.Session](t)(e.Session(t.Context(), g.Session.ID))
			if moved := !row.SeenAt.Equal(g.Session.SeenAt); moved != (mode == handstamp.ModeSession) {
				t.Errorf("%s: last seen moved: %v", mode, moved)
			}
		})
	}
}

// TestS13_LastSeenRevivesNothing: what was noted before the end and is written after it changes nothing.
func TestS13_LastSeenRevivesNothing(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, func(o *handstamp.Options) { o.Session.IdleTimeout = time.Minute })
		ended, idle := e.start(t, "ada", handstamp.ModeSession), e.start(t, "bob", handstamp.ModeSession)
		e.store.set(func(op string, call func() error) error {
			if op == "Touch" {
				return errDown
			}
			return call()
		})
		time.Sleep(30 * time.Second)
		for _, g := range []handstamp.Grant{ended, idle} {
			_, err := e.verify(g)
			wantVerdict(t, err, "yes")
		}
		must[handstamp.Ended](t)(e.EndSession(t.Context(), ended.Session.ID, handstamp.EndOptions{}))
		time.Sleep(2 * time.Minute)
		e.store.set(nil)
		time.Sleep(2 * time.Second) // now it is written
		_, err := e.verify(ended)
		wantReason(t, err, handstamp.ReasonRevoked)
		_, err = e.verify(idle)
		wantReason(t, err, handstamp.ReasonExpired)
	})
}

// TestInspectIsNoActivity: looking into a credential does not keep its session alive.
func TestInspectIsNoActivity(t *testing.T) {
	e := newEngine(t, func(o *handstamp.Options) { o.Session.IdleTimeout = time.Hour })
	g := e.start(t, "ada", handstamp.ModeSession)
	e.clock.Advance(30 * time.Minute)
	if in := e.Inspect(t.Context(), g.AccessToken.Reveal()); in.Err != nil || !in.Genuine {
		t.Errorf("Inspect = %+v", in)
	}
	e.clock.Advance(30 * time.Minute)
	_, err := e.verify(g)
	wantReason(t, err, handstamp.ReasonExpired)
}

// TestS9_Renew: new secrets keep the session's id, the old token is dead at once, other devices end where that is asked
// for, and the authentication is new.
func TestS9_Renew(t *testing.T) {
	for _, b := range backends() {
		for _, mode := range modes() {
			t.Run(b.name+"/"+string(mode), func(t *testing.T) {
				e := setup{store: b.open(t)}.open(t)
				g, other := e.start(t, "ada", mode), e.start(t, "ada", mode)
				e.clock.Advance(time.Minute)
				p := e.prove(t, "ada", "")
				p.Methods = []string{"pwd", "otp"}
				r := must[*handstamp.Renewing](t)(e.PrepareRenew(t.Context(), g.Session.ID, p))
				r.EndOthers = "password"
				done, err := handstamp.Do(t.Context(), e.Auth, e.store.Work(), func(tx handstamp.Tx) (handstamp.Appended, error) {
					return r.In(t.Context(), tx)
				})
				if err != nil || done.Sessions != 1 {
					t.Fatalf("In = %+v, %v", done, err)
				}
				mine := must[handstamp.Grant](t)(r.Grant(t.Context()))
				got, err := e.verify(mine, handstamp.MaxAuthAge(time.Second))
				if err != nil || mine.Session.ID != g.Session.ID || !slices.Equal(got.Methods(), []string{"pwd", "otp"}) {
					t.Errorf("after: %+v, %v", got, err)
				}
				if !mine.Session.ExpiresAt.Equal(g.Session.ExpiresAt) {
					t.Error("the absolute end moved")
				}
				if _, err = e.verify(g); err == nil {
					t.Error("the old credential lives")
				}
				_, err = e.verify(other)
				wantReason(t, err, handstamp.ReasonRevoked)
				if mode == handstamp.ModeHybrid {
					_, err = e.refresh(g)
					wantReason(t, err, handstamp.ReasonRevoked)
					must[handstamp.Grant](t)(e.refresh(mine))
				}
				_, err = e.Renew(t.Context(), g.Session.ID, e.prove(t, "bob", ""))
				wantReason(t, err, handstamp.ReasonInvalid)
				if _, err = e.Renew(t.Context(), g.Session.ID, handstamp.Proof{}); err == nil {
					t.Error("new secrets without a proof")
				}
			})
		}
	}
}

// TestS11_Sessions: the list has the user's own live sessions, newest first, in pages, and no secrets.
func TestS11_Sessions(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t)}.open(t)
			var want []handstamp.SessionID
			for i := range 7 {
				e.clock.Advance(time.Second)
				g := e.start(t, "ada", modes()[i%3])
				e.start(t, "bob", modes()[i%3])
				want = append([]handstamp.SessionID{g.Session.ID}, want...)
			}
			must[handstamp.Ended](t)(e.EndSession(t.Context(), want[2], handstamp.EndOptions{}))
			want = slices.Delete(want, 2, 3)
			var got []handstamp.SessionID
			f := handstamp.SessionFilter{User: "ada", Limit: 2}
			for {
				page := must[[]handstamp.Session](t)(e.Sessions(t.Context(), f))
				for _, s := range page {
					got = append(got, s.ID)
					if _, err := e.VerifyToken(t.Context(), string(s.ID)); err == nil {
						t.Error("a public handle opens something")
					}
				}
				if len(page) < f.Limit {
					break
				}
				f.After = page[len(page)-1].ID
			}
			if !slices.Equal(got, want) {
				t.Errorf("listed %v, want %v", got, want)
			}
			if _, err := e.Session(t.Context(), "ses_01h455vb4pex5vsknk084sn02q"); !errors.Is(err, handstamp.ErrNotFound) {
				t.Errorf("an unknown session: %v", err)
			}
		})
	}
}

// TestHotPathWritesNothing: a check makes at most one look-up and no write, in every form, and a value token under a fresh
// lease none at all; a made-up credential costs nothing.
func TestHotPathWritesNothing(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := setup{store: memory.New(), now: time.Now}.open(t)
		var calls []string
		count := func(what string, want int, text string, rules ...handstamp.Rule) {
			t.Helper()
			calls = nil
			_, _ = e.CheckToken(t.Context(), text, rules...)
			if len(calls) != want || want == 1 && calls[0] != "Find" {
				t.Errorf("%s: %v, want %d look-ups", what, calls, want)
			}
		}
		grants := map[handstamp.Mode]handstamp.Grant{}
		for _, m := range modes() {
			grants[m] = e.start(t, "ada", m)
		}
		e.store.set(func(op string, call func() error) error {
			if !strings.HasPrefix(op, "log.") {
				calls = append(calls, op)
			}
			return call()
		})
		count("reference", 1, grants[handstamp.ModeSession].AccessToken.Reveal())
		count("reference, fresh rule", 1, grants[handstamp.ModeSession].AccessToken.Reveal(), handstamp.Fresh())
		count("reference, rule not met", 1, grants[handstamp.ModeSession].AccessToken.Reveal(), handstamp.Permission("a:b"))
		count("token", 0, grants[handstamp.ModeToken].AccessToken.Reveal())
		count("hybrid", 0, grants[handstamp.ModeHybrid].AccessToken.Reveal())
		count("hybrid, fresh rule", 1, grants[handstamp.ModeHybrid].AccessToken.Reveal(), handstamp.Fresh())
		count("hybrid, rule not met", 1, grants[handstamp.ModeHybrid].AccessToken.Reveal(), handstamp.Permission("a:b"))
		count("unknown reference", 1, token.Generate(token.Reference).Reveal())
		count("mistyped reference", 0, grants[handstamp.ModeSession].AccessToken.Reveal()+"x")
		count("refresh token", 0, grants[handstamp.ModeHybrid].RefreshToken.Reveal())
		count("made-up value token", 0, "eyJ0eXAiOiJhdCtqd3QifQ.e30.AAAA")
		count("junk", 0, strings.Repeat("j.", 100_000))
	})
}
