package token

// alphabet is in the order of ASCII, so that texts of equal length compare like the numbers they stand for.
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// digit returns the value of a character, or 62 and more for one that is not in the alphabet.
func digit(c byte) uint32 {
	switch {
	case c >= '0' && c <= '9':
		return uint32(c - '0')
	case c >= 'A' && c <= 'Z':
		return uint32(c-'A') + 10
	case c >= 'a' && c <= 'z':
		return uint32(c-'a') + 36
	default:
		return 62
	}
}

// base62Len is how many characters n bytes take: the smallest c with 62^c >= 256^n.
func base62Len(n int) int {
	// 8/log2(62) = 1.343587…; the ratio below is just above it, and exact enough for n up to 127.
	return (n*134359 + 99999) / 100000
}

// appendBase62 prints b as one big-endian number of fixed width.
func appendBase62(out, b []byte) []byte {
	limbs := toLimbs(b)
	start := len(out)
	width := base62Len(len(b))
	for range width {
		out = append(out, '0')
	}
	for i := start + width - 1; i >= start; i-- {
		var rem uint64
		for j := range limbs {
			cur := rem<<32 | uint64(limbs[j])
			limbs[j], rem = uint32(cur/62), cur%62
		}
		out[i] = alphabet[rem]
	}
	return out
}

// decodeBase62 is the inverse. It accepts exactly the width that appendBase62 prints and refuses a number that does not
// fit: there is one text for each value.
func decodeBase62(into []byte, text string) bool {
	if len(text) != base62Len(len(into)) {
		return false
	}
	var buf [maxLimbs]uint32
	n := (len(into) + 3) / 4
	limbs := buf[:n]
	for i := range len(text) {
		d := digit(text[i])
		if d >= 62 {
			return false
		}
		carry := uint64(d)
		for j := n - 1; j >= 0; j-- {
			carry += uint64(limbs[j]) * 62
			limbs[j], carry = uint32(carry), carry>>32
		}
		if carry != 0 {
			return false
		}
	}
	return fromLimbs(into, limbs)
}

// maxLimbs holds the longest payload, a refresh token's.
const maxLimbs = (refreshBytes + 3) / 4

func toLimbs(b []byte) []uint32 {
	n := (len(b) + 3) / 4
	limbs := make([]uint32, n)
	for i := range b {
		fromEnd := len(b) - 1 - i
		limbs[n-1-fromEnd/4] |= uint32(b[i]) << (8 * (fromEnd % 4))
	}
	return limbs
}

// fromLimbs writes the number into b; it answers false when the number is larger than b.
func fromLimbs(b []byte, limbs []uint32) bool {
	n := len(limbs)
	for i := range b {
		fromEnd := len(b) - 1 - i
		b[i] = byte(limbs[n-1-fromEnd/4] >> (8 * (fromEnd % 4)))
	}
	spare := n*4 - len(b)
	return spare == 0 || limbs[0]>>(32-8*spare) == 0
}

// canonical reports whether the text is how n bytes print, without decoding: right length, alphabet, and not larger
// than the largest value of n bytes.
func canonical(text string, n int) bool {
	if len(text) != base62Len(n) {
		return false
	}
	for i := range len(text) {
		if digit(text[i]) >= 62 {
			return false
		}
	}
	return n != secretBytes || text <= maxSecretText
}

// maxSecretText is 2^256 - 1 in base62, the largest payload of a 256-bit token.
//
//nolint:gosec // a bound, no credential
const maxSecretText = "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1"
