// Package id gives typed public ids: users (usr_), sessions (ses_), service keys (key_), verifiers (vrf_) and audit
// events (evt_). An id is a TypeID (prefix, underscore, a UUIDv7 in 26 characters of Crockford's base32): it sorts by
// the time it was made, can be told apart at sight, and is public. It never is a secret: nothing is granted to who knows one.
package id

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// User names a user. Handstamp's own accounts have ids like usr_01h2xcejqtf2nbrexx3vqjhp41; an application that keeps
// its own users chooses any string that [ParseUser] accepts. The zero value names nobody.
type User string

// Session names a session (ses_…). It is the public handle that lists show; knowing it opens nothing.
type Session string

// ServiceKey names a credential for a program (key_…).
type ServiceKey string

// Verifier names one process that checks credentials (vrf_…). It is drawn at the start of the process and never reused.
type Verifier string

// Audit names one entry of the audit log (evt_…).
type Audit string

// The prefixes of the ids.
const (
	prefixUser       = "usr"
	prefixSession    = "ses"
	prefixServiceKey = "key"
	prefixVerifier   = "vrf"
	prefixAudit      = "evt"
)

// maxUserBytes is the longest user id an application may choose.
const maxUserBytes = 128

// ErrInvalid is what every parser of this package returns, wrapped with a sentence that names the rule.
var ErrInvalid = errors.New("id: invalid")

// NewUser makes the id of a user of Handstamp's own accounts.
func NewUser(now time.Time) User { return User(generate(prefixUser, now)) }

// NewSession makes the id of a session.
func NewSession(now time.Time) Session { return Session(generate(prefixSession, now)) }

// NewServiceKey makes the id of a service key.
func NewServiceKey(now time.Time) ServiceKey { return ServiceKey(generate(prefixServiceKey, now)) }

// NewVerifier makes the id of a verifier.
func NewVerifier(now time.Time) Verifier { return Verifier(generate(prefixVerifier, now)) }

// NewAudit makes the id of an entry of the audit log.
func NewAudit(now time.Time) Audit { return Audit(generate(prefixAudit, now)) }

// ParseUser accepts what an application may use as the id of a user: 1 to 128 bytes of valid UTF-8 without control
// characters (C0, DEL, C1). It changes nothing: two ids are equal when their bytes are.
func ParseUser(s string) (User, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("%w: a user id has at least one character", ErrInvalid)
	case len(s) > maxUserBytes:
		return "", fmt.Errorf("%w: a user id has at most %d bytes", ErrInvalid, maxUserBytes)
	case !utf8.ValidString(s):
		return "", fmt.Errorf("%w: a user id is valid UTF-8", ErrInvalid)
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return "", fmt.Errorf("%w: a user id has no control characters", ErrInvalid)
		}
	}
	return User(s), nil
}

// Own reports whether u has the form of an id of Handstamp's own accounts.
func (u User) Own() bool { return check(prefixUser, string(u)) == nil }

// ParseSession accepts the text of a session id, in its one canonical form.
func ParseSession(s string) (Session, error) {
	if err := check(prefixSession, s); err != nil {
		return "", err
	}
	return Session(s), nil
}

// ParseServiceKey accepts the text of a service key's id, in its one canonical form.
func ParseServiceKey(s string) (ServiceKey, error) {
	if err := check(prefixServiceKey, s); err != nil {
		return "", err
	}
	return ServiceKey(s), nil
}

// ParseVerifier accepts the text of a verifier's id, in its one canonical form.
func ParseVerifier(s string) (Verifier, error) {
	if err := check(prefixVerifier, s); err != nil {
		return "", err
	}
	return Verifier(s), nil
}

// SessionBytes returns the 16 bytes (a UUIDv7) behind a session id, for formats where size matters. The id must have
// come from this package; anything else answers ErrInvalid.
func SessionBytes(s Session) ([16]byte, error) {
	var b [16]byte
	if err := check(prefixSession, string(s)); err != nil {
		return b, err
	}
	return decode(string(s)[len(prefixSession)+1:]), nil
}

// SessionFromBytes is the inverse of [SessionBytes].
func SessionFromBytes(b [16]byte) Session { return Session(prefixSession + "_" + encode(b)) }

// generate draws a UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, then 74 random bits. crypto/rand ends the
// process rather than return bytes that are not random, so an id is never predictable by a fault of the generator.
func generate(prefix string, now time.Time) string {
	var b [16]byte
	rand.Read(b[6:])
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	return prefix + "_" + encode(b)
}

// alphabet is Crockford's base32 in lower case, as the TypeID specification (version 0.3) has it: no i, l, o, u.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// suffixLen is 128 bits in groups of five, rounded up: the first character holds three bits only.
const suffixLen = 26

func encode(b [16]byte) string {
	var out [suffixLen]byte
	var acc uint32
	bits, at := 0, suffixLen-1
	for i := 15; i >= 0; i-- {
		acc |= uint32(b[i]) << bits
		bits += 8
		for bits >= 5 {
			out[at] = alphabet[acc&31]
			at, acc, bits = at-1, acc>>5, bits-5
		}
	}
	out[at] = alphabet[acc&31]
	return string(out[:])
}

func decode(s string) [16]byte {
	var b [16]byte
	var acc uint32
	bits, at := 0, 15
	for i := suffixLen - 1; i >= 0; i-- {
		acc |= uint32(strings.IndexByte(alphabet, s[i])) << bits
		bits += 5
		if bits >= 8 && at >= 0 {
			b[at] = byte(acc)
			at, acc, bits = at-1, acc>>8, bits-8
		}
	}
	return b
}

// check accepts exactly one text per id: lower case, 26 characters, and a first character of at most 7, since the
// value would not fit into 128 bits otherwise.
func check(prefix, s string) error {
	suffix, ok := strings.CutPrefix(s, prefix+"_")
	if !ok || len(suffix) != suffixLen || suffix[0] > '7' {
		return fmt.Errorf("%w: want %s_ and %d characters", ErrInvalid, prefix, suffixLen)
	}
	for i := range len(suffix) {
		if strings.IndexByte(alphabet, suffix[i]) < 0 {
			return fmt.Errorf("%w: want %s_ and %d characters of 0-9 and a-z without i, l, o, u", ErrInvalid, prefix, suffixLen)
		}
	}
	return nil
}
