package password

import (
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

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

func (h *argon2id) describe() (Format, Cost) { return FormatArgon2id, costOf(h.params) }

// String returns the PHC string.
func (h *argon2id) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		h.params.MemoryKiB, h.params.Iterations, h.params.Parallelism,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.tag))
}

// argon2i is the same with the other way through the memory (RFC 9106 section 3.4.1.1): $argon2i$…, what PHP calls
// PASSWORD_ARGON2I. It fills the same blocks, so its effort is measured like argon2id's.
type argon2i struct{ argon2id }

func (h *argon2i) verify(password Secret) bool {
	p := h.params
	tag := argon2.Key([]byte(password.received()), h.salt, p.Iterations, p.MemoryKiB, p.Parallelism, uint32(len(h.tag)))
	return subtle.ConstantTimeCompare(tag, h.tag) == 1
}

func (h *argon2i) isCurrent(Params) bool { return false }

func (h *argon2i) describe() (Format, Cost) { return FormatArgon2i, costOf(h.params) }

func costOf(p Params) Cost {
	return Cost{MemoryKiB: p.MemoryKiB, Iterations: p.Iterations, Parallelism: uint32(p.Parallelism)}
}

// parseArgon2id reads what follows "$argon2id$" or "$argon2i$". It is strict: one spelling per hash, nothing optional.
func parseArgon2id(rest string) (*argon2id, error) {
	fields := strings.Split(rest, "$")
	if len(fields) != 4 || fields[0] != "v="+strconv.Itoa(argon2.Version) {
		return nil, fmt.Errorf("%w: it is not argon2 version %d with costs, salt and tag", ErrUnusableHash, argon2.Version)
	}
	costs := strings.Split(fields[1], ",")
	if len(costs) != 3 {
		return nil, unusable("its costs are not m, t and p")
	}
	m, okM := number(costs[0], "m=")
	t, okT := number(costs[1], "t=")
	p, okP := number(costs[2], "p=")
	if !okM || !okT || !okP || p > maxParallelism {
		return nil, unusable("its costs are not m, t and p")
	}
	h := &argon2id{params: Params{MemoryKiB: m, Iterations: t, Parallelism: uint8(p)}}
	if err := h.params.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusableHash, err)
	}
	var okSalt, okTag bool
	h.salt, okSalt = unbase64(fields[2], minSaltBytes, maxSaltBytes)
	h.tag, okTag = unbase64(fields[3], minTagBytes, maxTagBytes)
	if !okSalt || !okTag {
		return nil, unusable("its salt or tag is malformed")
	}
	return h, nil
}
