package handstamp_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/token"
)

// before is the system that an application leaves: texts of its cookies, and whose they are.
type before struct {
	e      *engine
	mode   handstamp.Mode
	who    map[string]handstamp.UserID
	issued map[string]time.Time
	down   error
}

func (b *before) prove(r *http.Request) (handstamp.Proof, error) {
	if b.down != nil {
		return handstamp.Proof{}, b.down
	}
	c, err := r.Cookie("legacy")
	if err != nil || b.who[c.Value] == "" {
		return handstamp.Proof{}, handstamp.ErrUnauthenticated
	}
	p, err := b.e.Prove(r.Context(), b.who[c.Value])
	p.Mode = b.mode
	return p.Replacing(c.Value, b.issued[c.Value]), err
}

// ask sends a request with the old cookie and whatever answers set, to a handler that says who it is.
func (b *before) ask(legacy string, answers ...*httptest.ResponseRecorder) *httptest.ResponseRecorder {
	r := withCookies("GET", "https://app.example.com/", answers...)
	if legacy != "" {
		r.AddCookie(&http.Cookie{Name: "legacy", Value: legacy})
	}
	w := httptest.NewRecorder()
	b.handler().ServeHTTP(w, r)
	return w
}

func (b *before) handler() http.Handler {
	return b.e.Adopt(b.prove)(b.e.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := handstamp.FromContext(r.Context())
		_, _ = w.Write([]byte(p.User + " " + handstamp.UserID(p.Session)))
	})))
}

// adoptable are the modes in which a log-out is remembered for long enough.
func adoptable() []handstamp.Mode {
	return []handstamp.Mode{handstamp.ModeSession, handstamp.ModeHybrid}
}

func newBefore(t testing.TB, b backing, mode handstamp.Mode) *before {
	e := setup{store: b.open(t)}.open(t)
	old := e.clock.Now().Add(-time.Hour)
	return &before{
		e: e, mode: mode, who: map[string]handstamp.UserID{"ada-1": "ada", "ada-2": "ada", "bob-1": "bob", "ada-0": "ada"},
		issued: map[string]time.Time{"ada-1": old, "ada-2": old, "bob-1": old},
	}
}

// TestAdopt: who was logged in before is logged in, gets our cookie, and needs the old one no more.
func TestAdopt(t *testing.T) {
	for _, back := range backends() {
		for _, mode := range adoptable() {
			t.Run(back.name+"/"+string(mode), func(t *testing.T) {
				b := newBefore(t, back, mode)
				first := b.ask("ada-1")
				if first.Code != 200 || !strings.HasPrefix(first.Body.String(), "ada ses_") {
					t.Fatalf("the first request: %d %s", first.Code, first.Body)
				}
				if again := b.ask("", first); again.Body.String() != first.Body.String() || len(again.Result().Cookies()) != 0 {
					t.Errorf("with our cookie alone: %d %s", again.Code, again.Body)
				}
				// A lost answer, and parallel requests: the same session with the same secrets.
				lost := b.ask("ada-1")
				if lost.Body.String() != first.Body.String() {
					t.Errorf("asked again: %s, want %s", lost.Body, first.Body)
				}
				if mode == handstamp.ModeSession && lost.Header().Get("Set-Cookie") != first.Header().Get("Set-Cookie") {
					t.Error("the secret is another one")
				}
				s := must[[]handstamp.Session](t)(b.e.Sessions(t.Context(), handstamp.SessionFilter{User: "ada"}))
				if len(s) != 1 || s[0].Mode != mode || !s[0].AuthAt.Equal(b.issued["ada-1"]) {
					t.Errorf("sessions = %+v", s)
				}
				// The old login does not count as a new one.
				r := withCookies("GET", "/", first)
				if _, err := b.e.Check(r, handstamp.MaxAuthAge(30*time.Minute)); !errors.Is(err, handstamp.ErrForbidden) {
					t.Errorf("MaxAuthAge = %v", err)
				}
				if other := b.ask("ada-2"); other.Code != 200 || other.Body.String() == first.Body.String() {
					t.Errorf("another device: %d %s", other.Code, other.Body)
				}
				if unknown := b.ask("ada-0"); unknown.Code != 200 {
					t.Errorf("an old credential of unknown age: %d", unknown.Code)
				}
			})
		}
	}
}

