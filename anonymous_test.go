package handstamp_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/token"
)

// visit is a request of a browser that got these answers, from a page of the application.
func visit(method string, answers ...*httptest.ResponseRecorder) *http.Request {
	r := withCookies(method, "https://app.example.com/", answers...)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

func (e *engine) anonymous(t testing.TB, answers ...*httptest.ResponseRecorder) (handstamp.SessionID, *httptest.ResponseRecorder) {
	t.Helper()
	w := httptest.NewRecorder()
	return must[handstamp.SessionID](t)(e.Anonymous(w, visit("POST", answers...))), w
}

// TestAnonymous: a visitor has one session, which logs nobody in, is in no list, and ends by itself.
func TestAnonymous(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t)}.open(t)
			s, w := e.anonymous(t)
			c := w.Result().Cookies()
			if len(c) != 1 || c[0].Name != "__Host-handstamp-guest" || !c[0].HttpOnly || !c[0].Secure || c[0].SameSite != http.SameSiteLaxMode || c[0].Domain != "" {
				t.Fatalf("cookies = %v", c)
			}
			if again, w := e.anonymous(t, w); again != s || len(w.Result().Cookies()) != 0 {
				t.Errorf("again: %s, want %s", again, s)
			}
			if got, ok, err := e.Visitor(visit("GET", w)); got != s || !ok || err != nil {
				t.Errorf("Visitor = %s %v %v", got, ok, err)
			}
			if _, ok, err := e.Visitor(visit("GET")); ok || err != nil {
				t.Errorf("Visitor of nobody = %v %v", ok, err)
			}
			_, err := e.Verify(visit("GET", w))
			wantReason(t, err, handstamp.ReasonMissing)
			_, err = e.Alive(t.Context(), s)
			wantReason(t, err, handstamp.ReasonInvalid)
			if list := must[[]handstamp.Session](t)(e.Sessions(t.Context(), handstamp.SessionFilter{})); len(list) != 0 {
				t.Errorf("in the list of everybody's: %v", list)
			}
			for range 5 { // five times 50 minutes: activity counts
				e.clock.Advance(50 * time.Minute)
				if again, _ := e.anonymous(t, w); again != s {
					t.Fatal("ended although it was used")
				}
			}
			e.clock.Advance(time.Hour)
			after, w := e.anonymous(t, w)
			if after == s {
				t.Error("lives after its idle end")
			}
			must[handstamp.Ended](t)(e.EndAll(t.Context(), handstamp.EndOptions{}))
			last, w := e.anonymous(t, w)
			if last == after {
				t.Error("lives after everybody's end")
			}
			if again, _ := e.anonymous(t, w); again != last {
				t.Error("one that began after everybody's end is over")
			}
		})
	}
}

// TestS4_AnonymousIsNoCredential: the token of a session without a user opens nothing, wherever it is put, and no other
// credential is taken for it.
func TestS4_AnonymousIsNoCredential(t *testing.T) {
	e := newEngine(t, nil)
	_, w := e.anonymous(t)
	text := w.Result().Cookies()[0].Value
	if k, ok := token.KindOf(text); !ok || k != token.Anonymous {
		t.Fatalf("%q", text)
	}
	_, err := e.VerifyToken(t.Context(), text)
	wantReason(t, err, handstamp.ReasonInvalid)
	for _, name := range []string{"__Host-handstamp", "__Secure-handstamp-refresh"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: name, Value: text})
		if _, err := e.Verify(r); !errors.Is(err, handstamp.ErrUnauthenticated) {
			t.Errorf("as %s: %v", name, err)
		}
	}
	_, err = e.Refresh(t.Context(), handstamp.RefreshRequest{Token: token.NewSecret(text)})
	if !errors.Is(err, handstamp.ErrUnauthenticated) {
		t.Errorf("as a refresh token: %v", err)
	}
	if _, err := token.Parse(token.Reference, "hs_s_"+strings.TrimPrefix(text, "hs_a_")); err == nil {
		t.Error("with another prefix it passes for a session token")
	}
	g := e.start(t, "ada", handstamp.ModeHybrid)
	ref := e.start(t, "ada", handstamp.ModeSession)
	for _, other := range []string{g.AccessToken.Reveal(), g.RefreshToken.Reveal(), ref.AccessToken.Reveal(), "junk", ""} {
		r := visit("GET")
		r.AddCookie(&http.Cookie{Name: "__Host-handstamp-guest", Value: other})
		if s, ok, err := e.Visitor(r); ok || err != nil {
			t.Errorf("%.12q as a visitor's: %s %v", other, s, err)
		}
	}
}

