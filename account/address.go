package account

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Bounds of an address, in bytes.
const (
	maxRawBytes     = 1024 // as received: Punycode takes quadratic time
	maxLocalBytes   = 64   // RFC 5321 section 4.5.3.1.1
	maxAddressBytes = 254  // RFC 5321 section 4.5.3.1.3: a path of 256 with its angle brackets
)

// Address is a mail address in canonical form. Two addresses are the same if and only if their Addresses are
// equal byte by byte, so it is what is stored, looked up, made unique, counted for throttling and mailed to.
// Only [ParseAddress] makes one from outside text; converting a string is for values that were Addresses when
// they were stored. The zero Address is no address. It holds personal data, but no secret.
type Address string

// AddressError says why a text is not an address that can be used. It never holds the text, so it may be shown
// and logged.
type AddressError struct {
	// Problem is a fixed sentence for the person who typed the address.
	Problem string
}

// Error returns the sentence.
func (e *AddressError) Error() string { return e.Problem }

// The sentences of AddressError.
const (
	problemLong      = "the address is too long"
	problemText      = "the address is not valid UTF-8 text"
	problemAt        = "the address needs exactly one @ with something on both sides"
	problemLocal     = "the part before the @ may hold only ASCII letters, digits and . ! # $ % & ' * + - / = ? ^ _ ` { | } ~"
	problemDots      = "the part before the @ may not begin or end with a dot or have two in a row"
	problemLocalLong = "the part before the @ is longer than 64 characters"
	problemDomain    = "the part after the @ is not a domain name"
	problemNoDot     = "the part after the @ is not a full domain name such as example.com"
)

// ParseAddress returns the canonical form of one plain address, or an [*AddressError].
//
// The grammar is the Dot-string form of a Mailbox (RFC 5321 section 4.1.2) and nothing else: no display name, no
// angle brackets, comment, quoted part, list, route, line end, address literal, or space inside. Mail software
// disagrees about those forms, and each disagreement has been a way to have mail for one person sent to another.
//
//   - Spaces (U+0020) at the ends are cut off; other white space is an error.
//   - The local part is ASCII, at most 64 bytes, and put in lower case letter by letter A to Z. RFC 5321 lets
//     hosts tell case apart; none that matter do, and one person with two accounts is the greater harm.
//   - The domain is put in lower case A to Z and turned to A-labels as for registration (IDNA2008, RFC 5891
//     section 4, without transitional mappings). Nothing else is mapped: letters outside ASCII in upper case,
//     of full width, not in form C or that only look or fold like ASCII (dotless i, U+212A KELVIN SIGN) are
//     errors, never another domain. Symbols such as emoji pass, as UTS 46 lets them: registries decide on those.
//     A-labels that a correct encoder would not have made are errors.
//   - The domain has at least two labels, the last beginning with a letter, so no number passes for one; the
//     single label "localhost" is allowed for development. Other single labels are errors (RFC 5321 section
//     2.3.5: fully qualified names only).
//   - Sub-addresses ("me+shop") and dots are kept: whether they matter is known to the receiving host alone.
//
// The canonical form is ASCII, at most 254 bytes, and parses to itself.
func ParseAddress(s string) (Address, error) {
	if len(s) > maxRawBytes {
		return "", &AddressError{problemLong}
	}
	if !utf8.ValidString(s) {
		return "", &AddressError{problemText}
	}
	s = strings.Trim(s, " ")
	local, domain, _ := strings.Cut(s, "@")
	if local == "" || domain == "" || strings.Contains(domain, "@") {
		return "", &AddressError{problemAt}
	}
	if problem := checkLocal(local); problem != "" {
		return "", &AddressError{problem}
	}
	domain, problem := canonicalDomain(lowerASCII(domain))
	if problem != "" {
		return "", &AddressError{problem}
	}
	if len(local)+1+len(domain) > maxAddressBytes {
		return "", &AddressError{problemLong}
	}
	return Address(lowerASCII(local) + "@" + domain), nil
}

// String returns the canonical form.
func (a Address) String() string { return string(a) }

// Local returns the part before the @; empty for the zero Address.
func (a Address) Local() string {
	local, _, _ := strings.Cut(string(a), "@")
	return local
}

// Domain returns the part after the @, as A-labels; empty for the zero Address.
func (a Address) Domain() string {
	_, domain, _ := strings.Cut(string(a), "@")
	return domain
}

// checkLocal returns the problem with a local part, empty if there is none.
func checkLocal(local string) (problem string) {
	for i := range len(local) {
		if c := local[i]; !isAtext(c) && c != '.' {
			return problemLocal
		}
	}
	if local[0] == '.' || local[len(local)-1] == '.' || strings.Contains(local, "..") {
		return problemDots
	}
	if len(local) > maxLocalBytes {
		return problemLocalLong
	}
	return ""
}

// isAtext is atext of RFC 5322 section 3.2.3.
func isAtext(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// canonicalDomain returns a domain, given with ASCII letters in lower case, as A-labels, or a problem.
func canonicalDomain(domain string) (canonical, problem string) {
	// This decodes A-labels and encodes them again, so that no name has two spellings (RFC 5891 section 4.4).
	a, err := idna.Registration.ToASCII(domain)
	if err != nil || !isHostname(a) {
		return "", problemDomain
	}
	dot := strings.LastIndexByte(a, '.')
	if dot < 0 && a != "localhost" {
		return "", problemNoDot
	}
	if last := a[dot+1]; last < 'a' || last > 'z' {
		return "", problemNoDot
	}
	return a, ""
}

// isHostname says whether the domain is labels of 1 to 63 lower case letters, digits and inner hyphens (RFC 1123
// section 2.1). It does not rely on what a library permits.
func isHostname(domain string) bool {
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// lowerASCII changes A to Z and nothing else; strings.ToLower would also turn U+212A KELVIN SIGN to k, and a
// database's idea of case depends on its locale.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
