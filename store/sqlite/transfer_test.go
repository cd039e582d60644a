package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/store/storetest/transfertest"
	"github.com/handstamp/handstamp/store/transfer"
)

func TestTransfer(t *testing.T) {
	transfertest.Run(t, transfertest.Maker{New: func(t testing.TB) transfertest.Pair {
		b := openNew(t)
		tr, err := sqlite.OpenTransfer(t.Context(), b.path, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := tr.Close(); err != nil {
				t.Errorf("Close() = %v", err)
			}
		})
		return transfertest.Pair{Backend: b, Transfer: tr, Open: func(ctx context.Context) (transfertest.Backend, error) {
			return sqlite.Open(ctx, b.path, sqlite.Options{})
		}}
	}})
}

// TestTransferIsEverything: a table or a column that a later migration adds is moved, or left behind on purpose.
func TestTransferIsEverything(t *testing.T) {
	db, err := sql.Open("sqlite", openNew(t).path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.Query(`SELECT m.name, group_concat(c.name, ' ') FROM sqlite_schema AS m, pragma_table_info(m.name) AS c
		WHERE m.type = 'table' AND m.name LIKE 'handstamp\_%' ESCAPE '\' GROUP BY m.name ORDER BY c.cid`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	moved := map[string][]string{}
	for _, table := range transfer.Tables() {
		for _, c := range table.Columns {
			moved[table.Name] = append(moved[table.Name], c.Name)
		}
		slices.Sort(moved[table.Name])
	}
	stays := []string{"migrations", "verifiers", "sweep"}
	for rows.Next() {
		var name, columns string
		if err := rows.Scan(&name, &columns); err != nil {
			t.Fatal(err)
		}
		name = strings.TrimPrefix(name, "handstamp_")
		have := strings.Fields(columns)
		slices.Sort(have)
		if slices.Contains(stays, name) {
			continue
		}
		if !slices.Equal(have, moved[name]) {
			t.Errorf("the table %s has the columns %v, and moved are %v", name, have, moved[name])
		}
		delete(moved, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for name := range moved {
		t.Errorf("there is no table %s", name)
	}
}

// TestOpenTransferRefuses: a move begins with tables of this version and with nothing else.
func TestOpenTransferRefuses(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent.db")
	if _, err := sqlite.OpenTransfer(t.Context(), absent, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v, want fs.ErrNotExist", err)
	}
	for _, tt := range []struct {
		name, change string
		want         error
	}{
		{"older", "DELETE FROM handstamp_migrations WHERE version > 1", sqlite.ErrOlder},
		{"newer", "INSERT INTO handstamp_migrations VALUES (9999, '9999_x', 0)", sqlite.ErrNewer},
		{"foreign", "DROP TABLE handstamp_roles; CREATE TABLE handstamp_roles (x)", sqlite.ErrForeign},
		{"none", "DROP TABLE handstamp_migrations", sqlite.ErrForeign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := openNew(t).path
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(tt.change); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			for _, create := range []bool{false, true} {
				if tr, err := sqlite.OpenTransfer(t.Context(), path, create); !errors.Is(err, tt.want) {
					t.Errorf("OpenTransfer(create %v) = %v, want %v", create, err, tt.want)
					_ = tr.Close()
				}
			}
		})
	}
}
