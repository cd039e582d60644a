package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"

	gojwt "github.com/golang-jwt/jwt/v5"
)

const (
	// MaxSetBytes is the longest key set that [ParsePublicSet] reads.
	MaxSetBytes = 64 << 10

	maxSetKeys = 64
)

// PublicSet is a set of public keys (a JWK Set, RFC 7517 section 5). It
// cannot hold a secret, since [PublicKey] cannot. It is a [KeySet]. The zero
// value is empty. It does not change; safe for concurrent use.
type PublicSet struct{ keys []PublicKey }

// NewPublicSet makes a set of the keys, in their order; of equal ids the
// first stays.
func NewPublicSet(keys ...PublicKey) PublicSet {
	var s PublicSet
	for _, k := range keys {
		if _, known := s.Key(k.ID()); k.v != nil && !known {
			s.keys = append(s.keys, k)
		}
	}
	return s
}

// Keys returns the keys, in order. The slice is the caller's.
func (s PublicSet) Keys() []PublicKey { return slices.Clone(s.keys) }

// Key implements [KeySet]. A set has a handful of keys: comparing them all is
// faster than hashing one.
func (s PublicSet) Key(kid string) (VerifyKey, bool) {
	for _, k := range s.keys {
		if k.v.id == kid {
			return VerifyKey(k), true
		}
	}
	return VerifyKey{}, false
}

// MarshalJSON writes the set as RFC 7517 has it: for each key kty, its public
// parameters, kid, use and alg, and nothing else.
func (s PublicSet) MarshalJSON() ([]byte, error) {
	out := []byte(`{"keys":[`)
	for i, k := range s.keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = k.v.appendJWK(out)
	}
	return append(out, `]}`...), nil
}

// appendJWK writes a public key. The switch is over public types: a private
// one cannot reach it, and a secret writes nothing.
func (v *verifier) appendJWK(out []byte) []byte {
	jwk := thumbprintInput(v.public())
	if jwk == nil {
		return append(out, '{', '}')
	}
	out = append(out, jwk[:len(jwk)-1]...)
	w := writer{buf: out}
	w.text("kid", v.id) // an id from another set may need escapes
	w.text("use", "sig")
	w.text("alg", string(v.alg))
	return append(w.buf, '}')
}

// thumbprintInput is the JWK with the required members only, in lexical order
// and without white space (RFC 7638 section 3); nil for anything that is not
// a public key.
func thumbprintInput(public any) []byte {
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, X, Y
		if err != nil {
			return nil
		}
		return []byte(`{"crv":"P-256","kty":"EC","x":"` + b64(point[1:33]) + `","y":"` + b64(point[33:]) + `"}`)
	case ed25519.PublicKey: // RFC 8037 appendix A.3
		return []byte(`{"crv":"Ed25519","kty":"OKP","x":"` + b64(k) + `"}`)
	case *rsa.PublicKey:
		e := big.NewInt(int64(k.E)).Bytes()
		return []byte(`{"e":"` + b64(e) + `","kty":"RSA","n":"` + b64(k.N.Bytes()) + `"}`)
	default:
		return nil
	}
}

