package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"

	gojwt "github.com/golang-jwt/jwt/v5"
)

// Algorithm names how a value token is signed (RFC 7518 section 3.1, RFC 8037
// section 3.1). The list is closed; names are compared case-sensitively
// (RFC 8725 section 3.1). The zero value is no algorithm.
type Algorithm string

// The algorithms. EdDSA means Ed25519 and nothing else.
const (
	ES256 Algorithm = "ES256"
	EdDSA Algorithm = "EdDSA"
	RS256 Algorithm = "RS256"
	HS256 Algorithm = "HS256"
)

// A256GCM names the content encryption of encryption keys (RFC 7518 section
// 5.3). It is no signature algorithm: [ParseAlgorithm] refuses it.
const A256GCM Algorithm = "A256GCM"

const (
	// MinHMACBytes is the shortest HS256 secret: as long as the hash
	// (RFC 7518 section 3.2).
	MinHMACBytes = 32

	minRSABits = 2048 // RFC 7518 section 3.3
	newRSABits = 3072 // NIST SP 800-57 part 1: 128 bits of security
	maxRSABits = 8192 // a public key from outside must not choose our cost

	// minDistinct is how many different byte values an HS256 secret has at
	// least. 32 random hexadecimal digits have fewer with probability 1e-5,
	// random bytes never; "aaaa…" and "01010101…" always.
	minDistinct = 8

	maxKeyIDBytes = 128
)

// ParseAlgorithm reads the name of a signature algorithm. It fails with
// [ErrAlgorithm] for everything outside the closed list.
func ParseAlgorithm(name string) (Algorithm, error) {
	switch a := Algorithm(name); a {
	case ES256, EdDSA, RS256, HS256:
		return a, nil
	default:
		return "", ErrAlgorithm
	}
}

// hidden gives a value that package fmt cannot reach. A struct with a key in
// an unexported field, printed with a verb that does not fit (%s), is followed
// through pointers and printed in full, past every String and Format method;
// functions are not called.
type hidden func() any

func hide(v any) hidden { return func() any { return v } }

// verifier is the half of a key that checks. Nothing in it changes.
type verifier struct {
	alg    Algorithm
	id     string
	public hidden  // *ecdsa.PublicKey, ed25519.PublicKey, *rsa.PublicKey, or the HMAC secret
	aead   *sealer // encryption keys only; public is nil then
}

// signer is a verifier with what makes tokens.
type signer struct {
	verifier
	private hidden
	header  string // the encoded protected header, the same for every token of the key
}

// Key is a signing key: private material, its one algorithm and its id. It
// cannot be printed, logged or put into JSON. The zero value signs nothing.
// Safe for concurrent use.
type Key struct{ s *signer }

// VerifyKey checks the tokens of one key, signed or encrypted. It cannot be
// printed, since for HS256 and encryption it holds the secret. The zero value
// accepts nothing. It is one pointer: copying it allocates nothing. Safe for
// concurrent use.
type VerifyKey struct{ v *verifier }

// PublicKey is the public half of an asymmetric key: what a key set shows.
// The zero value accepts nothing. Safe for concurrent use.
type PublicKey struct{ v *verifier }

// Generate makes a key from the system's randomness: P-256, Ed25519, RSA with
// 3072 bits (which takes up to seconds), or a secret of 256 bits.
func Generate(alg Algorithm) (Key, error) {
	var private any
	var err error
	switch alg {
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, newRSABits)
	case HS256:
		secret := make([]byte, MinHMACBytes)
		_, err = rand.Read(secret)
		private = secret
	default:
		return Key{}, ErrAlgorithm
	}
	if err != nil {
		return Key{}, fmt.Errorf("generate %s key: %w", alg, err)
	}
	return newKey(private)
}

// NewHMACKey makes an HS256 key of a secret of at least [MinHMACBytes] bytes.
// It copies the secret. Short or visibly patterned secrets fail with
// [ErrKey]: everybody who holds one token can try guesses against it offline.
func NewHMACKey(secret []byte) (Key, error) {
	return newKey(bytes.Clone(secret))
}

