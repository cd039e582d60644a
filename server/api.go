package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/token"
)

// signUp: POST /v1/signup.
func (s *Server) signUp(w http.ResponseWriter, r *http.Request) error {
	if s.opt.SignUpClosed {
		return errClosed
	}
	in, err := s.credentials(r)
	if err != nil {
		return err
	}
	return s.begin(w, r, http.StatusCreated, in.Start, func(start handstamp.StartOptions) (handstamp.Grant, error) {
		in.Start = start
		_, g, err := s.opt.Passwords.SignUp(r.Context(), in)
		return g, err
	})
}

// logIn: POST /v1/login.
func (s *Server) logIn(w http.ResponseWriter, r *http.Request) error {
	in, err := s.credentials(r)
	if err != nil {
		return err
	}
	return s.begin(w, r, http.StatusOK, in.Start, func(start handstamp.StartOptions) (handstamp.Grant, error) {
		return s.opt.Passwords.Login(r.Context(), in.Email, in.Password, start)
	})
}

// begin begins a session and writes its grant. The body is made before any cookie is written: an answer that fails there
// leaves the cookies alone.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, status int, o handstamp.StartOptions, login func(handstamp.StartOptions) (handstamp.Grant, error)) error {
	var out grantOut
	_, err := s.auth.LoginWith(w, r, o, func(o handstamp.StartOptions) (handstamp.Grant, error) {
		g, err := login(o)
		if err == nil {
			out, err = s.grantOf(r.Context(), g)
		}
		return g, err
	})
	if err != nil {
		return err
	}
	return answer(w, status, out)
}

// setUp: POST /v1/setup. The first administrator is logged in by cookie: the page that asks is a browser's.
func (s *Server) setUp(w http.ResponseWriter, r *http.Request) error {
	var in setUpIn
	if err := decode(r, &in); err != nil {
		return err
	}
	var f fields
	secret := token.NewSecret(f.need("token", in.Token))
	email, password := f.address(in.Email), f.need("password", in.Password)
	if err := f.err(); err != nil {
		return err
	}
	if _, err := token.Parse(token.Setup, secret.Reveal()); err != nil {
		return login.ErrSetup // a mistyped one costs no look-up and no hash
	}
	start := handstamp.StartOptions{Transport: handstamp.TransportCookie}
	return s.begin(w, r, http.StatusCreated, start, func(start handstamp.StartOptions) (handstamp.Grant, error) {
		_, g, err := s.opt.Passwords.SetUp(r.Context(), secret, login.SignUp{Email: email, Password: password, Start: start})
		return g, err
	})
}

// credentials reads what sign-up and login both take.
func (s *Server) credentials(r *http.Request) (login.SignUp, error) {
	var in credentialsIn
	if err := decode(r, &in); err != nil {
		return login.SignUp{}, err
	}
	var f fields
	out := login.SignUp{Email: f.address(in.Email), Password: f.need("password", in.Password)}
	out.Start = handstamp.StartOptions{Mode: f.mode(in.Mode, s.auth.Modes()), Transport: f.transport(in.Transport)}
	out.Start.BrowserSession = in.Remember != nil && !*in.Remember
	return out, f.err()
}

// address reads a mail address into its canonical form.
func (f *fields) address(v *string) account.Address {
	text := f.need("email", v)
	if v == nil {
		return ""
	}
	a, err := account.ParseAddress(text)
	if e, ok := errors.AsType[*account.AddressError](err); ok {
		f.bad("email", e.Problem)
	}
	return a
}

// mode reads the name of a mode that is offered here.
func (f *fields) mode(v *string, offered []handstamp.Mode) handstamp.Mode {
	if v == nil {
		return ""
	}
	if m := handstamp.Mode(*v); slices.Contains(offered, m) {
		return m
	}
	names := make([]string, len(offered))
	for i, m := range offered {
		names[i] = string(m)
	}
	f.bad("mode", "is one that is offered here: "+strings.Join(names, ", "))
	return ""
}

func (f *fields) transport(v *string) handstamp.Transport {
	if v == nil {
		return ""
	}
	switch t := handstamp.Transport(*v); t {
	case handstamp.TransportCookie, handstamp.TransportBearer:
		return t
	}
	f.bad("transport", "is cookie or bearer")
	return ""
}

// deliver writes a grant: into cookies or into the body, as was fixed at login.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request, status int, g handstamp.Grant) error {
	out, err := s.grantOf(r.Context(), g)
	if err != nil {
		return err
	}
	s.auth.Deliver(w, g)
	return answer(w, status, out)
}

// refresh: POST /v1/refresh. The body's token goes before the cookie, as a header goes before a cookie elsewhere.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request) error {
	var in refreshIn
	if err := decodeOptional(r, &in); err != nil {
		return err
	}
	req := handstamp.RefreshRequest{Background: in.Background != nil && *in.Background, Client: s.auth.ClientOf(r)}
	var err error
	if req.IdempotencyKey, err = idempotencyKey(r); err != nil {
		return err
	}
	if err := s.auth.CheckCookies(r); err != nil {
		return err
	}
	if in.RefreshToken != nil {
		req.Token = token.NewSecret(*in.RefreshToken)
	} else if cookie, ok := s.auth.RefreshCookie(r); ok {
		req.Token = cookie
	} else {
		return &handstamp.DeniedError{Reason: handstamp.ReasonMissing, Check: "no_refresh_token"}
	}
	_, cookies := s.auth.RefreshCookie(r)
	g, err := s.auth.Refresh(r.Context(), req)
	switch {
	case err != nil && in.RefreshToken != nil && cookies:
		return fmt.Errorf("%w: %w", errOtherCookies, err)
	case err != nil:
		return err
	case in.RefreshToken == nil:
		g.Session.Transport = handstamp.TransportCookie // whatever it was begun with: no script gets what was in a cookie
	}
	return s.deliver(w, r, http.StatusOK, g)
}

// errOtherCookies says that it was not the request's cookies that were refused: they may be of another session, which lives.
var errOtherCookies = errors.New("the token was in the body")

func idempotencyKey(r *http.Request) (string, error) {
	keys := r.Header.Values(idempotencyHeader)
	if len(keys) == 0 {
		return "", nil
	}
	visible := func(c rune) bool { return c > 0x20 && c < 0x7f }
	if len(keys) > 1 || keys[0] == "" || len(keys[0]) > 128 || strings.IndexFunc(keys[0], func(c rune) bool { return !visible(c) }) >= 0 {
		return "", invalidField(idempotencyHeader, "the header is there once, with 1 to 128 visible characters")
	}
	return keys[0], nil
}

// logOut: POST /v1/logout. Whoever wants out gets out: the session of every credential of the request ends, in header,
// cookies and body. An unknown one is no error. All of it is durable before any cookie is taken away; if that fails, the
// cookies stay, and trying again ends what is left.
func (s *Server) logOut(w http.ResponseWriter, r *http.Request) error {
	var in logOutIn
	if err := decodeOptional(r, &in); err != nil {
		return err
	}
	opt, err := s.endOptions(r, "logout")
	if err != nil {
		return err
	}
	var also []token.Secret
	if in.RefreshToken != nil {
		also = append(also, token.NewSecret(*in.RefreshToken))
	}
	ended, err := s.auth.LogOutRequest(w, r, opt, also...)
	if err != nil {
		return err
	}
	s.clearSiteData(w)
	return done(w, ended, opt)
}

// clearSiteData asks the browser to forget what it keeps of this site (W3C Clear Site Data).
func (s *Server) clearSiteData(w http.ResponseWriter) {
	if len(s.opt.ClearSiteData) > 0 {
		w.Header().Set("Clear-Site-Data", `"`+strings.Join(s.opt.ClearSiteData, `", "`)+`"`)
	}
}

// changePassword: POST /v1/password. A wrong current password is 403: a client must not take it for a lost session.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) error {
	var in passwordIn
	if err := decode(r, &in); err != nil {
		return err
	}
	var f fields
	p := who(r)
	change := login.Change{User: p.User, Session: p.Session, Client: s.auth.ClientOf(r)}
	change.Current, change.New = f.need("current_password", in.Current), f.need("new_password", in.New)
	if err := f.err(); err != nil {
		return err
	}
	opt, err := s.endOptions(r, "password")
	if err != nil {
		return err
	}
	user, err := s.userOf(r.Context(), p) // before the change: nothing that may fail stands between the commit and the answer
	if err != nil {
		return err
	}
	g, ended, err := s.opt.Passwords.Change(r.Context(), change)
	if errors.Is(err, login.ErrInvalidCredentials) {
		return refuse(http.StatusForbidden, "invalid_credentials", "Invalid credentials", "The current password is wrong.")
	}
	if err != nil {
		return err
	}
	user.Roles = orEmpty(g.Principal.Roles())
	out := s.grantFor(user, g)
	out.appliedOut = s.appliedAtLast(r, ended, opt)
	s.auth.Deliver(w, g)
	return answer(w, http.StatusOK, out)
}

// appliedAtLast waits for the fleet, if asked to, and says how far the change has come: "node" where the wait did not
// finish. It is for an answer that holds new secrets. The change stands and the old secrets are dead, so an error instead
// would lock its user out.
func (s *Server) appliedAtLast(r *http.Request, e handstamp.Ended, opt handstamp.EndOptions) appliedOut {
	if !opt.WaitFleet {
		return applied(e, opt)
	}
	e, err := s.auth.WaitFleet(r.Context(), e)
	if err != nil {
		s.opt.Logger.WarnContext(r.Context(), "could not wait for the fleet; the change stands",
			"request_id", r.Header.Get("Request-Id"), "route", r.Pattern, "error", err)
		opt.WaitFleet = false
	}
	return applied(e, opt)
}

// deleteAccount: DELETE /v1/account. The cookies stand for nothing any more.
func (s *Server) deleteAccount(w http.ResponseWriter, r *http.Request) error {
	opt, err := s.endCall(r, "deleted")
	if err != nil {
		return err
	}
	ended, err := s.opt.Accounts.Delete(r.Context(), who(r).User, opt)
	if err != nil {
		return err
	}
	s.auth.ClearCookies(w)
	return done(w, ended, opt)
}

// endOptions reads how a call that ends or changes something wants to wait.
func (s *Server) endOptions(r *http.Request, reason string) (handstamp.EndOptions, error) {
	q, err := queryOf(r)
	if err != nil {
		return handstamp.EndOptions{}, err
	}
	opt := handstamp.EndOptions{Reason: reason, Client: s.auth.ClientOf(r), WaitFleet: q.choice("wait", "fleet")}
	return opt, q.err()
}

// endCall is endOptions of a call that takes no body.
func (s *Server) endCall(r *http.Request, reason string) (handstamp.EndOptions, error) {
	if err := noBody(r); err != nil {
		return handstamp.EndOptions{}, err
	}
	return s.endOptions(r, reason)
}

// done answers a call whose answer has no body, unless it waited for the fleet.
func done(w http.ResponseWriter, e handstamp.Ended, opt handstamp.EndOptions) error {
	if opt.WaitFleet {
		return answer(w, http.StatusOK, applied(e, opt))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
