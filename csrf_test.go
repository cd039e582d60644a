package handstamp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
)

// TestC7_OriginRules and C8: which unsafe requests a browser may send, with a session, without one, and whatever they are.
func TestC7_OriginRules(t *testing.T) {
	const own, other, trusted = publicURL, "https://evil.example.com", "https://spa.example.net"
	e := newEngine(t, func(o *handstamp.Options) { o.Origins = []string{trusted} })
	w := httptest.NewRecorder()
	e.Deliver(w, e.as(t, "ada", handstamp.ModeSession, handstamp.TransportCookie))
	absent := "-"
	for _, tc := range []struct {
		site, origin string
		cookie, want bool
	}{
		{"same-origin", absent, true, true}, {"same-origin", own, true, true}, {"none", absent, true, true},
		{"same-site", absent, true, false}, {"same-site", own, true, false}, {"same-site", other, true, false},
		{"cross-site", absent, true, false}, {"cross-site", other, true, false}, {"cross-site", "null", true, false},
		{"cross-site", own, true, false},
		{"same-site", trusted, true, true}, {"cross-site", trusted, true, true}, {"cross-site", trusted, false, true},
		{"Same-Origin", absent, true, false}, {"same-origin, cross-site", absent, true, false}, {"junk", own, true, false},
		{"", absent, true, false}, {"", own, true, false}, {"", "null", false, false}, {"", absent, false, false},
		{absent, own, true, true}, {absent, own, false, true}, {absent, own + ":443", true, true}, {absent, trusted, true, true},
		{absent, "HTTPS://APP.example.com", true, true},
		{absent, "http://app.example.com", true, false}, {absent, own + ":8443", true, false}, {absent, "null", true, false},
		{absent, "null", false, false}, {absent, "", true, false}, {absent, "", false, false}, {absent, other, false, false},
		{absent, own + ".evil.com", true, false}, {absent, "https://evil.com/app.example.com", true, false},
		{absent, own + "/", true, false}, {absent, "https://x@app.example.com", true, false}, {absent, "https://xapp.example.com", true, false},
		{absent, own + "#", true, false}, {absent, own + "?", true, false}, {absent, "https://app.example.com%00", true, false},
		{absent, "http://spa.example.net", true, false}, {absent, "https://sub.spa.example.net", true, false},
		{absent, "https://аpp.example.com", true, false}, // a Cyrillic a
		{absent, own + " " + other, true, false}, {absent, "app.example.com", true, false}, {absent, "//app.example.com", true, false},
		{absent, absent, false, true}, {absent, absent, true, false},
	} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get"} {
			r := httptest.NewRequest(method, "https://app.example.com/", nil)
			if tc.cookie {
				r = withCookies(method, "https://app.example.com/", w)
			}
			if tc.site != absent {
				r.Header["Sec-Fetch-Site"] = []string{tc.site}
			}
			if tc.origin != absent {
				r.Header["Origin"] = []string{tc.origin}
			}
			if err := e.CheckOrigin(r); (err == nil) != tc.want || err != nil && !errors.Is(err, handstamp.ErrOrigin) {
				t.Errorf("%s with site %q, origin %q, cookie %v: %v, want passed = %v", method, tc.site, tc.origin, tc.cookie, err, tc.want)
			}
		}
		for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
			r := withCookies(method, "https://app.example.com/", w)
			r.Header["Sec-Fetch-Site"], r.Header["Origin"] = []string{tc.site}, []string{tc.origin}
			if err := e.CheckOrigin(r); err != nil {
				t.Errorf("%s: %v", method, err)
			}
		}
	}
	for _, twice := range []string{"Origin", "Sec-Fetch-Site"} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header[twice] = []string{"same-origin", "same-origin"}
		if err := e.CheckOrigin(r); err == nil {
			t.Errorf("%s twice passed", twice)
		}
	}
	broken := httptest.NewRequest("POST", "/", nil)
	broken.Header.Set("Cookie", "__Host-handstamp=x; __Host-handstamp=y")
	if err := e.CheckOrigin(broken); err == nil {
		t.Error("two cookies and no origin passed")
	}
}

