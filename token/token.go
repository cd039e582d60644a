// Package token makes, prints, parses and hashes opaque tokens: what a client holds and a store never sees. A token is
// a prefix that names its kind (so that secret scanners find it), a payload in base62 and six characters of checksum,
// so that a mistyped token is refused without touching a store. The checksum is no authentication: that is the
// look-up of the hash or, for refresh tokens, the MAC.
//
// Package token never stores anything, never decides whether a token is still good, and accepts exactly one text for
// each value.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strings"
)

// Kind says what a token is for. The zero value is no kind: nothing parses as it.
type Kind uint8

// The kinds of opaque tokens. Each has a prefix of its own and is refused wherever another is expected.
const (
	Reference  Kind = iota + 1 // hs_s_: stands for a session
	Refresh                    // hs_r_: buys the next access token of a session
	ServiceKey                 // hs_k_: a program's credential
	Setup                      // hs_b_: makes the first administrator, once
	Anonymous                  // hs_a_: stands for a session without a user
)

// prefixes are the field's custom: vendor, kind. They are part of the wire format.
func (k Kind) prefix() string {
	switch k {
	case Reference:
		return "hs_s_"
	case Refresh:
		return "hs_r_"
	case ServiceKey:
		return "hs_k_"
	case Setup:
		return "hs_b_"
	case Anonymous:
		return "hs_a_"
	default:
		return ""
	}
}

// String names the kind for people.
func (k Kind) String() string {
	switch k {
	case Reference:
		return "session token"
	case Refresh:
		return "refresh token"
	case ServiceKey:
		return "service key"
	case Setup:
		return "setup token"
	case Anonymous:
		return "anonymous session token"
	default:
		return "no token"
	}
}

// ErrMalformed is all that is said of a text that is no token: wrong prefix, length, alphabet, checksum or a second
// spelling of a value. The text itself is never repeated.
var ErrMalformed = errors.New("token: malformed")

// Secret is the text of a credential. It hides itself from fmt, log/slog and encoding/json; [Secret.Reveal] is the one
// way to the text, so that every place that hands out a credential can be found by that name.
type Secret struct{ text string }

// NewSecret wraps the text of a credential that was made elsewhere, such as a signed token.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.text == "" }

// String returns REDACTED.
func (s Secret) String() string { return "REDACTED" }

// GoString returns REDACTED.
func (s Secret) GoString() string { return "REDACTED" }

// Format writes REDACTED for every verb, %x and %q among them.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("REDACTED")) }

// LogValue returns REDACTED.
func (s Secret) LogValue() slog.Value { return slog.StringValue("REDACTED") }

// MarshalText returns REDACTED, which covers encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }

// Hash is SHA-256 of a token's whole text: what a store keeps and looks up by. 256 bits of randomness need neither
// salt nor a slow hash. The zero Hash stands for "no token" and matches nothing.
type Hash [sha256.Size]byte

// HashOf hashes a token's text.
func HashOf(s Secret) Hash { return sha256.Sum256([]byte(s.text)) }

// IsZero reports whether the hash stands for no token.
func (h Hash) IsZero() bool { return h == Hash{} }

// Equal compares in constant time. Two zero hashes are not equal: absence never matches.
func (h Hash) Equal(other Hash) bool {
	return subtle.ConstantTimeCompare(h[:], other[:]) == 1 && !h.IsZero()
}

// secretBytes is the randomness in a reference token, a service key and a setup token: 256 bits.
const secretBytes = 32

// Generate draws a token. crypto/rand ends the process rather than return bytes that are not random.
func Generate(k Kind) Secret {
	var b [secretBytes]byte
	rand.Read(b[:])
	return Secret{seal(k, b[:])}
}

// Derived prints a token over bytes that the caller derived from a secret, instead of drawing them.
func Derived(k Kind, payload [secretBytes]byte) Secret { return Secret{seal(k, payload[:])} }

// maxBytes is longer than any token of any kind; longer texts are refused before they are looked at.
const maxBytes = 256

// KindOf tells the kind by prefix alone. It answers false for a text that has no prefix of ours.
func KindOf(text string) (Kind, bool) {
	for _, k := range []Kind{Reference, Refresh, ServiceKey, Setup, Anonymous} {
		if strings.HasPrefix(text, k.prefix()) {
			return k, true
		}
	}
	return 0, false
}

// Parse checks form, length, alphabet, range and checksum of a reference token, a service key or a setup token, and
// returns what a store looks up. It answers ErrMalformed for anything else, refresh tokens included.
func Parse(k Kind, text string) (Hash, error) {
	if k == Refresh {
		return Hash{}, ErrMalformed
	}
	payload, err := unseal(k, text)
	if err != nil || !canonical(payload, secretBytes) {
		return Hash{}, ErrMalformed
	}
	return sha256.Sum256([]byte(text)), nil
}

// checksumLen is CRC-32 (IEEE) in base62: 62^6 > 2^32.
const checksumLen = 6

// seal prints prefix, payload and the checksum over both.
func seal(k Kind, payload []byte) string {
	out := make([]byte, 0, maxBytes)
	out = append(out, k.prefix()...)
	out = appendBase62(out, payload)
	sum := crc32.ChecksumIEEE(out)
	return string(appendBase62(out, []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}))
}

// unseal returns the payload's characters if prefix and checksum match.
func unseal(k Kind, text string) (string, error) {
	prefix := k.prefix()
	if prefix == "" || len(text) > maxBytes || len(text) < len(prefix)+checksumLen || text[:len(prefix)] != prefix {
		return "", ErrMalformed
	}
	at := len(text) - checksumLen
	var sum [4]byte
	if !decodeBase62(sum[:], text[at:]) {
		return "", ErrMalformed
	}
	want := crc32.ChecksumIEEE([]byte(text[:at]))
	got := uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])
	if got != want {
		return "", ErrMalformed
	}
	return text[len(prefix):at], nil
}
