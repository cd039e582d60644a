package server

import (
	"net/http"

	"github.com/handstamp/handstamp/forwardauth"
)

// newCheck makes the handler behind /v1/check. It is a package of its own; what is added here is where the sign-in page is,
// and that refusals are logged and counted like all others.
func (s *Server) newCheck() error {
	opt := forwardauth.Options{
		Headers: s.opt.CheckHeaders, UnverifiedEmail: s.opt.UnverifiedEmail, OnDenied: s.deny, LoginURL: s.opt.LoginURL,
	}
	if opt.LoginURL == "" && !s.opt.NoPages && s.origin != "" {
		opt.LoginURL = s.origin + s.prefix + "/login"
	}
	var err error
	s.forward, err = forwardauth.New(s.auth, opt)
	return err
}

// check: /v1/check, any method.
func (s *Server) check(w http.ResponseWriter, r *http.Request) error {
	s.forward.ServeHTTP(w, r)
	return nil
}
