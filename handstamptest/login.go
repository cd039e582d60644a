package handstamptest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
)

// Login logs a user in by the browser that sends r: it begins a real session with these permissions, puts its cookies
// into r, and the headers by which a browser says that the request comes from the application's own pages, so that POST
// passes the origin rules. It changes r and returns it. Headers about the origin that r has already are left alone: set
// one before to test that a request from elsewhere is refused.
//
// A session that r carried before is replaced, and what a visitor's anonymous session held is carried over, as at any
// login. The user's permissions are exactly perms from then on; patterns such as notes:* are possible. Where
// Options.Permissions is set it says what the user may do, and perms only names what the test relies on.
func (h *Harness) Login(r *http.Request, user handstamp.UserID, perms ...string) *http.Request {
	h.t.Helper()
	if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		h.t.Fatalf("handstamptest: Login(%q): the request has the header Authorization: Bearer, which is what counts then and not a cookie: take it out, or leave out Login", user)
	}
	for _, c := range h.login(h.t, r, user, perms) {
		dropCookie(r, c.Name)
		if c.MaxAge >= 0 && c.Value != "" && under(r.URL.Path, c.Path) {
			r.AddCookie(c)
		}
	}
	h.fromOwnPage(r)
	return r
}

// Token begins a session of a user with these permissions and returns its credential for the header Authorization:
// Bearer. It is a value token where the Auth offers one (it runs out after Options.Token.StatelessTTL, 15 minutes), and a
// reference token otherwise.
func (h *Harness) Token(user handstamp.UserID, perms ...string) string {
	h.t.Helper()
	how := handstamp.StartOptions{Transport: handstamp.TransportBearer, Mode: handstamp.ModeSession}
	for _, m := range []handstamp.Mode{handstamp.ModeToken, handstamp.ModeHybrid} {
		if slices.Contains(h.Auth.Modes(), m) {
			how.Mode = m
			break
		}
	}
	g := h.start(h.t, "Token", user, perms, func(p handstamp.Proof) (handstamp.Grant, error) {
		p.StartOptions = how
		return h.Auth.Start(context.Background(), p)
	})
	return g.AccessToken.Reveal()
}

// login logs in by the browser that sends r and returns the cookies that it is told to keep or to drop.
func (h *Harness) login(t testing.TB, r *http.Request, user handstamp.UserID, perms []string) []*http.Cookie {
	t.Helper()
	post := r.Clone(r.Context())
	post.Method, post.URL, post.Body = http.MethodPost, &url.URL{Path: "/login"}, http.NoBody
	post.Header.Del("Origin")
	post.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	h.start(t, "Login", user, perms, func(p handstamp.Proof) (handstamp.Grant, error) {
		p.Transport = handstamp.TransportCookie
		return h.Auth.Login(w, post, p)
	})
	res := w.Result()
	_ = res.Body.Close()
	return res.Cookies()
}

// maxTries bounds how often a login starts over because another one changed the same user's permissions meanwhile.
const maxTries = 1000

// start proves and begins a session that has these permissions.
func (h *Harness) start(t testing.TB, what string, user handstamp.UserID, perms []string, begin func(handstamp.Proof) (handstamp.Grant, error)) handstamp.Grant {
	t.Helper()
	checkPermissions(func(format string, args ...any) { t.Helper(); t.Fatalf(format, args...) }, what, perms)
	var g handstamp.Grant
	err := handstamp.ErrProofOutdated
	for try := 0; errors.Is(err, handstamp.ErrProofOutdated) && try < maxTries; try++ {
		var p handstamp.Proof
		if p, err = h.Auth.Prove(context.Background(), user); err != nil {
			break
		}
		p.Methods, p.Grants = []string{"pwd"}, &handstamp.Grants{Permissions: perms}
		g, err = begin(p)
	}
	if err != nil {
		t.Fatalf("handstamptest: %s(%q): %v%s", what, user, err, h.hint())
	}
	if h.opt.Permissions == nil {
		return g
	}
	granted := permission.NewSet(g.Principal.Permissions()...)
	for _, asked := range perms {
		if !granted.Has(asked) && !slices.Contains(granted.List(), asked) {
			t.Fatalf("handstamptest: %s(%q): Options.Permissions says what this user may do, and it does not say %q but %q: make it say so, or leave that out here",
				what, user, asked, granted.List())
		}
	}
	return g
}

// checkPermissions refuses what can be granted to nobody: it would be dropped, and the test would wonder about a 403.
func checkPermissions(fatal func(format string, args ...any), what string, perms []string) {
	for _, p := range perms {
		if err := permission.Check(p); err != nil {
			fatal("handstamptest: %s: %q is no permission: %v. (Roles are not named here; Options.Permissions gives a user roles.)", what, p, err)
		}
	}
}

// fromOwnPage sets what a browser says about a request of the application's own pages, unless the request says something
// about that already.
func (h *Harness) fromOwnPage(r *http.Request) {
	if r.Header["Origin"] != nil || r.Header["Sec-Fetch-Site"] != nil {
		return
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		r.Header.Set("Origin", h.origin())
	}
}

func (h *Harness) origin() string {
	u, _ := url.Parse(h.opt.PublicURL) // was validated by Open
	return u.Scheme + "://" + u.Host
}

// dropCookie takes a cookie out of a request.
func dropCookie(r *http.Request, name string) {
	var kept []string
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			if n, _, _ := strings.Cut(pair, "="); n != name && pair != "" {
				kept = append(kept, pair)
			}
		}
	}
	r.Header.Del("Cookie")
	if len(kept) > 0 {
		r.Header.Set("Cookie", strings.Join(kept, "; "))
	}
}

// under is how a browser matches a cookie's path (RFC 6265 section 5.1.4).
func under(path, of string) bool {
	return path == of || strings.HasPrefix(path, of) && (strings.HasSuffix(of, "/") || path[len(of)] == '/')
}
