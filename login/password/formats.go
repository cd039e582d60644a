package password

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// Bounds of hashes that other systems made. They are about the memory and the time that argon2id may take here:
// 256 MiB, and two or three seconds of one core.
const (
	maxStoredBytes = 512 // the longest real ones, Firebase's with the project's key, have 260

	minForeignSalt, maxForeignSalt = 1, 128

	minBcryptCost, maxBcryptCost = 4, 15

	maxScryptMemory = 256 << 20 // bytes: 128 N r (RFC 7914 section 2)
	maxScryptWork   = 512 << 20 // bytes: 128 N r p
	maxScryptBlock  = 32        // r
	maxScryptLanes  = 16        // p

	maxPBKDF2Work = 4_000_000 // iterations times blocks of output, those of SHA-512 counted twice
)

// Format names the way a stored hash was made.
type Format string

// The formats.
const (
	FormatArgon2id     Format = "argon2id"      // what this package makes
	FormatArgon2i      Format = "argon2i"       // PHP, Django and others
	FormatBcrypt       Format = "bcrypt"        // PHP, Laravel, Rails, Django and most others
	FormatBcryptSHA256 Format = "bcrypt-sha256" // Django's bcrypt over the SHA-256 of the password
	FormatScrypt       Format = "scrypt"        // passlib, Django, libxcrypt, libsodium
	FormatPBKDF2SHA1   Format = "pbkdf2-sha1"   // passlib, Django, ASP.NET Core Identity
	FormatPBKDF2SHA256 Format = "pbkdf2-sha256" // passlib, Django, ASP.NET Core Identity
	FormatPBKDF2SHA512 Format = "pbkdf2-sha512" // passlib, ASP.NET Core Identity
	FormatFirebase     Format = "firebase-scrypt"
)

// Cost is what one check of a stored hash takes.
type Cost struct {
	// MemoryKiB is the memory of one check in KiB; 0 for formats that need next to none.
	MemoryKiB uint32
	// Iterations is the number of passes (argon2), rounds (bcrypt: 2 to its cost), iterations (PBKDF2) or N (scrypt).
	Iterations uint32
	// Parallelism is the number of lanes (argon2, scrypt); 1 for the others.
	Parallelism uint32
}

// Inspect says how a stored hash was made and what a check of it will cost, without hashing. An error wraps
// [ErrUnusableHash]; its text is a sentence for whoever imports the hash, and holds nothing of it. What Inspect
// accepts [Hasher.Verify] can check, and a login replaces it. These are all the formats:
//
//	$argon2id$v=19$m=…,t=…,p=…$salt$tag      PHC string; also $argon2i$. Laravel and PHP write both.
//	$2a$, $2b$, $2y$                         bcrypt. A password of more than 72 bytes matches none of them.
//	$scrypt$ln=…,r=…,p=…$salt$tag            PHC string, also passlib's.
//	$7$…                                     scrypt of libxcrypt and libsodium.
//	$pbkdf2-sha256$i=…[,l=…]$salt$tag        PHC string; also $pbkdf2-sha512$.
//	$pbkdf2-sha256$rounds$salt$tag           passlib; also $pbkdf2-sha512$ and $pbkdf2$ (SHA-1).
//	$fbscrypt$v=1,n=…,r=…,p=1,ss=…,sk=…$…$…  Firebase, as Supabase writes it; [Firebase] makes it.
//	pbkdf2_sha256$…                          Django; also pbkdf2_sha1, scrypt, bcrypt, bcrypt_sha256 and argon2.
//	AQAAAA…                                  ASP.NET Core Identity, version 3.
//
// Not among them: argon2d, argon2 before version 1.3, $2x$ (a broken bcrypt), and plain hashes of any kind. Fast
// hashes (MD5, SHA-1, SHA-2 with a salt) do not become safe by being accepted.
func Inspect(stored string) (Format, Cost, error) {
	h, err := parseStored(stored)
	if err != nil {
		return "", Cost{}, err
	}
	f, c := h.describe()
	return f, c, nil
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
	// describe names the format and its costs.
	describe() (Format, Cost)
}

