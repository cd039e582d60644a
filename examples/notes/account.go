package main

import (
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
	_, err = a.auth.LoginWith(w, r, handstamp.StartOptions{}, func(start handstamp.StartOptions) (handstamp.Grant, error) {
		_, g, err := a.passwords.SignUp(r.Context(), login.SignUp{Email: email, Password: r.PostFormValue("password"), Start: start})
		return g, err
	})
	if err != nil {
		return a.again(w, r, "signup", err)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// logIn begins a session, and goes on to the page that asked for it.
func (a *app) logIn(w http.ResponseWriter, r *http.Request) error {
	email, err := account.ParseAddress(r.PostFormValue("email"))
	if err != nil {
		return a.again(w, r, "login", err)
	}
	_, err = a.auth.LoginWith(w, r, handstamp.StartOptions{}, func(start handstamp.StartOptions) (handstamp.Grant, error) {
		return a.passwords.Login(r.Context(), email, r.PostFormValue("password"), start)
	})
	if err != nil {
		return a.again(w, r, "login", err)
	}
	// ReturnTo lets through only what stays in this application: anybody can make a link to /login?return_to=…
	http.Redirect(w, r, a.auth.ReturnTo(r.PostFormValue("return_to"), "/"), http.StatusSeeOther) //nolint:gosec // ReturnTo is the check
	return nil
}

// again shows a form once more and says what was wrong. What is nobody's mistake goes on to [app.fail].
func (a *app) again(w http.ResponseWriter, r *http.Request, page string, err error) error {
	p := login.ProblemOf(err)
	if p.Status == http.StatusServiceUnavailable {
		return err
	}
	v := view{Status: p.Status, Email: r.PostFormValue("email"), ReturnTo: r.PostFormValue("return_to"), Message: p.Detail}
	if len(p.Errors) > 0 {
		v.Message = p.Errors[0].Message
	}
	if p.RetryAfter > 0 {
		seconds := int(math.Ceil(p.RetryAfter.Seconds()))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		v.Message = fmt.Sprintf("too many tries: wait %d seconds", seconds)
	}
	return a.render(w, r, page, v)
}

// logOut ends this session. A visitor is logged out already.
func (a *app) logOut(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.auth.LogOutRequest(w, r, handstamp.EndOptions{Reason: "logout"}); err != nil {
		return err // not ended: the cookie stays, and the user can try again
	}
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
