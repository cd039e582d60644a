package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/store/sqlite"
)

// app is the whole application.
type app struct {
	users    *users          // the application's own table
	store    *sqlite.Store   // Handstamp's tables, here in the same file
	auth     *handstamp.Auth // sessions: who is this, and may they do that
	hashes   hasher
	attempts *attempts
}

// settings of the application. Tests change the last three.
type settings struct {
	file      string
	publicURL string
	now       func() time.Time
	cost      int // of bcrypt
	compare   func(hash, password []byte) error
}

// manager may change other users. Every other role of the table grants nothing here.
const (
	manager  = "manager"
	customer = "customer"

	mayManage = "users:manage"
)

// stepUpAge is how long after a password was typed an account may be deleted.
const stepUpAge = 5 * time.Minute

// open puts the application together. Its own pool and its own migrations come first and know nothing of Handstamp.
func open(ctx context.Context, set settings) (*app, error) {
	a := &app{attempts: newAttempts()}
	var err error
	if a.hashes, err = newHasher(cmp.Or(set.cost, bcrypt.DefaultCost), set.compare); err != nil {
		return nil, err
	}
	if a.users, err = openUsers(ctx, set.file); err != nil {
		return nil, err
	}
	if a.store, err = sqlite.Open(ctx, set.file, sqlite.Options{}); err != nil {
		return nil, errors.Join(err, a.users.close())
	}
	a.auth, err = handstamp.Open(ctx, a.store, handstamp.Options{
		PublicURL:   set.publicURL,
		Permissions: a.permissions,
		Roles:       permission.Table{manager: permission.NewSet(mayManage)},
		Now:         set.now,
	})
	if err != nil {
		return nil, errors.Join(err, a.store.Close(), a.users.close())
	}
	return a, nil
}

// close ends what open began, in the opposite order.
func (a *app) close() error {
	return errors.Join(a.auth.Close(), a.store.Close(), a.users.close())
}

// permissions is Options.Permissions: what a user may do, from the application's own table. It is asked at each login and
// whenever the application says Changed, never by a check: a request does not wait for this query.
func (a *app) permissions(ctx context.Context, id handstamp.UserID) (handstamp.Grants, error) {
	u, err := a.users.byID(ctx, id)
	if err != nil {
		return handstamp.Grants{}, err
	}
	return handstamp.Grants{Roles: []string{u.Role}}, nil
}

// routes lists everything: who may ask, and what answers. Both kinds apply the origin rules, so there is no other defence
// against requests that another site makes a browser send.
func (a *app) routes() http.Handler {
	anyone := a.auth.Optional()
	user := a.auth.Require()
	recent := a.auth.Require(handstamp.MaxAuthAge(stepUpAge))
	manages := a.auth.Require(handstamp.Permission(mayManage))

	mux := http.NewServeMux()
	mux.Handle("POST /signup", anyone(a.answer(a.signUp)))
	mux.Handle("POST /login", anyone(a.answer(a.logIn)))
	mux.Handle("POST /logout", anyone(a.answer(a.logOut)))

	mux.Handle("GET /me", user(a.answer(a.me)))
	mux.Handle("GET /devices", user(a.answer(a.devices)))
	mux.Handle("DELETE /devices", user(a.answer(a.endOthers)))
	mux.Handle("DELETE /devices/{id}", user(a.answer(a.endDevice)))
	mux.Handle("POST /logout/everywhere", user(a.answer(a.logOutEverywhere)))
	mux.Handle("POST /step-up", user(a.answer(a.stepUp)))
	mux.Handle("POST /password", user(a.answer(a.changePassword)))
	mux.Handle("DELETE /account", recent(a.answer(a.deleteAccount)))

	mux.Handle("PUT /users/{id}", manages(a.answer(a.changeUser)))
	return mux
}

// answer runs a handler that answers a request or returns why it could not; the refusal is written here.
func (a *app) answer(h func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		err := h(w, r)
		if p, ok := errors.AsType[*refusal](err); ok {
			p.problem.Write(w)
		} else if err != nil {
			a.auth.Deny(w, r, err) // no and don't know, each with its status; the cause of the second is logged
		}
	})
}

// refusal is a "no" of the application's own.
type refusal struct{ problem handstamp.Problem }

// Error says the code.
func (e *refusal) Error() string { return e.problem.Code }

func refuse(status int, code, detail string) error {
	return &refusal{handstamp.NewProblem(status, code, http.StatusText(status), detail)}
}

func read(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return refuse(http.StatusBadRequest, "malformed_request", "The body is not the JSON object that belongs here.")
	}
	return nil
}

func write(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the status is out; a lost connection has nobody to tell
	return nil
}

func done(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}
