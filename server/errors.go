package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
)

// refusal is an answer that this package itself decided on.
type refusal struct{ problem handstamp.Problem }

// Error says the code.
func (e *refusal) Error() string { return "server: " + e.problem.Code }

func refuse(status int, code, title, detail string) error {
	return &refusal{handstamp.NewProblem(status, code, title, detail)}
}

// The refusals that are the same wherever they happen.
var (
	errMethod   = refuse(http.StatusMethodNotAllowed, "method_not_allowed", "Method not allowed", "The header Allow says which methods this path has.")
	errTooLarge = refuse(http.StatusRequestEntityTooLarge, "too_large", "Too large", "A body has at most 64 KiB.")
	errMedia    = refuse(http.StatusUnsupportedMediaType, "unsupported_media_type", "Unsupported media type", "Send the body as application/json.")
	errClosed   = refuse(http.StatusForbidden, "forbidden", "Forbidden", "Sign-up is closed here.")
	errProgram  = refuse(http.StatusForbidden, "forbidden", "Forbidden", "This is for users: a service key has no session.")
	errSetup    = refuse(http.StatusUnauthorized, "invalid_token", "Invalid link", "This link was used, has run out, or is not complete. Start the server again to get another one.")
)

// malformed is a request that cannot be read as what it should be.
func malformed(detail string) error {
	return refuse(http.StatusBadRequest, "malformed_request", "Malformed request", detail)
}

// invalid is a request that can be read and whose values cannot be used. The messages never hold a value.
func invalid(errs ...handstamp.FieldError) error {
	p := handstamp.NewProblem(http.StatusUnprocessableEntity, "invalid_input", "Invalid input", "A field cannot be used as it is.")
	p.Errors = errs
	return &refusal{p}
}

func invalidField(field, message string) error {
	return invalid(handstamp.FieldError{Field: field, Message: message})
}

func internalProblem() handstamp.Problem {
	return handstamp.NewProblem(http.StatusInternalServerError, "internal", "Internal error",
		"This is a bug. The header Request-Id names this request in the server's log.")
}

// problemOf turns an error into the answer for it: the one table of this package. What it does not know is "don't know":
// 503, and never the cause.
func problemOf(err error) handstamp.Problem {
	if e, ok := errors.AsType[*refusal](err); ok {
		return e.problem
	}
	if e, ok := errors.AsType[*login.TooManyError](err); ok {
		p := handstamp.NewProblem(http.StatusTooManyRequests, "too_many_attempts", "Too many attempts", "Wait, then try again.")
		p.RetryAfter = max(time.Second, e.RetryAfter)
		return p
	}
	if e, ok := errors.AsType[*login.InputError](err); ok {
		return problemOf(invalidField(e.Field, e.Message))
	}
	if e, ok := errors.AsType[*account.AddressError](err); ok {
		return problemOf(invalidField("email", e.Problem))
	}
	switch {
	case errors.Is(err, login.ErrInvalidCredentials):
		return handstamp.NewProblem(http.StatusUnauthorized, "invalid_credentials", "Invalid credentials", "The address or the password is wrong.")
	case errors.Is(err, login.ErrSetup):
		return problemOf(errSetup)
	case errors.Is(err, account.ErrInput):
		return problemOf(invalidField("body", lastSentence(err)))
	case errors.Is(err, handstamp.ErrTaken):
		return handstamp.NewProblem(http.StatusConflict, "email_taken", "Address in use", "There is an account with this address.")
	}
	return handstamp.ProblemOf(err)
}

// lastSentence is the end of an error whose text is for people: what stands before it names packages.
func lastSentence(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

// fail writes every refusal of the API. What could not be found out is logged here, once; the client is not told why.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Code == string(handstamp.ReasonReused) {
		// The session is over for whoever holds its cookies. No other refusal takes them away.
		s.auth.ClearCookies(w)
	}
	gone := errors.Is(err, context.Canceled) && r.Context().Err() != nil // nobody waits for the answer
	if p.Status == http.StatusServiceUnavailable && !gone {
		s.opt.Logger.ErrorContext(r.Context(), "could not decide about a request",
			"request_id", r.Header.Get("Request-Id"), "route", r.Pattern, "error", err)
	}
	s.write(w, p)
}

// write sends a problem and counts it by its code.
func (s *Server) write(w http.ResponseWriter, p handstamp.Problem) {
	s.metrics.refused(p.Code)
	p.Write(w)
}
