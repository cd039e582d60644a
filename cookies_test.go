package handstamp_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
)

const publicURL = "https://app.example.com"

// TestC1_CookieAttributes: names, attributes and lifetime of every cookie that is set or cleared.
func TestC1_CookieAttributes(t *testing.T) {
	for name, tc := range map[string]struct {
		change          func(*handstamp.Options)
		session, refr   string
		secure          bool
		domain, refPath string
		sameSite        http.SameSite
	}{
		"https": {nil, "__Host-handstamp", "__Secure-handstamp-refresh", true, "", "/v1/refresh", http.SameSiteStrictMode},
		"http": {func(o *handstamp.Options) { o.PublicURL = "http://localhost:8080" },
			"handstamp", "handstamp-refresh", false, "", "/v1/refresh", http.SameSiteStrictMode},
		"lax, below a path": {func(o *handstamp.Options) {
			o.PublicURL, o.Cookie.SameSite = "https://app.example.com/auth/", http.SameSiteLaxMode
		}, "__Host-handstamp", "__Secure-handstamp-refresh", true, "", "/auth/v1/refresh", http.SameSiteLaxMode},
		"shared domain": {func(o *handstamp.Options) { o.Cookie.Domain = "example.com" },
			"__Secure-handstamp", "__Secure-handstamp-refresh", true, "example.com", "/v1/refresh", http.SameSiteStrictMode},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, tc.change)
			g := e.as(t, "ada", handstamp.ModeHybrid, handstamp.TransportCookie)
			set, cleared := httptest.NewRecorder(), httptest.NewRecorder()
			e.Deliver(set, g)
			e.ClearCookies(cleared)
			for _, w := range []*httptest.ResponseRecorder{set, cleared} {
				cookies := w.Result().Cookies()
				if len(cookies) != 2 || w.Header().Get("Cache-Control") != "no-store" {
					t.Fatalf("%v", w.Header())
				}
				for i, c := range cookies {
					wantName, wantPath := tc.session, "/"
					if i == 1 {
						wantName, wantPath = tc.refr, tc.refPath
					}
					if c.Name != wantName || c.Path != wantPath || !c.HttpOnly || c.Secure != tc.secure ||
						c.Domain != tc.domain || c.SameSite != tc.sameSite {
						t.Errorf("cookie %+v", c)
					}
					if w == cleared && (c.MaxAge >= 0 || c.Value != "") {
						t.Errorf("cleared by %+v", c)
					}
					if life := int(g.Session.ExpiresAt.Sub(e.clock.Now()) / time.Second); w == set && c.MaxAge != life {
						t.Errorf("Max-Age %d, want %d", c.MaxAge, life)
					}
				}
			}
		})
	}
	e := newEngine(t, nil)
	p := e.prove(t, "ada", handstamp.ModeSession)
	p.BrowserSession = true
	w := httptest.NewRecorder()
	e.Deliver(w, must[handstamp.Grant](t)(e.Start(t.Context(), p)))
	if c := w.Result().Cookies()[0]; c.MaxAge != 0 || len(c.Name)+len(c.Value) > 256 { // C4
		t.Errorf("a browser session's cookie: %+v", c)
	}
	w = httptest.NewRecorder()
	e.Deliver(w, e.as(t, "ada", handstamp.ModeSession, handstamp.TransportBearer))
	if len(w.Header()) != 0 {
		t.Errorf("a bearer grant set %v", w.Header())
	}
}

