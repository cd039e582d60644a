package jwt

import (
	"encoding/base64"
	"fmt"
)

// Header is the protected header of a token: what it claims about itself.
type Header struct {
	Type       string // typ
	Algorithm  string // alg
	Encryption string // enc; empty for a signed token
	KeyID      string // kid
	Encrypted  bool   // five parts (JWE), not three
}

// Sign makes a signed token of the claims, in compact form (RFC 7515 section
// 7.1) with typ at+jwt and the key's id.
//
// It fails with [ErrClaim] if a required claim is missing or a value cannot
// be written, with [ErrReservedClaim] for a custom claim of a forbidden name,
// with a [*SizeError] if the token would exceed [MaxTokenBytes], and with
// [ErrNoKey] for the zero Key. Errors name claims and never quote values.
// Safe for concurrent use.
func Sign(k Key, c Claims) (string, error) {
	if k.s == nil {
		return "", ErrNoKey
	}
	payload, err := c.encode()
	if err != nil {
		return "", err
	}
	room := len(k.s.header) + 1 + base64.RawURLEncoding.EncodedLen(len(payload)) + 1 + signatureChars(k.s.public())
	if room > MaxTokenBytes {
		return "", c.tooLong(room, MaxTokenBytes)
	}
	out := make([]byte, 0, room)
	out = append(out, k.s.header...)
	out = append(out, '.')
	out = base64.RawURLEncoding.AppendEncode(out, payload)
	sig, err := method(k.s.alg).Sign(string(out), k.s.private())
	if err != nil {
		return "", fmt.Errorf("sign with %s key: %w", k.s.alg, err)
	}
	out = append(out, '.')
	return string(base64.RawURLEncoding.AppendEncode(out, sig)), nil
}

// InspectUnverified takes a token apart and believes nothing in it: the
// answer is what somebody wrote, whoever that was. It is for showing a token
// to a person and must not decide anything. The Claims of an encrypted token
// are zero. It fails with [ErrMalformed] (an [*Error]) for text that is not a
// token, and with the class of [CheckClaims] where the header can be read and
// the claims cannot; the Header is filled then.
func InspectUnverified(s string) (Header, Claims, error) {
	t, err := parse(s)
	if err != nil {
		return Header{}, Claims{}, err
	}
	if t.encrypted {
		return t.head, Claims{}, nil
	}
	payload, err := decodeSegment(t.payload)
	if err != nil {
		return t.head, Claims{}, errForm
	}
	c, err := decodeClaims(payload)
	if err != nil {
		return t.head, Claims{}, err
	}
	return t.head, c, nil
}
