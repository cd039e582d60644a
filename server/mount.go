package server

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// Handler makes a Server below a path of an application's own:
//
//	h, err := server.Handler(auth, accounts, server.Options{Prefix: "/auth", PublicURL: "https://app.example.com"})
//	mux.Handle("/auth/", h)
//
// It is [New] with Options.Auth and Options.Accounts filled in. Mount it as it is, without http.StripPrefix: the server
// writes links, and has to know where it stands. Where engine and options do not mean the same place, the error says which
// option to set. For pages of the application that need a login, handstamp.Options.LoginURL is /auth/login.
func Handler(auth *handstamp.Auth, accounts *account.Accounts, opt Options) (*Server, error) {
	opt.Auth, opt.Accounts = auth, accounts
	return New(opt)
}

// refreshPath is where the refresh cookie has to go, below the prefix.
const refreshPath = "/v1/refresh"

// prefixOf is the path that everything is below, without a slash at its end: "" for the root.
func prefixOf(given string, public *url.URL) (string, error) {
	base := strings.TrimRight(public.EscapedPath(), "/")
	if given == "" {
		return base, nil
	}
	prefix := strings.TrimSuffix(given, "/")
	if !strings.HasPrefix(given, "/") || !plainPath(prefix) {
		return "", fmt.Errorf("server: Options.Prefix %q is not a path such as /auth: it starts with a slash, and its parts are letters, digits, '-', '.', '_' and '~'", given)
	}
	if base != "" && prefix != base && !strings.HasPrefix(prefix, base+"/") {
		return "", fmt.Errorf("server: Options.Prefix is the whole path, as browsers see it: with this PublicURL it is %s or below, such as %s", base, base+prefix)
	}
	return prefix, nil
}

// plainPath reports whether a path is "", or parts that no router and no browser writes in another way (the unreserved
// characters of RFC 3986 section 2.3).
func plainPath(path string) bool {
	if path == "" {
		return true
	}
	for part := range strings.SplitSeq(path[1:], "/") {
		if part == "" || part == "." || part == ".." || strings.IndexFunc(part, reserved) >= 0 {
			return false
		}
	}
	return true
}

func reserved(c rune) bool {
	letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	return !letter && (c < '0' || c > '9') && !strings.ContainsRune("-._~", c)
}

// engineCookies are the names and attributes that the engine gives its cookies: what it clears is what it sets.
type engineCookies struct{ session, refresh http.Cookie }

func cookiesOf(auth *handstamp.Auth) engineCookies {
	w := headersOnly{http.Header{}}
	auth.ClearCookies(w)
	var out engineCookies
	for _, c := range (&http.Response{Header: w.header}).Cookies() {
		if strings.HasSuffix(c.Name, "-refresh") {
			out.refresh = *c
		} else {
			out.session = *c
		}
	}
	return out
}

// agree checks that the engine means the same place as this server. They are configured apart; where they differ a login
// would fail long after the start, for a reason that nobody sees.
func (s *Server) agree() error {
	var errs []error
	probe := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/"}, Header: http.Header{"Origin": {s.origin}}}
	if s.auth.CheckOrigin(probe) != nil || s.cookies.session.Secure != s.secure {
		errs = append(errs, fmt.Errorf("server: Options.PublicURL is at %s, and handstamp.Options.PublicURL is somewhere else: both are where browsers reach the application", s.origin))
	}
	at, sent := s.prefix+refreshPath, cmp.Or(s.cookies.refresh.Path, "/")
	if slices.Contains(s.auth.Modes(), handstamp.ModeHybrid) && !below(at, sent) {
		errs = append(errs, fmt.Errorf("server: browsers would send the refresh cookie to %s, and this server refreshes at %s: set handstamp.Options.RefreshPath to %q", sent, at, at))
	}
	return errors.Join(errs...)
}

// below is path-match of RFC 6265 section 5.1.4: a browser sends a cookie of a path to that path and to what is below it.
func below(path, cookie string) bool {
	return path == cookie || strings.HasPrefix(path, strings.TrimSuffix(cookie, "/")+"/")
}

// noticeCut says, once, that somebody took the beginning off a path before the request came here. Nothing works then, and
// all that a browser sees is 404 or a link that leads nowhere.
func (s *Server) noticeCut(r *http.Request) {
	asked, _, _ := strings.Cut(r.RequestURI, "?")
	here := r.URL.EscapedPath()
	if len(asked) <= len(here) || !strings.HasPrefix(asked, "/") || !strings.HasSuffix(asked, here) {
		return
	}
	s.cutNoticed.Do(func() {
		s.opt.Logger.WarnContext(r.Context(), "the beginning of a path was taken off before the request got here: "+
			"mount this handler without http.StripPrefix, and give the whole path in Options.Prefix", "prefix", s.prefix)
	})
}
