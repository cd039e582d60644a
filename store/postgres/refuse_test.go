package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
)

// refusal checks an error of Open: of the class wanted, one line, words that say what to do, and no password.
func refusal(t *testing.T, err, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("Open = %v, want %q", err, class)
		return
	}
	text := err.Error()
	if strings.Contains(text, "\n") || strings.Contains(text, "fault-postgres") || strings.Contains(text, "hunter2") {
		t.Errorf("Open = %q: want one line without a password", text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("Open = %q: it does not say %q", text, w)
		}
	}
}

// refuses tries Open, migrations forbidden or not, and Pending, and that nothing was changed.
func refuses(t *testing.T, server *fault.Postgres, db, dsn string, class error, words ...string) {
	t.Helper()
	before := everything(t, server, db)
	s, err := Open(t.Context(), dsn, Options{})
	if err == nil {
		_ = s.Close()
	}
	refusal(t, err, class, words...)
	if _, err := Pending(t.Context(), dsn, Options{}); !errors.Is(err, class) {
		t.Errorf("Pending = %v, want %q", err, class)
	}
	if after := everything(t, server, db); after != before {
		t.Errorf("something was changed, from\n%s\nto\n%s", before, after)
	}
}

func TestRefusesForeignSchemas(t *testing.T) {
	server := fault.SharedPostgres(t)
	for name, c := range map[string]struct {
		sql  string
		word string
	}{
		"somebody's table of our name":   {`CREATE SCHEMA handstamp; CREATE TABLE handstamp.sessions (id int)`, `"sessions"`},
		"somebody's table":               {`CREATE SCHEMA handstamp; CREATE TABLE handstamp.orders (id int)`, `"orders"`},
		"somebody's view":                {`CREATE SCHEMA handstamp; CREATE VIEW handstamp.report AS SELECT 1 AS x`, "report"},
		"somebody's function":            {`CREATE SCHEMA handstamp; CREATE FUNCTION handstamp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'`, `"f"`},
		"somebody's type":                {`CREATE SCHEMA handstamp; CREATE TYPE handstamp.mood AS ENUM ('good')`, "mood"},
		"somebody's table of migrations": {`CREATE SCHEMA handstamp; CREATE TABLE handstamp.migrations (id int, applied text)`, "migrations"},
		"a view called migrations":       {`CREATE SCHEMA handstamp; CREATE VIEW handstamp.migrations AS SELECT 1 AS x`, "migrations"},
	} {
		t.Run(name, func(t *testing.T) {
			db := server.CreateDB(t)
			server.ExecIn(t, db, c.sql)
			refuses(t, server, db, server.DSN(db), ErrForeign, c.word, "name another schema")
			openTest(t, server.DSN(db), Options{Schema: "another"})
		})
	}
}

func TestRefusesChangedTables(t *testing.T) {
	for name, sql := range map[string]string{
		"a column is gone":            `ALTER TABLE handstamp.sessions DROP COLUMN user_agent`,
		"a column has another type":   `ALTER TABLE handstamp.users ALTER COLUMN email TYPE varchar(254)`,
		"a table is gone":             `DROP TABLE handstamp.key_ends`,
		"a table is a view elsewhere": `ALTER TABLE handstamp.roles RENAME TO roles_before; CREATE VIEW handstamp.roles AS SELECT * FROM handstamp.roles_before`,
	} {
		t.Run(name, func(t *testing.T) {
			s, server, db := newTest(t)
			_ = s.Close()
			server.ExecIn(t, db, sql)
			refuses(t, server, db, server.DSN(db), ErrForeign, "is missing")
		})
	}
}

// as is the address of a database for another user.
func as(dsn, user string) string {
	return strings.Replace(dsn, "postgres:fault-postgres@", user+":hunter2@", 1)
}

