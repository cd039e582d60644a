package handstamp

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/handstamp/handstamp/token"
)

// cookies knows the names and attributes of our cookies, and finds credentials in a request.
type cookies struct {
	session     string // name of the cookie that holds the session's reference or value token
	refresh     string // name of the refresh cookie
	guest       string // name of the cookie of a session without a user
	form        string // name of the cookie that form tokens are bound to before a login
	refreshPath string
	secure      bool
	domain      string
	sameSite    http.SameSite
}

func newCookies(o Options) cookies {
	u, _ := url.Parse(o.PublicURL) // was validated
	c := cookies{
		session: "handstamp", refresh: "handstamp-refresh", guest: "handstamp-guest", form: "handstamp-form",
		refreshPath: o.RefreshPath, secure: u.Scheme == "https", domain: o.Cookie.Domain, sameSite: o.Cookie.SameSite,
	}
	if c.refreshPath == "" {
		c.refreshPath = strings.TrimRight(u.EscapedPath(), "/") + "/v1/refresh"
	}
	if !c.secure {
		return c
	}
	// A __Host- cookie cannot be set by a sub-domain or over plain http (RFC 6265bis section 4.1.3.2). One that is shared
	// with sub-domains, or sent to one path only, can only be __Secure-.
	c.refresh = "__Secure-" + c.refresh
	if c.domain == "" {
		c.session, c.guest, c.form = "__Host-"+c.session, "__Host-"+c.guest, "__Host-"+c.form
	} else {
		c.session, c.guest, c.form = "__Secure-"+c.session, "__Secure-"+c.guest, "__Secure-"+c.form
	}
	return c
}

// maxCookieBytes bounds what is looked at of a request's cookies. The server's limit on headers is above it.
const maxCookieBytes = 8 << 10

// credential returns the text of the one credential of a request. A header beats a cookie and there is no falling back:
// otherwise a broken header would be answered as whoever the cookie belongs to.
func (c cookies) credential(r *http.Request) (string, error) {
	if text, ok, err := bearer(r); ok || err != nil {
		return text, err
	}
	text, ok, err := c.find(r, c.session)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", denied(ReasonMissing, "no_credential")
	}
	return text, nil
}

// bearer returns the token of an Authorization header of the scheme Bearer (RFC 6750 section 2.1). Any other scheme is
// somebody else's and counts as absent.
func bearer(r *http.Request) (string, bool, error) {
	found, text := false, ""
	for _, h := range r.Header["Authorization"] {
		scheme, rest, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			continue
		}
		if found {
			return "", false, denied(ReasonInvalid, "two_headers")
		}
		found, text = true, strings.TrimLeft(rest, " ")
	}
	if found && text == "" {
		return "", false, denied(ReasonInvalid, "empty_header")
	}
	return text, found, nil
}

// find returns the value of the one cookie of that name, read byte for byte: no unquoting, no decoding, no trimming of
// anything but the space and tab that separate cookies. A lenient reader elsewhere turned Unicode spaces, quotes and the
// $Version syntax of RFC 2109 into the name of a protected cookie.
func (c cookies) find(r *http.Request, name string) (string, bool, error) {
	value, found, size := "", false, 0
	for _, line := range r.Header["Cookie"] {
		if size += len(line); size > maxCookieBytes {
			return "", false, denied(ReasonInvalid, "cookies_too_large")
		}
		for pair := range strings.SplitSeq(line, ";") {
			n, v, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			if strings.HasPrefix(n, "$") {
				return "", false, denied(ReasonInvalid, "legacy_cookie_syntax")
			}
			if !ok || n != name {
				continue
			}
			if found {
				return "", false, denied(ReasonDuplicate, "two_cookies")
			}
			value, found = v, true
		}
	}
	// A cleared cookie has an empty value in clients that keep it.
	return value, found && value != "", nil
}

// carries reports whether a request carries one of our credentials as a cookie, however broken: the origin rules ask.
func (c cookies) carries(r *http.Request) bool {
	for _, name := range []string{c.session, c.refresh, c.guest} {
		if _, ok, err := c.find(r, name); ok || err != nil {
			return true
		}
	}
	return false
}

// set writes the cookies of a grant. Max-Age is the session's absolute end, also for a value token, so that a log-out
// can still name a session whose access token has run out; what ends a session is the server.
func (c cookies) set(w http.ResponseWriter, g Grant, now time.Time) {
	maxAge := 0 // a browser session
	if !g.Session.BrowserSession {
		maxAge = max(1, int(g.Session.ExpiresAt.Sub(now)/time.Second))
	}
	c.write(w, c.session, g.AccessToken.Reveal(), "/", maxAge)
	if !g.RefreshToken.IsZero() {
		c.write(w, c.refresh, g.RefreshToken.Reveal(), c.refreshPath, maxAge)
	}
}

// clear ends both cookies, with the attributes they were set with: a browser keeps a cookie whose deletion differs.
func (c cookies) clear(w http.ResponseWriter) {
	c.write(w, c.session, "", "/", -1)
	c.write(w, c.refresh, "", c.refreshPath, -1)
}

func (c cookies) write(w http.ResponseWriter, name, value, path string, maxAge int) {
	//nolint:gosec // Secure follows the public URL, which is https or loopback; SameSite is never left out
	cookie := &http.Cookie{
		Name: name, Value: value, Path: path, MaxAge: maxAge,
		Secure: c.secure, HttpOnly: true, SameSite: c.sameSite,
	}
	if !strings.HasPrefix(name, "__Host-") {
		cookie.Domain = c.domain
	}
	http.SetCookie(w, cookie)
	w.Header().Set("Cache-Control", "no-store")
}

// put makes a request carry a cookie that its answer sets, in the place of any of that name: two of them would be refused.
func (c cookies) put(r *http.Request, name, value string) {
	var kept []string
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			if n, _, _ := strings.Cut(pair, "="); n != name && pair != "" {
				kept = append(kept, pair)
			}
		}
	}
	r.Header["Cookie"] = []string{strings.Join(append(kept, name+"="+value), "; ")}
}

// maxValueCookieBytes is the largest value token for a cookie: browsers drop cookies of more than 4,096 bytes silently.
const maxValueCookieBytes = 3 << 10

// CheckCookies refuses a request that carries one of our cookies twice: which of them is the user's is not known, so
// nothing is done in anybody's name. The error is a *DeniedError with ReasonDuplicate.
func (v *Verifier) CheckCookies(r *http.Request) error {
	for _, name := range []string{v.cookies.session, v.cookies.refresh} {
		_, _, err := v.cookies.find(r, name)
		if why, ok := ReasonOf(err); ok && why == ReasonDuplicate {
			return err
		}
	}
	return nil
}

// RefreshCookie returns the refresh token that a request carries as a cookie.
func (a *Auth) RefreshCookie(r *http.Request) (token.Secret, bool) {
	text, ok, err := a.cookies.find(r, a.cookies.refresh)
	return token.NewSecret(text), ok && err == nil
}

// Deliver writes the cookies of a grant whose transport is cookie, and nothing for a bearer grant.
func (a *Auth) Deliver(w http.ResponseWriter, g Grant) {
	if g.Session.Transport == TransportCookie {
		a.cookies.set(w, g, a.now())
	}
}

// ClearCookies ends both cookies in the browser. Only log-out and a reused refresh token call for it: an outage or an
// expired token must not take away what may still be good.
func (a *Auth) ClearCookies(w http.ResponseWriter) { a.cookies.clear(w) }
