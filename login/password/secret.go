package password

import (
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxBytes is the length of the longest password accepted, in bytes as received, before any normalisation.
// NIST SP 800-63B-4 section 3.1.1.2 asks for at least 64 characters.
const MaxBytes = 1024

// hidden is what every printed form of a [Secret] shows.
const hidden = "REDACTED"

// Secret is a password that went through [Prepare]. No way of printing, logging or encoding it shows the
// password or its length. The zero Secret is the empty password: it can be used to spend the work of a check
// ([Hasher.Equalise]) but is never hashed for storing and never verifies. Secrets cannot be compared with ==,
// which would answer sooner the sooner they differ.
type Secret struct {
	_ [0]func() // makes == a compile error

	// A pointer, because package fmt cannot call methods on unexported fields of the structs that hold a
	// Secret, nor for the verb %p: it prints what it finds, which is then an address.
	value *string
	sent  *string // as it was received, if that is not form C; else nil
}

// text returns the password in form C, empty for the zero Secret.
func (s Secret) text() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// received returns the password as it was sent, for hashes of systems that hashed it so.
func (s Secret) received() string {
	if s.sent == nil {
		return s.text()
	}
	return *s.sent
}

// Prepare is the single gate for passwords: sign-up, login, change and import all call it, so that one password
// has one form everywhere. It refuses more than [MaxBytes] bytes, invalid UTF-8 and U+0000, and turns the rest
// to Unicode normalisation form C (NIST SP 800-63B-4 section 3.1.1.2; RFC 8265 section 4.2.2 rule 4), so that
// "é" typed as one or as two code points is the same password. Nothing else is mapped: no trimming, no change
// of case or width, no cutting. Form C can lengthen a string, at most threefold in UTF-8.
//
// Errors are of type [*RefusedError]. A login that gets one must still spend the work of a check, with
// [Hasher.Equalise] and the zero Secret, before it answers as for a wrong password.
func Prepare(password string) (Secret, error) {
	// The limit comes first: normalising megabytes for an anonymous caller is a denial of service.
	switch {
	case len(password) > MaxBytes:
		return Secret{}, &RefusedError{Reason: ReasonTooLong}
	case !utf8.ValidString(password):
		return Secret{}, &RefusedError{Reason: ReasonNotText}
	case strings.IndexByte(password, 0) >= 0:
		// Other implementations stop at NUL; a password that means different things in two places is no password.
		return Secret{}, &RefusedError{Reason: ReasonNUL}
	}
	normal := norm.NFC.String(password)
	if normal == password {
		return Secret{value: &normal}, nil
	}
	sent := password // a variable of its own: the parameter's address would put every refused text on the heap
	return Secret{value: &normal, sent: &sent}, nil
}

// String hides the password.
func (Secret) String() string { return hidden }

// GoString hides the password from %#v.
func (Secret) GoString() string { return "password.Secret{" + hidden + "}" }

// Format hides the password from every verb, also from those that would print fields or bytes.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue hides the password from structured logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the password from encoders; it never returns an error.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON hides the password from JSON; it never returns an error.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }
