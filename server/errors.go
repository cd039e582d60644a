package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
)

// refusal is an answer that this package itself decided on.
type refusal struct {
	problem  handstamp.Problem
	expected bool  // a 503 that is no fault: nobody has to look into it
	cause    error // why, for the log; may be nil
}

// Error says the code.
func (e *refusal) Error() string { return "server: " + e.problem.Code }

// Unwrap returns the cause.
func (e *refusal) Unwrap() error { return e.cause }

func refuse(status int, code, title, detail string) error {
	return &refusal{problem: handstamp.NewProblem(status, code, title, detail)}
}

// The refusals that are the same wherever they happen.
var (
	errMethod  = refuse(http.StatusMethodNotAllowed, "method_not_allowed", "Method not allowed", "The header Allow says which methods this path has.")
	errMedia   = refuse(http.StatusUnsupportedMediaType, "unsupported_media_type", "Unsupported media type", "Send the body as application/json.")
	errClosed  = refuse(http.StatusForbidden, "forbidden", "Forbidden", "Sign-up is closed here.")
	errProgram = refuse(http.StatusForbidden, "forbidden", "Forbidden", "This is for users: a service key has no session.")
)

// tooLarge is a body of more than so many bytes.
func tooLarge(limit int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "too_large", "Too large", fmt.Sprintf("A body has at most %d KiB here.", limit>>10))
}

// malformed is a request that cannot be read as what it should be.
func malformed(detail string) error {
	return refuse(http.StatusBadRequest, "malformed_request", "Malformed request", detail)
}

// invalid is a request that can be read and whose values cannot be used. The messages never hold a value.
func invalid(errs ...handstamp.FieldError) error {
	p := handstamp.NewProblem(http.StatusUnprocessableEntity, "invalid_input", "Invalid input", "A value is not acceptable; see errors.")
	p.Errors = errs
	return &refusal{problem: p}
}

func invalidField(field, message string) error {
	return invalid(handstamp.FieldError{Field: field, Message: message})
}

func internalProblem() handstamp.Problem {
	return handstamp.NewProblem(http.StatusInternalServerError, "internal", "Internal error",
		"This is a bug. The header Request-Id names this request in the server's log.")
}

// problemOf turns an error into the answer for it: what this package decided itself, and then the tables of packages login
// and handstamp. What nobody knows is "don't know": 503, and never the cause.
func problemOf(err error) handstamp.Problem {
	if e, ok := errors.AsType[*refusal](err); ok {
		return e.problem
	}
	if errors.Is(err, account.ErrInput) {
		return problemOf(invalidField("body", lastSentence(err)))
	}
	p := login.ProblemOf(err)
	if errors.Is(err, login.ErrSetup) {
		// The token of the link is a credential that is not good, and the challenge says so as for any other (RFC 6750 section 3.1).
		text := p
		p = handstamp.ProblemOf(&handstamp.DeniedError{Reason: handstamp.ReasonInvalid, Check: "setup"})
		p.Title, p.Detail = text.Title, text.Detail
	}
	return p
}

// lastSentence is the end of an error whose text is for people: what stands before it names packages.
func lastSentence(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

// fail writes a refusal of a handler.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.deny(w, r, problemOf(err), err)
}

// deny writes every answer that is not yes. p is the answer, err is why.
func (s *Server) deny(w http.ResponseWriter, r *http.Request, p handstamp.Problem, err error) {
	s.note(w, r, p, err)
	if s.opt.NoPages || !wantsPage(r) || s.problemPage(w, p) != nil {
		p.Write(w)
	}
}

// note does what belongs to a refusal beside its text. What could not be found out is logged here, once; the client is not
// told why. In an outage every request is one of these: after the first of them some lines a second say as much as all of
// them would, and fill no disk.
func (s *Server) note(w http.ResponseWriter, r *http.Request, p handstamp.Problem, err error) {
	s.metrics.refused(p.Code)
	if p.Code == string(handstamp.ReasonReused) && !errors.Is(err, errOtherCookies) {
		// The session is over for whoever holds its cookies. No other refusal takes them away.
		s.auth.ClearCookies(w)
	}
	gone := errors.Is(err, context.Canceled) && r.Context().Err() != nil // nobody waits for the answer
	if p.Status != http.StatusServiceUnavailable || gone {
		return
	}
	level := slog.LevelError
	if e, ok := errors.AsType[*refusal](err); ok && e.expected {
		level = slog.LevelDebug
		err = cmp.Or(e.cause, err)
	}
	about := []any{"request_id", r.Header.Get("Request-Id"), "route", r.Pattern, "error", err}
	if level == slog.LevelError {
		// Each route has lines of its own, or a crowd that is refused at one would hide what is wrong at the others.
		if s.outages.Allow(r.Pattern, s.opt.Now()) > 0 {
			s.unsaid.Add(1)
			return
		}
		if n := s.unsaid.Swap(0); n > 0 {
			about = append(about, "unlogged_before", n)
		}
	}
	s.opt.Logger.Log(r.Context(), level, "could not decide about a request", about...)
}