// TestAnonymousLogin: a login gives new secrets, takes along what Options.Carry names and nothing else, and ends the
// visitor's session; what another user left behind stays behind.
func TestAnonymousLogin(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t), change: func(o *handstamp.Options) { o.Carry = []string{"cart"} }}.open(t)
			basket, draft := handstamp.NewData[string](e.Auth, "cart"), handstamp.NewData[string](e.Auth, "draft")
			login := func(user handstamp.UserID, answers ...*httptest.ResponseRecorder) (handstamp.Grant, *httptest.ResponseRecorder) {
				w := httptest.NewRecorder()
				return must[handstamp.Grant](t)(e.Login(w, visit("POST", answers...), e.prove(t, user, handstamp.ModeSession))), w
			}
			has := func(s handstamp.SessionID, wantCart, wantDraft string) {
				t.Helper()
				c, _, err := basket.Get(t.Context(), s)
				d, _, err2 := draft.Get(t.Context(), s)
				if c != wantCart || d != wantDraft || err != nil || err2 != nil {
					t.Errorf("cart %q (%v), draft %q (%v); want %q and %q", c, err, d, err2, wantCart, wantDraft)
				}
			}
			s, w := e.anonymous(t)
			for _, d := range []*handstamp.Data[string]{basket, draft} {
				if err := d.Set(t.Context(), s, "visitor's"); err != nil {
					t.Fatal(err)
				}
			}
			g, in := login("ada", w)
			has(g.Session.ID, "visitor's", "")
			if _, _, err := basket.Get(t.Context(), s); !errors.Is(err, handstamp.ErrUnauthenticated) {
				t.Errorf("the visitor's session lives on: %v", err)
			}
			cleared := false
			for _, c := range in.Result().Cookies() {
				cleared = cleared || c.Name == "__Host-handstamp-guest" && c.MaxAge < 0
			}
			if !cleared {
				t.Error("the visitor's cookie stays")
			}
			if same, _ := e.anonymous(t, in); same != g.Session.ID {
				t.Errorf("Anonymous of who is logged in = %s, want the session", same)
			}
			if err := draft.Set(t.Context(), g.Session.ID, "ada's"); err != nil {
				t.Fatal(err)
			}
			again, in := login("ada", in) // the same user, in the place of the session before
			has(again.Session.ID, "visitor's", "")
			other, _ := login("bob", in)
			has(other.Session.ID, "", "")
		})
	}
}

// TestAnonymousMany: a network may have so many visitors' sessions and no more; others are not concerned, and who has one
// keeps it.
func TestAnonymousMany(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t), change: func(o *handstamp.Options) { o.Anonymous.MaxPerNetwork = 3 }}.open(t)
			from := func(addr string, answers ...*httptest.ResponseRecorder) (*httptest.ResponseRecorder, error) {
				r := visit("GET", answers...)
				r.RemoteAddr = addr
				w := httptest.NewRecorder()
				_, err := e.Anonymous(w, r)
				return w, err
			}
			var first *httptest.ResponseRecorder
			for i := range 4 {
				w, err := from(fmt.Sprintf("[2001:db8::%d]:1", i+1))
				if i == 0 {
					first = w
				}
				if (err == nil) != (i < 3) || err != nil && !errors.Is(err, handstamp.ErrTooMany) {
					t.Errorf("session %d: %v", i, err)
				}
				if err != nil && len(w.Result().Cookies()) != 0 {
					t.Error("a refused visitor got a cookie")
				}
			}
			units := 0
			e.store.set(func(op string, call func() error) error {
				if op == "Do" {
					units++
				}
				return call()
			})
			if _, err := from("[2001:db8::8]:1"); !errors.Is(err, handstamp.ErrTooMany) || units != 0 {
				t.Errorf("refused once more: %v, with %d units of work", err, units)
			}
			e.store.set(nil)
			if _, err := from("[2001:db8::9]:1", first); err != nil {
				t.Errorf("who has a session: %v", err)
			}
			if _, err := from("[2001:db8:0:1::1]:1"); err != nil {
				t.Errorf("another network: %v", err)
			}
			e.clock.Advance(time.Hour)
			if _, err := from("[2001:db8::5]:1"); err != nil {
				t.Errorf("when the old ones ended: %v", err)
			}
		})
	}
}

