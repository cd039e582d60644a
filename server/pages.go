package server

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// webui holds pages, styles and one small script; what they do is decided here.
//
//go:embed webui
var webui embed.FS

// pages are the parsed templates.
type pages struct{ templates *template.Template }

func newPages() (*pages, error) {
	t, err := template.ParseFS(webui, "webui/*.html")
	if err != nil {
		return nil, fmt.Errorf("server: read the pages: %w", err)
	}
	return &pages{templates: t}, nil
}

// view is what a page is made from.
type view struct {
	Base     string // the prefix, for links
	Form     string // the form token
	Error    string
	Title    string // of a refusal
	Advice   string // what to do about it
	Link     string // where to go on, below Base
	LinkText string
	Email    string // as typed, so that nobody has to type it twice
	ReturnTo string
	Onward   string // where who is signed in already goes on

	User        string
	Name        string // of the user, for people
	Permissions []string
}

// page writes a page. Its policy lets it load its own style and script and nothing else, and be framed by nobody.
func (s *Server) page(w http.ResponseWriter, status int, name string, v view) error {
	v.Base = s.prefix
	var b bytes.Buffer
	if err := s.pages.templates.ExecuteTemplate(&b, name, v); err != nil {
		return fmt.Errorf("make the page %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "+
		"form-action 'self'"+formTarget(v.ReturnTo)+"; frame-ancestors 'none'; base-uri 'none'")
	if v.Form != "" {
		// With no-referrer a browser sends "Origin: null" with a form, and the origin rules would refuse our own page
		// wherever it does not send Sec-Fetch-Site: over plain http.
		h.Set("Referrer-Policy", "same-origin")
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the status is out; an error here is the client's connection
	return nil
}

// formTarget lets the answer to a form lead to another origin: browsers apply form-action to redirects too. The target
// went through ReturnTo.
func formTarget(returnTo string) string {
	u, err := url.Parse(returnTo)
	if err != nil || u.Host == "" {
		return ""
	}
	return " " + u.Scheme + "://" + u.Host
}

// homePage: GET /. Who am I; log out; log out everywhere.
func (s *Server) homePage(w http.ResponseWriter, r *http.Request) error {
	p, err := s.auth.Verify(r)
	if errors.Is(err, handstamp.ErrUnauthenticated) || err == nil && p.Session == "" {
		http.Redirect(w, r, s.prefix+"/login", http.StatusSeeOther)
		return nil
	}
	if err != nil {
		return err
	}
	user, err := s.userOf(r.Context(), p)
	if err != nil {
		return err
	}
	return s.page(w, http.StatusOK, "home.html", view{
		Form: s.auth.FormToken(w, r), User: user.ID, Name: nameOf(user), Permissions: p.Permissions(),
	})
}

func nameOf(u userOut) string {
	if u.Email != "" {
		return u.Email
	}
	return u.ID
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, status int, v view) error {
	v.Form = s.auth.FormToken(w, r)
	return s.page(w, status, "login.html", v)
}

// loginForm: POST /login. A failure shows the form again, with the address as it was typed.
func (s *Server) loginForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	typed := r.PostForm.Get("email")
	v := view{Email: typed, ReturnTo: s.auth.ReturnTo(r.PostForm.Get("return_to"), s.opt.HomeURL)}
	if err := s.auth.CheckForm(r); err != nil {
		v.Error = "This page was open for too long. Please try again."
		return s.showLogin(w, r, http.StatusForbidden, v)
	}
	if err := s.logInTyped(w, r, typed); err != nil {
		p := problemOf(err)
		if p.Status >= http.StatusInternalServerError {
			return err
		}
		s.note(w, r, p, err)
		setProblemHeaders(w, p)
		v.Error = sentenceOf(p)
		return s.showLogin(w, r, p.Status, v)
	}
	http.Redirect(w, r, s.onward(v), http.StatusSeeOther)
	return nil
}

func (s *Server) logInTyped(w http.ResponseWriter, r *http.Request, typed string) error {
	email, err := account.ParseAddress(typed)
	if err != nil {
		return err
	}
	start := handstamp.StartOptions{Transport: handstamp.TransportCookie, BrowserSession: r.PostForm.Get("remember") == ""}
	_, err = s.auth.LoginWith(w, r, start, func(start handstamp.StartOptions) (handstamp.Grant, error) {
		return s.opt.Passwords.Login(r.Context(), email, r.PostForm.Get("password"), start)
	})
	return err
}

// sentenceOf is what a page says of a refusal.
func sentenceOf(p handstamp.Problem) string {
	if len(p.Errors) == 0 {
		return p.Detail
	}
	m := p.Errors[0].Message
	return strings.ToUpper(m[:1]) + m[1:] + "."
}

// readForm reads a form that a browser sends.
func readForm(r *http.Request) error {
	if mediaType(r) != "application/x-www-form-urlencoded" {
		return errMedia
	}
	err := r.ParseForm()
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(maxBodyBytes)
	}
	if err != nil {
		return malformed("The form cannot be read.")
	}
	return nil
}

// logOutForm: POST /logout, here or everywhere. Everywhere is the others first, and then here as ever: what the browser
// holds, the session of a visitor too. If that fails, who asked is still signed in, and can ask again.
func (s *Server) logOutForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	if err := s.auth.CheckForm(r); err != nil {
		return err
	}
	opt := handstamp.EndOptions{Reason: "logout", Client: s.auth.ClientOf(r)}
	if r.PostForm.Get("everywhere") != "" {
		p, err := s.auth.Verify(r)
		if err != nil {
			return err
		}
		if p.Session == "" {
			return errProgram
		}
		others := opt
		others.Client.Actor, others.Except = string(p.User), p.Session
		if _, err := s.auth.EndUser(r.Context(), p.User, others); err != nil {
			return err
		}
	}
	if _, err := s.auth.LogOutRequest(w, r, opt); err != nil {
		return err
	}
	s.clearSiteData(w)
	http.Redirect(w, r, s.prefix+"/login", http.StatusSeeOther)
	return nil
}

// setUpPage: GET /setup. The token is in the fragment, which no browser sends: this page never sees it.
func (s *Server) setUpPage(w http.ResponseWriter, _ *http.Request) error {
	return s.page(w, http.StatusOK, "setup.html", view{})
}

// staticFile: GET /static/{file}.
func (s *Server) staticFile(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	kind, ok := types[path.Ext(name)]
	if !ok || strings.ContainsAny(name, `/\`) {
		return handstamp.ErrNotFound
	}
	b, err := webui.ReadFile("webui/" + name)
	if err != nil {
		return handstamp.ErrNotFound
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(b) // the status is out; an error here is the client's connection
	return nil
}