// TestC8_LoginHasOriginRules: logging in and out is guarded like everything else, before anything is looked at.
func TestC8_LoginHasOriginRules(t *testing.T) {
	e := newEngine(t, nil)
	r := httptest.NewRequest("POST", "/login", nil)
	r.Header.Set("Origin", "https://evil.example")
	w := httptest.NewRecorder()
	if _, err := e.Login(w, r, e.prove(t, "ada", "")); !errors.Is(err, handstamp.ErrOrigin) || len(w.Header()) != 0 {
		t.Errorf("Login = %v, %v", err, w.Header())
	}
	for name, wrap := range map[string]func(http.Handler) http.Handler{"Require": e.Require(), "Optional": e.Optional()} {
		w := httptest.NewRecorder()
		wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("%s let it through", name) })).ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "cross_origin") {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestLoopbackIsOne(t *testing.T) {
	e := newEngine(t, func(o *handstamp.Options) { o.PublicURL = "http://localhost:8080" })
	for origin, want := range map[string]bool{
		"http://localhost:8080": true, "http://127.0.0.1:8080": true, "http://[::1]:8080": true,
		"http://127.0.0.1:8081": false, "https://127.0.0.1:8080": false, "http://localhost.evil.com:8080": false, "http://10.0.0.1:8080": false,
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Origin", origin)
		if err := e.CheckOrigin(r); (err == nil) != want {
			t.Errorf("%s: %v", origin, err)
		}
	}
}

// form sends a form with a token.
func form(r *http.Request, token string) *http.Request {
	post := httptest.NewRequest("POST", publicURL+"/", strings.NewReader(url.Values{handstamp.FormField: {token}}.Encode()))
	post.Header = r.Header.Clone()
	post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	post.Header.Set("Sec-Fetch-Site", "same-origin")
	return post
}

// TestC10_FormToken: bound to the cookie before the login and to the session after it; nobody else's and nothing
// malformed is accepted.
func TestC10_FormToken(t *testing.T) {
	e := newEngine(t, nil)
	page := func(answers ...*httptest.ResponseRecorder) (*http.Request, *httptest.ResponseRecorder, []string) {
		w, r := httptest.NewRecorder(), withCookies("GET", publicURL+"/", answers...)
		tokens := []string{e.FormToken(w, r), e.FormToken(w, r)}
		if tokens[0] == tokens[1] {
			t.Error("two forms have the same text")
		}
		return withCookies("GET", publicURL+"/", append(answers, w)...), w, tokens
	}
	login := func(user handstamp.UserID) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		e.Deliver(w, e.as(t, user, handstamp.ModeSession, handstamp.TransportCookie))
		return w
	}
	check := func(what string, r *http.Request, token string, want bool) {
		t.Helper()
		if err := e.CheckForm(form(r, token)); (err == nil) != want || err != nil && !errors.Is(err, handstamp.ErrOrigin) {
			t.Errorf("%s: %v, want passed = %v", what, err, want)
		}
	}
	visitor, formCookie, before := page()
	check("visitor, first form", visitor, before[0], true)
	check("visitor, second form", visitor, before[1], true)
	check("visitor without the cookie", httptest.NewRequest("GET", "/", nil), before[0], false)
	stranger, _, _ := page()
	check("another visitor's cookie", stranger, before[0], false)

	ada, bob := login("ada"), login("bob")
	adaPage, _, adas := page(ada, formCookie)
	bobPage, _, bobs := page(bob)
	check("ada's own", adaPage, adas[0], true)
	check("bob's own", bobPage, bobs[0], true)
	check("ada's token with bob's session", bobPage, adas[0], false)
	check("a token from before the login, after it", adaPage, before[0], false)
	check("a token of the session, after its end", withCookies("GET", "/", formCookie), adas[0], false)

	for _, bad := range []string{"", "x", "!", strings.Repeat("A", 64), adas[0] + "A", adas[0][1:], adas[0] + "=", " " + adas[0], strings.Repeat("A", 100_000)} {
		check(fmt.Sprintf("%.10q", bad), adaPage, bad, false)
	}
	for i := range adas[0] {
		c := byte('A')
		if adas[0][i] == c {
			c = 'B'
		}
		check(fmt.Sprint("changed at ", i), adaPage, adas[0][:i]+string(c)+adas[0][i+1:], false)
	}
	crossSite := form(adaPage, adas[0])
	crossSite.Header.Set("Sec-Fetch-Site", "cross-site")
	if err := e.CheckForm(crossSite); err == nil {
		t.Error("the origin rules were not applied")
	}
	empty := httptest.NewRequest("POST", publicURL+"/", nil)
	empty.Header.Set("Cookie", "__Host-handstamp-form=")
	empty.Header.Set("Sec-Fetch-Site", "same-origin")
	if err := e.CheckForm(empty); err == nil {
		t.Error("an empty binding passed")
	}
}

