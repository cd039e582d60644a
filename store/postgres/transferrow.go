package postgres

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/handstamp/handstamp/store/transfer"
)

// statements are what a move runs on one table.
type statements struct {
	first, next, some, put, drop string
	// yield takes unique values away from other rows than those that are to have them; "" where there are none.
	yield string
}

// Names of tables: closed ones are renamed, so that no statement and no function of a server finds them.
const (
	openPrefix   = "@"
	closedPrefix = "@moved_"
)

func prefixOf(p transfer.Phase) string {
	if p.Closed() {
		return closedPrefix
	}
	return openPrefix
}

// columnName is how a column is called here: "user" is a word of SQL.
func columnName(c transfer.Column) string {
	if c.Name == "user" {
		return "user_id"
	}
	return c.Name
}

// typeOf is a column's type in SQL.
func typeOf(k transfer.Kind) string {
	switch k {
	case transfer.Number, transfer.Time, transfer.Span:
		return "bigint"
	case transfer.Flag:
		return "boolean"
	case transfer.Bytes:
		return "bytea"
	case transfer.List:
		return "text[]"
	default:
		return "text"
	}
}

// statementsOf writes them. Names come from package transfer and from nowhere else.
func statementsOf(t transfer.Table, p transfer.Phase) statements {
	name := prefixOf(p) + t.Name
	var columns, marks, sets, arrays []string
	for i, c := range t.Columns {
		columns = append(columns, columnName(c))
		marks = append(marks, "$"+strconv.Itoa(i+1))
		if i >= t.Keys {
			sets = append(sets, columnName(c)+" = excluded."+columnName(c))
		}
		arrays = append(arrays, "$"+strconv.Itoa(i+1)+"::"+arrayOf(c.Kind))
	}
	keys := strings.Join(columns[:t.Keys], ", ")
	read := "SELECT " + strings.Join(columns, ", ") + " FROM " + name
	these := " WHERE (" + keys + ") IN (SELECT * FROM unnest(" + strings.Join(arrays[:t.Keys], ", ") + "))"
	order := " ORDER BY " + keys + " LIMIT $"
	s := statements{
		first: read + order + "1",
		next:  read + " WHERE (" + keys + ") > (" + strings.Join(marks[:t.Keys], ", ") + ")" + order + strconv.Itoa(t.Keys+1),
		some:  read + these,
		drop:  "DELETE FROM " + name + these,
		yield: yielding(t, name, arrays),
	}
	into, values := strings.Join(columns, ", "), strings.Join(marks, ", ")
	if t.Name == transfer.TableSessions {
		into, values = into+", look_at", values+", "+lookAtOf(t)
		sets = append(sets, "look_at = excluded.look_at")
	}
	s.put = "INSERT INTO " + name + " (" + into + ") VALUES (" + values + ") ON CONFLICT (" + keys + ") DO UPDATE SET " + strings.Join(sets, ", ")
	if t.Name == transfer.TableData {
		// A value whose session has not arrived yet comes with the change that brought it; see transfer.Tables.
		s.put = strings.Replace(s.put, "VALUES ("+values+")", "SELECT "+typed(t)+
			" WHERE EXISTS (SELECT 1 FROM "+prefixOf(p)+"sessions AS s WHERE s.id = $1)", 1)
	}
	return s
}

// typed are the arguments of a row where no table says of what type they are.
func typed(t transfer.Table) string {
	var marks []string
	for i, c := range t.Columns {
		marks = append(marks, "$"+strconv.Itoa(i+1)+"::"+typeOf(c.Kind))
	}
	return strings.Join(marks, ", ")
}

// arrayOf is the type of many values of a column. Lists come as JSON there, since arrays of arrays must be rectangular.
func arrayOf(k transfer.Kind) string {
	if k == transfer.List {
		return "text[]"
	}
	return typeOf(k) + "[]"
}

// lookAtOf is lookAt with the arguments of a row.
func lookAtOf(t transfer.Table) string {
	mark := func(name string) string {
		at := slices.IndexFunc(t.Columns, func(c transfer.Column) bool { return c.Name == name })
		return "$" + strconv.Itoa(at+1) + "::bigint"
	}
	return "CASE WHEN " + mark("ended_by") + " <> 0 THEN 0 WHEN " + mark("idle") + " = 0 THEN 9223372036854775807 ELSE " +
		mark("seen_at") + " + " + mark("idle") + " END"
}