// foreign is what all formats but argon2 have in common: always to be replaced, and of a cost that cannot be compared
// with argon2id's without knowing the machine.
type foreign struct{}

func (foreign) isCurrent(Params) bool { return false }

func (foreign) effort() effort { return effort{} }

// parseStored reads a stored hash by the name of its scheme. It never hashes.
func parseStored(stored string) (storedHash, error) {
	if len(stored) > maxStoredBytes {
		return nil, unusable("it is too long")
	}
	for i := range len(stored) {
		if stored[i] <= ' ' || stored[i] > '~' {
			return nil, unusable("it holds something else than printable ASCII")
		}
	}
	if rest, ok := strings.CutPrefix(stored, "$"); ok {
		scheme, rest, _ := strings.Cut(rest, "$")
		return parseCrypt(scheme, rest)
	}
	scheme, rest, ok := strings.Cut(stored, "$")
	switch {
	case ok:
		return parseDjango(scheme, rest)
	case strings.HasPrefix(stored, "!") || strings.HasPrefix(stored, "*"):
		return nil, unusable("it is a mark for an account without a password, not a hash")
	case strings.HasPrefix(stored, aspnetPrefix):
		return checked(parseASPNET(stored))
	}
	return nil, unusable("it is of none of the formats that can be checked")
}

// parseCrypt reads formats that begin with "$" and a scheme (modular crypt format and PHC strings).
func parseCrypt(scheme, rest string) (storedHash, error) {
	switch scheme {
	case "argon2id", "argon2i":
		h, err := parseArgon2id(rest)
		if err != nil {
			return nil, err
		}
		if scheme == "argon2i" {
			return &argon2i{*h}, nil
		}
		return h, nil
	case "argon2d":
		return nil, unusable("argon2d cannot be checked here, only argon2i and argon2id")
	case "2a", "2b", "2y":
		return checked(parseBcrypt(rest, false))
	case "scrypt":
		return checked(parseScrypt(rest))
	case "7":
		return checked(parseScryptCrypt(rest))
	case "pbkdf2", "pbkdf2-sha256", "pbkdf2-sha512":
		return checked(parsePBKDF2(scheme, rest))
	case "fbscrypt":
		return checked(parseFirebase(rest))
	}
	return nil, unusable("its algorithm is not supported")
}

// parseDjango reads formats of django.contrib.auth.hashers, which begin with an algorithm and "$".
func parseDjango(algorithm, rest string) (storedHash, error) {
	switch algorithm {
	case "pbkdf2_sha256":
		return checked(parseDjangoPBKDF2(FormatPBKDF2SHA256, rest))
	case "pbkdf2_sha1":
		return checked(parseDjangoPBKDF2(FormatPBKDF2SHA1, rest))
	case "scrypt":
		return checked(parseDjangoScrypt(rest))
	case "bcrypt", "bcrypt_sha256":
		scheme, rest, ok := strings.Cut(strings.TrimPrefix(rest, "$"), "$")
		if !ok || scheme != "2b" && scheme != "2a" && scheme != "2y" {
			return nil, unusable("it is not Django's form of bcrypt")
		}
		return checked(parseBcrypt(rest, algorithm == "bcrypt_sha256"))
	case "argon2":
		scheme, rest, _ := strings.Cut(rest, "$")
		if scheme != "argon2id" && scheme != "argon2i" {
			return nil, unusable("it is not Django's form of argon2i or argon2id")
		}
		return parseCrypt(scheme, rest)
	}
	return nil, unusable("its algorithm is not supported")
}

// checked makes an interface of what a parser returned: a nil pointer would make one that is not nil.
func checked[H storedHash](h H, err error) (storedHash, error) {
	if err != nil {
		return nil, err
	}
	return h, nil
}

// unusable says why a stored hash cannot be used. What it says never holds anything of the hash.
func unusable(why string) error { return fmt.Errorf("%w: %s", ErrUnusableHash, why) }

// unbase64Padded decodes strictly like unbase64, with padding.
func unbase64Padded(s string, least, most int) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) >= least && len(b) <= most
}
