package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/transfer"
)

// facts are what a server says of itself and of our schema.
type facts struct {
	server                         int // 150004 is 15.4
	standby, readOnly              bool
	encoding, isolation, client    string
	user, database                 string
	schema                         bool // there is one of our name
	mayMakeSchema, mayUse, mayMake bool
	synchronousCommit, fsync       string
	fullPageWrites                 string
	walWriterDelay                 time.Duration
	migrations                     string        // the columns of the table of migrations, "" if there is none
	stranger                       string        // something in the schema, "" if it is empty
	version                        int           // of the tables
	readableBy                     int           // the oldest version of a program that can work with them
	missing, denied                string        // a column that is not there, a table that may not be used
	mark                           transfer.Mark // of a move; see [Transfer]
}

// oldestServer is PostgreSQL 13: the oldest that its makers mended when this was written.
const oldestServer = 130000

const readFacts = `SELECT current_setting('server_version_num')::bigint, pg_is_in_recovery(),
	current_setting('transaction_read_only') = 'on', current_setting('server_encoding'),
	current_setting('default_transaction_isolation'), current_setting('client_encoding'), current_user::text, current_database()::text,
	n.oid IS NOT NULL, has_database_privilege(current_database(), 'CREATE'),
	coalesce(has_schema_privilege(n.oid, 'USAGE'), false), coalesce(has_schema_privilege(n.oid, 'CREATE'), false),
	current_setting('synchronous_commit'), current_setting('fsync'), current_setting('full_page_writes'),
	(SELECT s.setting::bigint * 1000 FROM pg_settings AS s WHERE s.name = 'wal_writer_delay'),
	coalesce((SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, NULL), ', ' ORDER BY a.attnum) FROM pg_class AS c
		JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = n.oid AND c.relname = 'migrations' AND c.relkind = 'r'), ''),
	coalesce((SELECT min(x.name) FROM (SELECT c.relname::text COLLATE "C" AS name FROM pg_class AS c WHERE c.relnamespace = n.oid
		UNION ALL SELECT p.proname::text FROM pg_proc AS p WHERE p.pronamespace = n.oid
		UNION ALL SELECT t.typname::text FROM pg_type AS t WHERE t.typnamespace = n.oid AND t.typcategory <> 'A') AS x), '')
	FROM (SELECT 1) AS one LEFT JOIN pg_namespace AS n ON n.nspname = $1`

func (f *facts) into() []any {
	return []any{
		asNumber(&f.server), asBool(&f.standby), asBool(&f.readOnly), asText(&f.encoding), asText(&f.isolation), asText(&f.client),
		asText(&f.user), asText(&f.database), asBool(&f.schema), asBool(&f.mayMakeSchema), asBool(&f.mayUse), asBool(&f.mayMake),
		asText(&f.synchronousCommit), asText(&f.fsync), asText(&f.fullPageWrites), asDuration(&f.walWriterDelay),
		asText(&f.migrations), asText(&f.stranger),
	}
}

// migrationsColumns are the columns of our table of migrations.
const migrationsColumns = "version bigint, name text, readable_by bigint, applied_at bigint"

// look reads everything that decides, and changes nothing.
func (o Options) look(ctx context.Context, c *pgx.Conn, newest int) (f facts, err error) {
	if err := c.QueryRow(ctx, readFacts, o.Schema).Scan(f.into()...); err != nil {
		return f, fmt.Errorf("look at the server: %w", describe(harmless(err)))
	}
	if f.migrations != migrationsColumns || !f.mayUse || f.server < oldestServer {
		return f, nil
	}
	// One that may not read the table of migrations may not use the others either.
	err = c.QueryRow(ctx, o.qualify(`SELECT has_table_privilege('@migrations', 'SELECT')`)).Scan(asBool(&f.mayUse))
	if err != nil || !f.mayUse {
		return f, harmless(err)
	}
	const versions = `SELECT coalesce(max(m.version), 0), coalesce(max(m.readable_by) FILTER (WHERE m.version > $1), 0) FROM @migrations AS m`
	if err := c.QueryRow(ctx, o.qualify(versions), newest).Scan(asNumber(&f.version), asNumber(&f.readableBy)); err != nil {
		return f, fmt.Errorf("read the version of the tables: %w", harmless(err))
	}
	if f.mark, err = readMark(ctx, c, o); err != nil {
		return f, fmt.Errorf("read the mark of a move: %w", err)
	}
	if f.version < newest || f.mark.Phase.Closed() { // a closed database's tables have other names
		return f, nil
	}
	return f, o.compare(ctx, c, &f)
}

