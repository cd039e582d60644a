package sqlite

import (
	"strings"

	"github.com/handstamp/handstamp/store/transfer"
)

// statements are what a move runs on one table.
type statements struct {
	first, next, one, put, drop string
}

// Names of tables: closed ones are renamed, so that no statement of a server finds them, prepared or not.
const (
	openPrefix   = "handstamp_"
	closedPrefix = "handstamp_moved_"
)

func prefixOf(p transfer.Phase) string {
	if p.Closed() {
		return closedPrefix
	}
	return openPrefix
}

// statementsOf writes them. Names come from package transfer and from nowhere else.
func statementsOf(t transfer.Table, p transfer.Phase) statements {
	name, columns := prefixOf(p)+t.Name, make([]string, len(t.Columns))
	for i, c := range t.Columns {
		columns[i] = c.Name
	}
	keys := strings.Join(columns[:t.Keys], ", ")
	marks := func(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }
	read := "SELECT " + strings.Join(columns, ", ") + " FROM " + name
	is := " WHERE (" + keys + ") = (" + marks(t.Keys) + ")"
	order := " ORDER BY " + keys + " LIMIT ?"
	return statements{
		first: read + order,
		next:  read + " WHERE (" + keys + ") > (" + marks(t.Keys) + ")" + order,
		one:   read + is,
		put:   "INSERT OR REPLACE INTO " + name + " (" + strings.Join(columns, ", ") + ") VALUES (" + marks(len(columns)) + ")",
		drop:  "DELETE FROM " + name + is,
	}
}

// scanRow reads one row.
func scanRow(t transfer.Table, r scanner) (transfer.Row, error) {
	row := make(transfer.Row, len(t.Columns))
	into := make([]any, len(row))
	for i := range row {
		into[i] = &row[i]
	}
	if err := r.Scan(into...); err != nil {
		return nil, err
	}
	for i, c := range t.Columns {
		switch v := row[i].(type) {
		case nil:
			if c.Kind != transfer.Bytes {
				return nil, errColumn
			}
			row[i] = []byte(nil)
		case []byte:
			if v == nil {
				row[i] = []byte{} // empty, which absent is not
			}
		case string:
			text, err := transfer.Canonical(c.Kind, v)
			if err != nil {
				return nil, errColumn
			}
			if row[i] = text; c.Kind == transfer.Text && i >= t.Keys {
				row[i] = transfer.Said(text)
			}
		}
	}
	return row, transfer.Check(t, row)
}

// bound are a row's values as the driver takes them.
func bound(r transfer.Row) []any {
	args := make([]any, len(r))
	for i, v := range r {
		args[i] = v
		if b, ok := v.([]byte); ok {
			args[i] = raw(b)
		}
	}
	return args
}
