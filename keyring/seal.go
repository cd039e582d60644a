package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

const (
	minSecretBytes = 32
	maxSecretBytes = 1024

	sealedVersion = 1
	nonceBytes    = 12
)

// ErrSecret says that none of the secrets opens a stored key: the secret was
// changed instead of adding one, or the record was tampered with.
var ErrSecret = errors.New("keyring: no secret opens the key")

// vault seals private keys for storage. Layout of a sealed key: one byte 1,
// the nonce (12 bytes), AES-256-GCM of the private form. The additional data
// is the key's id, a NUL and its algorithm, so that whoever can write to the
// database cannot exchange keys, nor put in one of their own. Another layout
// would begin with another byte.
//
// The ciphers are behind functions, since package fmt follows pointers and a
// cipher holds its key.
type vault struct {
	aeads []func() cipher.AEAD // the first seals, all open
}

// newVault derives one key per secret; the secrets themselves are not kept.
func newVault(secrets [][]byte) (vault, error) {
	if len(secrets) == 0 {
		return vault{}, errors.New("keyring: at least one secret is needed")
	}
	var v vault
	for i, s := range secrets {
		if len(s) < minSecretBytes || len(s) > maxSecretBytes {
			return vault{}, fmt.Errorf("keyring: secret %d has %d bytes, want %d to %d", i+1, len(s), minSecretBytes, maxSecretBytes)
		}
		key, err := hkdf.Key(sha256.New, s, nil, "handstamp/v1/keys-at-rest", 32)
		if err != nil {
			return vault{}, fmt.Errorf("derive sealing key: %w", err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return vault{}, fmt.Errorf("use sealing key: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return vault{}, fmt.Errorf("use sealing key: %w", err)
		}
		v.aeads = append(v.aeads, func() cipher.AEAD { return aead })
	}
	return v, nil
}

// label binds sealed bytes to their record. Unambiguous, since algorithms
// hold no NUL.
func label(r *Record) []byte { return []byte(r.ID + "\x00" + string(r.Algorithm)) }

// seal encrypts private material under the first secret.
func (v vault) seal(r *Record, private []byte) ([]byte, error) {
	out := make([]byte, 1+nonceBytes, 1+nonceBytes+len(private)+16)
	out[0] = sealedVersion
	nonce := out[1:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("draw nonce: %w", err)
	}
	return v.aeads[0]().Seal(out, nonce, private, label(r)), nil
}

// open decrypts; first says whether it was sealed under the first secret.
func (v vault) open(r *Record) (private []byte, first bool, err error) {
	if len(r.Sealed) > 1+nonceBytes && r.Sealed[0] == sealedVersion {
		nonce, text := r.Sealed[1:1+nonceBytes], r.Sealed[1+nonceBytes:]
		for i, aead := range v.aeads {
			if private, err := aead().Open(nil, nonce, text, label(r)); err == nil {
				return private, i == 0, nil
			}
		}
	}
	return nil, false, fmt.Errorf("open key %q: %w", r.ID, ErrSecret)
}
