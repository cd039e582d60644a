package main

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
)

func (a *app) showSignUp(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, "signup", view{})
}

func (a *app) showLogin(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, "login", view{ReturnTo: r.FormValue("return_to")})
}

// signUp makes an account and its first session.
func (a *app) signUp(w http.ResponseWriter, r *http.Request) error {
	email, err := account.ParseAddress(r.PostFormValue("email"))
	if err != nil {
		return a.again(w, r, "signup", err)
	}
	start, err := a.auth.FromRequest(r, handstamp.StartOptions{})
	if err != nil {
		return err
	}
	_, g, err := a.passwords.SignUp(r.Context(), login.SignUp{Email: email, Password: r.PostFormValue("password"), Start: start})
	if err != nil {
		return a.again(w, r, "signup", err)
	}
	a.auth.Deliver(w, g) // the cookie
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// logIn begins a session, and goes on to the page that asked for it.
func (a *app) logIn(w http.ResponseWriter, r *http.Request) error {
	email, err := account.ParseAddress(r.PostFormValue("email"))
	if err != nil {
		return a.again(w, r, "login", err)
	}
	start, err := a.auth.FromRequest(r, handstamp.StartOptions{})
	if err != nil {
		return err
	}
	g, err := a.passwords.Login(r.Context(), email, r.PostFormValue("password"), start)
	if err != nil {
		return a.again(w, r, "login", err)
	}
	a.auth.Deliver(w, g)
	// ReturnTo lets through only what stays in this application: anybody can make a link to /login?return_to=…
	http.Redirect(w, r, a.auth.ReturnTo(r.PostFormValue("return_to"), "/"), http.StatusSeeOther) //nolint:gosec // ReturnTo is the check
	return nil
}

// again shows a form once more and says what was wrong. What is nobody's mistake goes on to [app.fail].
func (a *app) again(w http.ResponseWriter, r *http.Request, page string, err error) error {
	v := view{
		Status: http.StatusUnprocessableEntity,
		Email:  r.PostFormValue("email"), ReturnTo: r.PostFormValue("return_to"),
	}
	address, badAddress := errors.AsType[*account.AddressError](err)
	input, badInput := errors.AsType[*login.InputError](err)
	tooMany, wait := errors.AsType[*login.TooManyError](err)
	switch {
	case badAddress:
		v.Message = address.Problem
	case badInput:
		v.Message = input.Message
	case errors.Is(err, handstamp.ErrTaken):
		v.Status, v.Message = http.StatusConflict, "there is an account with this address: log in instead"
	case errors.Is(err, login.ErrInvalidCredentials):
		v.Status, v.Message = http.StatusUnauthorized, "the address or the password is wrong"
	case errors.Is(err, handstamp.ErrDisabled):
		v.Status, v.Message = http.StatusForbidden, "this account is disabled"
	case wait:
		seconds := int(math.Ceil(tooMany.RetryAfter.Seconds()))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		v.Status, v.Message = http.StatusTooManyRequests, fmt.Sprintf("too many tries: wait %d seconds", seconds)
	default:
		return err
	}
	return a.render(w, r, page, v)
}

// logOut ends this session. A visitor is logged out already.
func (a *app) logOut(w http.ResponseWriter, r *http.Request) error {
	if p, ok := handstamp.FromContext(r.Context()); ok {
		if _, err := a.auth.EndSession(r.Context(), p.Session, handstamp.EndOptions{Reason: "logout", Client: a.auth.ClientOf(r)}); err != nil {
			return err // not ended: the cookie stays, and the user can try again
		}
	}
	a.auth.ClearCookies(w)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
	return nil
}

// logOutEverywhere ends all sessions of the user, on every device, this one among them.
func (a *app) logOutEverywhere(w http.ResponseWriter, r *http.Request) error {
	p, _ := handstamp.FromContext(r.Context())
	if _, err := a.auth.EndUser(r.Context(), p.User, handstamp.EndOptions{Reason: "logout everywhere", Client: a.auth.ClientOf(r)}); err != nil {
		return err
	}
	a.auth.ClearCookies(w)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
	return nil
}
