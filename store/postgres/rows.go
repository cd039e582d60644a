package postgres

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/token"
)

// What goes into the database.

// micros is a time as it is stored: microseconds since 1970 UTC, 0 for no time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// number is a number of the log or a version. What does not fit is larger than any that was ever given.
func number(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// blob is a hash, NULL for none, so that no two absent hashes are equal.
func blob(h token.Hash) []byte {
	if h.IsZero() {
		return nil
	}
	return h[:]
}

// list is texts as an array; none is an empty one and not NULL.
func list[T ~string](texts []T) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = string(t)
	}
	return out
}

// said is a text that only describes, such as a User-Agent. PostgreSQL keeps no NUL and nothing that is not UTF-8; a
// request is not refused for that.
func said(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// object is a JSON object of texts. What is not UTF-8 is replaced, and a NUL is written with letters.
func object(m map[string]string) (string, error) {
	if len(m) == 0 {
		return "{}", nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode detail: %w", err)
	}
	return string(b), nil
}

// errText is what a write is told whose ids or names no table of PostgreSQL can hold.
var errText = fmt.Errorf("%w: a text has a NUL or is not UTF-8", id.ErrInvalid)

// storable reports whether all texts among the arguments can be in a table. A read that looks for one that cannot has
// its answer: there is none. Without this a request with a strange byte would look like a fault of the server.
func storable(args []any) bool {
	for _, a := range args {
		switch a := a.(type) {
		case string:
			if !utf8.ValidString(a) || strings.IndexByte(a, 0) >= 0 {
				return false
			}
		case []string:
			for _, s := range a {
				if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
					return false
				}
			}
		}
	}
	return true
}

// What comes out of it. NULL, the absent side of a join, is the zero value. The values of a column that is not what it
// should be are never repeated in the error.

var errColumn = errors.New("a column holds a value of another type")

// A destination of Scan is asked by the type of the column, so each of these is for one type only.
type (
	textColumn  struct{ set func(string) error }
	intColumn   struct{ set func(int64) }
	boolColumn  struct{ set func(bool) error }
	bytesColumn struct{ set func([]byte) error }
	listColumn  struct{ into *[]string }
)

// ScanText implements pgtype.TextScanner.
func (c textColumn) ScanText(v pgtype.Text) error {
	if v.Valid {
		return c.set(v.String)
	}
	return nil
}

// ScanInt64 implements pgtype.Int64Scanner.
func (c intColumn) ScanInt64(v pgtype.Int8) error {
	if v.Valid {
		c.set(v.Int64)
	}
	return nil
}

// ScanBool implements pgtype.BoolScanner.
func (c boolColumn) ScanBool(v pgtype.Bool) error {
	if v.Valid {
		return c.set(v.Bool)
	}
	return nil
}

// ScanBytes implements pgtype.BytesScanner. The slice is the driver's.
func (c bytesColumn) ScanBytes(v []byte) error {
	if v != nil {
		return c.set(v)
	}
	return nil
}

// SetDimensions implements pgtype.ArraySetter.
func (c listColumn) SetDimensions(d []pgtype.ArrayDimension) error {
	*c.into = nil
	switch {
	case len(d) == 1 && d[0].Length > 0:
		*c.into = make([]string, d[0].Length)
	case len(d) > 1:
		return errColumn
	}
	return nil
}

// ScanIndex implements pgtype.ArraySetter.
func (c listColumn) ScanIndex(i int) any { return &(*c.into)[i] }

// ScanIndexType implements pgtype.ArraySetter.
func (c listColumn) ScanIndexType() any { return new(string) }

func asText[T ~string](into *T) textColumn {
	return textColumn{func(s string) error { *into = T(s); return nil }}
}

func asNumber[T ~uint64 | ~uint32 | ~int | ~int64](into *T) intColumn {
	return intColumn{func(n int64) { *into = T(n) }}
}

func asBool(into *bool) boolColumn {
	return boolColumn{func(b bool) error { *into = b; return nil }}
}

func asTime(into *time.Time) intColumn {
	return intColumn{func(n int64) {
		if n != 0 {
			*into = time.UnixMicro(n).UTC()
		}
	}}
}

func asDuration(into *time.Duration) intColumn {
	return intColumn{func(n int64) { *into = time.Duration(n) * time.Microsecond }}
}

func asHash[T ~[32]byte](into *T) bytesColumn {
	return bytesColumn{func(b []byte) error {
		if len(b) != len(*into) {
			return errColumn
		}
		*into = T(b)
		return nil
	}}
}

func asBytes(into *[]byte) bytesColumn {
	return bytesColumn{func(b []byte) error {
		*into = append(make([]byte, 0, len(b)), b...)
		return nil
	}}
}

// asList reads an array; an empty one is nil.
func asList(into *[]string) listColumn { return listColumn{into} }

// asMap reads a JSON object of texts; an empty one is nil.
func asMap(into *map[string]string) textColumn {
	return textColumn{func(s string) error {
		if s != "{}" && json.Unmarshal([]byte(s), into) != nil {
			return errColumn
		}
		return nil
	}}
}

// asPrimary refuses what was read from a standby, or from a primary that was fenced off. A connection, through a pooler or
// of a pool that was open before, may lead there after a failover, and such a server says "nothing new" for as long as
// nobody tells it anything. It reads the column [unbelievable].
func asPrimary() boolColumn {
	return boolColumn{func(not bool) error {
		if not {
			return ErrReadOnly
		}
		return nil
	}}
}
