package main

import (
	"errors"
	"net/http"

	"github.com/handstamp/handstamp"
)

// me says who the session is of, and what they may do.
func (a *app) me(w http.ResponseWriter, r *http.Request) error {
	p, _ := handstamp.FromContext(r.Context())
	u, err := a.users.byID(r.Context(), p.User)
	if err != nil {
		return err
	}
	return write(w, http.StatusOK, map[string]any{"id": p.User, "name": u.Name, "role": u.Role, "permissions": p.Permissions()})
}

// again checks the password of who is logged in, once more. It counts like a login.
func (a *app) again(r *http.Request, password string) (handstamp.Proof, error) {
	p, _ := handstamp.FromContext(r.Context())
	user := limit{"user " + string(p.User), 10}
	if err := a.mayTry(user); err != nil {
		return handstamp.Proof{}, err
	}
	proof, err := a.prove(r.Context(), p.User, password)
	if errors.Is(err, errWrong) { // 403: the session is as good as before
		return handstamp.Proof{}, refuse(http.StatusForbidden, "invalid_credentials", "The password is wrong.")
	}
	if err != nil {
		return handstamp.Proof{}, err
	}
	a.attempts.forget(user)
	proof.Client = a.auth.ClientOf(r)
	return proof, nil
}

// stepUp makes the session as young as after a login, and gives it new secrets: who has the old cookie has nothing.
func (a *app) stepUp(w http.ResponseWriter, r *http.Request) error {
	var in struct{ Password string }
	if err := read(r, &in); err != nil {
		return err
	}
	proof, err := a.again(r, in.Password)
	if err != nil {
		return err
	}
	p, _ := handstamp.FromContext(r.Context())
	g, err := a.auth.Renew(r.Context(), p.Session, proof)
	if err != nil {
		return err
	}
	a.auth.Deliver(w, g)
	return done(w)
}

// changePassword writes the new hash, then ends all other sessions and gives this one new secrets. If it fails in between,
// the user is told so and does it again.
func (a *app) changePassword(w http.ResponseWriter, r *http.Request) error {
	var in struct{ Password, New string }
	if err := read(r, &in); err != nil {
		return err
	}
	if err := checkNew(in.New); err != nil {
		return err
	}
	if _, err := a.again(r, in.Password); err != nil {
		return err
	}
	hash, err := a.hashes.hash(in.New)
	if err != nil {
		return err
	}
	p, _ := handstamp.FromContext(r.Context())
	if err := a.users.setHash(r.Context(), p.User, hash); err != nil {
		return err
	}
	opt := a.end(r, "password changed")
	opt.Except = p.Session
	if _, err := a.auth.EndUser(r.Context(), p.User, opt); err != nil {
		return err
	}
	// The end made every proof from before it worthless, this one too.
	proof, err := a.auth.Prove(r.Context(), p.User)
	if err != nil {
		return err
	}
	proof.Methods, proof.Client = []string{"pwd"}, opt.Client
	g, err := a.auth.Renew(r.Context(), p.Session, proof)
	if err != nil {
		return err
	}
	a.auth.Deliver(w, g)
	return done(w)
}

// deleteAccount is behind a login of the last minutes. The row goes first: from then on nobody logs in, and what began
// before that is ended.
func (a *app) deleteAccount(w http.ResponseWriter, r *http.Request) error {
	p, _ := handstamp.FromContext(r.Context())
	if err := a.users.delete(r.Context(), p.User); err != nil {
		return err
	}
	if _, err := a.auth.EndUser(r.Context(), p.User, a.end(r, "deleted")); err != nil {
		return err
	}
	a.auth.ClearCookies(w)
	return done(w)
}
