package jwt

import (
	"errors"
	"fmt"
)

// The answers "no" of [Verify]. Each is reached through errors.Is; the
// [Error] around it says which check refused. Any other error means that the
// verifier itself could not work ([ErrRules]) and is not a statement about
// the token.
var (
	// ErrMalformed: the text is not a token of the accepted shape.
	ErrMalformed = errors.New("jwt: malformed token")
	// ErrSignature: the token is well formed but not ours: unknown key, bad
	// signature, other algorithm, type, issuer or audience, or claims that
	// this package never makes.
	ErrSignature = errors.New("jwt: invalid token")
	// ErrExpired: a genuine token whose time is over. Never said about a
	// token whose signature did not match.
	ErrExpired = errors.New("jwt: token is expired")
	// ErrNotYetValid: a genuine token whose nbf or iat lies in the future by
	// more than the leeway.
	ErrNotYetValid = errors.New("jwt: token is not valid yet")
)

// Errors of making keys and tokens and of configuring a verifier.
var (
	// ErrRules: the [Rules] lack an issuer, an audience or the time, or a
	// leeway is out of range. Nothing is accepted with them.
	ErrRules = errors.New("jwt: incomplete rules")
	// ErrNoKey: the zero value of a key type was used.
	ErrNoKey = errors.New("jwt: no key")
	// ErrKey: key material that this package does not accept: wrong type or
	// curve, too short, not on the curve, or not in canonical form.
	ErrKey = errors.New("jwt: unacceptable key")
	// ErrAlgorithm: a name outside the closed list.
	ErrAlgorithm = errors.New("jwt: unknown algorithm")
	// ErrReservedClaim: an application's claim has a name that belongs to
	// this package, to the registry of JWT claims, or to a secret.
	ErrReservedClaim = errors.New("jwt: reserved claim name")
	// ErrClaim: a claim is missing or has a value that cannot be put into a
	// token.
	ErrClaim = errors.New("jwt: unusable claim")
	// ErrKeySpent: an encryption key has encrypted as many tokens as one
	// process may with one key (see [MaxEncryptions]).
	ErrKeySpent = errors.New("jwt: encryption key is used up")
)

// The checks that [Verify] makes, in its order, as named by [Error].
const (
	CheckSize      = "size"      // at most MaxTokenBytes
	CheckForm      = "form"      // compact serialisation, canonical base64url
	CheckHeader    = "header"    // strict JSON, no parameter that must not be there
	CheckType      = "type"      // typ is at+jwt
	CheckKey       = "key"       // kid names a key of the set
	CheckAlgorithm = "algorithm" // alg (and enc) are the key's
	CheckSignature = "signature" // signature or authentication tag matches
	CheckClaims    = "claims"    // strict JSON, all needed claims, right types
	CheckIssuer    = "issuer"
	CheckAudience  = "audience"
	CheckExpiry    = "expiry"
	CheckNotBefore = "not_before"
	CheckIssuedAt  = "issued_at"
)

// Error is a refusal of [Verify]. It is one of [ErrMalformed],
// [ErrSignature], [ErrExpired] and [ErrNotYetValid] for errors.Is; Check says
// which check refused, for logs and for `inspect`. It never holds a part of
// the token.
type Error struct {
	Check string // one of the Check constants
	class error
}

// Error implements error.
func (e *Error) Error() string { return e.class.Error() + " (" + e.Check + ")" }

// Unwrap returns the class of the refusal.
func (e *Error) Unwrap() error { return e.class }

// Refusals are made once: a flood of bad tokens allocates no errors.
var (
	errSize      = &Error{CheckSize, ErrMalformed}
	errForm      = &Error{CheckForm, ErrMalformed}
	errHeader    = &Error{CheckHeader, ErrMalformed}
	errType      = &Error{CheckType, ErrSignature}
	errKey       = &Error{CheckKey, ErrSignature}
	errAlgorithm = &Error{CheckAlgorithm, ErrSignature}
	errSignature = &Error{CheckSignature, ErrSignature}
	errClaims    = &Error{CheckClaims, ErrSignature}
	errIssuer    = &Error{CheckIssuer, ErrSignature}
	errAudience  = &Error{CheckAudience, ErrSignature}
	errExpired   = &Error{CheckExpiry, ErrExpired}
	errNotBefore = &Error{CheckNotBefore, ErrNotYetValid}
	errIssuedAt  = &Error{CheckIssuedAt, ErrNotYetValid}
)

// SizeError says that a token would be longer than a limit, and which claim
// takes the most room.
type SizeError struct {
	Claim        string // name of the largest claim
	Bytes, Limit int    // length of the token and the longest allowed
}

// Error implements error.
func (e *SizeError) Error() string {
	return fmt.Sprintf("jwt: token of %d bytes is longer than %d; largest claim %q", e.Bytes, e.Limit, e.Claim)
}
