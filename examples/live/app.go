package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/handstamp/handstamp"
)

//go:embed web
var files embed.FS

// app is the whole application.
type app struct {
	auth    *handstamp.Auth
	users   *users
	room    *room
	pages   *template.Template
	sockets sync.WaitGroup // WebSockets, which http.Server.Shutdown does not wait for
	host    string         // of the public URL
	// grace is how long a client has to take the reason why its connection ends. Nothing that it sends counts any more.
	grace time.Duration
}

// open puts the application together. It fills what it needs of the options.
func open(ctx context.Context, store handstamp.Store, o handstamp.Options) (*app, error) {
	a := &app{users: newUsers(), room: newRoom(), grace: 500 * time.Millisecond}
	var err error
	if a.pages, err = template.ParseFS(files, "web/*.html"); err != nil {
		return nil, err
	}
	public, err := url.Parse(o.PublicURL)
	if err != nil {
		return nil, err
	}
	a.host = public.Host
	o.LoginURL = "/login"
	o.Permissions = a.users.permissions
	a.auth, err = handstamp.Open(ctx, store, o)
	return a, err
}

// routes lists who may do what.
func (a *app) routes() http.Handler {
	member := a.auth.Require()
	admin := a.auth.Require(handstamp.Permission("chat:admin"))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", a.showLogin)
	mux.HandleFunc("POST /login", a.logIn)
	mux.Handle("POST /logout", member(http.HandlerFunc(a.logOut)))
	mux.Handle("POST /logout/everywhere", member(http.HandlerFunc(a.logOutEverywhere)))
	mux.Handle("POST /admin/end", admin(http.HandlerFunc(a.endUser)))

	mux.Handle("GET /{$}", member(http.HandlerFunc(a.showChat)))
	mux.Handle("GET /socket", member(http.HandlerFunc(a.socket)))
	mux.Handle("GET /events", member(http.HandlerFunc(a.events)))
	mux.Handle("GET /who", member(http.HandlerFunc(a.who)))
	mux.HandleFunc("GET /live.js", a.script)
	return mux
}

func (a *app) showLogin(w http.ResponseWriter, r *http.Request) {
	a.render(w, "login.html", http.StatusOK, view{ReturnTo: r.FormValue("return_to")})
}

// logIn checks a password as any application would that has users of its own.
func (a *app) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := a.auth.CheckOrigin(r); err != nil { // before a password costs anything
		a.auth.Deny(w, r, err)
		return
	}
	user := handstamp.UserID(r.PostFormValue("user"))
	returnTo := r.PostFormValue("return_to")
	proof, proveErr := a.auth.Prove(r.Context(), user) // before the password is checked
	switch err := a.users.check(r.Context(), user, r.PostFormValue("password")); {
	case errors.Is(err, errWrong):
		a.render(w, "login.html", http.StatusUnauthorized, view{ReturnTo: returnTo, Message: "Wrong name or password."})
		return
	case err != nil:
		a.auth.Deny(w, r, err)
		return
	}
	if proveErr != nil {
		a.auth.Deny(w, r, proveErr)
		return
	}
	proof.Methods = []string{"pwd"}
	if _, err := a.auth.Login(w, r, proof); err != nil {
		a.auth.Deny(w, r, err)
		return
	}
	http.Redirect(w, r, a.auth.ReturnTo(returnTo, "/"), http.StatusSeeOther) //nolint:gosec // ReturnTo is the check
}

func (a *app) logOut(w http.ResponseWriter, r *http.Request) {
	if _, err := a.auth.LogOutRequest(w, r, handstamp.EndOptions{Reason: "logout"}); err != nil {
		a.auth.Deny(w, r, err)
		return
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// logOutEverywhere ends every session of the user. Every page, stream and call of these sessions ends with them.
func (a *app) logOutEverywhere(w http.ResponseWriter, r *http.Request) {
	p, _ := handstamp.FromContext(r.Context())
	if _, err := a.auth.EndUser(r.Context(), p.User, handstamp.EndOptions{Reason: "logout everywhere", Client: a.auth.ClientOf(r)}); err != nil {
		a.auth.Deny(w, r, err)
		return
	}
	a.auth.ClearCookies(w)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// endUser throws somebody out.
func (a *app) endUser(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	user := handstamp.UserID(r.PostFormValue("user"))
	if _, err := a.auth.EndUser(r.Context(), user, handstamp.EndOptions{Reason: "by an administrator", Client: a.auth.ClientOf(r)}); err != nil {
		a.auth.Deny(w, r, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// who answers whether there still is a session: a page whose connection broke without a word asks before it connects again.
func (a *app) who(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

func (a *app) showChat(w http.ResponseWriter, r *http.Request) {
	p, _ := handstamp.FromContext(r.Context())
	a.render(w, "chat.html", http.StatusOK, view{User: p})
}

func (a *app) script(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeFileFS(w, r, files, "web/live.js")
}

// view is what the pages are made from.
type view struct {
	User     handstamp.Principal
	Message  string
	ReturnTo string
}

func (a *app) render(w http.ResponseWriter, name string, status int, v view) {
	var page bytes.Buffer
	if err := a.pages.ExecuteTemplate(&page, name, v); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	// Not every browser takes a WebSocket of the same host for 'self'.
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; connect-src 'self' ws://"+a.host+" wss://"+a.host+
		"; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w) // the status is out; a lost connection has nobody to tell
}