func role(t *testing.T, server *fault.Postgres, db string, grants ...string) (name string) {
	t.Helper()
	name = "role_" + db
	server.ExecIn(t, db, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'hunter2'", name))
	for _, g := range grants {
		server.ExecIn(t, db, strings.ReplaceAll(g, "ROLE", name))
	}
	return name
}

func TestRefusesWithoutRights(t *testing.T) {
	server := fault.SharedPostgres(t)
	use := "GRANT USAGE ON SCHEMA handstamp TO ROLE"
	tables := "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA handstamp TO ROLE"
	for name, c := range map[string]struct {
		made   bool // the tables are there, made by another user
		grants []string
		words  []string // none: it works
	}{
		"may not make a schema":    {words: []string{"CREATE SCHEMA", "AUTHORIZATION"}},
		"may not use the schema":   {made: true, words: []string{"GRANT USAGE"}},
		"may not read the tables":  {made: true, grants: []string{use}, words: []string{"GRANT USAGE"}},
		"may not write one table":  {made: true, grants: []string{use, tables, "REVOKE DELETE ON handstamp.data FROM ROLE"}, words: []string{"handstamp.data", "GRANT SELECT"}},
		"may not make in a schema": {grants: []string{"CREATE SCHEMA handstamp", use}, words: []string{"GRANT CREATE ON SCHEMA"}},
		"may make a schema":        {grants: []string{"DO $$ BEGIN EXECUTE 'GRANT CREATE ON DATABASE ' || current_database() || ' TO ROLE'; END $$"}},
		"has a schema":             {grants: []string{"CREATE SCHEMA handstamp AUTHORIZATION ROLE"}},
		"may use the tables":       {made: true, grants: []string{use, tables}},
	} {
		t.Run(name, func(t *testing.T) {
			db := server.CreateDB(t)
			if c.made {
				_ = openTest(t, server.DSN(db), Options{}).Close()
			}
			dsn := as(server.DSN(db), role(t, server, db, c.grants...))
			if c.words != nil {
				refuses(t, server, db, dsn, ErrRights, c.words...)
				return
			}
			s := openTest(t, dsn, Options{})
			rec := put(t, s, "usr_ada")
			if done := ended(t, s, endOf(rec), endOfUser("usr_ada")); done.Sessions != 1 {
				t.Errorf("Append ended %d sessions, want 1", done.Sessions)
			}
		})
	}
}

func TestRefusesServers(t *testing.T) {
	good := facts{
		server: 130000, encoding: "UTF8", client: "UTF8", isolation: "read committed", user: "u", database: "d", mayMakeSchema: true,
		fsync: "on", fullPageWrites: "on", synchronousCommit: "on",
	}
	opt, _ := Options{}.complete()
	if missing, err := opt.judge(good, 2); err != nil || missing != 2 {
		t.Fatalf("judge(an empty database) = %d, %v", missing, err)
	}
	for name, c := range map[string]struct {
		change func(*facts)
		class  error
		word   string
	}{
		"too old":          {func(f *facts) { f.server = 120022 }, ErrServer, "PostgreSQL 12.22: 13 or newer"},
		"much too old":     {func(f *facts) { f.server = 90624 }, ErrServer, "PostgreSQL 9.6.24"},
		"another alphabet": {func(f *facts) { f.encoding = "LATIN1" }, ErrServer, "ENCODING 'UTF8'"},
		"another client":   {func(f *facts) { f.client = "LATIN1" }, ErrServer, "client_encoding"},
		"serializable":     {func(f *facts) { f.isolation = "serializable" }, ErrServer, "ALTER ROLE"},
		"a standby":        {func(f *facts) { f.standby = true }, ErrReadOnly, "name the primary"},
		"read-only":        {func(f *facts) { f.readOnly = true }, ErrReadOnly, "default_transaction_read_only"},
	} {
		f := good
		c.change(&f)
		if _, err := opt.judge(f, 2); !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: judge = %v, want %q", name, err, c.word)
		}
	}
}

