package server

import (
	"net/http"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/forwardauth"
)

// newCheck makes the handler behind /v1/check. It is a package of its own; what is added here is where the sign-in page is,
// and that refusals are logged and counted like all others.
func (s *Server) newCheck() error {
	opt := forwardauth.Options{
		Headers: s.opt.CheckHeaders, UnverifiedEmail: s.opt.UnverifiedEmail, OnDenied: s.denyCheck, LoginURL: s.opt.LoginURL,
	}
	if opt.LoginURL == "" && !s.opt.NoPages && s.origin != "" {
		opt.LoginURL = s.origin + s.prefix + "/login"
	}
	var err error
	s.forward, err = forwardauth.New(s.auth, opt)
	return err
}

// denyCheck is deny. Two cookies are 401 here, and whoever wants 401 to be explained gets the code that RFC 6750 section 3.1
// has for a request that says something twice.
func (s *Server) denyCheck(w http.ResponseWriter, r *http.Request, p handstamp.Problem, err error) {
	if p.Status == http.StatusUnauthorized && p.Code == string(handstamp.ReasonDuplicate) {
		w = challenging{w, "invalid_request"}
	}
	s.deny(w, r, p, err)
}

// challenging is a response whose header WWW-Authenticate has an error code.
type challenging struct {
	http.ResponseWriter
	code string
}

// WriteHeader sets the header over what is there, and passes on.
func (c challenging) WriteHeader(status int) {
	c.Header().Set("WWW-Authenticate", `Bearer error="`+c.code+`"`)
	c.ResponseWriter.WriteHeader(status)
}

// check: /v1/check, any method.
func (s *Server) check(w http.ResponseWriter, r *http.Request) error {
	s.forward.ServeHTTP(w, r)
	return nil
}