// TestAnonymousRefuses: nothing begins from another site, and an outage is no new visitor.
func TestAnonymousRefuses(t *testing.T) {
	e := newEngine(t, nil)
	_, w := e.anonymous(t)
	r := withCookies("POST", "https://app.example.com/")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	out := httptest.NewRecorder()
	if _, err := e.Anonymous(out, r); !errors.Is(err, handstamp.ErrOrigin) || len(out.Result().Cookies()) != 0 {
		t.Errorf("from another site: %v", err)
	}
	e.store.set(func(string, func() error) error { return errDown })
	for _, answers := range [][]*httptest.ResponseRecorder{nil, {w}} {
		out := httptest.NewRecorder()
		_, err := e.Anonymous(out, visit("POST", answers...))
		if wantVerdict(t, err, "don't know"); len(out.Result().Cookies()) != 0 {
			t.Error("an outage set a cookie")
		}
	}
	_, _, err := e.Visitor(visit("GET", w))
	wantVerdict(t, err, "don't know")

	// Nor does a login leave a cart behind because nobody could look for it.
	find := 0
	e.store.set(func(op string, call func() error) error {
		if op == "Find" {
			find++
			return errDown
		}
		return call()
	})
	out = httptest.NewRecorder()
	_, err = e.Login(out, visit("POST", w), e.prove(t, "ada", handstamp.ModeSession))
	if wantVerdict(t, err, "don't know"); find != 1 || len(out.Result().Cookies()) != 0 {
		t.Errorf("a login during an outage: %d look-ups, cookies %v", find, out.Result().Cookies())
	}

	// A browser that hides where it comes from is refused with the visitor's cookie as with any other.
	e.store.set(nil)
	if err := e.CheckOrigin(withCookies("POST", "https://app.example.com/", w)); !errors.Is(err, handstamp.ErrOrigin) {
		t.Errorf("a visitor's cookie without Origin: %v", err)
	}
}

// TestAnonymousRecords: a store that answers with a record of another kind opens no door.
func TestAnonymousRecords(t *testing.T) {
	e := newEngine(t, nil)
	_, w := e.anonymous(t)
	g := e.start(t, "ada", handstamp.ModeSession)
	for name, change := range map[string]func(s *handstamp.Session){
		"a user's for a visitor's": func(s *handstamp.Session) { s.Mode, s.User = handstamp.ModeSession, "ada" },
		"another key":              func(s *handstamp.Session) { s.Key[0] ^= 1 },
	} {
		e.store.found = func(f *handstamp.Found) { change(&f.Session) }
		_, ok, err := e.Visitor(visit("GET", w))
		if wantVerdict(t, err, "don't know"); ok {
			t.Errorf("%s: accepted", name)
		}
	}
	e.store.found = func(f *handstamp.Found) { f.Session.Mode = handstamp.ModeAnonymous }
	_, err := e.verify(g)
	wantVerdict(t, err, "don't know")
}

