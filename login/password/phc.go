package password

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of stored hashes and of settings. A stored hash names its own costs, so somebody who can write one (a
// restored dump, an import, a hole elsewhere) could otherwise ask for gigabytes or for hours at each login.
const (
	maxMemoryKiB   = 256 << 10 // 256 MiB
	maxIterations  = 64
	maxParallelism = 16
	maxWork        = 1 << 20 // memory in KiB times iterations: about 2 s of one core

	minSaltBytes, maxSaltBytes = 8, 64
	minTagBytes, maxTagBytes   = 16, 64

	saltBytes = 16 // RFC 9106 section 3.1 and 4: 128 bits
	tagBytes  = 32 // RFC 9106 section 4: 256 bits
)

// ErrUnusableHash means that a stored hash cannot be checked: damaged, of none of the formats that [Inspect]
// lists, or with costs out of bounds. It is a fault of the data, not an answer about the password; whoever meets
// it treats the password as wrong and reports the fault.
var ErrUnusableHash = errors.New("the stored password hash cannot be used")

// Params are the costs of argon2id (RFC 9106 section 3.1). The zero Params are not valid.
type Params struct {
	// MemoryKiB is the memory of one hash in KiB: at least 8 per lane, at most 262,144.
	MemoryKiB uint32
	// Iterations is the number of passes over the memory, 1 to 64. MemoryKiB times Iterations is at most 2^20.
	Iterations uint32
	// Parallelism is the number of lanes, 1 to 16. One hash may use that many cores.
	Parallelism uint8
}

// DefaultParams returns 19 MiB, two passes, one lane: the first choice of the OWASP Password Storage Cheat
// Sheet, about 40 ms of one core.
func DefaultParams() Params {
	return Params{MemoryKiB: 19456, Iterations: 2, Parallelism: 1}
}

// Validate returns an error that names the first value out of bounds, nil if there is none.
func (p Params) Validate() error {
	switch {
	case p.Parallelism < 1 || p.Parallelism > maxParallelism:
		return fmt.Errorf("argon2id parallelism %d is not in 1 to %d", p.Parallelism, maxParallelism)
	case p.Iterations < 1 || p.Iterations > maxIterations:
		return fmt.Errorf("argon2id iterations %d is not in 1 to %d", p.Iterations, maxIterations)
	case p.MemoryKiB < 8*uint32(p.Parallelism) || p.MemoryKiB > maxMemoryKiB:
		return fmt.Errorf("argon2id memory %d KiB is not in %d to %d", p.MemoryKiB, 8*uint32(p.Parallelism), maxMemoryKiB)
	case p.work() > maxWork:
		return fmt.Errorf("argon2id memory times iterations %d is more than %d", p.work(), maxWork)
	}
	return nil
}

// Strong reports whether the costs reach at least one of the five equal choices of the OWASP Password Storage
// Cheat Sheet for argon2id: 46 MiB × 1, 19 MiB × 2, 12 MiB × 3, 9 MiB × 4 or 7 MiB × 5.
func (p Params) Strong() bool {
	if p.Validate() != nil {
		return false
	}
	for _, c := range [...]struct{ memoryKiB, iterations uint32 }{
		{47104, 1}, {19456, 2}, {12288, 3}, {9216, 4}, {7168, 5},
	} {
		if p.MemoryKiB >= c.memoryKiB && p.Iterations >= c.iterations {
			return true
		}
	}
	return false
}

// work is the number of KiB blocks that one hash fills, over all passes.
func (p Params) work() uint64 { return uint64(p.MemoryKiB) * uint64(p.Iterations) }

// Verdict is the answer of a check. The zero Verdict means no.
type Verdict struct {
	// OK says that the password is right.
	OK bool
	// Rehash says that the password is right and its hash is of another format or has other costs than the
	// current ones: store a hash made with [Hasher.Hash] in its place. It is set for dearer hashes too, because
	// accounts of unequal cost can be told apart by time.
	Rehash bool
}

// Hash returns the argon2id hash of the password as a PHC string, with a salt of 16 bytes read from random
// (crypto/rand if nil). It returns an error for costs out of bounds, for the empty password and if no
// randomness can be read. It takes its memory and time at once: servers use [Hasher.Hash], which waits its turn.
func Hash(p Params, password Secret, random io.Reader) (string, error) {
	if err := p.Validate(); err != nil {
		return "", err
	}
	if password.text() == "" {
		return "", errors.New("hash password: it is empty")
	}
	salt, err := randomBytes(random, saltBytes)
	if err != nil {
		return "", err
	}
	h := argon2id{params: p, salt: salt}
	h.tag = h.derive(password, tagBytes)
	return h.String(), nil
}

// Verify checks the password against a stored hash of any format that [Inspect] lists, in the time of one hash at
// the cost that the string names, within bounds that are checked first. Rehash compares with the current costs. The error is nil or wraps
// [ErrUnusableHash]. It neither waits its turn nor hides by time whether the string is usable: servers use
// [Hasher.Verify].
func Verify(stored string, password Secret, current Params) (Verdict, error) {
	h, err := parseStored(stored)
	if err != nil {
		return Verdict{}, err
	}
	return judge(h, password, current), nil
}

// judge runs the check of one stored hash.
func judge(h storedHash, password Secret, current Params) Verdict {
	matches := h.verify(password)
	// The empty password takes the same time and is never right, whatever is stored.
	ok := matches && password.text() != ""
	return Verdict{OK: ok, Rehash: ok && !h.isCurrent(current)}
}

// number reads a decimal of the PHC format: no sign, no leading zero, at most 32 bits.
func number(s, prefix string) (uint32, bool) {
	digits, found := strings.CutPrefix(s, prefix)
	if !found || digits == "" || digits[0] < '0' || digits[0] > '9' || (digits[0] == '0' && digits != "0") {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil
}

// unbase64 decodes strictly: the decoder of the standard library would skip line ends and accept stray bits.
func unbase64(s string, least, most int) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) >= least && len(b) <= most
}

// randomBytes reads n bytes from random, or from crypto/rand if random is nil.
func randomBytes(random io.Reader, n int) ([]byte, error) {
	if random == nil {
		random = rand.Reader
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return b, nil
}
