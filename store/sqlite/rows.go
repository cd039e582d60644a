package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

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
func blob(h token.Hash) any {
	if h.IsZero() {
		return nil
	}
	return h[:]
}

// raw is bytes that may be absent. An empty slice that is not nil stays one.
func raw(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// list is texts as a JSON array.
func list(texts []string) string {
	if len(texts) == 0 {
		return "[]"
	}
	b, err := json.Marshal(texts)
	if err != nil {
		return "[]" // no slice of strings fails
	}
	return string(b)
}

// What comes out of it. The values of a column that is not what it should be are never repeated in the error.

var errColumn = errors.New("a column holds a value of another type")

// column is a destination of Scan that takes NULL, the absent side of a join, for the zero value.
type column struct{ set func(src any) error }

// Scan implements sql.Scanner.
func (c column) Scan(src any) error {
	if src == nil {
		return nil
	}
	return c.set(src)
}

func asText[T ~string](into *T) column {
	return column{func(src any) error {
		s, ok := src.(string)
		if !ok {
			return errColumn
		}
		*into = T(s)
		return nil
	}}
}

func asInt(set func(int64)) column {
	return column{func(src any) error {
		n, ok := src.(int64)
		if !ok {
			return errColumn
		}
		set(n)
		return nil
	}}
}

func asNumber[T ~uint64 | ~uint32 | ~int](into *T) column {
	return asInt(func(n int64) { *into = T(n) })
}

func asBool(into *bool) column { return asInt(func(n int64) { *into = n != 0 }) }

func asTime(into *time.Time) column {
	return asInt(func(n int64) {
		if n != 0 {
			*into = time.UnixMicro(n).UTC()
		}
	})
}

func asDuration(into *time.Duration) column {
	return asInt(func(n int64) { *into = time.Duration(n) * time.Microsecond })
}

func asHash[T ~[32]byte](into *T) column {
	return column{func(src any) error {
		b, ok := src.([]byte)
		if !ok || len(b) != len(*into) {
			return errColumn
		}
		*into = T(b)
		return nil
	}}
}

// asBytes takes a copy: the driver's slice is not ours.
func asBytes(into *[]byte) column {
	return column{func(src any) error {
		b, ok := src.([]byte)
		if !ok {
			return errColumn
		}
		*into = append(make([]byte, 0, len(b)), b...)
		return nil
	}}
}

// asList reads a JSON array; an empty one is nil.
func asList(into *[]string) column {
	return column{func(src any) error {
		s, ok := src.(string)
		if !ok {
			return errColumn
		}
		if s == "[]" {
			return nil
		}
		if json.Unmarshal([]byte(s), into) != nil {
			return errColumn
		}
		return nil
	}}
}

// asMap reads a JSON object of texts; an empty one is nil.
func asMap(into *map[string]string) column {
	return column{func(src any) error {
		s, ok := src.(string)
		if !ok {
			return errColumn
		}
		if s == "{}" {
			return nil
		}
		if json.Unmarshal([]byte(s), into) != nil {
			return errColumn
		}
		return nil
	}}
}

// object is the reverse of asMap.
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