// compare looks for columns that should be there and are not, and for tables that may not be used. Others may be there: a
// newer version may have added them.
func (o Options) compare(ctx context.Context, c *pgx.Conn, f *facts) error {
	const absent = `SELECT coalesce(min(x.name || ' ' || x.type COLLATE "C"), '') FROM unnest($2::text[], $3::text[]) AS x (name, type)
		WHERE NOT EXISTS (SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
			JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname || '.' || a.attname = x.name
			AND format_type(a.atttypid, NULL) = x.type)`
	names, types := shape()
	if err := c.QueryRow(ctx, absent, o.Schema, names, types).Scan(&f.missing); err != nil {
		return fmt.Errorf("compare the tables: %w", harmless(err))
	}
	const denied = `SELECT coalesce(min(c.relname::text COLLATE "C"), '') FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname <> 'migrations' AND NOT (has_table_privilege(c.oid, 'SELECT')
		AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))`
	if err := c.QueryRow(ctx, denied, o.Schema).Scan(&f.denied); err != nil {
		return fmt.Errorf("look at the rights: %w", harmless(err))
	}
	return nil
}

// judge says whether the database can be used, and how many migrations are missing.
func (o Options) judge(f facts, newest int) (int, error) {
	if err := f.unfit(); err != nil {
		return 0, err
	}
	switch {
	case !f.schema && o.SkipMigrations:
		return 0, fmt.Errorf("%w: there is no schema %q in the database %q", ErrOlder, o.Schema, f.database)
	case !f.schema && !f.mayMakeSchema:
		return 0, fmt.Errorf("%w: the user %q may not make the schema %q: run CREATE SCHEMA %s AUTHORIZATION %q in the database %q",
			ErrRights, f.user, o.Schema, o.Schema, f.user, f.database)
	case !f.schema:
		return newest, nil
	case !f.mayUse:
		return 0, fmt.Errorf("%w: the user %q may not use the schema %q: run GRANT USAGE ON SCHEMA %s TO %q, and GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %s TO %q",
			ErrRights, f.user, o.Schema, o.Schema, f.user, o.Schema, f.user)
	case f.migrations == "" && f.stranger != "":
		return 0, fmt.Errorf("%w: there is %q in the schema %q: use another database, or name another schema (Options.Schema of the library)", ErrForeign, f.stranger, o.Schema)
	case f.migrations != "" && f.migrations != migrationsColumns:
		return 0, fmt.Errorf("%w: the table migrations in the schema %q has other columns: use another database, or name another schema (Options.Schema of the library)", ErrForeign, o.Schema)
	case f.version > newest && f.readableBy > newest:
		return 0, fmt.Errorf("%w: its tables are version %d, this program knows %d", ErrNewer, f.version, newest)
	case f.mark.Phase.Closed():
		return 0, movedError(f.mark)
	case f.missing != "":
		return 0, fmt.Errorf("%w: the column %s is missing in the schema %q: restore a backup, or name another schema", ErrForeign, f.missing, o.Schema)
	case f.denied != "":
		return 0, fmt.Errorf("%w: the user %q may not use the table %s.%s: run GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %s TO %q",
			ErrRights, f.user, o.Schema, f.denied, o.Schema, f.user)
	}
	missing := max(0, newest-f.version)
	switch {
	case missing > 0 && o.SkipMigrations:
		return 0, fmt.Errorf("%w: its tables are version %d, this program needs %d", ErrOlder, f.version, newest)
	case missing > 0 && !f.mayMake:
		return 0, fmt.Errorf("%w: the user %q may not make tables in the schema %q: migrate as its owner, or run GRANT CREATE ON SCHEMA %s TO %q",
			ErrRights, f.user, o.Schema, o.Schema, f.user)
	}
	return missing, nil
}

// unfit says what is wrong with a server, whatever is in it.
func (f facts) unfit() error {
	switch {
	case f.server < oldestServer:
		return fmt.Errorf("%w: it is PostgreSQL %s: 13 or newer is needed", ErrServer, release(f.server))
	case f.encoding != "UTF8":
		return fmt.Errorf("%w: the database %q is in %s: make one with ENCODING 'UTF8'", ErrServer, f.database, f.encoding)
	case f.client != "UTF8":
		return fmt.Errorf("%w: client_encoding is %s: set it to UTF8 for this user, or in the pool", ErrServer, f.client)
	case f.isolation != "read committed":
		// In the others a statement that waited for a lock does not see what it waited for.
		return fmt.Errorf("%w: default_transaction_isolation is %q: run ALTER ROLE %q SET default_transaction_isolation = 'read committed'",
			ErrServer, f.isolation, f.user)
	}
	return writable(f.standby, f.readOnly)
}

func release(number int) string {
	if number >= 100000 {
		return fmt.Sprintf("%d.%d", number/10000, number%10000)
	}
	return fmt.Sprintf("%d.%d.%d", number/10000, number/100%100, number%100)
}

// durability is what the server's settings promise of a commit that was acknowledged. Without full_page_writes a crash in
// the middle of a write can damage what was there before, so that counts like no fsync.
func (f facts) durability(o Options) handstamp.Durability {
	switch {
	case (f.fsync != "on" || f.fullPageWrites != "on") && !o.InsecureFsyncOff:
		return handstamp.Durability{Class: handstamp.Volatile}
	case f.synchronousCommit == "off":
		// https://www.postgresql.org/docs/current/wal-async-commit.html: at most three times wal_writer_delay.
		return handstamp.Durability{Class: handstamp.Window, Window: 3 * max(f.walWriterDelay, time.Millisecond)}
	default:
		return handstamp.Durability{Class: handstamp.Durable}
	}
}
