package token

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// RefreshToken is what a refresh token says: which session, which generation, and the nonce that proves membership of
// the family. It holds the nonce in clear, so it hides itself like a [Secret].
//
// The payload of version 1, 89 bytes before base62:
//
//	 0   1  version, 1
//	 1   4  id of the key: the first bytes of SHA-256 of the derived key
//	 5  16  session (the UUID of its id)
//	21   4  generation, big endian
//	25  32  nonce of the family, drawn at login
//	57  32  HMAC-SHA256 over the bytes before, under the derived key
//
// A later version changes the first byte and may have another length.
type RefreshToken struct {
	Session    [16]byte
	Generation uint32
	Nonce      Nonce
}

// Nonce is the secret of a refresh family. A store keeps its hash only.
type Nonce struct{ b [nonceBytes]byte }

const (
	nonceBytes    = 32
	refreshBody   = 1 + 4 + 16 + 4 + nonceBytes
	refreshBytes  = refreshBody + sha256.Size
	refreshFormat = 1
)

// NewNonce draws the nonce of a family.
func NewNonce() Nonce {
	var n Nonce
	rand.Read(n.b[:])
	return n
}

// DerivedNonce is the nonce of a family over bytes that the caller derived from a secret, instead of drawing them.
func DerivedNonce(b [nonceBytes]byte) Nonce { return Nonce{b} }

// Hash is what a store keeps of a nonce.
func (n Nonce) Hash() Hash { return sha256.Sum256(n.b[:]) }

// Format writes REDACTED for every verb.
func (n Nonce) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("REDACTED")) }

// MarshalText returns REDACTED.
func (n Nonce) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }

// Format writes REDACTED for every verb.
func (r RefreshToken) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("REDACTED")) }

// Next is the successor: the same family, one generation on. It is derived, not stored, so that it can be delivered
// again.
func (r RefreshToken) Next() RefreshToken {
	r.Generation++
	return r
}

// ErrKey is returned for a refresh token that is well formed but was made under a key that this Minter does not have,
// or whose MAC is wrong.
var ErrKey = errors.New("token: not made under a known key")

// refreshLabel separates the refresh key from every other key that is derived from the same secret.
const refreshLabel = "handstamp/v1/refresh"

// Minter makes and opens refresh tokens. It is immutable and safe for concurrent use; the zero value opens nothing.
type Minter struct {
	keys []refreshKey
}

type refreshKey struct {
	id  [4]byte
	key [sha256.Size]byte
}

// NewMinter derives a key from each secret by HKDF-SHA256 (RFC 5869): the first makes tokens, all open them.
func NewMinter(secrets [][]byte) (Minter, error) {
	if len(secrets) == 0 {
		return Minter{}, errors.New("token: a refresh key needs at least one secret")
	}
	var m Minter
	for _, s := range secrets {
		b, err := hkdf.Key(sha256.New, s, nil, refreshLabel, sha256.Size)
		if err != nil {
			return Minter{}, fmt.Errorf("derive the refresh key: %w", err)
		}
		k := refreshKey{key: [sha256.Size]byte(b)}
		sum := sha256.Sum256(b)
		copy(k.id[:], sum[:])
		m.keys = append(m.keys, k)
	}
	return m, nil
}

// Format writes REDACTED for every verb: a Minter holds keys.
func (m Minter) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("REDACTED")) }

// Mint prints the token under the first key. Equal input gives equal text, which is what lets a lost answer be given
// again.
func (m Minter) Mint(r RefreshToken) (Secret, error) {
	if len(m.keys) == 0 {
		return Secret{}, errors.New("token: no key to make refresh tokens with")
	}
	return Secret{seal(Refresh, m.keys[0].bytes(r))}, nil
}

func (k refreshKey) bytes(r RefreshToken) []byte {
	b := make([]byte, 0, refreshBytes)
	b = append(b, refreshFormat)
	b = append(b, k.id[:]...)
	b = append(b, r.Session[:]...)
	b = binary.BigEndian.AppendUint32(b, r.Generation)
	b = append(b, r.Nonce.b[:]...)
	mac := hmac.New(sha256.New, k.key[:])
	mac.Write(b)
	return mac.Sum(b)
}

// Open parses a refresh token and checks its MAC, without any store. It answers ErrMalformed or ErrKey.
func (m Minter) Open(text string) (RefreshToken, error) {
	payload, err := unseal(Refresh, text)
	if err != nil {
		return RefreshToken{}, err
	}
	var b [refreshBytes]byte
	if !decodeBase62(b[:], payload) || b[0] != refreshFormat {
		return RefreshToken{}, ErrMalformed
	}
	r := RefreshToken{
		Session:    [16]byte(b[5:21]),
		Generation: binary.BigEndian.Uint32(b[21:25]),
		Nonce:      Nonce{[nonceBytes]byte(b[25:refreshBody])},
	}
	for _, k := range m.keys {
		if k.id == [4]byte(b[1:5]) && hmac.Equal(k.bytes(r)[refreshBody:], b[refreshBody:]) {
			return r, nil
		}
	}
	return RefreshToken{}, ErrKey
}
