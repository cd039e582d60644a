package jwt

import (
	"encoding/base64"
	"slices"
	"time"
)

const (
	// MaxTokenBytes is the longest token that is made or read.
	MaxTokenBytes = 8 << 10

	// MaxLeeway is the most that clocks may differ (and the leeway that is
	// used when none is given).
	MaxLeeway = 30 * time.Second

	maxHeaderBytes = 1 << 10 // of encoded text; ours have about 120

	tokenType = "at+jwt" // RFC 9068 section 2.1
)

// KeySet finds the key that a token names. Key must not block, fetch, or
// treat kid as anything but a map's key: it is text from outside, at most 128
// bytes. It returns false for a key that is not known or no longer trusted.
// It is called by many goroutines at once and should allocate nothing.
type KeySet interface {
	Key(kid string) (VerifyKey, bool)
}

// Keys is a fixed [KeySet]. It must not be changed while it is in use.
type Keys map[string]VerifyKey

// NewKeys makes a set of the keys, under their ids.
func NewKeys(keys ...VerifyKey) Keys {
	set := make(Keys, len(keys))
	for _, k := range keys {
		if k.v != nil {
			set[k.v.id] = k
		}
	}
	return set
}

// Key implements [KeySet].
func (s Keys) Key(kid string) (VerifyKey, bool) {
	k, ok := s[kid]
	return k, ok
}

// Rules is what a token must agree with. Issuer, Audience and Now are
// required: with a zero one nothing is accepted ([ErrRules]).
type Rules struct {
	Issuer   string    // iss must be exactly this
	Audience string    // aud must be or contain exactly this
	Now      time.Time // the time to judge by

	// Leeway is how far nbf and iat may lie ahead of Now, 0 to [MaxLeeway];
	// zero means MaxLeeway. It is applied here and nowhere else.
	Leeway time.Duration

	// ExpiryLeeway is how long after exp a token is still accepted, 0 to
	// [MaxLeeway]; zero means not at all. Meant for verifiers outside the
	// fleet, whose clocks are not the fleet's.
	ExpiryLeeway time.Duration
}

// Verify checks a token, signed or encrypted, and returns what it says. On
// any error the Claims are zero.
//
// In this order, none of which can be switched off: length; the compact form
// in canonical base64url; a strict header without parameters that carry keys,
// addresses, extensions, compression or nesting; typ; the key by kid alone;
// the algorithm of that key; signature or tag; strict claims with iss, sub,
// aud, exp and iat; issuer; audience; exp; nbf; iat. Work before the
// signature is bounded by [MaxTokenBytes].
//
// The error is an [*Error], or [ErrRules] when the rules are incomplete.
// Whether the token was revoked is not this package's question. Safe for
// concurrent use.
func Verify(token string, keys KeySet, rules Rules) (Claims, error) {
	c, err := VerifyIgnoringExpiry(token, keys, rules)
	if err != nil {
		return Claims{}, err
	}
	if !rules.Now.Before(c.ExpiresAt.Add(rules.ExpiryLeeway)) {
		return Claims{}, errExpired
	}
	if err := rules.begun(&c); err != nil {
		return Claims{}, err
	}
	return c, nil
}

// VerifyIgnoringExpiry checks everything that [Verify] checks except exp, nbf
// and iat. It answers "did we make this token?", never "is it good?": its
// only use is to end a session by a token that may have run out.
func VerifyIgnoringExpiry(token string, keys KeySet, rules Rules) (Claims, error) {
	if err := rules.complete(); err != nil || keys == nil {
		return Claims{}, ErrRules
	}
	t, err := parse(token)
	if err != nil {
		return Claims{}, err
	}
	if t.head.Type != tokenType {
		return Claims{}, errType
	}
	key, ok := keys.Key(t.head.KeyID)
	if !ok || t.head.KeyID == "" || key.ID() != t.head.KeyID {
		return Claims{}, errKey
	}
	payload, err := key.open(t)
	if err != nil {
		return Claims{}, err
	}
	c, err := decodeClaims(payload)
	if err != nil {
		return Claims{}, err
	}
	if c.Issuer != rules.Issuer {
		return Claims{}, errIssuer
	}
	if !slices.Contains(c.Audience, rules.Audience) {
		return Claims{}, errAudience
	}
	c.KeyID = key.ID()
	return c, nil
}

func (r *Rules) complete() error {
	if r.Issuer == "" || r.Audience == "" || r.Now.IsZero() ||
		r.Leeway < 0 || r.Leeway > MaxLeeway || r.ExpiryLeeway < 0 || r.ExpiryLeeway > MaxLeeway {
		return ErrRules
	}
	return nil
}

// begun checks nbf and iat. A token from the future was made by a clock that
// is wrong, and would outlive what its maker promised.
func (r *Rules) begun(c *Claims) error {
	leeway := r.Leeway
	if leeway == 0 {
		leeway = MaxLeeway
	}
	latest := r.Now.Add(leeway)
	if c.NotBefore.After(latest) {
		return errNotBefore
	}
	if c.IssuedAt.After(latest) {
		return errIssuedAt
	}
	return nil
}

