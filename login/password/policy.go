package password

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of [Policy.MinLength], in characters (Unicode code points in form C).
const (
	// FloorMinLength is the smallest minimum that can be set, and the default (NIST SP 800-63B-4 section
	// 3.1.1.2). Fifteen is recommended where the password is the only factor.
	FloorMinLength = 8
	// CeilingMinLength is the largest minimum that can be set: passwords of 64 characters must be possible.
	CeilingMinLength = 64
)

// Reason says why a password was refused. The texts are stable: they may be shown as codes and counted.
type Reason string

// The reasons of a [RefusedError].
const (
	ReasonTooLong  Reason = "too_long"   // more than MaxBytes bytes
	ReasonNotText  Reason = "not_utf8"   // not valid UTF-8
	ReasonNUL      Reason = "nul"        // holds U+0000
	ReasonTooShort Reason = "too_short"  // fewer characters than the policy asks for
	ReasonCommon   Reason = "common"     // one of the most common passwords
	ReasonAddress  Reason = "is_address" // the account's address or the part before its @
)

// RefusedError says why a password cannot be used. It never holds the password, so it may be shown and logged.
type RefusedError struct {
	// Reason is the rule that refused.
	Reason Reason
	// MinLength is the smallest number of characters allowed; set with ReasonTooShort only.
	MinLength int
}

// Error returns a sentence for the person who chose the password.
func (e *RefusedError) Error() string {
	switch e.Reason {
	case ReasonTooLong:
		return fmt.Sprintf("the password is longer than %d bytes", MaxBytes)
	case ReasonNotText:
		return "the password is not valid UTF-8 text"
	case ReasonNUL:
		return "the password holds a NUL character"
	case ReasonTooShort:
		return fmt.Sprintf("the password needs at least %d characters", e.MinLength)
	case ReasonCommon:
		return "the password is one of the most common ones and would be guessed at once: choose another"
	case ReasonAddress:
		return "the password is the account's address: choose another"
	default:
		return "the password cannot be used"
	}
}

// Policy decides which passwords may be chosen. It asks for length and for not being guessable at once; there
// are no composition rules (NIST SP 800-63B-4 section 3.1.1.2). It is used where a password is set, never where
// one is checked: tightening the policy must not lock anybody out.
//
// Make one with [NewPolicy]; the zero Policy refuses everything. A Policy does not change and is safe for
// concurrent use.
type Policy struct {
	minLength int
	common    *Common
}

// NewPolicy makes a policy. The minimum is in characters (code points in form C), [FloorMinLength] to
// [CeilingMinLength]; zero means FloorMinLength. It returns an error for another minimum, or if the list of
// common passwords in the program is damaged.
func NewPolicy(minLength int) (Policy, error) {
	if minLength == 0 {
		minLength = FloorMinLength
	}
	if minLength < FloorMinLength || minLength > CeilingMinLength {
		return Policy{}, fmt.Errorf("the minimum length of passwords must be %d to %d characters, not %d",
			FloorMinLength, CeilingMinLength, minLength)
	}
	common, err := LoadCommon()
	if err != nil {
		return Policy{}, err
	}
	return Policy{minLength: minLength, common: common}, nil
}

// MinLength returns the smallest number of characters (code points in form C) that the policy allows, for
// forms and messages. It is zero for the zero Policy.
func (p Policy) MinLength() int { return p.minLength }

// Check says whether a password may be chosen for the account with this address (canonical or as typed; empty
// if there is none). It returns nil for yes, else a [*RefusedError]. The upper bound on length, NUL and
// encoding were settled by [Prepare].
func (p Policy) Check(password Secret, address string) error {
	if p.common == nil || password.text() == "" || utf8.RuneCountInString(password.text()) < p.minLength {
		return &RefusedError{Reason: ReasonTooShort, MinLength: max(p.minLength, FloorMinLength)}
	}
	if isAddress(password.text(), address) {
		return &RefusedError{Reason: ReasonAddress}
	}
	if p.common.Contains(password) {
		return &RefusedError{Reason: ReasonCommon}
	}
	return nil
}

// isAddress says whether the password is the address or the part before its last @, whatever the case of
// letters. Folding is wide on purpose: here a match only refuses.
func isAddress(password, address string) bool {
	if address == "" {
		return false
	}
	if strings.EqualFold(password, address) {
		return true
	}
	at := strings.LastIndexByte(address, '@')
	return at > 0 && strings.EqualFold(password, address[:at])
}
