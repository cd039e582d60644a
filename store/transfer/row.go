package transfer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Row holds one value for each column of its table, or for the first of them where it is a key. Values are those of the
// column's [Kind] and nothing else; []byte(nil) stands for absent bytes. Rows are not changed once they are made.
type Row []any

// Compare orders rows of one table by their first columns: numbers by size, texts and bytes bytewise. It is the order of
// [Reader.Page].
func Compare(t Table, a, b Row) int {
	for i := range t.Keys {
		var c int
		switch x := a[i].(type) {
		case string:
			y, _ := b[i].(string)
			c = strings.Compare(x, y)
		case int64:
			y, _ := b[i].(int64)
			c = cmp.Compare(x, y)
		case []byte:
			y, _ := b[i].([]byte)
			c = bytes.Compare(x, y)
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// Equal reports whether two rows of one table are the same in every column.
func Equal(a, b Row) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		switch x := a[i].(type) {
		case []byte:
			y, ok := b[i].([]byte)
			if !ok || (x == nil) != (y == nil) || !bytes.Equal(x, y) {
				return false
			}
		default:
			if a[i] != b[i] {
				return false
			}
		}
	}
	return true
}

// ID is a text that names a key, or any other row: different rows of one table have different ones.
func (r Row) ID() string { return string(appendRow(nil, r)) }

// Check says what is wrong with a row that a backend returned or is to write, without repeating its values.
func Check(t Table, r Row) error {
	if len(r) != len(t.Columns) {
		return fmt.Errorf("transfer: a row of %s has %d columns, not %d", t.Name, len(r), len(t.Columns))
	}
	for i, c := range t.Columns {
		var ok bool
		switch c.Kind {
		case Text, List, Object:
			_, ok = r[i].(string)
		case Number, Flag, Time, Span:
			_, ok = r[i].(int64)
		case Bytes:
			_, ok = r[i].([]byte)
		}
		if !ok {
			return fmt.Errorf("transfer: column %s of a row of %s has a value of another type", c.Name, t.Name)
		}
	}
	return nil
}

// ListText writes texts as [List] wants them.
func ListText(texts []string) string {
	if len(texts) == 0 {
		return "[]"
	}
	b, err := json.Marshal(texts)
	if err != nil {
		return "[]" // no slice of strings fails
	}
	return string(b)
}

// Texts reads what ListText wrote; none is nil.
func Texts(list string) ([]string, error) {
	if list == "[]" {
		return nil, nil
	}
	var texts []string
	if err := json.Unmarshal([]byte(list), &texts); err != nil {
		return nil, fmt.Errorf("transfer: a list cannot be read")
	}
	return texts, nil
}

// ObjectText writes texts by name as [Object] wants them.
func ObjectText(m map[string]string) string {
	if len(m) == 0 {
		return "{}"
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "{}" // no map of strings fails
	}
	return string(b)
}

// ObjectOf reads what ObjectText wrote; an empty one is nil.
func ObjectOf(object string) (map[string]string, error) {
	if object == "{}" {
		return nil, nil
	}
	var m map[string]string
	if err := json.Unmarshal([]byte(object), &m); err != nil {
		return nil, fmt.Errorf("transfer: an object cannot be read")
	}
	return m, nil
}

// Said is a text that only describes, such as a User-Agent, as every database can keep it: in UTF-8 and without a NUL.
// Backends return texts that name nothing like this, so that a row reads the same wherever it is.
func Said(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Canonical writes a list or an object again as this package does, whatever the spaces and escapes of a database are, so
// that equal values are equal texts. Other values come back as they are.
func Canonical(k Kind, s string) (string, error) {
	switch {
	case k == List && s != "[]":
		texts, err := Texts(s)
		return ListText(texts), err
	case k == Object && s != "{}":
		m, err := ObjectOf(s)
		return ObjectText(m), err
	default:
		return s, nil
	}
}

// Digest says what is in a table, or in a stretch of it.
type Digest struct {
	Rows int64
	// Sum adds up SHA-256 of every row, in four numbers of 64 bits that overflow. So it does not depend on the order or on
	// how the rows were read. It finds mistakes; who may write to both databases needs no collision.
	Sum [4]uint64
}

// Add takes a row in.
func (d *Digest) Add(r Row) {
	h := sha256.Sum256(appendRow(make([]byte, 0, 512), r))
	d.Rows++
	for i := range d.Sum {
		d.Sum[i] += binary.BigEndian.Uint64(h[8*i:])
	}
}

// And is the digest of both, which have no row in common.
func (d Digest) And(other Digest) Digest {
	d.Rows += other.Rows
	for i := range d.Sum {
		d.Sum[i] += other.Sum[i]
	}
	return d
}

// String writes the sum in hexadecimal.
func (d Digest) String() string {
	return fmt.Sprintf("%016x%016x%016x%016x", d.Sum[0], d.Sum[1], d.Sum[2], d.Sum[3])
}

// sumPage is how many rows Sum reads at a time.
const sumPage = 1_000

// Sum reads a whole table.
func Sum(ctx context.Context, db Reader, t Table) (Digest, error) {
	return SumOf(ctx, db, t, nil, nil)
}

// SumOf reads the rows with keys above after, up to and with upto; nil is the beginning and the end.
func SumOf(ctx context.Context, db Reader, t Table, after, upto Row) (Digest, error) {
	var d Digest
	for {
		page, err := db.Page(ctx, t, after, sumPage)
		if err != nil {
			return Digest{}, fmt.Errorf("read %s: %w", t.Name, err)
		}
		for _, r := range page {
			if upto != nil && Compare(t, r, upto) > 0 {
				return d, nil
			}
			d.Add(r)
		}
		if len(page) < sumPage {
			return d, nil
		}
		after = t.KeyOf(page[len(page)-1])
	}
}

// appendRow writes a row so that no two different ones are the same bytes: each value with its type and its length.
func appendRow(b []byte, r Row) []byte {
	for _, v := range r {
		switch x := v.(type) {
		case string:
			b = append(binary.AppendUvarint(append(b, 's'), uint64(len(x))), x...)
		case int64:
			b = binary.AppendVarint(append(b, 'n'), x)
		case []byte:
			if x == nil {
				b = append(b, '-')
				continue
			}
			b = append(binary.AppendUvarint(append(b, 'b'), uint64(len(x))), x...)
		}
	}
	return append(b, '.')
}