// TestAdoptEnds: what ended stays ended, though the old cookie is sent and the old system would still take it.
func TestAdoptEnds(t *testing.T) {
	for _, back := range backends() {
		for _, mode := range adoptable() {
			t.Run(back.name+"/"+string(mode), func(t *testing.T) {
				b := newBefore(t, back, mode)
				first := b.ask("ada-1")
				r := withCookies("POST", "https://app.example.com/logout", first)
				r.Header.Set("Origin", "https://app.example.com")
				must[handstamp.Ended](t)(b.e.LogOutRequest(httptest.NewRecorder(), r, handstamp.EndOptions{}))
				if w := b.ask("ada-1"); w.Code != 401 || len(w.Result().Cookies()) != 0 {
					t.Errorf("after the log-out: %d %s", w.Code, w.Body)
				}
				if w := b.ask("ada-2"); w.Code != 200 {
					t.Errorf("another device after the log-out: %d", w.Code)
				}
				b.e.clock.Advance(time.Minute)
				must[handstamp.Ended](t)(b.e.EndUser(t.Context(), "ada", handstamp.EndOptions{}))
				b.who["ada-3"] = "ada"
				b.issued["ada-3"] = b.issued["ada-1"].Add(time.Minute)
				for _, text := range []string{"ada-2", "ada-3", "ada-0"} {
					if w := b.ask(text); w.Code != 401 {
						t.Errorf("log out everywhere, then %s: %d", text, w.Code)
					}
				}
				b.who["ada-4"] = "ada" // the old system logged her in once more
				b.e.clock.Advance(time.Minute)
				b.issued["ada-4"] = b.e.clock.Now()
				if w := b.ask("ada-4"); w.Code != 200 {
					t.Errorf("an old credential of after that: %d", w.Code)
				}
				if w := b.ask("bob-1"); w.Code != 200 {
					t.Errorf("somebody else: %d", w.Code)
				}
				b.e.clock.Advance(time.Minute)
				must[handstamp.Ended](t)(b.e.EndAll(t.Context(), handstamp.EndOptions{}))
				b.who["bob-2"], b.issued["bob-2"] = "bob", b.issued["bob-1"]
				if w := b.ask("bob-2"); w.Code != 401 {
					t.Errorf("after everybody's end: %d", w.Code)
				}
			})
		}
	}
}

// TestAdoptNewSecrets: once the session has other secrets than it began with, the old credential opens nothing.
func TestAdoptNewSecrets(t *testing.T) {
	for _, mode := range []handstamp.Mode{handstamp.ModeSession, handstamp.ModeHybrid} {
		b := newBefore(t, backends()[0], mode)
		first := b.ask("ada-1")
		sid := handstamp.SessionID(strings.Fields(first.Body.String())[1])
		p := b.e.prove(t, "ada", mode)
		must[handstamp.Grant](t)(b.e.Renew(t.Context(), sid, p))
		if w := b.ask("ada-1"); w.Code != 401 {
			t.Errorf("%s: after a step-up: %d %s", mode, w.Code, w.Body)
		}
	}
	b := newBefore(t, backends()[0], handstamp.ModeHybrid)
	first := b.ask("ada-1")
	for _, c := range first.Result().Cookies() {
		if strings.HasSuffix(c.Name, "refresh") {
			b.e.clock.Advance(time.Minute)
			must[handstamp.Grant](t)(b.e.Refresh(t.Context(), handstamp.RefreshRequest{Token: token.NewSecret(c.Value)}))
		}
	}
	if w := b.ask("ada-1"); w.Code != 401 {
		t.Errorf("after a refresh: %d %s", w.Code, w.Body)
	}
}