func TestRefusesEncodings(t *testing.T) {
	server := fault.SharedPostgres(t)
	latin := server.CreateDB(t) + "_latin"
	server.Exec(t, fmt.Sprintf(`CREATE DATABASE %s TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'`, latin))
	t.Cleanup(func() { server.Exec(t, "DROP DATABASE "+latin+" WITH (FORCE)") })
	_, err := Open(t.Context(), server.DSN(latin), Options{})
	refusal(t, err, ErrServer, "LATIN1", "ENCODING 'UTF8'")

	// What a role or a database asks clients to write in does not matter to a pool of our own; an application's is refused.
	db := server.CreateDB(t)
	server.ExecIn(t, db, fmt.Sprintf(`ALTER DATABASE %s SET client_encoding = 'LATIN1'`, db))
	s := openTest(t, server.DSN(db), Options{})
	rec := put(t, s, "日本語")
	if got := found(t, s, rec.ID).Session.User; got != "日本語" {
		t.Errorf("User = %q", got)
	}
	pool, err := pgxpool.New(t.Context(), server.DSN(db))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	_, err = New(t.Context(), pool, Options{})
	refusal(t, err, ErrServer, "client_encoding")
}

func TestRefusesReadOnly(t *testing.T) {
	server := fault.SharedPostgres(t)
	db := server.CreateDB(t)
	server.ExecIn(t, db, fmt.Sprintf(`ALTER DATABASE %s SET default_transaction_read_only = on`, db))
	for _, opt := range []Options{{}, {SkipMigrations: true}} {
		_, err := Open(t.Context(), server.DSN(db), opt)
		refusal(t, err, ErrReadOnly, "default_transaction_read_only")
	}
}

func TestRefusesAStandby(t *testing.T) {
	primary := fault.StartPostgres(t, fault.PostgresOptions{})
	db := primary.CreateDB(t)
	s := openTest(t, primary.DSN(db), Options{})
	standby := primary.Standby(t)
	primary.CaughtUp(t, standby)
	for _, opt := range []Options{{}, {SkipMigrations: true}, {Pooler: Transaction}} {
		_, err := Open(t.Context(), standby.DSN(db), opt)
		refusal(t, err, ErrReadOnly, "standby", "name the primary")
	}
	// With both in the connection string the primary is found, wherever it stands.
	both := fmt.Sprintf("postgres://postgres@%s,%s/%s?sslmode=disable", standby.Addr(), primary.Addr(), db)
	put(t, openTest(t, both, Options{}), "usr_ada")

	// A pool that somebody else opened on a standby is no better, nor is one whose server becomes one: reads of what
	// decides, and renewals, say that they do not know.
	pool, err := pgxpool.New(t.Context(), standby.DSN(db))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	_, err = New(t.Context(), pool, Options{})
	refusal(t, err, ErrReadOnly, "standby")
	opt, _ := patient().complete()
	fooled := newStore(pool, opt)
	rec := put(t, s, "usr_eve")
	h, err := s.Log().Register(t.Context(), registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	primary.CaughtUp(t, standby)
	if _, err := fooled.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Find on a standby = %v, want ErrReadOnly", err)
	}
	if _, err := fooled.Sessions().Find(t.Context(), handstamp.Lookup{Session: "ses_x"}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Find of what a standby does not know = %v, want ErrReadOnly: it may only be behind", err)
	}
	if _, err := fooled.Sessions().Subject(t.Context(), "usr_eve"); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Subject on a standby = %v, want ErrReadOnly", err)
	}
	if _, _, err := fooled.Roles(t.Context()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Roles on a standby = %v, want ErrReadOnly", err)
	}
	if _, err := fooled.Log().Renew(t.Context(), place("vrf_1", h)); err == nil {
		t.Error("a renewal on a standby went through")
	}
	if _, err := fooled.Log().Registered(t.Context()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Registered on a standby = %v, want ErrReadOnly", err)
	}
	if _, err := appended(t, fooled, endOf(rec)); err == nil {
		t.Error("an append on a standby went through")
	}
}

