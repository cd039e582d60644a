package password

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"golang.org/x/crypto/bcrypt"
)

const (
	// bcryptBytes is how much of a password bcrypt looks at. A longer password never matches: of everything behind these
	// bytes nothing is known, so that a match would accept passwords that the user never chose, and a slip of the hand
	// in the tail would become part of the hash that replaces this one, which then refuses the right password. Whoever
	// has such a password elsewhere needs a new one here.
	bcryptBytes = 72

	bcryptAlphabet   = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	bcryptSaltChars  = 22
	bcryptTagChars   = 31
	bcryptBodyLength = 3 + bcryptSaltChars + bcryptTagChars // "10$", salt and tag
)

// bcryptHash is a hash of the form $2b$<cost>$<salt><tag>. $2a$ and $2y$ name the same function: they tell versions
// of two C libraries apart that differ for passwords longer than 255 bytes or with bytes above 127 in $2x$ only.
type bcryptHash struct {
	foreign
	cost   int
	text   string // as the library wants it
	sha256 bool   // Django: bcrypt of the SHA-256 in hexadecimal digits, so that every byte counts
}

func (h *bcryptHash) verify(password Secret) bool {
	text := password.received()
	if h.sha256 {
		sum := sha256.Sum256([]byte(text))
		text = hex.EncodeToString(sum[:])
	}
	// The work comes before the answer: how long a check takes says nothing about the password.
	same := bcrypt.CompareHashAndPassword([]byte(h.text), []byte(text[:min(len(text), bcryptBytes)])) == nil
	return same && len(text) <= bcryptBytes
}

func (h *bcryptHash) describe() (Format, Cost) {
	c := Cost{Iterations: 1 << h.cost, Parallelism: 1}
	if h.sha256 {
		return FormatBcryptSHA256, c
	}
	return FormatBcrypt, c
}

// parseBcrypt reads what follows "$2b$". The cost is judged here, since the library takes up to 31, which is days.
func parseBcrypt(rest string, sha bool) (*bcryptHash, error) {
	if len(rest) != bcryptBodyLength || rest[2] != '$' || !isDigit(rest[0]) || !isDigit(rest[1]) {
		return nil, unusable("it is not bcrypt with a cost of two digits, a salt and a tag")
	}
	cost := int(rest[0]-'0')*10 + int(rest[1]-'0')
	if cost < minBcryptCost || cost > maxBcryptCost {
		return nil, unusable("its bcrypt cost is not in 4 to 15")
	}
	alphabet := base64.NewEncoding(bcryptAlphabet).WithPadding(base64.NoPadding)
	salt, tag := rest[3:3+bcryptSaltChars], rest[3+bcryptSaltChars:]
	if _, err := alphabet.DecodeString(salt); err != nil { // stray bits in salts are found in the wild and ignored
		return nil, unusable("its salt is malformed")
	}
	if _, err := alphabet.Strict().DecodeString(tag); err != nil {
		return nil, unusable("its tag is malformed")
	}
	return &bcryptHash{cost: cost, text: "$2b$" + rest, sha256: sha}, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