// open checks algorithm and signature (or tag) and returns the payload. The
// key decides what is accepted; the header only has to agree.
func (k VerifyKey) open(t token) ([]byte, error) {
	if k.v == nil {
		return nil, errKey
	}
	if k.v.aead != nil {
		if !t.encrypted || t.head.Algorithm != "dir" || t.head.Encryption != string(A256GCM) {
			return nil, errAlgorithm
		}
		return k.v.aead.open(t)
	}
	if t.encrypted || t.head.Algorithm != string(k.v.alg) {
		return nil, errAlgorithm
	}
	sig, err := decodeSegment(t.proof)
	if err != nil {
		return nil, errForm
	}
	if !k.v.matches(t.signed, sig) {
		return nil, errSignature
	}
	payload, err := decodeSegment(t.payload)
	if err != nil {
		return nil, errForm
	}
	return payload, nil
}

// matches is the signature check itself. The primitives compare in constant
// time, take signatures of exactly their width, and refuse r or s outside
// 1…n-1 (the all-zero signature) and S outside the group order.
func (v *verifier) matches(signed string, sig []byte) bool {
	m := method(v.alg)
	return m != nil && m.Verify(signed, sig, v.public()) == nil
}

// token is a token taken apart. Strings are parts of the original.
type token struct {
	head      Header
	encrypted bool
	signed    string // what the proof covers: header.payload, or the header of a JWE
	nonce     string // JWE only
	payload   string
	proof     string // signature or tag
}

// parse takes a token apart without believing anything in it.
func parse(s string) (token, error) {
	if len(s) > MaxTokenBytes {
		return token{}, errSize
	}
	var dots [4]int
	n := 0
	for i := range len(s) {
		c := s[i]
		if c == '.' {
			if n == len(dots) {
				return token{}, errForm
			}
			dots[n] = i
			n++
		} else if !isBase64URL(c) {
			return token{}, errForm // among others: JSON serialisation, padding, white space
		}
	}
	var t token
	switch n {
	case 2:
		t.signed, t.payload, t.proof = s[:dots[1]], s[dots[0]+1:dots[1]], s[dots[1]+1:]
	case 4:
		if dots[1] != dots[0]+1 {
			return token{}, errForm // an encrypted key: not dir
		}
		t.encrypted = true
		t.signed, t.nonce = s[:dots[0]], s[dots[1]+1:dots[2]]
		t.payload, t.proof = s[dots[2]+1:dots[3]], s[dots[3]+1:]
	default:
		return token{}, errForm
	}
	// An empty proof is alg none (RFC 7515 appendix A.5), whatever the header says.
	if dots[0] == 0 || t.proof == "" {
		return token{}, errForm
	}
	if dots[0] > maxHeaderBytes {
		return token{}, errHeader
	}
	head, err := decodeSegment(s[:dots[0]])
	if err != nil {
		return token{}, errForm
	}
	t.head, err = parseHeader(head, t.encrypted)
	return t, err
}

func isBase64URL(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// decodeSegment reads canonical base64url: no padding, trailing bits zero, no
// line breaks, which encoding/base64 skips even in its strict form (RFC 7515
// section 2, RFC 4648 section 3), so that a token and a key have one spelling.
func decodeSegment(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err == nil && base64.RawURLEncoding.EncodedLen(len(b)) != len(s) {
		err = errForm
	}
	return b, err
}

func encodeHeader(header string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header))
}

// parseHeader reads the protected header.
func parseHeader(b []byte, encrypted bool) (Header, error) {
	var h Header
	r, err := newReader(string(b))
	if err != nil {
		return Header{}, errHeader
	}
	if err := r.object(func(name string) error { return h.member(r, name) }); err != nil || !r.end() {
		return Header{}, errHeader
	}
	if h.Algorithm == "" || len(h.KeyID) > maxKeyIDBytes || encrypted != (h.Encryption != "") {
		return Header{}, errHeader
	}
	h.Encrypted = encrypted
	return h, nil
}

// member reads one header parameter. Parameters that bring their own key,
// name an address, or change how the rest is read are refused by name:
// ignoring them would do for us, but says yes to a token that another
// verifier reads differently. Other unknown ones are ignored (RFC 7515
// section 4), so that a later version can add one.
func (h *Header) member(r *reader, name string) (err error) {
	switch name {
	case "alg":
		h.Algorithm, err = r.text()
	case "typ":
		h.Type, err = r.text()
	case "kid":
		h.KeyID, err = r.text()
	case "enc":
		h.Encryption, err = r.text()
	case "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", // keys and where to fetch them
		"crit", "b64", "zip", "cty", // extensions, RFC 7797, compression, nesting
		"epk", "apu", "apv", "iv", "tag", "p2s", "p2c", "skid": // parameters of other JWE algorithms
		return errJSON
	default:
		_, err = r.value()
	}
	return err
}