// TestC17_ReturnToHandList: what a login may send a browser to.
func TestC17_ReturnToHandList(t *testing.T) {
	e := newEngine(t, func(o *handstamp.Options) { o.Origins = []string{"https://spa.example.net"} })
	for in, want := range map[string]string{
		"/": "/", "/notes": "/notes", "/notes?a=b&c=d#e": "/notes?a=b&c=d#e", "/a//b": "/a//b", "/?x=//evil.com": "/?x=//evil.com",
		"/a%2fb": "/a%2fb", "/a:b": "/a:b", "/@evil.com": "/@evil.com", "/%5cevil.com": "/%5cevil.com",
		publicURL: publicURL + "/", publicURL + "/x?y": publicURL + "/x?y", "https://APP.example.com:443/x": publicURL + "/x",
		"https://spa.example.net/x": "https://spa.example.net/x",
		"":                          "", "x": "", "?x": "", "#x": "", "./x": "", "../x": "",
		"//evil.com": "", "///evil.com": "", "////evil.com": "", "/\\evil.com": "", "\\/evil.com": "", "\\\\evil.com": "", "/x\\y": "",
		"/\t/evil.com": "", "/\n/evil.com": "", "\t//evil.com": "", " //evil.com": "", "/ x": "", "/x\r\nSet-Cookie: a=b": "", "/\x00": "", "/\x7f": "",
		"https:evil.com": "", "https:/evil.com": "", "https:///evil.com": "", "https:app.example.com/x": "", "https:/app.example.com/x": "",
		"https://evil.com": "", "http://app.example.com/": "", "https://app.example.com:8443/": "", "https://app.example.com.evil.com/": "",
		"https://app.example.com@evil.com/": "", "https://evil.com@app.example.com/": "", "https://app.example.com:x@evil.com": "",
		"https://evil.com\\@app.example.com": "", "https://evil.com#@app.example.com": "", "https://evil.com?@app.example.com": "",
		"https://[::1]/": "", "https://app。example.com/": "", "https://app．example.com/": "", "https://app.example.com%2eevil.com/": "",
		"https://app.example.com%00.evil.com/": "", "javascript:alert(1)": "", "data:text/html,x": "", "JavaScript://app.example.com/%0aalert(1)": "",
		"/..//evil.com": "", "/.//evil.com": "", "/%2e%2e//evil.com": "", "/a/../b": "", "/...": "/...", "/%2f/evil.com": "", "/%zz": "", "ftp://app.example.com/": "", "blob:https://app.example.com/": "", "view-source:https://app.example.com/": "",
	} {
		if want == "" {
			want = "/fallback"
		}
		if got := e.ReturnTo(in, "/fallback"); got != want {
			t.Errorf("ReturnTo(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestC17_ReturnToAgreesWithBrowsers: of all URLs that web-platform-tests has, none is accepted that a browser would open
// at another origin than the application's.
func TestC17_ReturnToAgreesWithBrowsers(t *testing.T) {
	var all []json.RawMessage
	data, err := os.ReadFile("testdata/url/urltestdata.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	engines := map[string]*engine{}
	at := func(origin string) *engine {
		if engines[origin] == nil {
			u, err := url.Parse(origin)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
				return nil
			}
			engines[origin] = newEngine(t, func(o *handstamp.Options) { o.PublicURL, o.InsecureHTTP = origin, true })
		}
		return engines[origin]
	}
	originOf := func(href string) string {
		if i := strings.Index(href, "://"); i > 0 {
			if j := strings.IndexAny(href[i+3:], "/?#"); j >= 0 {
				return href[:i+3+j]
			}
		}
		return href
	}
	cases, accepted := 0, 0
	for _, raw := range all {
		var c struct {
			Input, Base, Href, Origin string
			Failure                   bool
		}
		if json.Unmarshal(raw, &c) != nil {
			continue // a comment
		}
		cases++
		// Judge it as the application at the case's base would, and as the one at the URL's own origin would.
		for _, app := range []string{originOf(c.Base), c.Origin, publicURL} {
			e := at(app)
			if e == nil || app == publicURL && !strings.Contains(c.Input, "//") {
				continue // what a relative URL opens depends on the base
			}
			got := e.ReturnTo(c.Input, "")
			if got == "" {
				continue
			}
			accepted++
			if c.Failure || c.Origin != app {
				t.Errorf("at %s: ReturnTo(%q) = %q, a browser opens %q of %q", app, c.Input, got, c.Href, c.Origin)
			}
			if path, ok := strings.CutPrefix(got, app); (!ok && got[0] != '/') || ok && path[0] != '/' || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\t\r\n") {
				t.Errorf("at %s: ReturnTo(%q) = %q", app, c.Input, got)
			}
		}
	}
	if cases < 800 || accepted < 50 {
		t.Errorf("%d cases, %d accepted: the data was not read", cases, accepted)
	}
}

func FuzzReturnTo(f *testing.F) {
	for _, s := range []string{"/", "//e", "/\\e", "https:e", "https://app.example.com/x", "https://a@app.example.com", "/%2f/x", "/..//e", "\t/e"} {
		f.Add(s)
	}
	e := newEngine(f, nil)
	f.Fuzz(func(t *testing.T, in string) {
		got := e.ReturnTo(in, "")
		if got == "" {
			return
		}
		if rest, ok := strings.CutPrefix(got, publicURL); ok {
			got = rest
		}
		if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") && !strings.HasPrefix(in, "https://") || strings.ContainsAny(got, "\\\r\n\t \x00") {
			t.Errorf("ReturnTo(%q) = %q", in, got)
		}
		if again := e.ReturnTo(got, ""); !strings.HasPrefix(got, "//") && again != got {
			t.Errorf("ReturnTo(%q) = %q, and of that %q", in, got, again)
		}
	})
}

// TestP14_ClientAddr: forwarded headers count from trusted proxies only, from the right, and an address has one text.
func TestP14_ClientAddr(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, tc := range []struct{ peer, forwarded, want string }{
		{"192.0.2.1:99", "", "192.0.2.1"},
		{"192.0.2.1:99", "203.0.113.9", "192.0.2.1"}, // an untrusted peer says what it likes
		{"[2001:db8::1]:99", "203.0.113.9", "2001:db8::1"},
		{"[::ffff:192.0.2.1]:99", "", "192.0.2.1"},
		{"[fe80::1%eth0]:99", "", "fe80::1"},
		{"10.0.0.1:99", "", "10.0.0.1"},
		{"10.0.0.1:99", "203.0.113.9", "203.0.113.9"},
		{"10.0.0.1:99", "198.51.100.7, 203.0.113.9", "203.0.113.9"}, // the left part anybody may have written
		{"10.0.0.1:99", "198.51.100.7, 203.0.113.9, 10.1.1.1", "203.0.113.9"},
		{"10.0.0.1:99", "203.0.113.9,\t10.1.1.1 ,10.2.2.2", "203.0.113.9"},
		{"10.0.0.1:99", "10.1.1.1, 10.2.2.2", "10.1.1.1"},
		{"10.0.0.1:99", "203.0.113.9, junk", "10.0.0.1"},
		{"10.0.0.1:99", "203.0.113.9, ", "10.0.0.1"},
		{"10.0.0.1:99", "203.0.113.9, unknown, 10.1.1.1", "10.1.1.1"},
		{"10.0.0.1:99", "::ffff:203.0.113.9", "203.0.113.9"},
		{"10.0.0.1:99", "2001:DB8:0:0::1", "2001:db8::1"},
		{"[fd00::1]:99", "2001:db8::9", "2001:db8::9"},
		{"[::ffff:10.0.0.1]:99", "203.0.113.9", "203.0.113.9"},
		{"@", "203.0.113.9", "invalid IP"},
		{"", "203.0.113.9", "invalid IP"},
		{"10.0.0.1", "203.0.113.9", "invalid IP"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tc.peer
		for _, h := range []string{"X-Real-IP", "Forwarded", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP"} {
			r.Header.Set(h, "198.51.100.99")
		}
		if tc.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tc.forwarded)
		}
		if got := handstamp.ClientAddr(r, trusted).String(); got != tc.want {
			t.Errorf("peer %s, forwarded %q: %s, want %s", tc.peer, tc.forwarded, got, tc.want)
		}
	}
	two := httptest.NewRequest("GET", "/", nil)
	two.RemoteAddr = "10.0.0.1:1"
	two.Header["X-Forwarded-For"] = []string{"198.51.100.1", "203.0.113.9"}
	if got := handstamp.ClientAddr(two, trusted).String(); got != "203.0.113.9" {
		t.Errorf("two headers: %s", got)
	}
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8::1": "2001:db8::/64",
		"2001:db8:0:0:ffff::1": "2001:db8::/64", "2001:db8:0:1::1": "2001:db8:0:1::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := handstamp.Network(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("Network(%s) = %s, want %s", in, got, want)
		}
	}
	if handstamp.Network(netip.Addr{}).IsValid() {
		t.Error("no address has a network")
	}
}

