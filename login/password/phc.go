package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
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
	maxPHCBytes                = 320

	saltBytes = 16 // RFC 9106 section 3.1 and 4: 128 bits
	tagBytes  = 32 // RFC 9106 section 4: 256 bits
)

// ErrUnusableHash means that a stored hash cannot be checked: not a PHC string, another algorithm than argon2id
// version 19, or costs out of bounds. It is a fault of the data, not an answer about the password; whoever meets
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
	// Rehash says that the password is right and its hash has other costs than the current ones: store a hash
	// made with [Hasher.Hash] in its place. It is set for dearer hashes too, because accounts of unequal cost
	// can be told apart by time.
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

// Verify checks the password against a PHC string, in the time of one hash at the cost that the string names,
// within bounds that are checked first. Rehash compares with the current costs. The error is nil or wraps
// [ErrUnusableHash]. It neither waits its turn nor hides by time whether the string is usable: servers use
// [Hasher.Verify].
func Verify(phc string, password Secret, current Params) (Verdict, error) {
	h, err := parseStored(phc)
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

// storedHash is a stored hash that passed its bounds. Each format is one type; parseStored knows all of them.
type storedHash interface {
	// verify runs the whole function once and compares in constant time.
	verify(password Secret) bool
	// isCurrent says whether a hash made with these costs would look like this one.
	isCurrent(current Params) bool
	// effort is what verify costs, in the measure of argon2id. A format that cannot say returns the zero
	// effort, and the caller spends the whole difference to its floor.
	effort() effort
}

// parseStored reads a stored hash by the name of its scheme.
func parseStored(phc string) (storedHash, error) {
	if len(phc) > maxPHCBytes {
		return nil, fmt.Errorf("%w: it is too long", ErrUnusableHash)
	}
	scheme, rest, found := strings.Cut(strings.TrimPrefix(phc, "$"), "$")
	if !found || !strings.HasPrefix(phc, "$") {
		return nil, fmt.Errorf("%w: it is not a PHC string", ErrUnusableHash)
	}
	switch scheme {
	case "argon2id":
		h, err := parseArgon2id(rest)
		if err != nil {
			return nil, err // a nil *argon2id would make an interface that is not nil
		}
		return h, nil
	default:
		return nil, fmt.Errorf("%w: its algorithm is not supported", ErrUnusableHash)
	}
}

// argon2id is a hash of the form $argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<tag>, the salt and the tag
// in base64 (RFC 4648 section 4) without padding.
type argon2id struct {
	params Params
	salt   []byte
	tag    []byte
}

func (h *argon2id) derive(password Secret, length uint32) []byte {
	p := h.params
	return argon2.IDKey([]byte(password.text()), h.salt, p.Iterations, p.MemoryKiB, p.Parallelism, length)
}

func (h *argon2id) verify(password Secret) bool {
	return subtle.ConstantTimeCompare(h.derive(password, uint32(len(h.tag))), h.tag) == 1
}

func (h *argon2id) isCurrent(current Params) bool {
	return h.params == current && len(h.salt) == saltBytes && len(h.tag) == tagBytes
}

func (h *argon2id) effort() effort { return effortOf(h.params) }

// String returns the PHC string.
func (h *argon2id) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.params.MemoryKiB, h.params.Iterations, h.params.Parallelism,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.tag))
}

// parseArgon2id reads what follows "$argon2id$". It is strict: one spelling per hash, nothing optional.
func parseArgon2id(rest string) (*argon2id, error) {
	fields := strings.Split(rest, "$")
	if len(fields) != 4 || fields[0] != "v="+strconv.Itoa(argon2.Version) {
		return nil, fmt.Errorf("%w: it is not argon2id version %d with costs, salt and tag", ErrUnusableHash, argon2.Version)
	}
	costs := strings.Split(fields[1], ",")
	if len(costs) != 3 {
		return nil, fmt.Errorf("%w: its costs are not m, t and p", ErrUnusableHash)
	}
	m, okM := number(costs[0], "m=")
	t, okT := number(costs[1], "t=")
	p, okP := number(costs[2], "p=")
	if !okM || !okT || !okP || p > maxParallelism {
		return nil, fmt.Errorf("%w: its costs are not m, t and p", ErrUnusableHash)
	}
	h := &argon2id{params: Params{MemoryKiB: m, Iterations: t, Parallelism: uint8(p)}}
	if err := h.params.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusableHash, err)
	}
	var okSalt, okTag bool
	h.salt, okSalt = unbase64(fields[2], minSaltBytes, maxSaltBytes)
	h.tag, okTag = unbase64(fields[3], minTagBytes, maxTagBytes)
	if !okSalt || !okTag {
		return nil, fmt.Errorf("%w: its salt or tag is malformed", ErrUnusableHash)
	}
	return h, nil
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
