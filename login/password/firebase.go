package password

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
	"strings"
)

// firebaseKeyBytes is the length of the AES-256 key that scrypt derives; what is longer is not used.
const firebaseKeyBytes = 32

// Bounds of the project's signer key, which is as long as the tag: 64 bytes in every project seen.
const minSignerBytes, maxSignerBytes = 16, maxTagBytes

// Firebase holds the password hash parameters of a Firebase project, as its console shows them. They are the same for
// all users, and each stored hash carries them, so that it can be checked by itself. The signer key is a secret of the
// project; without it a hash cannot even be guessed at, with it a hash is scrypt.
type Firebase struct {
	SignerKey     string // base64_signer_key
	SaltSeparator string // base64_salt_separator, may be empty
	Rounds        int    // rounds, 8 unless somebody changed it
	MemCost       int    // mem_cost, 14 unless somebody changed it
}

// Stored returns the text to store for one user of an export: passwordHash and salt in base64, of either alphabet, with or
// without padding. An error wraps [ErrUnusableHash] and holds nothing of the values.
func (f Firebase) Stored(hash, salt string) (string, error) {
	sep := ""
	if f.SaltSeparator != "" {
		sep = "ss=" + standard(f.SaltSeparator) + ","
	}
	stored := fmt.Sprintf("$fbscrypt$v=1,n=%d,r=%d,p=1,%ssk=%s$%s$%s",
		f.MemCost, f.Rounds, sep, standard(f.SignerKey), standard(salt), standard(hash))
	if _, err := parseStored(stored); err != nil {
		return "", err
	}
	return stored, nil
}

// standard turns the alphabet for URLs to the standard one and drops the padding; the parser judges the rest.
func standard(s string) string {
	return strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(s), "=")
}

// firebaseHash is Firebase's modified scrypt: scrypt over salt and separator gives an AES key; the tag is the project's
// signer key encrypted with it, in counter mode from zero.
type firebaseHash struct {
	foreign
	costs  scryptCosts
	salt   []byte // with the separator
	signer []byte
	tag    []byte
}

func (h *firebaseHash) verify(password Secret) bool {
	key, err := h.costs.derive(password.received(), h.salt, firebaseKeyBytes)
	if err != nil {
		return false // unreachable: the costs were checked
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return false // unreachable: the key has the length of one
	}
	tag := make([]byte, len(h.signer))
	cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(tag, h.signer) //nolint:gosec // G407: the format; the key is new for each salt
	return subtle.ConstantTimeCompare(tag, h.tag) == 1
}

func (h *firebaseHash) describe() (Format, Cost) { return FormatFirebase, h.costs.cost() }

// parseFirebase reads what follows "$fbscrypt$": v=1,n=…,r=…,p=1[,ss=…],sk=…$<salt>$<tag>, in base64 with or without
// padding.
func parseFirebase(rest string) (*firebaseHash, error) {
	fields := strings.Split(rest, "$")
	if len(fields) != 3 {
		return nil, unusable("it is not Firebase's scrypt with costs, salt and tag")
	}
	costs := strings.Split(fields[0], ",")
	if len(costs) == 5 { // without a separator
		costs = append(costs[:4:4], "ss=", costs[4])
	}
	if len(costs) != 6 || costs[0] != "v=1" {
		return nil, unusable("its costs are not v, n, r, p, ss and sk")
	}
	h := &firebaseHash{}
	var ok [7]bool
	h.costs.logN, ok[0] = number(costs[1], "n=")
	h.costs.r, ok[1] = number(costs[2], "r=")
	h.costs.p, ok[2] = number(costs[3], "p=")
	var separator []byte
	separator, ok[3] = firebaseBytes(costs[4], "ss=", 0, maxForeignSalt)
	h.signer, ok[4] = firebaseBytes(costs[5], "sk=", minSignerBytes, maxSignerBytes)
	h.salt, ok[5] = firebaseBytes(fields[1], "", minForeignSalt, maxForeignSalt)
	h.tag, ok[6] = firebaseBytes(fields[2], "", minSignerBytes, maxSignerBytes)
	if ok != [7]bool{true, true, true, true, true, true, true} || h.costs.p != 1 || len(h.tag) != len(h.signer) {
		return nil, unusable("its costs, salt, key or tag are malformed")
	}
	h.salt = append(h.salt, separator...)
	if err := h.costs.check(); err != nil {
		return nil, err
	}
	return h, nil
}

// firebaseBytes decodes a value after its name.
func firebaseBytes(s, prefix string, least, most int) ([]byte, bool) {
	s, found := strings.CutPrefix(s, prefix)
	if !found {
		return nil, false
	}
	if strings.HasSuffix(s, "=") {
		return unbase64Padded(s, least, most)
	}
	return unbase64(s, least, most)
}