func TestRefusesConnectionStrings(t *testing.T) {
	server := fault.StartPostgres(t, fault.PostgresOptions{Password: true})
	nobody := fault.Loopback(fault.FreePort(t))
	for name, c := range map[string]struct {
		dsn   string
		opt   Options
		class error
		words []string
	}{
		"empty":              {dsn: " ", class: ErrConfig, words: []string{"postgres://"}},
		"nonsense":           {dsn: "postgres://u:hunter2@:port:/x", class: ErrConfig, words: []string{"percent-encoded"}},
		"unknown words":      {dsn: "host=127.0.0.1 password=hunter2 =x", class: ErrConfig},
		"another TLS mode":   {dsn: "postgres://u:hunter2@127.0.0.1/x?sslmode=perhaps", class: ErrConfig},
		"simple protocol":    {dsn: server.DSN("x") + "&default_query_exec_mode=simple_protocol", class: ErrConfig, words: []string{"simple_protocol"}},
		"too few":            {dsn: server.DSN("x") + "&pool_max_conns=2", class: ErrConfig, words: []string{"pool_max_conns"}},
		"too few, said here": {dsn: server.DSN("x"), opt: Options{MaxConns: 3}, class: ErrConfig},
		"a bad schema":       {dsn: server.DSN("x"), opt: Options{Schema: `a"b`}, class: ErrConfig, words: []string{"schema"}},
		"everybody's schema": {dsn: server.DSN("x"), opt: Options{Schema: "public"}, class: ErrConfig},
		"no such pooler":     {dsn: server.DSN("x"), opt: Options{Pooler: "session"}, class: ErrConfig},
		"settings behind a pooler": {dsn: server.DSN("x") + "&statement_timeout=5", opt: Options{Pooler: Transaction}, class: ErrConfig,
			words: []string{"statement_timeout"}},
		"nobody there":      {dsn: "postgres://u:hunter2@" + nobody + "/x?sslmode=disable", class: ErrUnreachable, words: []string{nobody, "refused"}},
		"no such host":      {dsn: "postgres://u:hunter2@no-such-host.invalid/x", class: ErrUnreachable, words: []string{"no-such-host.invalid"}},
		"no TLS there":      {dsn: strings.Replace(server.DSN("postgres"), "disable", "require", 1), class: ErrUnreachable},
		"a wrong password":  {dsn: as(server.DSN("postgres"), "postgres"), class: ErrUnreachable, words: []string{"password", `"postgres"`}},
		"no such database":  {dsn: server.DSN("no_such_database"), class: ErrUnreachable, words: []string{"CREATE DATABASE"}},
		"no such parameter": {dsn: server.DSN("postgres") + "&nonsense=1", class: ErrConfig, words: []string{"parameter"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), c.dsn, c.opt)
			if err == nil {
				_ = s.Close()
			}
			refusal(t, err, c.class, c.words...)
		})
	}
}

// TestPoolerUnsaid: whoever forgets to say that there is a pooler is told.
func TestPoolerUnsaid(t *testing.T) {
	server := fault.SharedPostgres(t)
	pooler := fault.StartPgBouncer(t, server, fault.PgBouncerOptions{})
	_, err := Open(t.Context(), pooler.DSN(server.CreateDB(t)), Options{})
	refusal(t, err, ErrConfig, "database_pooler")
}

