package jwt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync/atomic"
)

const (
	gcmKeyBytes   = 32
	gcmNonceBytes = 12 // RFC 7518 section 5.3
	gcmTagBytes   = 16 // RFC 7518 section 5.3

	// MaxEncryptions is how many tokens one process encrypts with one key.
	//
	// The nonce is random and has 96 bits, so all tokens ever made with a key
	// together must stay below 2^32 (NIST SP 800-38D section 8.3), or a
	// repeated nonce gives the key away. A process cannot see what others
	// did, or it did before a restart; 2^26 leaves room for 64 processes that
	// all go to the end. Whoever owns the keys changes them long before, at
	// [RenewEncryptions].
	MaxEncryptions = 1 << 26

	// RenewEncryptions is the count at which the owner of a key should bring
	// in the next one: 2^24, which leaves room for 256 processes and
	// restarts.
	RenewEncryptions = 1 << 24
)

// sealer is AES-256-GCM and how often it was used.
type sealer struct {
	cipher.AEAD
	used atomic.Uint64
}

// encrypter is a verifier with what makes tokens.
type encrypter struct {
	verifier
	secret hidden // []byte
	header string
}

// EncryptionKey makes encrypted tokens: 256 bits that never leave the fleet
// and its id. It cannot be printed, logged or put into JSON. The zero value
// encrypts nothing. Safe for concurrent use.
type EncryptionKey struct{ e *encrypter }

// GenerateEncryptionKey makes a key from the system's randomness.
func GenerateEncryptionKey() (EncryptionKey, error) {
	secret := make([]byte, gcmKeyBytes)
	if _, err := rand.Read(secret); err != nil {
		return EncryptionKey{}, fmt.Errorf("generate encryption key: %w", err)
	}
	return newEncryptionKey(secret)
}

func newEncryptionKey(secret []byte) (EncryptionKey, error) {
	if len(secret) != gcmKeyBytes {
		return EncryptionKey{}, fmt.Errorf("encryption key of %d bytes: %w", len(secret), ErrKey)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return EncryptionKey{}, fmt.Errorf("use encryption key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return EncryptionKey{}, fmt.Errorf("use encryption key: %w", err)
	}
	e := &encrypter{secret: hide(secret)}
	e.alg, e.id, e.aead = A256GCM, secretID(secret, A256GCM), &sealer{AEAD: aead}
	e.header = encodeHeader(`{"typ":"at+jwt","alg":"dir","enc":"A256GCM","kid":"` + e.id + `"}`)
	return EncryptionKey{e}, nil
}

// ID is the key's kid: a one-way derivation of the key, 43 characters. Empty
// for the zero EncryptionKey.
func (k EncryptionKey) ID() string {
	if k.e == nil {
		return ""
	}
	return k.e.id
}

// Used is how many tokens this process has encrypted with this key value.
func (k EncryptionKey) Used() uint64 {
	if k.e == nil {
		return 0
	}
	return k.e.aead.used.Load()
}

// Verifier returns what checks and opens this key's tokens. The zero
// EncryptionKey's accepts nothing.
func (k EncryptionKey) Verifier() VerifyKey {
	if k.e == nil {
		return VerifyKey{}
	}
	return VerifyKey{&k.e.verifier}
}

// MarshalPrivate writes the key for storage, in the clear: the caller seals
// it. Layout: "A256GCM", a NUL, the 32 bytes.
func (k EncryptionKey) MarshalPrivate() ([]byte, error) {
	if k.e == nil {
		return nil, ErrNoKey
	}
	return append(append([]byte(A256GCM), 0), k.e.secret().([]byte)...), nil
}

// ParseEncryptionKey reads what [EncryptionKey.MarshalPrivate] wrote; it
// fails with [ErrKey] for anything else.
func ParseEncryptionKey(b []byte) (EncryptionKey, error) {
	name, secret, ok := bytes.Cut(b, []byte{0})
	if !ok || string(name) != string(A256GCM) {
		return EncryptionKey{}, fmt.Errorf("parse encryption key: %w", ErrKey)
	}
	return newEncryptionKey(bytes.Clone(secret))
}

// Encrypt makes an encrypted token of the claims: a JWE (RFC 7516) in compact
// form with `dir` and `A256GCM`, without compression (the length of
// compressed text tells what is in it).
//
// The claims are encrypted directly, not signed first and nested. A256GCM
// authenticates what it encrypts, header included, and the key is held by
// exactly those who may make tokens, so a signature inside would stop nobody
// and add a second header that could disagree with the first. The price:
// whoever can read an encrypted token can also make one. So the key never
// leaves the fleet, and others introspect.
//
// It fails as [Sign] does, and with [ErrKeySpent] after [MaxEncryptions]
// tokens. Safe for concurrent use.
func Encrypt(k EncryptionKey, c Claims) (string, error) {
	if k.e == nil {
		return "", ErrNoKey
	}
	payload, err := c.encode()
	if err != nil {
		return "", err
	}
	n := len(k.e.header) + len("...") + 1 + base64.RawURLEncoding.EncodedLen(gcmNonceBytes) +
		base64.RawURLEncoding.EncodedLen(len(payload)) + base64.RawURLEncoding.EncodedLen(gcmTagBytes)
	if n > MaxTokenBytes {
		return "", c.tooLong(n, MaxTokenBytes)
	}
	if k.e.aead.used.Add(1) > MaxEncryptions {
		return "", ErrKeySpent
	}
	nonce := make([]byte, gcmNonceBytes, gcmNonceBytes+len(payload)+gcmTagBytes)
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("draw nonce: %w", err)
	}
	sealed := k.e.aead.Seal(nonce, nonce, payload, []byte(k.e.header))
	text, tag := sealed[gcmNonceBytes:len(sealed)-gcmTagBytes], sealed[len(sealed)-gcmTagBytes:]
	out := make([]byte, 0, n)
	out = append(out, k.e.header...)
	out = append(out, ".."...) // dir: the encrypted key is empty (RFC 7516 section 5.1 step 5)
	out = base64.RawURLEncoding.AppendEncode(out, nonce)
	out = append(out, '.')
	out = base64.RawURLEncoding.AppendEncode(out, text)
	out = append(out, '.')
	out = base64.RawURLEncoding.AppendEncode(out, tag)
	return string(out), nil
}

// open checks the tag over header and text and decrypts.
func (s *sealer) open(t token) ([]byte, error) {
	nonce, err := decodeSegment(t.nonce)
	if err != nil || len(nonce) != gcmNonceBytes {
		return nil, errForm
	}
	text, err := decodeSegment(t.payload)
	if err != nil {
		return nil, errForm
	}
	tag, err := decodeSegment(t.proof)
	if err != nil || len(tag) != gcmTagBytes { // a shorter tag is a weaker one
		return nil, errForm
	}
	sealed := append(text, tag...)
	payload, err := s.Open(sealed[:0], nonce, sealed, []byte(t.signed))
	if err != nil {
		return nil, errSignature
	}
	return payload, nil
}