// TestAdoptRefuses: a forged old cookie is a visitor's, an outage of the old system is no visitor, and our own credential
// is never passed over for an old one.
func TestAdoptRefuses(t *testing.T) {
	b := newBefore(t, backends()[0], handstamp.ModeSession)
	for _, text := range []string{"", "forged"} {
		if w := b.ask(text); w.Code != 401 || len(w.Result().Cookies()) != 0 {
			t.Errorf("%q: %d", text, w.Code)
		}
	}
	b.down = errors.New("the old database is down")
	if w := b.ask("ada-1"); w.Code != 503 || strings.Contains(w.Body.String(), "old database") {
		t.Errorf("an outage: %d %s", w.Code, w.Body)
	}
	b.down = nil
	b.e.store.set(func(string, func() error) error { return errDown })
	if w := b.ask("ada-1"); w.Code != 503 || len(w.Result().Cookies()) != 0 {
		t.Errorf("our outage: %d", w.Code)
	}
	b.e.store.set(nil)

	g := b.e.start(t, "bob", handstamp.ModeSession)
	for name, set := range map[string]func(r *http.Request){
		"cookie": func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "__Host-handstamp", Value: g.AccessToken.Reveal()})
		},
		"dead cookie":   func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "__Host-handstamp", Value: "dead"}) },
		"refresh":       func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "__Secure-handstamp-refresh", Value: "x"}) },
		"header":        func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+g.AccessToken.Reveal()) },
		"broken header": func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") },
	} {
		r := httptest.NewRequest("GET", "https://app.example.com/", nil)
		r.AddCookie(&http.Cookie{Name: "legacy", Value: "ada-1"})
		set(r)
		w := httptest.NewRecorder()
		b.handler().ServeHTTP(w, r)
		if strings.HasPrefix(w.Body.String(), "ada") || len(w.Result().Cookies()) != 0 {
			t.Errorf("beside our %s: %d %s", name, w.Code, w.Body)
		}
	}
	if s := must[[]handstamp.Session](t)(b.e.Sessions(t.Context(), handstamp.SessionFilter{User: "ada"})); len(s) != 0 {
		t.Errorf("sessions of refused requests: %v", s)
	}

	// From another site nothing is adopted, and the request goes the way of all such.
	r := httptest.NewRequest("POST", "https://app.example.com/", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.AddCookie(&http.Cookie{Name: "legacy", Value: "ada-1"})
	w := httptest.NewRecorder()
	b.handler().ServeHTTP(w, r)
	if w.Code != 403 || len(w.Result().Cookies()) != 0 {
		t.Errorf("from another site: %d %s", w.Code, w.Body)
	}

	// Nor is a request refused that nobody asked a credential of.
	reached := false
	b.e.Adopt(b.prove)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })).ServeHTTP(httptest.NewRecorder(), r)
	if !reached {
		t.Error("Adopt itself answered a request from another site")
	}

	// A Proof that does not say what it replaces would open a session with each request.
	for name, wrap := range map[string]func(handstamp.Proof) handstamp.Proof{
		"nothing replaced": func(p handstamp.Proof) handstamp.Proof { return p },
		"bearer": func(p handstamp.Proof) handstamp.Proof {
			p.Transport = handstamp.TransportBearer
			return p.Replacing("x", time.Time{})
		},
	} {
		h := b.e.Adopt(func(r *http.Request) (handstamp.Proof, error) {
			p, err := b.e.Prove(r.Context(), "ada")
			return wrap(p), err
		})(b.e.Require()(http.NotFoundHandler()))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "https://app.example.com/", nil))
		if w.Code != 503 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

// TestAdoptAtOnce: fifty requests with one old cookie get one session, whichever of them begins it.
func TestAdoptAtOnce(t *testing.T) {
	for _, back := range backends() {
		t.Run(back.name, func(t *testing.T) {
			b := newBefore(t, back, handstamp.ModeSession)
			var mu sync.Mutex
			var answers []string
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					w := b.ask("ada-1")
					mu.Lock()
					defer mu.Unlock()
					answers = append(answers, w.Body.String())
				})
			}
			all.Wait()
			slices.Sort(answers)
			if one := slices.Compact(answers); len(one) != 1 || !strings.HasPrefix(one[0], "ada ") {
				t.Errorf("answers: %q", one)
			}
		})
	}
}

// TestAdoptSecrets: the session that an old credential opened is found under a secret that came after, and by nobody
// without one of ours.
func TestAdoptSecrets(t *testing.T) {
	b := newBefore(t, backends()[0], handstamp.ModeSession)
	first := b.ask("ada-1")
	later := setup{store: b.e.store, now: b.e.clock.Now, change: func(o *handstamp.Options) {
		o.Secrets = [][]byte{[]byte("a newer secret for tests, also used by nobody else, 42"), testSecret()}
	}}.open(t)
	b2 := &before{e: later, mode: b.mode, who: b.who, issued: b.issued}
	if w := b2.ask("ada-1"); w.Body.String() != first.Body.String() {
		t.Errorf("under a newer secret: %s, want %s", w.Body, first.Body)
	}
	none := newEngine(t, func(o *handstamp.Options) { o.Secrets, o.Modes = nil, []handstamp.Mode{handstamp.ModeSession} })
	defer func() {
		if recover() == nil {
			t.Error("Adopt without secrets does not say so")
		}
	}()
	none.Adopt(b.prove)
}

