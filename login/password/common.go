package password

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/handstamp/handstamp/login/password/internal/blocklist"
)

// The filter is made from testdata/passwords/zxcvbn_passwords.txt (MIT licence, common.filter.LICENSE.txt).
//
//go:generate go run ./internal/commongen -list testdata/passwords/zxcvbn_passwords.txt -out common.filter

//go:embed common.filter
var commonFilter string

// Common knows the 47,023 most common passwords of public leaks, without a network and without holding them:
// it is a filter that says yes to each of them and to about one in 33,000 of all others (two looks of one in
// 65,536 each). Somebody whose good password is hit by that chance chooses another.
//
// Make one with [LoadCommon]. A Common does not change and is safe for concurrent use.
type Common struct {
	filter *blocklist.Filter
}

// LoadCommon reads the list that is part of the program. It returns an error only if that is damaged.
func LoadCommon() (*Common, error) {
	f, err := blocklist.Load(commonFilter)
	if err != nil {
		return nil, fmt.Errorf("load the list of common passwords: %w", err)
	}
	return &Common{filter: f}, nil
}

// Contains says whether the password is on the list, as it is or with its ASCII letters in lower case.
// The list is in lower case, and guessing programs try "Password1" right after "password1". Other variants
// (a digit more, "0" for "o") are left to the length rule and to the limits on attempts: each look would add
// to the good passwords refused by chance, and there is no end of variants.
func (c *Common) Contains(password Secret) bool {
	if c.filter.Contains(password.text()) {
		return true
	}
	lower := lowerASCII(password.text())
	return lower != password.text() && c.filter.Contains(lower)
}

// lowerASCII changes A to Z and nothing else; strings.ToLower would also map letters such as U+212A KELVIN SIGN.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
