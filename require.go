package handstamp

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
)

// answers is what is written when the answer is not yes.
type answers struct {
	loginURL string
	onDenied func(w http.ResponseWriter, r *http.Request, err error)
	logger   *slog.Logger
}

// Require lets only requests with a good credential through that meet every rule, and puts the Principal into the
// request's context. It applies the origin rules first: an unsafe request of a browser comes from where it may, or
// nothing is looked at. What is not let through is answered by Options.OnDenied.
func (v *Verifier) Require(rules ...Rule) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := v.CheckOrigin(r); err != nil {
				v.Deny(w, r, err)
				return
			}
			p, err := v.Check(r, rules...)
			if err != nil {
				v.Deny(w, r, err)
				return
			}
			w.Header().Set("Cache-Control", "no-store") // the answer depends on who asks; a handler may know better
			next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), p)))
		})
	}
}

// Optional lets visitors through as well: a request without a credential, or with one that is not good, has no Principal
// in its context. "Could not find out" is not a visitor: it is answered with 503.
func (v *Verifier) Optional() func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := v.CheckOrigin(r); err != nil {
				v.Deny(w, r, err)
				return
			}
			p, err := v.Verify(r)
			switch {
			case err == nil:
				r = r.WithContext(NewContext(r.Context(), p))
			case !errors.Is(err, ErrUnauthenticated):
				v.Deny(w, r, err)
				return
			}
			w.Header().Add("Vary", "Cookie, Authorization")
			next.ServeHTTP(w, r)
		})
	}
}

// Deny answers a request that was not let through, by Options.OnDenied or, without one, by [Verifier.DenyDefault].
func (v *Verifier) Deny(w http.ResponseWriter, r *http.Request, err error) {
	if v.answers.onDenied != nil {
		v.answers.onDenied(w, r, err)
		return
	}
	v.DenyDefault(w, r, err)
}

// DenyDefault sends page loads that need a login to Options.LoginURL with ?return_to=…, and answers everything else with
// problem+json. A cause that could not be found out is logged; the client is not told.
func (v *Verifier) DenyDefault(w http.ResponseWriter, r *http.Request, err error) {
	login := errors.Is(err, ErrUnauthenticated)
	if d, ok := errors.AsType[*DeniedError](err); ok && d.Reason == ReasonStepUp {
		login = true
	}
	if login && v.answers.loginURL != "" && IsNavigation(r) {
		w.Header().Set("Cache-Control", "no-store")
		//nolint:gosec // the target is Options.LoginURL; the request only fills its escaped parameter
		http.Redirect(w, r, loginURL(v.answers.loginURL, r.URL.RequestURI()), http.StatusFound)
		return
	}
	p := ProblemOf(err)
	if p.Status == http.StatusServiceUnavailable {
		v.answers.logger.ErrorContext(r.Context(), "could not decide about a request", "error", err)
	}
	p.Write(w)
}

// IsNavigation reports whether a browser loads a page: GET, HTML wanted, and no script that fetches.
func IsNavigation(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return r.Method == http.MethodGet && (mode == "" || mode == "navigate") &&
		strings.Contains(r.Header.Get("Accept"), "text/html")
}

func loginURL(base, returnTo string) string {
	sep := "?"
	if strings.Contains(base, "?") {
		sep = "&"
	}
	return base + sep + "return_to=" + url.QueryEscape(returnTo)
}

// ReturnTo checks where a login sends the browser next. It accepts a path of this application (one that starts with one
// slash) or a URL whose origin is PublicURL's or one of Options.Origins, and answers the fallback for anything else.
// What a browser would read differently than this function is refused: backslashes, control characters, a second slash.
func (v *Verifier) ReturnTo(target, fallback string) string {
	for i := range len(target) {
		if c := target[i]; c <= 0x20 || c == 0x7f || c == '\\' {
			return fallback
		}
	}
	u, err := url.Parse(target)
	switch {
	case err != nil || target == "" || u.User != nil || u.Opaque != "" || dotted(u.Path):
		return fallback
	case u.Scheme == "" && u.Host == "":
		if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.HasPrefix(u.Path, "//") {
			return fallback
		}
		return u.RequestURI() + fragment(u)
	}
	origin, err := parseOrigin(originOf(target))
	if err != nil || origin != v.origins.public && !v.origins.trusted[origin] {
		return fallback
	}
	return origin + u.RequestURI() + fragment(u)
}

// dotted reports whether a path has a segment . or .., which no browser sends: /..//evil.example becomes //evil.example
// on the way, and whoever takes that path for a URL of its own leaves the application.
func dotted(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func fragment(u *url.URL) string {
	if u.Fragment == "" {
		return ""
	}
	return "#" + u.EscapedFragment()
}