// yielding takes unique values away from other rows. Those are out of date, and their own changes will bring them what
// they have now. A session is not deleted for it: its values would go with it.
func yielding(t transfer.Table, name string, arrays []string) string {
	unique := map[string][]string{
		"users": {"email"}, "service_keys": {"hash"}, "keys": {"use", "serial"}, transfer.TableSessions: {"key_hash"},
	}[t.Name]
	if unique == nil {
		return ""
	}
	var columns, same []string
	for _, c := range t.Columns {
		columns = append(columns, columnName(c))
	}
	for _, u := range unique {
		same = append(same, "o."+u+" = x."+u)
	}
	from := " unnest(" + strings.Join(arrays, ", ") + ") AS x (" + strings.Join(columns, ", ") + ") WHERE " +
		strings.Join(same, " AND ") + " AND o." + columns[0] + " <> x." + columns[0]
	if t.Name == transfer.TableSessions {
		return "UPDATE " + name + " AS o SET key_hash = NULL FROM" + from
	}
	return "DELETE FROM " + name + " AS o USING" + from
}

// argsOf are a row's values, or a key's, as the driver takes them.
func argsOf(t transfer.Table, r transfer.Row) []any {
	args := make([]any, len(r))
	for i, v := range r {
		switch x := v.(type) {
		case int64:
			if args[i] = x; t.Columns[i].Kind == transfer.Flag {
				args[i] = x != 0
			}
		case string:
			if args[i] = x; t.Columns[i].Kind == transfer.List {
				texts, _ := transfer.Texts(x) // what is no list is refused by the column
				args[i] = list(texts)
			}
		default:
			args[i] = v
		}
	}
	return args
}

// columnsOf are the first n columns of many rows, an array for each of them.
func columnsOf(t transfer.Table, rows []transfer.Row, n int) []any {
	args := make([]any, n)
	for i, c := range t.Columns[:n] {
		switch c.Kind {
		case transfer.Number, transfer.Time, transfer.Span:
			args[i] = column(rows, i, func(v any) int64 { x, _ := v.(int64); return x })
		case transfer.Flag:
			args[i] = column(rows, i, func(v any) bool { x, _ := v.(int64); return x != 0 })
		case transfer.Bytes:
			args[i] = column(rows, i, func(v any) []byte { x, _ := v.([]byte); return x })
		default:
			args[i] = column(rows, i, func(v any) string { x, _ := v.(string); return x })
		}
	}
	return args
}

func column[T any](rows []transfer.Row, i int, value func(any) T) []T {
	all := make([]T, len(rows))
	for n, r := range rows {
		all[n] = value(r[i])
	}
	return all
}

// rowOf is a row as package transfer wants it, of what the driver has read.
func rowOf(t transfer.Table, values []any) (transfer.Row, error) {
	row := make(transfer.Row, len(values))
	for i, c := range t.Columns {
		switch v := values[i].(type) {
		case nil:
			row[i] = []byte(nil)
		case bool:
			row[i] = int64(0)
			if v {
				row[i] = int64(1)
			}
		case string:
			text, err := transfer.Canonical(c.Kind, v)
			if err != nil {
				return nil, errColumn
			}
			row[i] = text
		case []any:
			texts := make([]string, len(v))
			for n, x := range v {
				texts[n], _ = x.(string)
			}
			row[i] = transfer.ListText(texts)
		default:
			row[i] = v
		}
	}
	return row, transfer.Check(t, row)
}

// keyOf reads the key of a change, which is kept as text.
func keyOf(t transfer.Table, texts [2]string) (transfer.Row, error) {
	key := make(transfer.Row, t.Keys)
	for i, c := range t.Columns[:t.Keys] {
		var err error
		switch c.Kind {
		case transfer.Number:
			key[i], err = strconv.ParseInt(texts[i], 10, 64)
		case transfer.Bytes:
			key[i], err = hex.DecodeString(texts[i])
		default:
			key[i] = texts[i]
		}
		if err != nil {
			return nil, fmt.Errorf("a key of %s: %w", t.Name, errColumn)
		}
	}
	return key, nil
}

// keyText is how a trigger writes a column of a key.
func keyText(side string, c transfer.Column) string {
	switch name := side + "." + columnName(c); c.Kind {
	case transfer.Number:
		return name + "::text"
	case transfer.Bytes:
		return "encode(" + name + ", 'hex')"
	default:
		return name
	}
}
