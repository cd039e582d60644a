package main

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login/password"
	"github.com/handstamp/handstamp/store/sqlite"
)

//go:embed pages.html
var files embed.FS

// app is the whole application.
type app struct {
	store     *sqlite.Store
	auth      *handstamp.Auth    // sessions: who is this, and may they do that
	accounts  *account.Accounts  // users and roles
	passwords *password.Method   // sign-up and login
	board     *board             // the notes
	pages     *template.Template // pages.html
}

// open puts the application together: a store, the engine on it, accounts, and one way to log in.
func open(ctx context.Context, file, publicURL string) (*app, error) {
	a := &app{}
	var err error
	if a.pages, err = template.ParseFS(files, "pages.html"); err != nil {
		return nil, err
	}
	if a.store, err = sqlite.Open(ctx, file, sqlite.Options{}); err != nil {
		return nil, err
	}
	if a.auth, err = handstamp.Open(ctx, a.store, handstamp.Options{
		PublicURL: publicURL,
		LoginURL:  "/login",
		OnDenied:  a.denied,
		// Lax, so that a link in a mail opens the page and not the login. What a cross-site request could do with the
		// cookie is stopped by the origin rules and the form tokens.
		Cookie: handstamp.CookieOptions{SameSite: http.SameSiteLaxMode},
	}); err != nil {
		return nil, errors.Join(err, a.store.Close())
	}
	if err := a.fill(ctx, file); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// fill makes what stands on the engine.
func (a *app) fill(ctx context.Context, file string) error {
	var err error
	if a.passwords, err = password.Open(a.auth, a.store, password.Options{}); err != nil {
		return err
	}
	a.accounts = a.passwords.Accounts()
	a.board, err = openBoard(ctx, file)
	return err
}

// close ends what open began, in the opposite order.
func (a *app) close() error {
	var err error
	if a.board != nil {
		err = a.board.close()
	}
	return errors.Join(err, a.auth.Close(), a.store.Close())
}

// routes lists every page: who may load it, and what answers.
func (a *app) routes() http.Handler {
	anyone := a.auth.Optional()
	member := a.auth.Require()
	admin := a.auth.Require(handstamp.Permission("notes:admin"), handstamp.MaxAuthAge(adminMaxAuthAge))

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", member(a.page(a.showBoard)))
	mux.Handle("POST /notes", member(a.form(a.addNote)))
	mux.Handle("POST /notes/{id}/delete", member(a.form(a.deleteNote)))

	mux.Handle("GET /signup", anyone(a.page(a.showSignUp)))
	mux.Handle("POST /signup", anyone(a.form(a.signUp)))
	mux.Handle("GET /login", anyone(a.page(a.showLogin)))
	mux.Handle("POST /login", anyone(a.form(a.logIn)))
	mux.Handle("POST /logout", anyone(a.form(a.logOut)))
	mux.Handle("POST /logout/everywhere", member(a.form(a.logOutEverywhere)))

	mux.Handle("GET /admin", admin(a.page(a.showAdmin)))
	mux.Handle("POST /admin/users/{id}", admin(a.form(a.changeUser)))
	return mux
}

// handler answers a request, or returns why it could not; [app.fail] then answers.
type handler func(w http.ResponseWriter, r *http.Request) error

func (a *app) page(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.fail(w, r, err)
		}
	})
}

const maxFormBytes = 64 << 10

// form is for everything that changes something: the body is small, and the form is one of ours.
func (a *app) form(h handler) http.Handler {
	return a.page(func(w http.ResponseWriter, r *http.Request) error {
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		if err := a.auth.CheckForm(r); err != nil {
			return err
		}
		return h(w, r)
	})
}

// view is what every page is made from.
type view struct {
	Status   int                 // 0 is 200
	User     handstamp.Principal // zero for a visitor
	Form     string              // the form token
	Message  string              // what was wrong with the last try
	Email    string
	ReturnTo string
	Notes    []note
	Users    []account.User
}

// render writes a page. It is made in memory first, so that a page is complete or is not sent.
func (a *app) render(w http.ResponseWriter, r *http.Request, name string, v view) error {
	v.User, _ = handstamp.FromContext(r.Context())
	v.Form = a.auth.FormToken(w, r)
	var page bytes.Buffer
	if err := a.pages.ExecuteTemplate(&page, name, v); err != nil {
		return fmt.Errorf("make the page %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(cmp.Or(v.Status, http.StatusOK))
	_, _ = page.WriteTo(w) // the status is out; a lost connection has nobody to tell
	return nil
}

// denied is Options.OnDenied: who has to log in is sent there, everybody else gets a page that says why not.
func (a *app) denied(w http.ResponseWriter, r *http.Request, err error) {
	reason, _ := handstamp.ReasonOf(err)
	if errors.Is(err, handstamp.ErrUnauthenticated) || reason == handstamp.ReasonStepUp {
		if handstamp.IsNavigation(r) {
			a.auth.DenyDefault(w, r, err) // to LoginURL, and back to this page afterwards
			return
		}
		http.Redirect(w, r, "/login", http.StatusSeeOther) // a form cannot be come back to
		return
	}
	p := handstamp.ProblemOf(err)
	if p.Status == http.StatusServiceUnavailable { // "could not find out": log it here, tell the client nothing of it
		slog.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", strconv.Itoa(int(p.RetryAfter.Seconds())))
	}
	if err := a.render(w, r, "problem", view{Status: p.Status, Message: p.Detail}); err != nil {
		http.Error(w, p.Title, p.Status)
	}
}

// fail answers for every handler, in one place.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, handstamp.ErrNotFound) {
		a.auth.Deny(w, r, err)
		return
	}
	if err := a.render(w, r, "problem", view{Status: http.StatusNotFound, Message: "There is no such thing here."}); err != nil {
		http.NotFound(w, r)
	}
}