// TestAdoptDisabled: a disabled user's old credential opens nothing, and is no outage.
func TestAdoptDisabled(t *testing.T) {
	b := newBefore(t, backends()[0], handstamp.ModeSession)
	err := b.e.store.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		return tx.PutSubject(t.Context(), handstamp.Subject{User: "ada", Disabled: true})
	})
	if err != nil {
		t.Fatal(err)
	}
	if w := b.ask("ada-1"); w.Code != 401 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestAdoptProvesOnceMore: what ends between the look at the old credential and the new session makes it be looked at
// again, once.
func TestAdoptProvesOnceMore(t *testing.T) {
	for ends, want := range map[int]int{1: 200, 2: 503} {
		b := newBefore(t, backends()[0], handstamp.ModeSession)
		asked := 0
		h := b.e.Adopt(func(r *http.Request) (handstamp.Proof, error) {
			p, err := b.e.Prove(r.Context(), "ada")
			if asked++; asked <= ends {
				must[handstamp.Ended](t)(b.e.EndUser(r.Context(), "ada", handstamp.EndOptions{}))
			}
			b.e.clock.Advance(time.Second)
			return p.Replacing("old", b.e.clock.Now()), err
		})(b.e.Require()(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "https://app.example.com/", nil))
		if w.Code != want || asked > 2 {
			t.Errorf("%d ends: %d after %d looks, want %d", ends, w.Code, asked, want)
		}
	}
}

// TestAdoptRotation: while the secret is rotated one old credential opens one session, and after the rotation it does not
// open another one.
func TestAdoptRotation(t *testing.T) {
	newer := []byte("a newer secret for tests, also used by nobody else, 42")
	b := newBefore(t, backends()[0], handstamp.ModeSession)
	with := func(secrets ...[]byte) *before {
		e := setup{store: b.e.store, now: b.e.clock.Now, change: func(o *handstamp.Options) { o.Secrets = secrets }}.open(t)
		return &before{e: e, mode: b.mode, who: b.who, issued: b.issued}
	}
	both := with(newer, testSecret())
	first := both.ask("ada-1")
	if w := b.ask("ada-1"); w.Code != 401 { // it cannot derive what the other made, and makes no second session
		t.Errorf("a process that does not have the newer secret yet: %d %s", w.Code, w.Body)
	}
	r := visit("POST", first)
	must[handstamp.Ended](t)(both.e.LogOutRequest(httptest.NewRecorder(), r, handstamp.EndOptions{}))
	for name, p := range map[string]*before{"before": b, "during": both, "after": with(newer)} {
		if w := p.ask("ada-1"); w.Code != 401 {
			t.Errorf("%s the rotation, after the log-out: %d", name, w.Code)
		}
	}
	if list := must[[]handstamp.Session](t)(b.e.Sessions(t.Context(), handstamp.SessionFilter{User: "ada"})); len(list) != 0 {
		t.Errorf("sessions: %v", list)
	}
}

// TestAdoptKeepsToItsTransport: what was made for a cookie that no script can read is not given out as a text, nor the
// other way round.
func TestAdoptKeepsToItsTransport(t *testing.T) {
	b := newBefore(t, backends()[0], handstamp.ModeSession)
	exchange := func(text string) (handstamp.Grant, error) {
		p := b.e.prove(t, "ada", handstamp.ModeSession)
		p.Transport = handstamp.TransportBearer
		return b.e.Start(t.Context(), p.Replacing(text, b.issued[text]))
	}
	if w := b.ask("ada-1"); w.Code != 200 {
		t.Fatal(w.Code)
	}
	_, err := exchange("ada-1")
	wantReason(t, err, handstamp.ReasonRevoked)
	must[handstamp.Grant](t)(exchange("ada-2"))
	if w := b.ask("ada-2"); w.Code != 401 || len(w.Result().Cookies()) != 0 {
		t.Errorf("%d", w.Code)
	}
}