// TestLogOutRequestEndsAll: a log-out ends every session that the request carries a credential of, before it clears the
// cookies of them; where one cannot be ended, the cookies stay.
func TestLogOutRequestEndsAll(t *testing.T) {
	e := newEngine(t, nil)
	a, b := e.start(t, "ada", handstamp.ModeSession), e.start(t, "ada", handstamp.ModeSession)
	r := visit("POST")
	r.Header.Set("Authorization", "Bearer "+a.AccessToken.Reveal())
	r.AddCookie(&http.Cookie{Name: "__Host-handstamp", Value: b.AccessToken.Reveal()})
	e.store.set(func(op string, call func() error) error {
		if op == "Do" {
			return errDown
		}
		return call()
	})
	w := httptest.NewRecorder()
	if _, err := e.LogOutRequest(w, r, handstamp.EndOptions{}); err == nil || len(w.Result().Cookies()) != 0 {
		t.Errorf("while nothing can be ended: %v %v", err, w.Result().Cookies())
	}
	e.store.set(nil)
	w = httptest.NewRecorder()
	ended := must[handstamp.Ended](t)(e.LogOutRequest(w, r, handstamp.EndOptions{WaitFleet: true}))
	if ended.Sessions != 2 || len(w.Result().Cookies()) != 2 {
		t.Errorf("ended %+v, cookies %v", ended, w.Result().Cookies())
	}
	for _, g := range []handstamp.Grant{a, b} {
		_, err := e.verify(g)
		wantReason(t, err, handstamp.ReasonRevoked)
	}
}

// TestEndSessionOf: an id that came from a user ends only that user's session.
func TestEndSessionOf(t *testing.T) {
	e := newEngine(t, nil)
	g := e.start(t, "ada", handstamp.ModeSession)
	if _, err := e.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{Of: "eve"}); !errors.Is(err, handstamp.ErrNotFound) {
		t.Errorf("somebody else's: %v", err)
	}
	must[handstamp.Principal](t)(e.verify(g))
	must[handstamp.Ended](t)(e.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{Of: "ada"}))
	_, err := e.verify(g)
	wantReason(t, err, handstamp.ReasonRevoked)
}

// TestInspectAnonymous: a look into a visitor's token says what it is for, and is no activity.
func TestInspectAnonymous(t *testing.T) {
	e := newEngine(t, nil)
	s, w := e.anonymous(t)
	text := w.Result().Cookies()[0].Value
	in := e.Inspect(t.Context(), text)
	if in.Err != nil || !in.Genuine || in.Session.ID != s || !in.Session.IsAnonymous() || !in.Principal.IsZero() || in.Kind != "anonymous session token" {
		t.Errorf("%+v", in)
	}
	e.clock.Advance(30 * time.Minute)
	e.Inspect(t.Context(), text)
	e.clock.Advance(30 * time.Minute)
	wantReason(t, e.Inspect(t.Context(), text).Err, handstamp.ReasonExpired)
	if in := e.Inspect(t.Context(), text[:len(text)-1]); in.Genuine || in.Err == nil {
		t.Errorf("cut off: %+v", in)
	}
}