// TestC5_CookieParsingIsByteExact, C6, S17 and S18: how the one credential of a request is found. There is one answer to
// each request: a credential, none, or a refusal.
func TestC5_CookieParsingIsByteExact(t *testing.T) {
	const name = "__Host-handstamp"
	for _, tc := range []struct {
		what    string
		cookies []string
		auth    []string
		want    string // the credential, or "!" and the reason
	}{
		{"none", nil, nil, "!missing_credential"},
		{"plain", []string{name + "=v"}, nil, "v"},
		{"among others", []string{"a=b; " + name + "=v; c=d"}, nil, "v"},
		{"in a second header", []string{"a=b", name + "=v"}, nil, "v"},
		{"no space", []string{"a=b;" + name + "=v"}, nil, "v"},
		{"tab", []string{"a=b;\t" + name + "=v\t"}, nil, "v"},
		{"value with =", []string{name + "=v=w="}, nil, "v=w="},
		{"quoted value stays quoted", []string{name + `="v"`}, nil, `"v"`},
		{"empty value is none", []string{name + "="}, nil, "!missing_credential"},
		{"no value", []string{name}, nil, "!missing_credential"},
		{"other case", []string{strings.ToLower(name) + "=v"}, nil, "!missing_credential"},
		{"without its prefix", []string{"handstamp=v"}, nil, "!missing_credential"},
		{"em space before", []string{"\u2000" + name + "=v"}, nil, "!missing_credential"},
		{"no-break space before", []string{"a=b;\u00a0" + name + "=v"}, nil, "!missing_credential"},
		{"quotes around the name", []string{`"` + name + `"=v`}, nil, "!missing_credential"},
		{"nameless", []string{"=" + name + "=v"}, nil, "!missing_credential"},
		{"space in front of =", []string{name + " =v"}, nil, "!missing_credential"},
		{"percent in the name", []string{"__%48ost-handstamp=v"}, nil, "!missing_credential"},
		{"comma is no separator", []string{"a=b," + name + "=v"}, nil, "!missing_credential"},
		{"$Version", []string{"$Version=1; " + name + "=v"}, nil, "!invalid_token"},
		{"$Path after it", []string{name + "=v; $Path=/"}, nil, "!invalid_token"},
		{"inside another's quotes", []string{`a="; ` + name + `=v; "`}, nil, "v"},
		{"twice", []string{name + "=v; " + name + "=w"}, nil, "!duplicate_credential"},
		{"twice, equal", []string{name + "=v; " + name + "=v"}, nil, "!duplicate_credential"},
		{"twice, in two headers", []string{name + "=v", name + "=v"}, nil, "!duplicate_credential"},
		{"twice, first empty", []string{name + "=; " + name + "=v"}, nil, "!duplicate_credential"},
		{"8 KiB are read", []string{"a=" + strings.Repeat("x", 8000) + "; " + name + "=v"}, nil, "v"},
		{"more are not", []string{"a=" + strings.Repeat("x", 8192) + "; " + name + "=v"}, nil, "!invalid_token"},
		{"50,000 tiny ones", []string{strings.Repeat("a=b;", 50_000) + name + "=v"}, nil, "!invalid_token"},

		{"bearer", nil, []string{"Bearer t"}, "t"},
		{"bearer in lower case", nil, []string{"bearer t"}, "t"},
		{"bearer, more spaces", nil, []string{"Bearer   t"}, "t"},
		{"a header beats a cookie", []string{name + "=v"}, []string{"Bearer t"}, "t"},
		{"no falling back from a broken header", []string{name + "=v"}, []string{"Bearer !"}, "!"},
		{"no falling back from an empty header", []string{name + "=v"}, []string{"Bearer "}, "!invalid_token"},
		{"no falling back from the word alone", []string{name + "=v"}, []string{"Bearer"}, "!invalid_token"},
		{"two headers", nil, []string{"Bearer t", "Bearer t"}, "!invalid_token"},
		{"another scheme is absent", []string{name + "=v"}, []string{"Basic dTpw"}, "v"},
		{"another scheme beside it", nil, []string{"Basic dTpw", "Bearer t"}, "t"},
		{"DPoP is not Bearer", nil, []string{"DPoP t"}, "!missing_credential"},
		{"two cookies and a header", []string{name + "=v; " + name + "=w"}, []string{"Bearer t"}, "t"},
	} {
		r := httptest.NewRequest("GET", "/?access_token=q&token=q;jsessionid=q", strings.NewReader("access_token=q"))
		r.Header["Cookie"], r.Header["Authorization"] = tc.cookies, tc.auth
		got, err := handstamp.Credential(publicURL, r)
		if err != nil {
			got = "!" + verdict(err)
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.what, got, tc.want)
		}
	}
}

func TestS17_NoTokensInURLs(t *testing.T) {
	e := newEngine(t, nil)
	g := e.start(t, "ada", handstamp.ModeSession)
	tok := g.AccessToken.Reveal()
	for _, target := range []string{"/?access_token=" + tok, "/;jsessionid=" + tok, "/?token=" + tok, "/" + tok, "/?__Host-handstamp=" + tok} {
		_, err := e.Verify(httptest.NewRequest("GET", target, nil))
		wantReason(t, err, handstamp.ReasonMissing)
	}
}