// TestAdoptClocks: an old system whose clock is ahead gets nothing past "log out everywhere", and how a session ended is
// remembered to the full length of its life.
func TestAdoptClocks(t *testing.T) {
	b := newBefore(t, backends()[0], handstamp.ModeSession)
	must[handstamp.Ended](t)(b.e.EndUser(t.Context(), "ada", handstamp.EndOptions{}))
	b.issued["ada-1"] = b.e.clock.Now().Add(time.Hour)
	if w := b.ask("ada-1"); w.Code != 401 {
		t.Errorf("issued in the future: %d", w.Code)
	}
	began := b.e.clock.Now()
	first := b.ask("bob-1")
	must[handstamp.Ended](t)(b.e.LogOutRequest(httptest.NewRecorder(), visit("POST", first), handstamp.EndOptions{}))
	s := must[handstamp.Session](t)(b.e.Session(t.Context(), handstamp.SessionID(strings.Fields(first.Body.String())[1])))
	if !s.ExpiresAt.Equal(began.Add(720 * time.Hour)) {
		t.Errorf("the tombstone stays until %v", s.ExpiresAt.Sub(began))
	}
	token := b.e.prove(t, "bob", handstamp.ModeToken)
	if _, err := b.e.Start(t.Context(), token.Replacing("x", time.Time{})); err == nil {
		t.Error("a session that is forgotten in minutes was adopted")
	}
}

// TestAdoptBeside: an empty cookie of ours is none; a value token of ours in the header is ours; what the old system says
// is never an answer of ours.
func TestAdoptBeside(t *testing.T) {
	b := newBefore(t, backends()[0], handstamp.ModeSession)
	r := httptest.NewRequest("GET", "https://app.example.com/", nil)
	r.Header.Set("Cookie", "a=1; __Host-handstamp=; legacy=ada-1")
	w := httptest.NewRecorder()
	b.handler().ServeHTTP(w, r)
	if w.Code != 200 {
		t.Errorf("beside a cookie that was cleared: %d %s", w.Code, w.Body)
	}
	g := b.e.start(t, "bob", handstamp.ModeToken)
	r = httptest.NewRequest("GET", "https://app.example.com/", nil)
	r.Header.Set("Authorization", "Bearer "+g.AccessToken.Reveal())
	r.AddCookie(&http.Cookie{Name: "legacy", Value: "ada-2"})
	w = httptest.NewRecorder()
	b.handler().ServeHTTP(w, r)
	if !strings.HasPrefix(w.Body.String(), "bob ") || len(w.Result().Cookies()) != 0 {
		t.Errorf("beside our token: %d %s %v", w.Code, w.Body, w.Result().Cookies())
	}
	for _, err := range []error{handstamp.ErrNotFound, handstamp.ErrForbidden, handstamp.ErrMode} {
		if b.down = err; b.ask("ada-2").Code != 503 {
			t.Errorf("%v of the old system is taken for an answer", err)
		}
	}
}

// TestReplacingWithoutAdopt: an exchange of old tokens by Start obeys the same rules.
func TestReplacingWithoutAdopt(t *testing.T) {
	e := newEngine(t, nil)
	old := e.clock.Now().Add(-time.Hour)
	exchange := func(e *engine, text string) (handstamp.Grant, error) {
		p := e.prove(t, "ada", handstamp.ModeHybrid).Replacing(text, old)
		return e.Start(t.Context(), p)
	}
	first := must[handstamp.Grant](t)(exchange(e, "one"))
	again := must[handstamp.Grant](t)(exchange(e, "one"))
	if first.Session.ID != again.Session.ID || first.RefreshToken.Reveal() != again.RefreshToken.Reveal() || !first.Session.AuthAt.Equal(old) {
		t.Errorf("%+v, then %+v", first.Session, again.Session)
	}
	must[handstamp.Ended](t)(e.EndUser(t.Context(), "ada", handstamp.EndOptions{}))
	for _, text := range []string{"one", "two"} {
		_, err := exchange(e, text)
		wantReason(t, err, handstamp.ReasonRevoked)
	}
	none := newEngine(t, func(o *handstamp.Options) { o.Secrets, o.Modes = nil, []handstamp.Mode{handstamp.ModeSession} })
	if _, err := none.Start(t.Context(), none.prove(t, "ada", "").Replacing("one", old)); err == nil || !strings.Contains(err.Error(), "Secrets") {
		t.Errorf("without secrets: %v", err)
	}
	if _, err := e.Prepare(t.Context(), e.prove(t, "ada", "").Replacing("three", old)); err == nil {
		t.Error("Prepare goes around the rules")
	}
}
