package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/handstamp/handstamp"
)

// A browser sends no cookie that is SameSite=Strict with a page load that another site began, not even after redirects: who
// follows a link in a mail would find a sign-in form, and be signed in. So a page of ours lets such an arrival load the
// same address once more. That load is begun by a page of this origin, and brings the cookie along. Nothing is changed by
// loading a page, and no other site can read or frame one: what Strict keeps off beyond that, forms and scripts of other
// sites, the origin rules refuse as before.

// arrivalSeconds is for how long the mark of a bounce is kept: the browser comes back at once.
const arrivalSeconds = 10

// The values of the mark, in the order in which a browser goes round.
const (
	comingBack  = "1" // was bounced, and has not loaded the page yet
	cameBack    = "2" // has loaded it, a moment ago
	comingAgain = "3" // was bounced once more since
)

// bounced puts the bounce before a page. A browser that still says cross-site when it comes back is not bounced again.
func (s *Server) bounced(page handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		switch mark := s.arrivalMark(r); {
		case mark == comingBack:
			s.markArrival(w, cameBack)
		case mark == comingAgain:
			s.markArrival(w, "")
		case s.fromElsewhere(r):
			next := comingBack
			if mark == cameBack {
				next = comingAgain
			}
			s.markArrival(w, next)
			w.Header().Set("Refresh", "0; url="+s.address(r))
			return s.page(w, http.StatusOK, "arrival.html", view{})
		}
		return page(w, r)
	}
}

// fromElsewhere reports whether another site made the browser load a page, so that it kept the cookies back. A browser that
// does not say where a load comes from (Fetch Metadata), or a program, is never bounced.
func (s *Server) fromElsewhere(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return r.Method == http.MethodGet && s.cookies.session.SameSite == http.SameSiteStrictMode &&
		r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		(dest == "" || dest == "document") && len(s.auth.Credentials(r)) == 0
}

// address is the path and query of a request to a fixed path, for a header. It starts with one slash, so that it leads
// nowhere but here. The fragment, which a browser keeps to itself, is not in it: with one, and without this address, the
// browser would take the load for a jump inside the page that it has.
func (s *Server) address(r *http.Request) string {
	var b strings.Builder
	b.WriteString(s.prefix + r.URL.Path)
	if r.URL.RawQuery != "" {
		b.WriteByte('?')
	}
	for _, c := range []byte(r.URL.RawQuery) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"#'<>`", c) >= 0 { // controls, and what means something around a URL
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// arrivalCookie is the name of the mark, with the prefix that the engine's cookies have.
func (s *Server) arrivalCookie() string { return s.cookies.session.Name + "-arrival" }

// arrivalMark is the mark that a browser has; empty for none. It decides nothing but where to go next: who sets it by
// themselves is shown a page, or sent on, a moment sooner.
func (s *Server) arrivalMark(r *http.Request) string {
	k, err := r.Cookie(s.arrivalCookie())
	if err != nil {
		return ""
	}
	return k.Value
}

// markArrival sets the mark, or takes it away. It is Lax: it has to be there where the others are kept back.
func (s *Server) markArrival(w http.ResponseWriter, mark string) {
	//nolint:gosec // Secure follows the public URL, as with every other cookie
	k := &http.Cookie{
		Name: s.arrivalCookie(), Value: mark, Path: "/", MaxAge: arrivalSeconds, Secure: s.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if mark == "" {
		k.MaxAge = -1
	}
	http.SetCookie(w, k)
}

// loginPage: GET /login. Who is signed in finds the form all the same: they may have been sent here to prove once more who
// they are, by a page that asks for a login that is more recent, and being sent back at once they would go in circles. Only
// who came back from a bounce goes on at once, since the page that sent them here did not see their cookie; if that page,
// or one of another site, sends them here again, there is the form.
func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) error {
	v := view{ReturnTo: s.auth.ReturnTo(r.URL.Query().Get("return_to"), s.opt.HomeURL)}
	p, err := s.auth.Verify(r)
	if err != nil || p.Session == "" { // "don't know" alike: showing a form decides nothing
		return s.showLogin(w, r, http.StatusOK, v)
	}
	if s.arrivalMark(r) == comingBack {
		http.Redirect(w, r, s.onward(v), http.StatusSeeOther)
		return nil
	}
	if user, err := s.userOf(r.Context(), p); err == nil {
		v.Name, v.Onward = nameOf(user), s.onward(v)
	}
	return s.showLogin(w, r.WithContext(handstamp.NewContext(r.Context(), p)), http.StatusOK, v)
}

// onward is where somebody who is signed in goes from the sign-in page.
func (s *Server) onward(v view) string {
	if v.ReturnTo != "" {
		return v.ReturnTo
	}
	return s.prefix + "/"
}