func TestRefusesPools(t *testing.T) {
	server := fault.SharedPostgres(t)
	dsn := server.DSN(server.CreateDB(t))
	for name, c := range map[string]struct {
		mode  pgx.QueryExecMode
		conns int32
		opt   Options
		good  bool
	}{
		"small":                         {pgx.QueryExecModeCacheStatement, 2, Options{}, false},
		"simple":                        {pgx.QueryExecModeSimpleProtocol, 10, Options{}, false},
		"prepared behind a pooler":      {pgx.QueryExecModeCacheStatement, 10, Options{Pooler: Transaction}, false},
		"good":                          {pgx.QueryExecModeCacheStatement, 4, Options{}, true},
		"good, describes":               {pgx.QueryExecModeDescribeExec, 4, Options{}, true},
		"good, describes once":          {pgx.QueryExecModeCacheDescribe, 4, Options{}, true},
		"good behind a pooler":          {pgx.QueryExecModeExec, 10, Options{Pooler: Transaction}, true},
		"good, plain, without a pooler": {pgx.QueryExecModeExec, 10, Options{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := pgxpool.ParseConfig(dsn)
			if err != nil {
				t.Fatal(err)
			}
			config.ConnConfig.DefaultQueryExecMode, config.MaxConns = c.mode, c.conns
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			s, err := New(t.Context(), pool, Patient(c.opt))
			if !c.good {
				refusal(t, err, ErrConfig)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			rec := put(t, s, "usr_ada")
			if _, err := s.Sessions().Rotate(t.Context(), rec.ID, 1, rotation(rec, 2)); err != nil {
				t.Error(err)
			}
			ended(t, s, endOf(rec))
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID}); !errors.Is(err, ErrClosed) {
				t.Errorf("Find after Close = %v, want ErrClosed", err)
			}
			if err := pool.Ping(context.Background()); err != nil {
				t.Errorf("the application's pool was closed: %v", err)
			}
		})
	}
}

func TestDurabilityIsTheServers(t *testing.T) {
	for name, c := range map[string]struct {
		f    facts
		opt  Options
		want handstamp.Durability
	}{
		"on":            {facts{fsync: "on", fullPageWrites: "on", synchronousCommit: "on"}, Options{}, handstamp.Durability{Class: handstamp.Durable}},
		"remote":        {facts{fsync: "on", fullPageWrites: "on", synchronousCommit: "remote_apply"}, Options{}, handstamp.Durability{Class: handstamp.Durable}},
		"local":         {facts{fsync: "on", fullPageWrites: "on", synchronousCommit: "local"}, Options{}, handstamp.Durability{Class: handstamp.Durable}},
		"later":         {facts{fsync: "on", fullPageWrites: "on", synchronousCommit: "off", walWriterDelay: 200 * time.Millisecond}, Options{}, handstamp.Durability{Class: handstamp.Window, Window: 600 * time.Millisecond}},
		"no fsync":      {facts{fsync: "off", fullPageWrites: "on", synchronousCommit: "on"}, Options{}, handstamp.Durability{Class: handstamp.Volatile}},
		"torn pages":    {facts{fsync: "on", fullPageWrites: "off", synchronousCommit: "on"}, Options{}, handstamp.Durability{Class: handstamp.Volatile}},
		"in tests":      {facts{fsync: "off", fullPageWrites: "off", synchronousCommit: "on"}, Options{InsecureFsyncOff: true}, handstamp.Durability{Class: handstamp.Durable}},
		"unknown words": {facts{synchronousCommit: "on"}, Options{}, handstamp.Durability{Class: handstamp.Volatile}},
	} {
		if got := c.f.durability(c.opt); got != c.want {
			t.Errorf("%s: durability = %+v, want %+v", name, got, c.want)
		}
	}
	server := fault.SharedPostgres(t) // without fsync
	db := server.CreateDB(t)
	for _, c := range []struct {
		opt  Options
		sql  string
		want handstamp.Durability
	}{
		{Options{}, "SELECT 1", handstamp.Durability{Class: handstamp.Volatile}},
		{Options{InsecureFsyncOff: true}, "SELECT 1", handstamp.Durability{Class: handstamp.Durable}},
		{Options{InsecureFsyncOff: true}, "ALTER DATABASE " + db + " SET synchronous_commit = off", handstamp.Durability{Class: handstamp.Window, Window: 600 * time.Millisecond}},
	} {
		server.ExecIn(t, db, c.sql)
		got, err := openTest(t, server.DSN(db), c.opt).Settle(t.Context(), handstamp.Settings{})
		if err != nil || got.Durability != c.want {
			t.Errorf("Settle = %+v, %v; want %+v", got.Durability, err, c.want)
		}
	}
}