// newKey derives algorithm, public half and id from private material, so that
// a key can never be used with an algorithm that is not its own.
func newKey(private any) (Key, error) {
	var public any
	s := &signer{private: hide(private)}
	switch k := private.(type) {
	case *ecdsa.PrivateKey:
		s.alg, public = ES256, &k.PublicKey
	case ed25519.PrivateKey:
		s.alg, public = EdDSA, k.Public()
	case *rsa.PrivateKey:
		s.alg, public = RS256, &k.PublicKey
	case []byte:
		s.alg, public = HS256, k
	default:
		return Key{}, ErrKey
	}
	if err := checkPublic(public); err != nil {
		return Key{}, err
	}
	s.public, s.id = hide(public), keyID(public)
	s.header = encodeHeader(`{"typ":"at+jwt","alg":"` + string(s.alg) + `","kid":"` + s.id + `"}`)
	return Key{s}, nil
}

// checkPublic refuses key material that is too weak or of another curve.
func checkPublic(public any) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return fmt.Errorf("curve is not P-256: %w", ErrKey)
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("Ed25519 key of %d bytes: %w", len(k), ErrKey)
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return fmt.Errorf("RSA modulus of %d bits: %w", n, ErrKey)
		}
		// Small exponents have a history of forgeries (CVE-2006-4339), and
		// every key maker has used 65537 for twenty years.
		if k.E < 65537 || k.E&1 == 0 {
			return fmt.Errorf("RSA exponent: %w", ErrKey)
		}
		if hasROCA(k.N) {
			return fmt.Errorf("RSA modulus has the ROCA weakness: %w", ErrKey)
		}
	case []byte:
		if len(k) < MinHMACBytes {
			return fmt.Errorf("HS256 secret of %d bytes, at least %d are needed: %w", len(k), MinHMACBytes, ErrKey)
		}
		var seen [256]bool
		distinct := 0
		for _, b := range k {
			if !seen[b] {
				seen[b] = true
				distinct++
			}
		}
		if distinct < minDistinct {
			return fmt.Errorf("HS256 secret is a pattern, not random: %w", ErrKey)
		}
	}
	return nil
}

// keyID is the thumbprint of RFC 7638 for public keys. A thumbprint of a
// secret would be its plain hash, published in every header; secrets get a
// one-way derivation of their own instead, which says no more than the MAC in
// the same token already does.
func keyID(public any) string {
	if secret, ok := public.([]byte); ok {
		return secretID(secret, HS256)
	}
	sum := sha256.Sum256(thumbprintInput(public))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func secretID(secret []byte, alg Algorithm) string {
	id, err := hkdf.Key(sha256.New, secret, nil, "handstamp/v1/kid "+string(alg), sha256.Size)
	if err != nil {
		panic("handstamp: derive key id: " + err.Error()) // only for a length beyond HKDF's limit
	}
	return base64.RawURLEncoding.EncodeToString(id)
}

// ID is the key's kid: the RFC 7638 thumbprint (SHA-256, 43 characters), or
// for HS256 a one-way derivation of the secret of the same form. Empty for
// the zero Key.
func (k Key) ID() string {
	if k.s == nil {
		return ""
	}
	return k.s.id
}

// Algorithm is the only algorithm the key is used with. Empty for the zero
// Key.
func (k Key) Algorithm() Algorithm {
	if k.s == nil {
		return ""
	}
	return k.s.alg
}

// Public returns the public half; false for HS256, which has none, and for
// the zero Key.
func (k Key) Public() (PublicKey, bool) {
	if k.s == nil || k.s.alg == HS256 {
		return PublicKey{}, false
	}
	return PublicKey{&verifier{alg: k.s.alg, id: k.s.id, public: k.s.public}}, true
}

// Verifier returns what checks this key's tokens. The zero Key's accepts
// nothing.
func (k Key) Verifier() VerifyKey {
	if k.s == nil {
		return VerifyKey{}
	}
	return VerifyKey{&k.s.verifier}
}

// MarshalPrivate writes the key for storage, in the clear: the caller seals
// it. Layout: the algorithm's name, a NUL, then PKCS #8 (RFC 5208) or, for
// HS256, the secret. Another layout would begin with another name.
func (k Key) MarshalPrivate() ([]byte, error) {
	if k.s == nil {
		return nil, ErrNoKey
	}
	out := append([]byte(k.s.alg), 0)
	if secret, ok := k.s.private().([]byte); ok {
		return append(out, secret...), nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.s.private())
	if err != nil {
		return nil, fmt.Errorf("encode %s key: %w", k.s.alg, err)
	}
	return append(out, der...), nil
}

// ParsePrivate reads what [Key.MarshalPrivate] wrote. It fails with [ErrKey]
// for anything else, also where the material is not of the named algorithm.
// The error never quotes the input.
func ParsePrivate(b []byte) (Key, error) {
	name, material, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return Key{}, fmt.Errorf("parse private key: %w", ErrKey)
	}
	alg, err := ParseAlgorithm(string(name))
	if err != nil {
		return Key{}, fmt.Errorf("parse private key: %w", ErrKey)
	}
	var private any = bytes.Clone(material)
	if alg != HS256 {
		if private, err = x509.ParsePKCS8PrivateKey(material); err != nil {
			return Key{}, fmt.Errorf("parse %s key: %w", alg, ErrKey)
		}
	}
	k, err := newKey(private)
	if err != nil {
		return Key{}, fmt.Errorf("parse %s key: %w", alg, err)
	}
	if k.Algorithm() != alg {
		return Key{}, fmt.Errorf("parse %s key: material of another algorithm: %w", alg, ErrKey)
	}
	return k, nil
}

