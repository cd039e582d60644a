package postgres

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp/internal/fault"
)

// patient are the limits of tests: the machine may be busy with other things.
func patient() Options { return Patient(Options{}) }

func openTest(t testing.TB, dsn string, opt Options) *Store {
	t.Helper()
	if opt.limits == (limits{}) {
		opt = Patient(opt)
	}
	s, err := Open(t.Context(), dsn, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// newTest is a store in a database of its own.
func newTest(t testing.TB) (*Store, *fault.Postgres, string) {
	t.Helper()
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	return openTest(t, server.DSN(db), Options{}), server, db
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func sqlExec(t testing.TB, c *pgx.Conn, statements ...string) {
	t.Helper()
	for _, st := range statements {
		if _, err := c.Exec(t.Context(), st); err != nil {
			t.Fatalf("%s: %v", st, err)
		}
	}
}

var update = flag.Bool("update", false, "write the files that tests compare with")

// TestColumns: the list of columns that Open compares with is that of the tables that the migrations make.
func TestColumns(t *testing.T) {
	_, server, db := newTest(t)
	got := server.Value(t, db, `SELECT string_agg(c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, NULL), E'\n'
		ORDER BY c.relname COLLATE "C", a.attnum) || E'\n' FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE n.nspname = 'handstamp' AND c.relkind = 'r' AND c.relname <> 'migrations'`)
	if *update {
		if err := os.WriteFile("migrations/columns.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile("migrations/columns.txt"); err != nil || string(want) != got {
		t.Errorf("migrations/columns.txt is not what the tables are (%v): go test -run TestColumns -update", err)
	}
}

// everything is what a database holds, for tests that nothing was changed.
func everything(t testing.TB, server *fault.Postgres, db string) string {
	t.Helper()
	return server.Value(t, db, `SELECT coalesce(string_agg(x.line, E'\n' ORDER BY x.line), '') FROM (
		SELECT n.nspname || '.' || c.relname || ' ' || c.relkind::text || ' ' || c.relnatts AS line FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
		UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%'
		UNION ALL SELECT 'function ' || p.proname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
			WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema') AS x`)
}

// TestOpenTogether: of many processes that start on an empty database one makes the tables, and all work with them.
func TestOpenTogether(t *testing.T) {
	server := fault.SharedPostgres(t)
	pooler := fault.StartPgBouncer(t, server, fault.PgBouncerOptions{})
	for round := range 3 {
		db := server.CreateDB(t)
		if round == 2 {
			server.ExecIn(t, db, `CREATE SCHEMA handstamp`) // made for us, and empty
		}
		var all sync.WaitGroup
		stores := make([]*Store, 8)
		for n := range stores {
			all.Go(func() {
				opt, dsn := patient(), server.DSN(db)
				if n%2 == 1 {
					opt.Pooler, dsn = Transaction, pooler.DSN(db)
				}
				s, err := Open(t.Context(), dsn, opt)
				if err != nil {
					t.Errorf("opener %d: %v", n, err)
					return
				}
				stores[n] = s
			})
		}
		all.Wait()
		logs := map[string]bool{}
		for _, s := range stores {
			if s == nil {
				continue
			}
			h, err := s.Log().Register(t.Context(), registration(fmt.Sprint("vrf_", len(logs))))
			if err != nil {
				t.Error(err)
			}
			logs[h.Log] = true
			_ = s.Close()
		}
		if len(logs) != 1 {
			t.Errorf("8 processes made %d logs, want 1", len(logs))
		}
		want := fmt.Sprint(newest(t) + 1)
		if got := server.Value(t, db, "SELECT count(*)::text FROM handstamp.migrations"); got != want {
			t.Errorf("the table of migrations has %s rows, want %s", got, want)
		}
	}
}

func newest(t testing.TB) int {
	t.Helper()
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestMigratesStepByStep: a database of an older version is brought up to date, keeps what it holds, and is left alone
// where migrating is forbidden.
func TestMigratesStepByStep(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	opt, err := Patient(Options{}).complete()
	if err != nil {
		t.Fatal(err)
	}
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, server.DSN(db))
	if _, err := opt.upgrade(t.Context(), c, all[:1]); err != nil {
		t.Fatal(err)
	}
	sqlExec(t, c, "INSERT INTO handstamp.roles VALUES ('kept', '{a:b}')")
	before := everything(t, server, db)
	missing, err := Pending(t.Context(), server.DSN(db), Options{})
	if err != nil || missing != len(all)-1 {
		t.Errorf("Pending = %d, %v; want %d", missing, err, len(all)-1)
	}
	if _, err := Open(t.Context(), server.DSN(db), Options{SkipMigrations: true}); !errors.Is(err, ErrOlder) {
		t.Errorf("Open without migrations = %v, want ErrOlder", err)
	}
	if after := everything(t, server, db); after != before {
		t.Errorf("something was changed:\n%s\n%s", before, after)
	}
	s := openTest(t, server.DSN(db), Options{})
	table, _, err := s.Roles(t.Context())
	if err != nil || !table["kept"].Has("a:b") {
		t.Errorf("Roles = %v, %v; want what was there before", table, err)
	}
	if missing, err := Pending(t.Context(), server.DSN(db), Options{SkipMigrations: true}); err != nil || missing != 0 {
		t.Errorf("Pending = %d, %v; want 0", missing, err)
	}
}

// TestStepIsWhole: a step that fails in the middle leaves nothing, not even the schema.
func TestStepIsWhole(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	opt, _ := Patient(Options{}).complete()
	before := everything(t, server, db)
	broken := []migration{{version: 1, name: "0001_broken", text: "CREATE TABLE @log (id bigint); CREATE TABLE @x (nonsense); ", readableBy: 1}}
	c := connect(t, server.DSN(db))
	if _, err := opt.upgrade(t.Context(), c, broken); err == nil {
		t.Fatal("a broken step went through")
	}
	if after := everything(t, server, db); after != before {
		t.Errorf("half a step is left:\n%s", after)
	}
}

// TestBesideANewerVersion: tables that a newer version has changed are used if that version says so, and otherwise
// refused, and nothing is changed.
func TestBesideANewerVersion(t *testing.T) {
	_, server, db := newTest(t)
	next := newest(t) + 1
	server.ExecIn(t, db, fmt.Sprintf(`INSERT INTO handstamp.migrations VALUES (%d, 'from the future', %d, 0)`, next, next-1),
		`ALTER TABLE handstamp.sessions ADD COLUMN "new one" text`, `CREATE TABLE handstamp.more (x text)`)
	s := openTest(t, server.DSN(db), Options{})
	put(t, s, "usr_ada")
	server.ExecIn(t, db, fmt.Sprintf(`INSERT INTO handstamp.migrations VALUES (%d, 'farther', %d, 0)`, next+1, next+1))
	before := everything(t, server, db)
	for _, skip := range []bool{false, true} {
		if _, err := Open(t.Context(), server.DSN(db), Options{SkipMigrations: skip}); !errors.Is(err, ErrNewer) {
			t.Errorf("Open = %v, want ErrNewer", err)
		}
	}
	if _, err := Pending(t.Context(), server.DSN(db), Options{}); !errors.Is(err, ErrNewer) {
		t.Errorf("Pending = %v, want ErrNewer", err)
	}
	if after := everything(t, server, db); after != before {
		t.Errorf("something was changed:\n%s", after)
	}
	put(t, s, "usr_bob") // who runs already goes on
}

// TestMigrationIsRetriedAfterACrash: the connection of who migrates is cut in the middle; the next one does it.
func TestMigrationIsRetriedAfterACrash(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	opt, _ := Patient(Options{}).complete()
	all, _ := migrations()
	slow := slices.Clone(all)
	slow[0].text = strings.Replace(slow[0].text, "\n", "\nSELECT pg_sleep(600);\n", 1)
	c := connect(t, server.DSN(db)+"&application_name=crashes")
	over := make(chan error, 1)
	go func() {
		_, err := opt.upgrade(t.Context(), c, slow)
		over <- err
	}()
	until(t, "the step is under way", func() bool {
		return server.Value(t, db, `SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'crashes' AND query LIKE '%pg_sleep%' AND state = 'active'`) == "1"
	})
	var second sync.WaitGroup
	second.Go(func() { openTest(t, server.DSN(db), Options{}) }) // waits for the first
	server.ExecIn(t, db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'crashes'`)
	if err := <-over; err == nil {
		t.Error("the step went through though its connection was cut")
	}
	second.Wait()
}

// TestTablesChangeUnderneath: a newer program changes a table while this one runs. What it has prepared is prepared again.
func TestTablesChangeUnderneath(t *testing.T) {
	s, server, db := newTest(t)
	rec := put(t, s, "usr_ada")
	if _, err := s.Sessions().Rotate(t.Context(), rec.ID, 1, rotation(rec, 2)); err != nil {
		t.Fatal(err)
	}
	found(t, s, rec.ID)
	for _, change := range []string{
		`ALTER TABLE handstamp.sessions ADD COLUMN more text`,
		`ALTER TABLE handstamp.sessions ALTER COLUMN ip TYPE varchar(100) COLLATE "C"`,
		`ALTER TABLE handstamp.sessions ALTER COLUMN ip TYPE text COLLATE "C"`,
	} {
		server.ExecIn(t, db, change)
		f := found(t, s, rec.ID)
		g := f.Session.Refresh.Generation
		if _, err := s.Sessions().Rotate(t.Context(), rec.ID, g, rotation(rec, g+1)); err != nil {
			t.Errorf("Rotate after %s = %v", change, err)
		}
		put(t, s, "usr_bob")
		ended(t, s, endOfUser("usr_bob"))
	}
}
