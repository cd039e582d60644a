package jwt

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxDepth   = 16  // nesting of JSON, so that text cannot exhaust the stack
	maxMembers = 256 // names in one JSON object, since each is compared with all
	maxInteger = 1<<53 - 1
)

var errJSON = errors.New("not strict JSON")

// reader walks one JSON text (RFC 8259) once, strictly: valid UTF-8, no
// duplicate names on any level, no lone surrogates, nothing after the value.
// encoding/json takes the last of two equal names, matches names without
// regard to case and replaces bad UTF-8, so that two programs can read two
// identities from one signed token.
//
// Strings without escapes are parts of s and allocate nothing.
type reader struct {
	s     string
	i     int
	depth int
}

// newReader fails for text that is not UTF-8.
func newReader(s string) (*reader, error) {
	if !utf8.ValidString(s) {
		return nil, errJSON
	}
	return &reader{s: s}, nil
}

func (r *reader) space() {
	for r.i < len(r.s) {
		switch r.s[r.i] {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return
		}
	}
}

// peek is the next byte that is not white space; 0 at the end.
func (r *reader) peek() byte {
	r.space()
	if r.i == len(r.s) {
		return 0
	}
	return r.s[r.i]
}

// take consumes the byte c if it comes next.
func (r *reader) take(c byte) bool {
	if r.peek() != c || r.i == len(r.s) {
		return false
	}
	r.i++
	return true
}

// end says whether nothing but white space is left.
func (r *reader) end() bool {
	r.space()
	return r.i == len(r.s)
}

// object reads an object and calls member for each name, which must read the
// value.
func (r *reader) object(member func(name string) error) error {
	if !r.take('{') || r.depth == maxDepth {
		return errJSON
	}
	r.depth++
	defer func() { r.depth-- }()
	if r.take('}') {
		return nil
	}
	seen := make([]string, 0, 24)
	for {
		if r.peek() != '"' {
			return errJSON
		}
		name, err := r.text()
		if err != nil {
			return err
		}
		for _, other := range seen {
			if other == name {
				return errJSON
			}
		}
		if seen = append(seen, name); len(seen) > maxMembers || !r.take(':') {
			return errJSON
		}
		if err := member(name); err != nil {
			return err
		}
		if r.take(',') {
			continue
		}
		if r.take('}') {
			return nil
		}
		return errJSON
	}
}

// array reads an array and calls item before each element, which it must
// read.
func (r *reader) array(item func() error) error {
	if !r.take('[') || r.depth == maxDepth {
		return errJSON
	}
	r.depth++
	defer func() { r.depth-- }()
	if r.take(']') {
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if r.take(',') {
			continue
		}
		if r.take(']') {
			return nil
		}
		return errJSON
	}
}

// text reads a string.
func (r *reader) text() (string, error) {
	if !r.take('"') {
		return "", errJSON
	}
	for start := r.i; r.i < len(r.s); r.i++ {
		switch c := r.s[r.i]; {
		case c == '"':
			r.i++
			return r.s[start : r.i-1], nil
		case c == '\\':
			return r.escaped(start)
		case c < 0x20:
			return "", errJSON
		}
	}
	return "", errJSON
}

// escaped reads the rest of a string that has escapes.
func (r *reader) escaped(start int) (string, error) {
	var b strings.Builder
	b.WriteString(r.s[start:r.i])
	for r.i < len(r.s) {
		c := r.s[r.i]
		r.i++
		switch {
		case c == '"':
			return b.String(), nil
		case c < 0x20:
			return "", errJSON
		case c != '\\':
			b.WriteByte(c)
			continue
		}
		char, err := r.escape()
		if err != nil {
			return "", err
		}
		b.WriteRune(char)
	}
	return "", errJSON
}

// escape reads what follows a backslash.
func (r *reader) escape() (rune, error) {
	if r.i == len(r.s) {
		return 0, errJSON
	}
	c := r.s[r.i]
	r.i++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		high, err := r.hex4()
		if err != nil || !utf16.IsSurrogate(high) {
			return high, err
		}
		if !strings.HasPrefix(r.s[r.i:], `\u`) {
			return 0, errJSON
		}
		r.i += 2
		low, err := r.hex4()
		if err != nil {
			return 0, err
		}
		if both := utf16.DecodeRune(high, low); both != utf8.RuneError {
			return both, nil
		}
	}
	return 0, errJSON
}

func (r *reader) hex4() (rune, error) {
	if len(r.s)-r.i < 4 {
		return 0, errJSON
	}
	n, err := strconv.ParseUint(r.s[r.i:r.i+4], 16, 16)
	if err != nil {
		return 0, errJSON
	}
	r.i += 4
	return rune(n), nil
}

// number returns the text of a number in the grammar of RFC 8259 section 6
// and whether it is written as an integer.
func (r *reader) number() (text string, integer bool, err error) {
	r.space()
	start := r.i
	r.skip('-')
	switch n := r.digits(); {
	case n == 0, n > 1 && r.s[r.i-n] == '0':
		return "", false, errJSON
	}
	integer = true
	if r.skip('.') {
		integer = false
		if r.digits() == 0 {
			return "", false, errJSON
		}
	}
	if r.skip('e') || r.skip('E') {
		integer = false
		if !r.skip('+') {
			r.skip('-')
		}
		if r.digits() == 0 {
			return "", false, errJSON
		}
	}
	return r.s[start:r.i], integer, nil
}

func (r *reader) skip(c byte) bool {
	if r.i < len(r.s) && r.s[r.i] == c {
		r.i++
		return true
	}
	return false
}

func (r *reader) digits() int {
	start := r.i
	for r.i < len(r.s) && '0' <= r.s[r.i] && r.s[r.i] <= '9' {
		r.i++
	}
	return r.i - start
}

// natural reads an integer from 0 to 2^53-1, written as one: "1", 1.0, 1e3
// and -1 are refused. Larger integers are not the same number for every
// reader (RFC 8259 section 6).
func (r *reader) natural() (int64, error) {
	text, integer, err := r.number()
	if err != nil || !integer || text[0] == '-' {
		return 0, errJSON
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > maxInteger {
		return 0, errJSON
	}
	return n, nil
}

// texts reads an array of strings.
func (r *reader) texts() ([]string, error) {
	var out []string
	err := r.array(func() error {
		s, err := r.text()
		out = append(out, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// value reads anything into the types of encoding/json: nil, bool, float64,
// string, []any, map[string]any. Integers beyond 2^53 and numbers beyond
// float64 are refused, since they would change on the way.
func (r *reader) value() (any, error) {
	switch c := r.peek(); c {
	case '{':
		out := map[string]any{}
		err := r.object(func(name string) error {
			v, err := r.value()
			out[name] = v
			return err
		})
		return out, err
	case '[':
		out := []any{}
		err := r.array(func() error {
			v, err := r.value()
			out = append(out, v)
			return err
		})
		return out, err
	case '"':
		return r.text()
	case 't':
		return true, r.word("true")
	case 'f':
		return false, r.word("false")
	case 'n':
		return nil, r.word("null")
	default:
		text, integer, err := r.number()
		if err != nil {
			return nil, err
		}
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || integer && math.Abs(f) > maxInteger {
			return nil, errJSON
		}
		return f, nil
	}
}

func (r *reader) word(w string) error {
	if !strings.HasPrefix(r.s[r.i:], w) {
		return errJSON
	}
	r.i += len(w)
	return nil
}