// Thumbprint is the RFC 7638 thumbprint (SHA-256, base64url) of the key. Our
// own keys have it as their id. Empty for the zero PublicKey.
func (k PublicKey) Thumbprint() string {
	if k.v == nil {
		return ""
	}
	sum := sha256.Sum256(thumbprintInput(k.v.public()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ParsePublicSet reads a JWK Set of at most [MaxSetBytes] bytes and 64 keys.
//
// Keys that are not for checking our tokens (another kty, curve, alg or use)
// are left out, as RFC 7517 section 5 asks. A set that holds a secret or
// private parameter, two keys with one id, or one of our algorithms with
// broken parameters is refused as a whole with [ErrKey]: whoever publishes
// that has a problem that ignoring it would hide. alg and kid are required.
func ParsePublicSet(b []byte) (PublicSet, error) {
	if len(b) > MaxSetBytes {
		return PublicSet{}, fmt.Errorf("parse key set of %d bytes: %w", len(b), ErrKey)
	}
	r, err := newReader(string(b))
	if err != nil {
		return PublicSet{}, fmt.Errorf("parse key set: %w", ErrKey)
	}
	var s PublicSet
	found, count := false, 0
	err = r.object(func(name string) error {
		if name != "keys" {
			_, err := r.value()
			return err
		}
		found = true
		return r.array(func() error {
			if count++; count > maxSetKeys {
				return ErrKey
			}
			k, ok, err := parseJWK(r)
			if err != nil || !ok {
				return err
			}
			if _, known := s.Key(k.ID()); known {
				return ErrKey
			}
			s.keys = append(s.keys, k)
			return nil
		})
	})
	if err != nil || !found || !r.end() {
		return PublicSet{}, fmt.Errorf("parse key set: %w", ErrKey)
	}
	return s, nil
}

// jwk holds the members of one key that matter.
type jwk struct{ kty, crv, alg, kid, use, x, y, n, e string }

// parseJWK reads one key; false for a key that is not for us.
func parseJWK(r *reader) (PublicKey, bool, error) {
	var j jwk
	ops := []string{"verify"}
	err := r.object(func(name string) (err error) {
		switch name {
		case "kty":
			j.kty, err = r.text()
		case "crv":
			j.crv, err = r.text()
		case "alg":
			j.alg, err = r.text()
		case "kid":
			j.kid, err = r.text()
		case "use":
			j.use, err = r.text()
		case "key_ops":
			ops, err = r.texts()
		case "x":
			j.x, err = r.text()
		case "y":
			j.y, err = r.text()
		case "n":
			j.n, err = r.text()
		case "e":
			j.e, err = r.text()
		case "d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv":
			return ErrKey // a secret in public
		default:
			_, err = r.value()
		}
		return err
	})
	if err != nil {
		return PublicKey{}, false, err
	}
	if j.use != "" && j.use != "sig" || !slices.Contains(ops, "verify") {
		return PublicKey{}, false, nil
	}
	public, err := j.public()
	if err != nil || public == nil {
		return PublicKey{}, false, err
	}
	if j.kid == "" || len(j.kid) > maxKeyIDBytes {
		return PublicKey{}, false, ErrKey
	}
	return PublicKey{&verifier{alg: Algorithm(j.alg), id: j.kid, public: hide(public)}}, true, nil
}

// public builds the key; nil for a combination that is not for us.
func (j *jwk) public() (any, error) {
	switch {
	case j.kty == "EC" && j.crv == "P-256" && j.alg == string(ES256):
		x, errX := decodeSegment(j.x)
		y, errY := decodeSegment(j.y)
		// Coordinates have their full width (RFC 7518 section 6.2.1.2).
		if errX != nil || errY != nil || len(x) != 32 || len(y) != 32 {
			return nil, ErrKey
		}
		k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil { // not on the curve (CVE-2016-9121)
			return nil, ErrKey
		}
		return k, nil
	case j.kty == "OKP" && j.crv == "Ed25519" && j.alg == string(EdDSA):
		x, err := decodeSegment(j.x)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, ErrKey
		}
		return ed25519.PublicKey(x), nil
	case j.kty == "RSA" && j.alg == string(RS256):
		n, errN := decodeSegment(j.n)
		e, errE := decodeSegment(j.e)
		// No leading zero octets (RFC 7518 section 6.3.1.1); an exponent of
		// more than 31 bits is nobody's.
		if errN != nil || errE != nil || len(n) > maxRSABits/8 || len(e) > 4 ||
			bytes.HasPrefix(n, []byte{0}) || bytes.HasPrefix(e, []byte{0}) {
			return nil, ErrKey
		}
		exponent := new(big.Int).SetBytes(e).Int64()
		if exponent > 1<<31-1 {
			return nil, ErrKey
		}
		k := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}
		return k, checkPublic(k)
	default:
		return nil, nil
	}
}

// signatureChars is the length of a key's signatures in base64url.
func signatureChars(public any) int {
	n := 64 // ES256 and EdDSA
	switch k := public.(type) {
	case *rsa.PublicKey:
		n = k.Size()
	case []byte:
		n = gojwt.SigningMethodHS256.Hash.Size()
	}
	return base64.RawURLEncoding.EncodedLen(n)
}

// hasROCA says whether a modulus comes from the generator of CVE-2017-15361,
// whose keys can be factored: its primes are powers of 65537 modulo every
// small prime, so the modulus is too. A good modulus is by chance with
// probability 2^-27 or less.
func hasROCA(n *big.Int) bool {
	var rest big.Int
	for _, p := range []int64{
		3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
		101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
	} {
		want := rest.Mod(n, big.NewInt(p)).Int64()
		power := int64(1)
		for power != want {
			if power = power * 65537 % p; power == 1 {
				return false
			}
		}
	}
	return true
}