// TestS16_EveryChangeOfATokenIsRefused: each character of a good credential changed, left out or doubled, the rest cut off,
// something added, another case: one and the same refusal, and no look-up for what a checksum can tell.
func TestS16_EveryChangeOfATokenIsRefused(t *testing.T) {
	e := newEngine(t, nil)
	for _, mode := range modes() {
		good := e.start(t, "ada", mode).AccessToken.Reveal()
		finds := 0
		e.store.set(func(op string, call func() error) error {
			if op == "Find" {
				finds++
			}
			return call()
		})
		refused := func(text string) {
			t.Helper()
			if text == good {
				return
			}
			if _, err := e.VerifyToken(t.Context(), text); verdict(err) != string(handstamp.ReasonInvalid) {
				t.Fatalf("%s: %q is answered %s", mode, text, verdict(err))
			}
		}
		for i := range good {
			for _, c := range "0aZ._-= \x00\u00e9" {
				refused(good[:i] + string(c) + good[i+1:])
			}
			refused(good[:i] + string(good[i]^1) + good[i+1:])
			refused(good[:i])
			refused(good[i+1:])
			refused(good[:i] + good[i:i+1] + good[i:])
		}
		for _, text := range []string{good + "=", good + " ", " " + good, good + "\n", good + good, strings.ToUpper(good), strings.ToLower(good), good + "\x00"} {
			refused(text)
		}
		if finds != 0 {
			t.Errorf("%s: %d look-ups", mode, finds)
		}
		e.store.set(nil)
		if _, err := e.VerifyToken(t.Context(), good); err != nil {
			t.Error(err)
		}
	}
}

// TestRefreshCookie: found by its own name only, and never accepted as a session.
func TestRefreshCookie(t *testing.T) {
	e := newEngine(t, nil)
	w := httptest.NewRecorder()
	g := e.as(t, "ada", handstamp.ModeHybrid, handstamp.TransportCookie)
	e.Deliver(w, g)
	r := withCookies("POST", "/v1/refresh", w)
	sec, ok := e.RefreshCookie(r)
	if !ok || sec.Reveal() != g.RefreshToken.Reveal() {
		t.Error("the refresh cookie was not found")
	}
	for _, header := range []string{"", "__Secure-handstamp-refresh=", "handstamp-refresh=x", "__Secure-handstamp-refresh=a; __Secure-handstamp-refresh=b"} {
		r := httptest.NewRequest("POST", "/v1/refresh", nil)
		r.Header.Set("Cookie", header)
		if _, ok := e.RefreshCookie(r); ok {
			t.Errorf("%q has a refresh token", header)
		}
	}
	r = httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", "__Host-handstamp="+g.RefreshToken.Reveal())
	_, err := e.Verify(r)
	wantReason(t, err, handstamp.ReasonInvalid)
	_, err = e.refresh(handstamp.Grant{RefreshToken: g.AccessToken}) // J6
	wantReason(t, err, handstamp.ReasonInvalid)
}

// TestC4_TooLargeForItsCookie: a value token that a browser would drop is not issued, and no session is left behind.
func TestC4_TooLargeForItsCookie(t *testing.T) {
	for _, own := range []bool{true, false} {
		for tr, size := range map[handstamp.Transport]int{handstamp.TransportCookie: 3 << 10, handstamp.TransportBearer: 8 << 10} {
			roles := make([]string, 100)
			for i := range roles {
				roles[i] = strings.Repeat("r", size/100) + string(rune('a'+i/26)) + string(rune('a'+i%26))
			}
			e := newEngine(t, nil)
			p := e.prove(t, "ada", handstamp.ModeToken)
			p.Transport = tr
			p.Grants = &handstamp.Grants{Roles: roles}
			if own { // the roles are in the store already
				p.Grants.Roles = roles[:1]
				must[handstamp.Grant](t)(e.Start(t.Context(), p))
				setRoles(t, e, "ada", roles)
				p = e.prove(t, "ada", handstamp.ModeToken)
				p.Transport = tr
			}
			before := len(must[[]handstamp.Session](t)(e.Sessions(t.Context(), handstamp.SessionFilter{})))
			_, err := e.Start(t.Context(), p)
			if err == nil || !strings.Contains(err.Error(), `"roles"`) {
				t.Errorf("own=%v %s: Start = %v", own, tr, err)
			}
			if list := must[[]handstamp.Session](t)(e.Sessions(t.Context(), handstamp.SessionFilter{})); len(list) != before {
				t.Errorf("own=%v %s: a session was left behind", own, tr)
			}
		}
	}
}