// ID is the key's kid. Empty for the zero VerifyKey.
func (k VerifyKey) ID() string {
	if k.v == nil {
		return ""
	}
	return k.v.id
}

// Algorithm is the only algorithm the key accepts; [A256GCM] for encryption
// keys, empty for the zero VerifyKey.
func (k VerifyKey) Algorithm() Algorithm {
	if k.v == nil {
		return ""
	}
	return k.v.alg
}

// ID is the key's kid. Empty for the zero PublicKey.
func (k PublicKey) ID() string { return VerifyKey(k).ID() }

// Algorithm is the only algorithm the key accepts. Empty for the zero
// PublicKey.
func (k PublicKey) Algorithm() Algorithm { return VerifyKey(k).Algorithm() }

// Verifier returns what checks this key's tokens.
func (k PublicKey) Verifier() VerifyKey { return VerifyKey(k) }

// method is the signature primitive of an algorithm: golang-jwt's, which is
// used for the mathematics only; its parser is not. Nil outside the list.
func method(alg Algorithm) gojwt.SigningMethod {
	switch alg {
	case ES256:
		return gojwt.SigningMethodES256
	case EdDSA:
		return gojwt.SigningMethodEdDSA
	case RS256:
		return gojwt.SigningMethodRS256
	case HS256:
		return gojwt.SigningMethodHS256
	default:
		return nil
	}
}

// Keys reach logs by accident: in an error, a %+v of a struct, a debug dump.
// Every way of printing one gives this text. The kid is no secret and can be
// printed by itself.
const redacted = "REDACTED"

// String hides the key.
func (Key) String() string { return redacted }

// GoString hides the key.
func (Key) GoString() string { return redacted }

// Format hides the key, whatever the verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the key.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON hides the key. To store one, use [Key.MarshalPrivate].
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// String hides the key.
func (VerifyKey) String() string { return redacted }

// GoString hides the key.
func (VerifyKey) GoString() string { return redacted }

// Format hides the key, whatever the verb.
func (VerifyKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the key.
func (VerifyKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON hides the key.
func (VerifyKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// String hides the key.
func (EncryptionKey) String() string { return redacted }

// GoString hides the key.
func (EncryptionKey) GoString() string { return redacted }

// Format hides the key, whatever the verb.
func (EncryptionKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the key.
func (EncryptionKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON hides the key. To store one, use [EncryptionKey.MarshalPrivate].
func (EncryptionKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
