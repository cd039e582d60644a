package login

import (
	"errors"
	"net/http"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// ProblemOf turns every error of a login, a sign-up or a change of an account into its answer. What it does not know it
// leaves to handstamp.ProblemOf: in the end "don't know", 503.
func ProblemOf(err error) handstamp.Problem {
	if e, ok := errors.AsType[*TooManyError](err); ok {
		p := handstamp.NewProblem(http.StatusTooManyRequests, "too_many_attempts", "Too many attempts",
			"There were too many attempts. Wait as long as Retry-After says; trying earlier does not count.")
		p.RetryAfter = max(time.Second, e.RetryAfter) // 0 would send no header
		return p
	}
	if e, ok := errors.AsType[*InputError](err); ok {
		return invalid(e.Field, e.Message)
	}
	if e, ok := errors.AsType[*account.AddressError](err); ok {
		return invalid("email", e.Problem)
	}
	switch {
	case errors.Is(err, ErrInvalidCredentials):
		return handstamp.NewProblem(http.StatusUnauthorized, "invalid_credentials", "Invalid credentials",
			"The address or the password is wrong.")
	case errors.Is(err, handstamp.ErrTaken):
		return handstamp.NewProblem(http.StatusConflict, "email_taken", "Address in use",
			"There is an account with this address: log in instead.")
	case errors.Is(err, ErrSetup):
		return handstamp.NewProblem(http.StatusUnauthorized, "invalid_token", "Invalid link",
			"This link was used, has run out, or is not complete. Start the server again to get another one.")
	}
	return handstamp.ProblemOf(err)
}

func invalid(field, message string) handstamp.Problem {
	p := handstamp.NewProblem(http.StatusUnprocessableEntity, "invalid_input", "Invalid input", "A value is not acceptable; see errors.")
	p.Errors = []handstamp.FieldError{{Field: field, Message: message}}
	return p
}
