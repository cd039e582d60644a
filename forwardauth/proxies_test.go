package forwardauth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/forwardauth"
	"github.com/handstamp/handstamp/store/memory"
)

const publicURL = "https://login.example.com"

// behind is a Handler on a real engine that trusts some proxies, and the cookie of a good session.
type behind struct {
	t      *testing.T
	auth   *handstamp.Auth
	check  *forwardauth.Handler
	cookie *http.Cookie
}

func newBehind(t *testing.T, trusted ...string) *behind {
	t.Helper()
	opt := handstamp.Options{PublicURL: publicURL, Origins: []string{"https://app.example.com"}}
	for _, p := range trusted {
		opt.TrustedProxies = append(opt.TrustedProxies, netip.MustParsePrefix(p))
	}
	auth, err := handstamp.Open(context.Background(), memory.New(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = auth.Close() })
	b := &behind{t: t, auth: auth}
	if b.check, err = forwardauth.New(auth, forwardauth.Options{LoginURL: publicURL + "/login"}); err != nil {
		t.Fatal(err)
	}
	proof, err := auth.Prove(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	g, err := auth.Start(t.Context(), proof)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	auth.Deliver(w, g)
	b.cookie = w.Result().Cookies()[0]
	return b
}

// ask is a question from a peer, with headers of which one name may come several times.
func (b *behind) ask(peer, query string, cookie bool, headers ...string) *http.Response {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodGet, publicURL+"/v1/check"+query, nil)
	r.RemoteAddr = peer
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	if cookie {
		r.AddCookie(b.cookie)
	}
	w := httptest.NewRecorder()
	b.check.ServeHTTP(w, r)
	return w.Result()
}

// TestTrustedProxies: forwarded headers count from the proxies that were named, whichever way their address is written,
// and from nobody else, whatever else a request says about where it has been.
func TestTrustedProxies(t *testing.T) {
	b := newBehind(t, "10.0.0.0/8", "2001:db8:1::/48", "fe80::/10")
	chain := []string{"X-Forwarded-For", "10.0.0.1", "Forwarded", "for=10.0.0.1;by=10.0.0.1", "X-Real-Ip", "10.0.0.1", "Via", "1.1 10.0.0.1", "True-Client-Ip", "10.0.0.1"}
	forwarded := append([]string{"X-Forwarded-Host", "app.example.com", "X-Forwarded-Proto", "https", "X-Forwarded-Uri", "/a"}, chain...)
	for peer, trusted := range map[string]bool{
		"10.0.0.1:1": true, "10.255.255.255:65535": true, "[::ffff:10.0.0.1]:1": true, "[::ffff:a00:1]:1": true,
		"[2001:db8:1::5]:1": true, "[fe80::1%eth0]:1": true,
		"192.0.2.1:1": false, "11.0.0.1:1": false, "9.255.255.255:1": false, "[::ffff:192.0.2.1]:1": false, "[2001:db8:2::5]:1": false, "127.0.0.1:1": false,
		"[::1]:1": false, "[::10.0.0.1]:1": false, "[64:ff9b::a00:1]:1": false, "[2002:a00:1::]:1": false,
		"": false, "@": false, "10.0.0.1": false, "010.0.0.1:1": false, "10.0.0.1:1, 192.0.2.1:1": false, "localhost:1": false,
	} {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {"10.0.0.1"}}}
		if got := b.auth.FromTrustedProxy(r); got != trusted {
			t.Errorf("FromTrustedProxy(%q) = %v, want %v", peer, got, trusted)
		}
		// Where the browser wanted to go.
		want := publicURL + "/login"
		if trusted {
			want += "?return_to=https%3A%2F%2Fapp.example.com%2Fa"
		}
		a := b.ask(peer, "?login=redirect", false, append([]string{"Accept", "text/html"}, forwarded...)...)
		if got := a.Header.Get("Location"); a.StatusCode != http.StatusFound || got != want {
			t.Errorf("from %q a browser is sent to %q (%d), want %q", peer, got, a.StatusCode, want)
		}
		// Which method is asked about: another site's POST is refused where a proxy says that it is one.
		status := http.StatusOK
		if trusted {
			status = http.StatusForbidden
		}
		a = b.ask(peer, "", true, append([]string{"X-Forwarded-Method", "POST", "Origin", "https://evil.example"}, forwarded...)...)
		if a.StatusCode != status || trusted != (a.Header.Get("Handstamp-User") == "") {
			t.Errorf("from %q another site's POST = %d %v, want %d", peer, a.StatusCode, a.Header, status)
		}
		// The forwarded host is the one that the origin is held against.
		for origin, ok := range map[string]bool{"https://wiki.example.com": true, publicURL: false} {
			a = b.ask(peer, "", true, "X-Forwarded-Method", "POST", "X-Forwarded-Host", "wiki.example.com", "X-Forwarded-Proto", "https", "Origin", origin)
			if want := ok || !trusted; (a.StatusCode == http.StatusOK) != want {
				t.Errorf("from %q a POST to the wiki from %s = %d, want let in = %v", peer, origin, a.StatusCode, want)
			}
		}
	}
	// With nobody named, nobody is trusted: not the machine itself either.
	nobody := newBehind(t)
	for _, peer := range []string{"127.0.0.1:1", "[::1]:1", "10.0.0.1:1", "", "@"} {
		if nobody.auth.FromTrustedProxy(&http.Request{RemoteAddr: peer}) {
			t.Errorf("without trusted proxies %q is one", peer)
		}
	}
}

