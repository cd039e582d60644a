// Package jwt makes and checks value tokens: JSON Web Tokens that carry one
// login's identity (RFC 7519, profile RFC 9068), signed, or encrypted where
// claims must not be readable by whoever holds the token.
//
// It gives keys that cannot be printed, [Sign] and [Encrypt], one [Verify]
// whose checks cannot be switched off, and the public key set of RFC 7517.
// The list of algorithms is closed and a key belongs to exactly one of them:
// what a token's header says about its algorithm is compared with the key and
// never chosen from.
//
// It never fetches anything, never takes a key from a token, never tries one
// key after another, never reads a clock, never looks at revocations, and
// never returns claims together with an error. Text that has two readings
// (duplicate names, padded or non-canonical base64url, numbers beyond 2^53)
// has no reading here: it is refused.
package jwt
