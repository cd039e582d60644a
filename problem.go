package handstamp

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/handstamp/handstamp/id"
)

// Problem is an answer that is not yes, as RFC 9457 writes it. Two refusals for the same reason are equal bytes.
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Code   string       `json:"code"`
	Errors []FieldError `json:"errors,omitempty"`

	// RetryAfter is sent as a header, in whole seconds, rounded up; 0 sends none.
	RetryAfter time.Duration `json:"-"`
	// bearerError is the error code of RFC 6750 section 3.1 for the header WWW-Authenticate.
	bearerError string
}

// FieldError says what is wrong with one field of a request. It never holds the field's value.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// NewProblem makes the answer for a stable code.
func NewProblem(status int, code, title, detail string) Problem {
	return Problem{Type: "urn:handstamp:problem:" + code, Title: title, Status: status, Code: code, Detail: detail}
}

// retryUnavailable is when a client is told to ask again where nothing better is known: a lease's worth of time.
const retryUnavailable = 2 * time.Second

// ProblemOf turns an error of this package into the answer for it. An error it does not know is "don't know": 503. The
// cause of that never reaches the client.
func ProblemOf(err error) Problem {
	if d, ok := errors.AsType[*DeniedError](err); ok {
		return deniedProblem(d)
	}
	switch {
	case errors.Is(err, ErrOrigin):
		return NewProblem(http.StatusForbidden, "cross_origin", "Refused by the origin rules",
			"A browser may send this request only from this application's own pages, or from an origin that is allowed. "+
				"A program that sends the cookie also sends the header Origin.")
	case errors.Is(err, ErrNotFound):
		return NewProblem(http.StatusNotFound, "not_found", "Not found", "There is no such thing, or it is not yours.")
	case errors.Is(err, id.ErrInvalid):
		return invalid("user", "a user id is 1 to 128 bytes of text without control characters")
	case errors.Is(err, ErrMode):
		return invalid("mode", "this mode or transport is unknown or not offered here")
	case errors.Is(err, ErrTooLarge):
		return invalid("claims", since(err, ErrTooLarge))
	case errors.Is(err, ErrDataTooLarge):
		return invalid("data", since(err, ErrDataTooLarge))
	case errors.Is(err, ErrTooMany):
		p := NewProblem(http.StatusTooManyRequests, "too_many_attempts", "Too many visitors", "Too many visitors come from this network. Try again later, or log in.")
		p.RetryAfter = time.Minute
		return p
	case errors.Is(err, ErrUnauthenticated): // said by the application, which gives no reason
		return deniedProblem(&DeniedError{Reason: ReasonInvalid})
	case errors.Is(err, ErrForbidden):
		return deniedProblem(&DeniedError{Reason: ReasonForbidden})
	case errors.Is(err, ErrDisabled):
		return NewProblem(http.StatusForbidden, "account_disabled", "Account disabled", "This account is disabled.")
	}
	p := NewProblem(http.StatusServiceUnavailable, "unavailable", "Temporarily unavailable",
		"It cannot be found out right now whether this may be done, or was done. Try again.")
	p.RetryAfter = retryUnavailable
	if errors.Is(err, ErrNotAwaited) {
		p.Detail = "It is done, and durable. Only the wait for the fleet did not finish."
	}
	if u, ok := errors.AsType[*UnavailableError](err); ok && u.RetryAfter > 0 {
		p.RetryAfter = u.RetryAfter
	}
	return p
}

// invalid says which field of a request has a value that cannot be.
func invalid(field, message string) Problem {
	p := NewProblem(http.StatusUnprocessableEntity, "invalid_input", "Invalid input", "A value is not acceptable; see errors.")
	p.Errors = []FieldError{{Field: field, Message: message}}
	return p
}

// since is the text of an error from a sentinel's on: what callers wrapped around it is not for clients.
func since(err, sentinel error) string {
	_, text, _ := strings.Cut(err.Error(), sentinel.Error())
	return strings.TrimPrefix(sentinel.Error(), "handstamp: ") + text
}

func deniedProblem(d *DeniedError) Problem {
	known := map[Reason]Problem{
		ReasonMissing:   NewProblem(401, "", "Not logged in", "This needs a login: send a session cookie, or Authorization: Bearer."),
		ReasonDuplicate: NewProblem(400, "", "Two credentials", "The request carries the session cookie twice. Clear the cookies of this site and log in again."),
		ReasonInvalid:   NewProblem(401, "", "Invalid credential", "The credential is malformed, unknown or not meant for this."),
		ReasonExpired:   NewProblem(401, "", "Expired", "The session or token is past its end. Refresh it, or log in again."),
		ReasonRevoked:   NewProblem(401, "", "Revoked", "The session was ended. Log in again."),
		ReasonReused:    NewProblem(401, "", "Refresh token reused", "This refresh token was used before, so the session was ended to be safe. Log in again."),
		ReasonStale:     NewProblem(401, "", "Out of date", "The token is older than a change of what it says. Refresh it."),
		ReasonForbidden: NewProblem(403, "", "Forbidden", "You may not do this."),
		ReasonStepUp:    NewProblem(403, "", "Log in again", "This needs a login that is more recent."),
	}
	p, ok := known[d.Reason]
	if !ok {
		return ProblemOf(nil)
	}
	p.Code = string(d.Reason)
	p.Type = "urn:handstamp:problem:" + p.Code
	if d.Permission != "" {
		p.Detail = fmt.Sprintf("This needs the permission %s.", d.Permission)
	}
	if p.Status == http.StatusUnauthorized && d.Reason != ReasonMissing {
		p.bearerError = "invalid_token"
	}
	return p
}

// Write sends the problem. Nothing about identity may stay in a cache.
func (p Problem) Write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.Status == http.StatusUnauthorized {
		challenge := "Bearer"
		if p.bearerError != "" {
			challenge += ` error="` + p.bearerError + `"`
		}
		h.Set("WWW-Authenticate", challenge)
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	w.WriteHeader(p.Status)
	// The answer's status is out; an error here is the client's connection, and nobody is left to tell.
	_ = json.NewEncoder(w).Encode(p)
}
