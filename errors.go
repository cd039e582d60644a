package handstamp

import (
	"errors"
	"fmt"
	"time"
)

// The three answers. A nil error is yes. An error that is ErrUnauthenticated, ErrForbidden or ErrOrigin is no, and says
// why. Every other error means that it could not be found out: the request is refused with 503 and no cookie is touched.
var (
	// ErrUnauthenticated: there is no credential, or it is not valid now.
	ErrUnauthenticated = errors.New("handstamp: unauthenticated")
	// ErrForbidden: the credential is good, but this needs more: a permission or a newer login.
	ErrForbidden = errors.New("handstamp: forbidden")
	// ErrOrigin: a browser sent this unsafe request from a place that may not.
	ErrOrigin = errors.New("handstamp: refused by the origin rules")
	// ErrDisabled: the user exists and may not log in. Say it only to who has proved to be that user.
	ErrDisabled = errors.New("handstamp: the user is disabled")
	// ErrProofOutdated: between Prove and Start something ended this user's sessions, such as a new password. Check the
	// credential again, once.
	ErrProofOutdated = errors.New("handstamp: the proof is out of date; check the credential again")
	// ErrMode: the login asks for a mode that is unknown or switched off here.
	ErrMode = errors.New("handstamp: this mode is not offered")
	// ErrLease: the processes on this database have agreed on another lease.
	ErrLease = errors.New("handstamp: another lease")
	// ErrNotAwaited: what was to be ended is ended, durably and in this process, but waiting for the fleet did not finish.
	ErrNotAwaited = errors.New("handstamp: it is ended, but the fleet was not waited for")
	// ErrTooLarge: the value token would not fit its cookie or header; the wrapped text names the claim.
	ErrTooLarge = errors.New("handstamp: the value token is too large")
	// ErrDataTooLarge: a session's data would be more than 16 KiB; the wrapped text names the value.
	ErrDataTooLarge = errors.New("handstamp: the session's data is too large")
	// ErrTooMany: this network has as many sessions without a user as it may have.
	ErrTooMany = errors.New("handstamp: too many sessions without a user from this network")
)

// Reason says why the answer is no. It is stable: logs, metrics and problem codes are keyed by it.
type Reason string

// The reasons.
const (
	ReasonMissing   Reason = "missing_credential"
	ReasonDuplicate Reason = "duplicate_credential"
	ReasonInvalid   Reason = "invalid_token"
	ReasonExpired   Reason = "expired"
	ReasonRevoked   Reason = "revoked"
	ReasonReused    Reason = "refresh_reused"
	ReasonStale     Reason = "stale_token"
	ReasonForbidden Reason = "forbidden"
	ReasonStepUp    Reason = "step_up_required"
)

// DeniedError is the answer no. It is ErrUnauthenticated, or ErrForbidden for the last two reasons.
type DeniedError struct {
	Reason Reason
	// Check names the rule that refused, for people who look into one credential ("signature", "user_ended"). It never
	// goes to a client.
	Check string
	// Permission is what was missing, for ReasonForbidden.
	Permission string
	// By is the number of the event that decided, and Since when it happened; zero where no event did or it is not known.
	By    uint64
	Since time.Time
}

// Error never holds any part of a credential.
func (e *DeniedError) Error() string {
	if e.Permission != "" {
		return fmt.Sprintf("handstamp: %s: needs %s", e.Reason, e.Permission)
	}
	return fmt.Sprintf("handstamp: %s (%s)", e.Reason, e.Check)
}

// Is makes the error one of the two sentinels.
func (e *DeniedError) Is(target error) bool {
	forbidden := e.Reason == ReasonForbidden || e.Reason == ReasonStepUp
	return target == ErrForbidden && forbidden || target == ErrUnauthenticated && !forbidden
}

func denied(r Reason, check string) error { return &DeniedError{Reason: r, Check: check} }

// UnavailableError means "don't know", with a hint when to ask again. Other errors may mean the same; they have no hint.
type UnavailableError struct {
	RetryAfter time.Duration
	Err        error
}

// Error says what could not be found out.
func (e *UnavailableError) Error() string { return fmt.Sprintf("handstamp: unavailable: %v", e.Err) }

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// ReasonOf returns why the answer is no, and false if the error is none of Handstamp's refusals.
func ReasonOf(err error) (Reason, bool) {
	if d, ok := errors.AsType[*DeniedError](err); ok {
		return d.Reason, true
	}
	return "", false
}