// TestCheckForwarded: the rule for a request that a trusted proxy asks about.
func TestCheckForwarded(t *testing.T) {
	e := newEngine(t, func(o *handstamp.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	type headers = map[string]string
	for _, tc := range []struct {
		what   string
		peer   string
		cookie bool
		h      headers
		want   bool
	}{
		{"safe", "10.0.0.1:1", true, headers{"X-Forwarded-Method": "GET", "Origin": "https://evil.example"}, true},
		{"no method", "10.0.0.1:1", true, headers{"Origin": "https://evil.example"}, true},
		{"unsafe, other origin", "10.0.0.1:1", true, headers{"X-Forwarded-Method": "POST", "Origin": "https://evil.example"}, false},
		{"other name of the header", "10.0.0.1:1", true, headers{"X-Original-Method": "DELETE", "Origin": "https://evil.example"}, false},
		{"lower case", "10.0.0.1:1", true, headers{"X-Forwarded-Method": "post", "Sec-Fetch-Site": "cross-site"}, false},
		{"unsafe, own", "10.0.0.1:1", true, headers{"X-Forwarded-Method": "POST", "Origin": publicURL}, true},
		{"unsafe, the forwarded host", "10.0.0.1:1", true, headers{"X-Forwarded-Method": "POST", "X-Forwarded-Host": "wiki.example.com", "X-Forwarded-Proto": "https", "Origin": "https://wiki.example.com"}, true},
		{"unsafe, not the forwarded host", "10.0.0.1:1", true, headers{"X-Forwarded-Method": "POST", "X-Forwarded-Host": "wiki.example.com", "X-Forwarded-Proto": "https", "Origin": publicURL}, false},
		{"host is junk", "10.0.0.1:1", true, headers{"X-Forwarded-Method": "POST", "X-Forwarded-Host": "a, b", "Origin": publicURL}, false},
		{"host with a path", "10.0.0.1:1", true, headers{"X-Forwarded-Method": "POST", "X-Forwarded-Host": "a/b", "Origin": publicURL}, false},
		{"neither header", "10.0.0.1:1", true, headers{"X-Forwarded-Method": "POST"}, false},
		{"bearer", "10.0.0.1:1", true, headers{"X-Forwarded-Method": "POST", "Origin": "https://evil.example", "Authorization": "Bearer x"}, true},
		{"no credential at all", "10.0.0.1:1", false, headers{"X-Forwarded-Method": "POST", "Origin": "https://evil.example"}, true},
		{"untrusted peer", "192.0.2.1:1", true, headers{"X-Forwarded-Method": "POST", "Origin": "https://evil.example"}, true},
	} {
		r := httptest.NewRequest("GET", "/v1/check", nil)
		r.RemoteAddr = tc.peer
		if tc.cookie {
			r.Header.Set("Cookie", "__Host-handstamp=x")
		}
		for k, v := range tc.h {
			r.Header.Set(k, v)
		}
		if err := e.CheckForwarded(r); (err == nil) != tc.want {
			t.Errorf("%s: %v, want passed = %v", tc.what, err, tc.want)
		}
	}
}

// TestDeny: page loads are sent to the login and back, everything else gets a problem; "don't know" is never a redirect.
func TestDeny(t *testing.T) {
	e := newEngine(t, func(o *handstamp.Options) { o.LoginURL = "/login?theme=dark" })
	h := e.Require(handstamp.Permission("posts:write"))(http.NotFoundHandler())
	ask := func(method string, hs ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/notes?a=b&c=//x", nil)
		for i := 0; i+1 < len(hs); i += 2 {
			r.Header.Set(hs[i], hs[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Header().Get("Cache-Control") != "no-store" { // C15
			t.Errorf("%v: Cache-Control %q", hs, w.Header().Get("Cache-Control"))
		}
		return w
	}
	w := ask("GET", "Accept", "text/html,*/*", "Sec-Fetch-Mode", "navigate")
	if w.Code != 302 || w.Header().Get("Location") != "/login?theme=dark&return_to=%2Fnotes%3Fa%3Db%26c%3D%2F%2Fx" {
		t.Errorf("a page load: %d %v", w.Code, w.Header())
	}
	for _, hs := range [][]string{{}, {"Accept", "application/json"}, {"Accept", "text/html", "Sec-Fetch-Mode", "cors"}, {"Accept", "text/html", "Sec-Fetch-Mode", "no-cors"}} {
		if w := ask("GET", hs...); w.Code != 401 || w.Header().Get("WWW-Authenticate") != "Bearer" || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%v: %d %v", hs, w.Code, w.Header())
		}
	}
	if w := ask("POST", "Accept", "text/html"); w.Code != 401 {
		t.Errorf("a POST: %d", w.Code)
	}
	token := e.start(t, "ada", handstamp.ModeSession).AccessToken.Reveal()
	if w := ask("GET", "Accept", "text/html", "Authorization", "Bearer "+token); w.Code != 403 || !strings.Contains(w.Body.String(), "posts:write") {
		t.Errorf("forbidden: %d %s", w.Code, w.Body)
	}
	e.store.set(func(string, func() error) error { return errDown })
	if w := ask("GET", "Accept", "text/html", "Authorization", "Bearer "+token); w.Code != 503 {
		t.Errorf("don't know: %d", w.Code)
	}
	var own error
	e2 := newEngine(t, func(o *handstamp.Options) {
		o.OnDenied = func(w http.ResponseWriter, _ *http.Request, err error) { own = err; w.WriteHeader(418) }
	})
	rec := httptest.NewRecorder()
	e2.Require()(http.NotFoundHandler()).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != 418 || !errors.Is(own, handstamp.ErrUnauthenticated) {
		t.Errorf("OnDenied: %d %v", rec.Code, own)
	}
}

// TestProblemOf: every reason has its status and code, equal refusals are equal bytes, and what is not known is 503.
func TestProblemOf(t *testing.T) {
	status := map[handstamp.Reason]int{
		handstamp.ReasonMissing: 401, handstamp.ReasonDuplicate: 400, handstamp.ReasonInvalid: 401, handstamp.ReasonExpired: 401,
		handstamp.ReasonRevoked: 401, handstamp.ReasonReused: 401, handstamp.ReasonStale: 401, handstamp.ReasonForbidden: 403, handstamp.ReasonStepUp: 403,
	}
	for reason, want := range status {
		a := handstamp.ProblemOf(&handstamp.DeniedError{Reason: reason, Check: "a", By: 7})
		b := handstamp.ProblemOf(fmt.Errorf("wrapped: %w", &handstamp.DeniedError{Reason: reason, Check: "b", By: 8}))
		wa, wb := httptest.NewRecorder(), httptest.NewRecorder()
		a.Write(wa)
		b.Write(wb)
		if a.Status != want || a.Code != string(reason) || a.Type != "urn:handstamp:problem:"+a.Code || a.Title == "" || a.Detail == "" {
			t.Errorf("%s: %+v", reason, a)
		}
		if wa.Body.String() != wb.Body.String() || fmt.Sprint(wa.Header()) != fmt.Sprint(wb.Header()) {
			t.Errorf("%s: two refusals differ", reason)
		}
		if challenge := wa.Header().Get("WWW-Authenticate"); (challenge != "") != (want == 401) || strings.Contains(challenge, "error=") != (want == 401 && reason != handstamp.ReasonMissing) {
			t.Errorf("%s: challenge %q", reason, challenge)
		}
	}
	for _, err := range []error{nil, errDown, handstamp.ErrProofOutdated, &handstamp.DeniedError{Reason: "made up"}, &handstamp.UnavailableError{Err: errDown}} {
		if p := handstamp.ProblemOf(err); p.Status != 503 || p.RetryAfter <= 0 || strings.Contains(p.Detail, "down") {
			t.Errorf("%v: %+v", err, p)
		}
	}
}
