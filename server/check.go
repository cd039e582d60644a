package server

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
)

// checkHeaders are the names of the headers that /v1/check answers, which an operator may choose.
type checkHeaders struct{ user, session, roles, permissions, expires, email string }

func defaultCheckHeaders() map[string]string {
	all := map[string]string{}
	for _, n := range []string{"User", "Session", "Roles", "Permissions", "Expires", "Email"} {
		all["Handstamp-"+n] = "Handstamp-" + n
	}
	return all
}

func knownCheckHeader(name string) bool {
	_, ok := defaultCheckHeaders()[http.CanonicalHeaderKey(name)]
	return ok
}

func newCheckHeaders(renamed map[string]string) checkHeaders {
	n := defaultCheckHeaders()
	for _, from := range slices.Sorted(maps.Keys(renamed)) {
		n[http.CanonicalHeaderKey(from)] = renamed[from]
	}
	return checkHeaders{
		user: n["Handstamp-User"], session: n["Handstamp-Session"], roles: n["Handstamp-Roles"],
		permissions: n["Handstamp-Permissions"], expires: n["Handstamp-Expires"], email: n["Handstamp-Email"],
	}
}

// headerName accepts the letters, digits and hyphens that every proxy passes on. An underscore is refused: servers that
// fold it into a hyphen would let a client send the same header under another name.
func headerName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// asked is what a caller of /v1/check wants to know.
type asked struct {
	rules    []handstamp.Rule
	redirect bool
}

// check: /v1/check, any method. It answers by status and headers alone; proxies turn everything but 2xx, 401 and 403
// into an error of their own.
func (s *Server) check(w http.ResponseWriter, r *http.Request) error {
	a, err := parseCheck(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if err := s.auth.CheckForwarded(r); err != nil {
		return err
	}
	p, err := s.auth.Check(r, a.rules...)
	if err != nil {
		return s.denyCheck(w, r, a, err)
	}
	s.describePrincipal(w.Header(), p)
	w.WriteHeader(http.StatusOK)
	return nil
}

// parseCheck reads the query strictly: a mistyped permission must not open the door.
func parseCheck(raw string) (asked, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return asked{}, malformed("The query cannot be read.")
	}
	var a asked
	for name, v := range values {
		if name != "permission" && len(v) > 1 {
			return asked{}, malformed("A query parameter is there twice.")
		}
		switch name {
		case "permission":
			for _, p := range v {
				if permission.CheckAsked(p) != nil {
					return asked{}, malformed("A permission is resource:action or a dotted name, and no pattern.")
				}
				a.rules = append(a.rules, handstamp.Permission(p))
			}
		case "max_age":
			n, err := strconv.ParseUint(v[0], 10, 31)
			if err != nil {
				return asked{}, malformed("max_age is a number of seconds.")
			}
			a.rules = append(a.rules, handstamp.MaxAuthAge(time.Duration(n)*time.Second))
		case "fresh":
			if v[0] != "true" {
				return asked{}, malformed("fresh can only be true.")
			}
			a.rules = append(a.rules, handstamp.Fresh())
		case "login":
			if v[0] != "redirect" {
				return asked{}, malformed("login can only be redirect.")
			}
			a.redirect = true
		default:
			return asked{}, malformed("The query has a parameter that is not known: known are permission, max_age, fresh and login.")
		}
	}
	return a, nil
}

// describePrincipal writes who it is. Nothing of it comes from the request's own headers.
func (s *Server) describePrincipal(h http.Header, p handstamp.Principal) {
	n := s.headers
	h.Set(n.user, headerText(string(p.User)))
	roles := p.Roles()
	for i, role := range roles {
		roles[i] = headerText(role)
	}
	h.Set(n.roles, strings.Join(roles, " "))
	h.Set(n.permissions, strings.Join(p.Permissions(), " "))
	if p.Session != "" {
		h.Set(n.session, string(p.Session))
	}
	if !p.ExpiresAt.IsZero() {
		h.Set(n.expires, p.ExpiresAt.UTC().Format(time.RFC3339))
	}
	if email, verified := p.Email(); email != "" && (verified || s.opt.UnverifiedEmail) {
		h.Set(n.email, email)
	}
}

// headerText makes a text fit a header, and no two texts alike: everything but visible ASCII, and the percent sign
// itself, is percent-encoded as UTF-8 (RFC 3986 section 2.1). Bytes above 0x7f are read differently by every proxy, and
// spaces at the ends are cut off. Ids like usr_… and numbers stay as they are.
func headerText(s string) string {
	plain := func(c byte) bool { return c > 0x20 && c < 0x7f && c != '%' }
	clean := true
	for i := range len(s) {
		clean = clean && plain(s[i])
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if plain(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		const hex = "0123456789ABCDEF"
		b.Write([]byte{'%', hex[s[i]>>4], hex[s[i]&15]})
	}
	return b.String()
}

// denyCheck answers no. A browser that loads a page is sent to the sign-in page, if the proxy asked for that.
func (s *Server) denyCheck(w http.ResponseWriter, r *http.Request, a asked, err error) error {
	reason, no := handstamp.ReasonOf(err)
	logIn := errors.Is(err, handstamp.ErrUnauthenticated) || reason == handstamp.ReasonStepUp
	if no && logIn && a.redirect && forwardedNavigation(r) {
		s.metrics.refused(string(reason))
		http.Redirect(w, r, s.loginURL(s.originalURL(r)), http.StatusFound)
		return nil
	}
	if reason == handstamp.ReasonDuplicate {
		p := handstamp.ProblemOf(err)
		return refuse(http.StatusUnauthorized, p.Code, p.Title, p.Detail)
	}
	return err
}

// forwardedNavigation reports whether the request that a proxy asks about loads a page. What a proxy says of the method
// is believed here of anybody: it decides between two ways of saying no.
func forwardedNavigation(r *http.Request) bool {
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
		if m := r.Header.Get(name); m != "" && m != http.MethodGet {
			return false
		}
	}
	return handstamp.IsNavigation(r)
}

// originalURL is where the browser wanted to go, if that is a place of this application: ReturnTo decides, so a made-up
// header sends nobody anywhere else. Empty if nothing says so.
func (s *Server) originalURL(r *http.Request) string {
	target := r.Header.Get("X-Original-URL")
	if host := r.Header.Get("X-Forwarded-Host"); host != "" {
		scheme, _, _ := strings.Cut(s.origin, ":")
		if proto := r.Header.Get("X-Forwarded-Proto"); proto != "" {
			scheme = proto
		}
		target = scheme + "://" + host + "/" + strings.TrimPrefix(r.Header.Get("X-Forwarded-Uri"), "/")
	}
	return s.auth.ReturnTo(target, "")
}

func (s *Server) loginURL(returnTo string) string {
	to := s.origin + s.prefix + "/login"
	if returnTo == "" {
		return to
	}
	return to + "?return_to=" + url.QueryEscape(returnTo)
}
