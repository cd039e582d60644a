package config

import (
	_ "embed" // the list of published secrets
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a secret in bytes. 32 bytes are the least that HMAC with SHA-256
// asks for (RFC 7518 section 3.2); text carries less than 8 bits in a byte, so a
// generated secret should be longer.
const (
	minSecretBytes = 32
	maxSecretBytes = 1024
)

const secretHint = "make one with: openssl rand -base64 48"

// publishedSecrets holds, one in each line, the secrets of at least 32 bytes
// that were found in tutorials and sample configurations. Shorter ones need no
// list. Source and licence are in the files beside it.
//
//go:embed weaksecrets/jwt.secrets.32.list
var publishedSecrets string

// checkSecrets says what is wrong with each secret of a list, without a part of
// it.
func checkSecrets(list []string) problems {
	var bad problems
	published := publishedSet()
	for i, s := range list {
		p := secretProblem(s, published)
		if p == "" && slices.Contains(list[:i], s) {
			p = "is given twice: remove one"
		}
		if p != "" && len(list) > 1 {
			p = "item " + strconv.Itoa(i+1) + " of " + strconv.Itoa(len(list)) + " " + p
		}
		if p != "" {
			bad = append(bad, p)
		}
	}
	if len(list) == 0 {
		return problems{"is empty: give at least one secret (" + secretHint + "), or leave the key out to have one generated"}
	}
	return bad
}

func secretProblem(s string, published map[string]bool) string {
	switch {
	case len(strings.TrimSpace(s)) < minSecretBytes: // padding is no secret
		return "is too short: it has " + strconv.Itoa(len(strings.TrimSpace(s))) + " bytes and needs 32 to 1,024; " + secretHint
	case len(s) > maxSecretBytes:
		return "is too long: it has " + strconv.Itoa(len(s)) + " bytes and may have 32 to 1,024"
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return "is not text: write the bytes as base64 or hex"
	case published[normal(s)]:
		return "is well known: it is on a published list of secrets; " + secretHint
	case isRepetitive(s):
		return "is weak: it repeats a few characters; " + secretHint
	}
	return ""
}

// secretDoubt says what may be wrong with a secret that is accepted: that is for a person to judge.
func secretDoubt(s string) string {
	switch {
	case isRepeated(s, len(s)):
		return "repeats itself; " + secretHint
	case isSequence(s):
		return "looks like a sequence of the alphabet, of numbers or of the keyboard; " + secretHint
	case isSample(s):
		return "looks like words of a sample; " + secretHint
	}
	return ""
}

// normal is the form in which secrets are compared with the list: people copy
// samples with other case and white space.
func normal(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func publishedSet() map[string]bool {
	set := make(map[string]bool, 2048)
	for line := range strings.Lines(publishedSecrets) {
		set[normal(line)] = true
	}
	return set
}

// minDistinct is the least number of different bytes. In 32 random decimal digits
// fewer than 6 of the 10 turn up once in 10 million times.
const minDistinct = 6

// maxPeriod is the longest text that makes a secret weak by being written again and again.
const maxPeriod = 8

// isRepetitive reports whether s has too few different bytes or is a shorter
// text written again and again.
func isRepetitive(s string) bool {
	var seen [256]bool
	distinct := 0
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			distinct++
		}
	}
	if distinct < minDistinct {
		return true
	}
	return isRepeated(s, maxPeriod)
}

// isRepeated reports whether s is a text of at most longest bytes, written again and again.
func isRepeated(s string, longest int) bool {
	for period := 1; period <= min(longest, len(s)/2); period++ {
		if s[period:] == s[:len(s)-period] {
			return true
		}
	}
	return false
}

// isSequence reports whether two of three steps from one character to the next
// are none or one along the alphabet, the digits or a keyboard, in either
// direction. In random hexadecimal digits one of six is.
func isSequence(s string) bool {
	walks := []string{
		"abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./",
		"qwertzuiop", "azertyuiop", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/", "!@#$%^&*()_+",
	}
	lower := strings.ToLower(s)
	predictable := 0
	for i := 1; i < len(lower); i++ {
		forth, back := lower[i-1:i+1], string([]byte{lower[i], lower[i-1]})
		if lower[i] == lower[i-1] || slices.ContainsFunc(walks, func(w string) bool {
			return strings.Contains(w, forth) || strings.Contains(w, back)
		}) {
			predictable++
		}
	}
	return predictable*3 >= (len(s)-1)*2
}

// sampleWords are the words of placeholders. A secret may contain them; it may
// not consist of them.
func sampleWords() []string {
	return []string{
		"handstamp", "change", "changeme", "changeit", "replace", "insert", "please", "secret", "secrets", "password",
		"passphrase", "passwort", "token", "tokens", "signing", "signature", "signed", "session", "sessions", "cookie",
		"refresh", "access", "example", "sample", "default", "development", "production", "staging", "testing", "test",
		"local", "localhost", "private", "public", "shared", "super", "very", "really", "long", "short", "enough",
		"strong", "secure", "safe", "random", "string", "value", "text", "characters", "character", "chars", "bytes",
		"bits", "byte", "bit", "length", "least", "minimum", "more", "than", "must", "should", "would", "need", "this",
		"that", "your", "here", "with", "some", "something", "anything", "only", "never", "always", "dont", "use",
		"used", "using", "not", "for", "the", "and", "own", "new", "key", "keys", "jwt", "auth", "app", "application",
		"server", "service", "admin", "user", "users", "login", "hmac", "sha", "hash", "salt", "pepper", "make", "sure",
		"generate", "generated", "placeholder", "dummy", "foo", "bar", "baz", "foobar", "lorem", "ipsum", "dolor",
		"hello", "world", "welcome", "letmein", "qwerty", "asdf", "abc", "123", "256", "512", "base", "hex", "todo",
		"fixme", "unsafe", "insecure", "environment", "env", "var", "config", "database", "redis", "postgres", "demo",
		"dev", "prod", "keep", "safely", "between", "and", "put", "set", "get", "one", "two", "four", "thirty", "first",
		"any", "are", "you", "can", "will", "from", "code", "data", "web", "api", "site", "company", "encryption",
		"encrypt", "decrypt", "verify", "top", "master", "root", "unknown", "nobody", "knows", "guess",
	}
}

// minUnexplained is how many letters and digits of a secret must belong to no
// sample word: 16 random ones of 64 are 96 bits.
const minUnexplained = 16

// isSample reports whether little of s is left when sample words, punctuation
// and repeated characters are taken away. The longest words go first, so that
// "secrets" does not leave an "s".
func isSample(s string) bool {
	rest := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
	words := sampleWords()
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) })
	for _, w := range words {
		rest = strings.ReplaceAll(rest, w, " ")
	}
	unexplained, last := symbols(s), ' '
	for _, r := range rest {
		if r != ' ' && r != last {
			unexplained++
		}
		last = r
	}
	return unexplained < minUnexplained
}

// symbols counts the different punctuation characters of s beyond the few that
// stand between words, twice each: a random text of all printable characters has
// many of them and, now and then, few letters.
func symbols(s string) int {
	var seen [256]bool
	kinds := 0
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && !isAlnum(rune(c)) && !seen[c] {
			seen[c] = true
			kinds++
		}
	}
	return 2 * max(0, kinds-3)
}
