package jwt

import (
	"fmt"
	"strings"
)

// checkName says whether an application may use a claim name.
func checkName(name string) error {
	if name == "" || len(name) > 256 {
		return fmt.Errorf("claim name of %d bytes: %w", len(name), ErrReservedClaim)
	}
	for i := range len(name) {
		if name[i] < 0x20 || name[i] > 0x7e {
			return fmt.Errorf("claim name %q is not plain ASCII: %w", name, ErrReservedClaim)
		}
	}
	if registered(name) || soundsSecret(name) {
		return fmt.Errorf("claim %q: %w", name, ErrReservedClaim)
	}
	return nil
}

// registered says whether a name is this package's or in the IANA registry
// "JSON Web Token Claims" as far as it could mean something to a reader of a
// value token. Among them are the personal data of OpenID Connect (email,
// name, …): value tokens carry ids and roles, not people. Names are compared
// without regard to case, since some readers do.
func registered(name string) bool {
	switch strings.ToLower(name) {
	case "iss", "sub", "aud", "exp", "nbf", "iat", "jti", // RFC 7519
		"client_id", "sid", "auth_time", "amr", "roles", "permissions", "grants", "ep", // ours
		"acr", "azp", "nonce", "at_hash", "c_hash", "s_hash", "sub_jwk", "sub_id", "scope", "scp",
		"cnf", "act", "may_act", "events", "toe", "txn", "groups", "entitlements",
		"token_introspection", "at_use_nbr", "vc", "vp", "vot", "vtm", "typ", "cty", "kid", "alg",
		"jwk", "jku", "htm", "htu", "ath", "status", "_claim_names", "_claim_sources",
		"verified_claims", "authorization_details", "cdniv", "ace_profile",
		"cnonce", "exi", "orig", "dest", "mky", "rph", "attest", "origid", "jcard", "div", "opt", "sph",
		"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username",
		"profile", "picture", "website", "email", "email_verified", "gender", "birthdate",
		"zoneinfo", "locale", "phone_number", "phone_number_verified", "address", "updated_at",
		"place_of_birth", "nationalities", "birth_family_name", "birth_given_name",
		"birth_middle_name", "salutation", "title", "msisdn", "also_known_as":
		return true
	}
	return false
}

// soundsSecret says whether a name promises a value that must not be in a
// token, which the client, proxies and logs can read.
func soundsSecret(name string) bool {
	name = strings.NewReplacer("_", "", "-", "", ".", "", " ", "").Replace(strings.ToLower(name))
	for _, word := range []string{
		"password", "passwd", "passphrase", "secret", "token", "apikey", "privatekey", "credential",
		"creditcard", "cardnumber", "cvv", "otpseed", "mnemonic",
	} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return name == "pwd" || name == "pass" || name == "pin" || name == "ssn" || name == "otp"
}

// secretName finds a name inside a value that sounds secret; "" if there is
// none.
func secretName(v any) string {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if name := secretName(x); name != "" {
				return name
			}
		}
	case map[string]any:
		for name, x := range v {
			if soundsSecret(name) {
				return name
			}
			if inner := secretName(x); inner != "" {
				return inner
			}
		}
	}
	return ""
}