// TestMixedChains: of a chain of addresses the part counts that trusted proxies wrote, from the right.
func TestMixedChains(t *testing.T) {
	b := newBehind(t, "10.0.0.0/8", "2001:db8:1::/48")
	for _, c := range []struct {
		peer  string
		chain []string
		want  string
	}{
		{"10.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"10.0.0.1:1", []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},               // the left one is the client's own word
		{"10.0.0.1:1", []string{"198.51.100.1, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},     // two proxies
		{"10.0.0.1:1", []string{"10.0.0.9, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},         // a made-up proxy before the client
		{"10.0.0.1:1", []string{"198.51.100.1", "203.0.113.9", "10.0.0.2"}, "203.0.113.9"}, // in several headers
		{"10.0.0.1:1", []string{"203.0.113.9, ::ffff:10.0.0.2"}, "203.0.113.9"},            // a proxy as IPv4-mapped IPv6
		{"10.0.0.1:1", []string{"::ffff:203.0.113.9, 2001:db8:1::7"}, "203.0.113.9"},       // a client as such, over IPv6
		{"[::ffff:10.0.0.1]:1", []string{"203.0.113.9"}, "203.0.113.9"},                    // the peer as such
		{"10.0.0.1:1", []string{"203.0.113.9, junk, 10.0.0.2"}, "10.0.0.2"},                // as far as trust goes
		{"10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},                         // a proxy asks for itself
		{"10.0.0.1:1", nil, "10.0.0.1"},
		{"192.0.2.1:1", []string{"203.0.113.9, 10.0.0.2"}, "192.0.2.1"}, // nobody we know said so
		{"[::ffff:192.0.2.1]:1", []string{"10.0.0.1"}, "192.0.2.1"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.chain}}
		if got := b.auth.ClientOf(r).IP; got != c.want {
			t.Errorf("%s with %q is %s, want %s", c.peer, c.chain, got, c.want)
		}
	}
}

// TestForwardedMethods: a proxy sets one of the headers and may pass on what the client sent of the others. So what is
// unsafe decides, in whichever header and place it stands.
func TestForwardedMethods(t *testing.T) {
	b := newBehind(t, "10.0.0.0/8")
	const one, other = "X-Forwarded-Method", "X-Original-Method"
	for _, c := range []struct {
		headers []string
		unsafe  bool
	}{
		{nil, false},
		{[]string{one, "GET"}, false},
		{[]string{one, "GET", one, "HEAD", other, "OPTIONS"}, false},
		{[]string{one, "get", other, "head"}, false},
		{[]string{one, "POST"}, true},
		{[]string{other, "POST"}, true},
		{[]string{one, "GET", one, "POST"}, true},
		{[]string{one, "POST", one, "GET"}, true},
		{[]string{one, "GET", other, "DELETE"}, true},
		{[]string{one, "DELETE", other, "GET"}, true},
		{[]string{other, "GET", other, "GET", other, "PATCH"}, true},
		{[]string{one, "GET", one, "put"}, true},
		{[]string{one, "GET, POST"}, true},
		{[]string{one, "", one, "POST"}, true},
		{[]string{one, "GET", one, "PROPFIND"}, true},
		{[]string{one, "GET", other, "anything"}, true},
	} {
		for _, from := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, nil} {
			a := b.ask("10.0.0.1:1", "", true, append(from[:len(from):len(from)], c.headers...)...)
			if (a.StatusCode == http.StatusForbidden) != c.unsafe || (a.Header.Get("Handstamp-User") == "") != c.unsafe {
				t.Errorf("%q from %q = %d, want refused = %v", c.headers, from, a.StatusCode, c.unsafe)
			}
			// From anybody else they say nothing.
			if a := b.ask("192.0.2.1:1", "", true, append(from[:len(from):len(from)], c.headers...)...); a.StatusCode != http.StatusOK {
				t.Errorf("%q from %q by nobody = %d, want 200", c.headers, from, a.StatusCode)
			}
		}
		// The application's own page may send it.
		if a := b.ask("10.0.0.1:1", "", true, append([]string{"Origin", publicURL}, c.headers...)...); a.StatusCode != http.StatusOK {
			t.Errorf("%q from the application itself = %d, want 200", c.headers, a.StatusCode)
		}
		// Who would send something is not sent to a page instead.
		a := b.ask("10.0.0.1:1", "?login=redirect", false, append([]string{"Accept", "text/html"}, c.headers...)...)
		joined := strings.ToUpper(strings.Join(c.headers, " "))
		loads := !c.unsafe && !strings.Contains(joined, "HEAD") && !strings.Contains(strings.Join(c.headers, " "), "get")
		if (a.StatusCode == http.StatusFound) != loads {
			t.Errorf("%q of nobody = %d, want sent to the page = %v", c.headers, a.StatusCode, loads)
		}
	}
}