// TestAnonymousDataOfOneVisitor: what a visitor had goes to one login, and to none once its session is over: not to a
// second login with the same cookie, nor after a log-out to whoever logs in next.
func TestAnonymousDataOfOneVisitor(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t), change: func(o *handstamp.Options) { o.Carry = []string{"cart"} }}.open(t)
			basket := handstamp.NewData[string](e.Auth, "cart")
			login := func(user handstamp.UserID, r *http.Request) handstamp.SessionID {
				return must[handstamp.Grant](t)(e.Login(httptest.NewRecorder(), r, e.prove(t, user, handstamp.ModeSession))).Session.ID
			}
			has := func(what string, s handstamp.SessionID, want string) {
				t.Helper()
				if got, _, err := basket.Get(t.Context(), s); got != want || err != nil {
					t.Errorf("%s: %q %v, want %q", what, got, err, want)
				}
			}
			s, w := e.anonymous(t)
			if err := basket.Set(t.Context(), s, "tea"); err != nil {
				t.Fatal(err)
			}
			// Two logins with one cookie at once: both saw the visitor alive before either began.
			requests := []*http.Request{visit("POST", w), visit("POST", w)}
			var o [2]handstamp.StartOptions
			for i, r := range requests {
				o[i] = must[handstamp.StartOptions](t)(e.FromRequest(r, handstamp.StartOptions{Mode: handstamp.ModeSession}))
			}
			for i, user := range []handstamp.UserID{"ada", "bob"} {
				p := e.prove(t, user, handstamp.ModeSession)
				p.StartOptions = o[i]
				g := must[handstamp.Grant](t)(e.Start(t.Context(), p))
				has("login "+string(user), g.Session.ID, map[handstamp.UserID]string{"ada": "tea", "bob": ""}[user])
			}
			// On a shared machine.
			s, w = e.anonymous(t)
			if err := basket.Set(t.Context(), s, "coffee"); err != nil {
				t.Fatal(err)
			}
			out := httptest.NewRecorder()
			must[handstamp.Ended](t)(e.LogOutRequest(out, visit("POST", w), handstamp.EndOptions{}))
			cleared := false
			for _, c := range out.Result().Cookies() {
				cleared = cleared || c.Name == "__Host-handstamp-guest" && c.MaxAge < 0
			}
			if !cleared {
				t.Error("the visitor's cookie stays after a log-out")
			}
			has("after a log-out", login("bob", visit("POST", w)), "")

			// The user's own session that was ended for all leaves nothing behind either.
			in := httptest.NewRecorder()
			g := must[handstamp.Grant](t)(e.Login(in, visit("POST"), e.prove(t, "ada", handstamp.ModeSession)))
			if err := basket.Set(t.Context(), g.Session.ID, "thief's"); err != nil {
				t.Fatal(err)
			}
			must[handstamp.Ended](t)(e.EndUser(t.Context(), "ada", handstamp.EndOptions{}))
			has("after the end of all", login("ada", visit("POST", in)), "")

			// Nor one that nobody used for as long as the idle time: its data went with it.
			in = httptest.NewRecorder()
			g = must[handstamp.Grant](t)(e.Login(in, visit("POST"), e.prove(t, "ada", handstamp.ModeSession)))
			if err := basket.Set(t.Context(), g.Session.ID, "old"); err != nil {
				t.Fatal(err)
			}
			e.clock.Advance(25 * time.Hour)
			has("after the idle end", login("ada", visit("POST", in)), "")
		})
	}
}

// TestAnonymousOnce: a request with a cookie that has run out gets one new session, however often it is asked for while it
// is answered.
func TestAnonymousOnce(t *testing.T) {
	e := newEngine(t, nil)
	_, w := e.anonymous(t)
	e.clock.Advance(2 * time.Hour)
	r := visit("POST", w)
	first := must[handstamp.SessionID](t)(e.Anonymous(httptest.NewRecorder(), r))
	again := httptest.NewRecorder()
	if second := must[handstamp.SessionID](t)(e.Anonymous(again, r)); second != first || len(again.Result().Cookies()) != 0 {
		t.Errorf("%s, then %s", first, second)
	}
	if s, ok, err := e.Visitor(r); s != first || !ok || err != nil {
		t.Errorf("Visitor = %s %v %v", s, ok, err)
	}
	r = withCookies("GET", "/", w) // form tokens set a cookie in the same way
	r.AddCookie(&http.Cookie{Name: "__Host-handstamp-form", Value: ""})
	token := e.FormToken(httptest.NewRecorder(), r)
	r.Method, r.Header["Sec-Fetch-Site"] = "POST", []string{"same-origin"}
	r.PostForm = map[string][]string{handstamp.FormField: {token}}
	r.Form = r.PostForm
	if err := e.CheckForm(r); err != nil {
		t.Error(err)
	}
}

// TestAdoptAgainKeepsTheVisitor: a session that is given once more takes nothing along, so the visitor's goes on.
func TestAdoptAgainKeepsTheVisitor(t *testing.T) {
	b := newBefore(t, backends()[0], handstamp.ModeSession)
	b.ask("ada-1") // its answer is lost
	s, w := b.e.anonymous(t)
	again := b.ask("ada-1", w)
	for _, c := range again.Result().Cookies() {
		if c.Name == "__Host-handstamp-guest" {
			t.Errorf("the visitor's cookie is taken away: %v", c)
		}
	}
	if got, ok, err := b.e.Visitor(visit("GET", w)); got != s || !ok || err != nil {
		t.Errorf("the visitor's session: %s %v %v", got, ok, err)
	}
}
