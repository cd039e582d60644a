package password

import (
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // G505: what Django and ASP.NET wrote; a login replaces it
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// aspnetPrefix is how version 3 of ASP.NET Core Identity begins in base64: the byte 1 and the top of a small number.
const aspnetPrefix = "AQAAAA"

// pbkdf2Hash is PBKDF2 with HMAC (RFC 8018 section 5.2) in any of its spellings.
type pbkdf2Hash struct {
	foreign
	format     Format
	iterations uint32
	salt       []byte
	tag        []byte
}

func (h *pbkdf2Hash) verify(password Secret) bool {
	tag, err := h.derive(password.received())
	// The standard library refuses short salts when it is told to allow nothing but FIPS 140: then nothing matches.
	return err == nil && subtle.ConstantTimeCompare(tag, h.tag) == 1
}

func (h *pbkdf2Hash) derive(password string) ([]byte, error) {
	iterations, length := int(h.iterations), len(h.tag)
	switch h.format {
	case FormatPBKDF2SHA1:
		return pbkdf2.Key(sha1.New, password, h.salt, iterations, length)
	case FormatPBKDF2SHA512:
		return pbkdf2.Key(sha512.New, password, h.salt, iterations, length)
	default:
		return pbkdf2.Key(sha256.New, password, h.salt, iterations, length)
	}
}

func (h *pbkdf2Hash) describe() (Format, Cost) {
	return h.format, Cost{Iterations: h.iterations, Parallelism: 1}
}

// bounded returns the hash if its work is within bounds. Output that is longer than one block multiplies the work.
func (h *pbkdf2Hash) bounded() (*pbkdf2Hash, error) {
	size, weight := sha256.Size, uint64(1)
	switch h.format {
	case FormatPBKDF2SHA1:
		size = sha1.Size
	case FormatPBKDF2SHA512:
		size, weight = sha512.Size, 2
	}
	blocks := ceilDiv(uint64(len(h.tag)), uint64(size))
	if h.iterations < 1 || uint64(h.iterations)*blocks*weight > maxPBKDF2Work {
		return nil, unusable("its PBKDF2 iterations are out of bounds")
	}
	return h, nil
}

// parsePBKDF2 reads what follows "$pbkdf2-sha256$" and its like: the costs as in a PHC string (i=…, perhaps l=…), or as
// passlib writes them (a bare number, and base64 with a dot for the plus sign).
func parsePBKDF2(scheme, rest string) (*pbkdf2Hash, error) {
	fields := strings.Split(rest, "$")
	if len(fields) != 3 {
		return nil, unusable("it is not PBKDF2 with iterations, salt and tag")
	}
	h := &pbkdf2Hash{format: Format(scheme)}
	if scheme == "pbkdf2" {
		h.format = FormatPBKDF2SHA1
	}
	costs, salt, tag := fields[0], fields[1], fields[2]
	var ok bool
	length := ""
	if strings.HasPrefix(costs, "i=") {
		costs, length, _ = strings.Cut(costs, ",")
		h.iterations, ok = number(costs, "i=")
	} else {
		h.iterations, ok = number(costs, "")
		if strings.Contains(salt+tag, "+") {
			return nil, unusable("its salt or tag is malformed")
		}
		salt, tag = strings.ReplaceAll(salt, ".", "+"), strings.ReplaceAll(tag, ".", "+")
	}
	if !ok {
		return nil, unusable("its PBKDF2 iterations are not a number")
	}
	var okSalt, okTag bool
	h.salt, okSalt = unbase64(salt, minForeignSalt, maxForeignSalt)
	h.tag, okTag = unbase64(tag, minTagBytes, maxTagBytes)
	if !okSalt || !okTag {
		return nil, unusable("its salt or tag is malformed")
	}
	if length != "" {
		if n, ok := number(length, "l="); !ok || int(n) != len(h.tag) {
			return nil, unusable("its tag is not as long as it says")
		}
	}
	return h.bounded()
}

// parseDjangoPBKDF2 reads <iterations>$<salt>$<tag>; the salt is taken as it is, the tag is base64 with padding.
func parseDjangoPBKDF2(f Format, rest string) (*pbkdf2Hash, error) {
	fields := strings.Split(rest, "$")
	if len(fields) != 3 {
		return nil, unusable("it is not Django's form of PBKDF2")
	}
	h := &pbkdf2Hash{format: f, salt: []byte(fields[1])}
	var okIterations, okTag bool
	h.iterations, okIterations = number(fields[0], "")
	h.tag, okTag = unbase64Padded(fields[2], minTagBytes, maxTagBytes)
	if !okIterations || !okTag || len(h.salt) < minForeignSalt || len(h.salt) > maxForeignSalt {
		return nil, unusable("its iterations, salt or tag are malformed")
	}
	return h.bounded()
}

// parseASPNET reads the format of ASP.NET Core Identity, version 3: in base64, the byte 1, then function, iterations and
// length of the salt in four bytes each (most significant first), the salt, the tag.
func parseASPNET(stored string) (*pbkdf2Hash, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(stored)
	const head = 13
	if err != nil || len(b) < head || b[0] != 1 {
		return nil, unusable("it is not of ASP.NET Core Identity, version 3")
	}
	h := &pbkdf2Hash{iterations: binary.BigEndian.Uint32(b[5:])}
	switch binary.BigEndian.Uint32(b[1:]) {
	case 0:
		h.format = FormatPBKDF2SHA1
	case 1:
		h.format = FormatPBKDF2SHA256
	case 2:
		h.format = FormatPBKDF2SHA512
	default:
		return nil, unusable("its function is not one of ASP.NET Core Identity, version 3")
	}
	salt := binary.BigEndian.Uint32(b[9:])
	if salt < 16 || salt > maxForeignSalt || uint64(len(b)) < head+uint64(salt)+minTagBytes || uint64(len(b)) > head+uint64(salt)+maxTagBytes {
		return nil, unusable("its salt or tag is malformed")
	}
	h.salt, h.tag = b[head:head+salt], b[head+salt:]
	return h.bounded()
}
