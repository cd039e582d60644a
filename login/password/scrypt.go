package password

import (
	"crypto/subtle"
	"math/bits"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// scryptHash is scrypt (RFC 7914) in any of its spellings.
type scryptHash struct {
	foreign
	costs scryptCosts
	salt  []byte
	tag   []byte
}

// scryptCosts are the logarithm of N, r and p of RFC 7914 section 2.
type scryptCosts struct{ logN, r, p uint32 }

func (h *scryptHash) verify(password Secret) bool {
	tag, err := h.costs.derive(password.received(), h.salt, len(h.tag))
	return err == nil && subtle.ConstantTimeCompare(tag, h.tag) == 1
}

func (h *scryptHash) describe() (Format, Cost) { return FormatScrypt, h.costs.cost() }

func (c scryptCosts) derive(password string, salt []byte, length int) ([]byte, error) {
	return scrypt.Key([]byte(password), salt, 1<<c.logN, int(c.r), int(c.p), length)
}

func (c scryptCosts) cost() Cost {
	return Cost{MemoryKiB: uint32(max(1, c.memory()>>10)), Iterations: 1 << c.logN, Parallelism: c.p}
}

// memory is in bytes. It is for costs that are small enough each.
func (c scryptCosts) memory() uint64 { return 128 << c.logN * uint64(c.r) }

// check says whether memory and work are within bounds; the single values first, so that nothing overflows.
func (c scryptCosts) check() error {
	if c.logN < 1 || c.logN > 20 || c.r < 1 || c.r > maxScryptBlock || c.p < 1 || c.p > maxScryptLanes {
		return unusable("its scrypt costs are out of bounds")
	}
	if c.memory() > maxScryptMemory || c.memory()*uint64(c.p) > maxScryptWork {
		return unusable("its scrypt costs ask for too much memory or time")
	}
	return nil
}

// parseScrypt reads what follows "$scrypt$": ln=…,r=…,p=…$<salt>$<tag>, in base64 without padding.
func parseScrypt(rest string) (*scryptHash, error) {
	fields := strings.Split(rest, "$")
	if len(fields) != 3 {
		return nil, unusable("it is not scrypt with costs, salt and tag")
	}
	costs := strings.Split(fields[0], ",")
	if len(costs) != 3 {
		return nil, unusable("its costs are not ln, r and p")
	}
	h := &scryptHash{}
	var okN, okR, okP, okSalt, okTag bool
	h.costs.logN, okN = number(costs[0], "ln=")
	h.costs.r, okR = number(costs[1], "r=")
	h.costs.p, okP = number(costs[2], "p=")
	if !okN || !okR || !okP {
		return nil, unusable("its costs are not ln, r and p")
	}
	h.salt, okSalt = unbase64(fields[1], minForeignSalt, maxForeignSalt)
	h.tag, okTag = unbase64(fields[2], minTagBytes, maxTagBytes)
	if !okSalt || !okTag {
		return nil, unusable("its salt or tag is malformed")
	}
	return checkedScrypt(h)
}

// parseDjangoScrypt reads <N>$<salt>$<r>$<p>$<tag>; the salt is taken as it is, the tag is base64 with padding.
func parseDjangoScrypt(rest string) (*scryptHash, error) {
	fields := strings.Split(rest, "$")
	if len(fields) != 5 {
		return nil, unusable("it is not Django's form of scrypt")
	}
	n, okN := number(fields[0], "")
	r, okR := number(fields[2], "")
	p, okP := number(fields[3], "")
	tag, okTag := unbase64Padded(fields[4], minTagBytes, maxTagBytes)
	if !okN || !okR || !okP || !okTag || bits.OnesCount32(n) != 1 || fields[1] == "" || len(fields[1]) > maxForeignSalt {
		return nil, unusable("its costs, salt or tag are malformed")
	}
	h := &scryptHash{salt: []byte(fields[1]), tag: tag}
	h.costs = scryptCosts{logN: uint32(bits.TrailingZeros32(n)), r: r, p: p}
	return checkedScrypt(h)
}

// The layout of $7$: the logarithm of N in one character, r and p in five each, the salt as it is, "$", the tag.
const (
	cryptAlphabet   = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	crypt7Costs     = 11
	crypt7TagBytes  = 32
	crypt7TagDigits = 43
)

// parseScryptCrypt reads what follows "$7$". Numbers and tag are in base 64 with the least significant digit first.
func parseScryptCrypt(rest string) (*scryptHash, error) {
	head, tag, ok := strings.Cut(rest, "$")
	if !ok || len(head) <= crypt7Costs || len(tag) != crypt7TagDigits {
		return nil, unusable("it is not scrypt with costs, salt and tag")
	}
	for i := range len(rest) {
		if rest[i] != '$' && strings.IndexByte(cryptAlphabet, rest[i]) < 0 {
			return nil, unusable("its costs, salt or tag are malformed")
		}
	}
	salt := head[crypt7Costs:]
	if strings.Contains(tag, "$") || len(salt) > maxForeignSalt {
		return nil, unusable("its costs, salt or tag are malformed")
	}
	h := &scryptHash{salt: []byte(salt)}
	h.costs = scryptCosts{logN: cryptNumber(head[:1]), r: cryptNumber(head[1:6]), p: cryptNumber(head[6:11])}
	if h.tag, ok = cryptBytes(tag); !ok {
		return nil, unusable("its tag is malformed")
	}
	return checkedScrypt(h)
}

func checkedScrypt(h *scryptHash) (*scryptHash, error) {
	if err := h.costs.check(); err != nil {
		return nil, err
	}
	return h, nil
}

// cryptNumber reads at most five digits.
func cryptNumber(digits string) uint32 {
	var n uint32
	for i := range len(digits) {
		n |= uint32(strings.IndexByte(cryptAlphabet, digits[i])) << (6 * i)
	}
	return n
}

// cryptBytes reads the tag: each three bytes are four digits, and what is left over at the end must be zero.
func cryptBytes(digits string) ([]byte, bool) {
	out := make([]byte, 0, crypt7TagBytes+1)
	for len(digits) > 0 {
		group := digits[:min(4, len(digits))]
		digits = digits[len(group):]
		n := cryptNumber(group)
		for range len(group) * 6 / 8 {
			out, n = append(out, byte(n)), n>>8
		}
		if n != 0 {
			return nil, false
		}
	}
	return out, len(out) == crypt7TagBytes
}
