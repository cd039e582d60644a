package login

import (
	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// InputError is a value that a user may not choose or cannot have. Message is a sentence for the user; it never holds the
// value.
type InputError struct {
	Field   string // "password", "email"
	Message string
}

// Error says which field and why.
func (e *InputError) Error() string { return "login: " + e.Field + ": " + e.Message }

// SignUp is a request for an account. The password is as it was typed.
type SignUp struct {
	Email    account.Address
	Password string
	Start    handstamp.StartOptions
}

// Change is a user's own change of password.
type Change struct {
	User      handstamp.UserID
	Session   handstamp.SessionID // the session that stays, with new secrets
	Current   string
	New       string
	Client    handstamp.Client
	WaitFleet bool // wait until every verifier has applied the end of the other sessions
}
