package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp/store/transfer"
)

// ErrMoved: a move has closed the database. The text that wraps it says where it went, or from where it is being filled.
var ErrMoved = errors.New("the database is closed")

// movedError says in words what a closed database is.
func movedError(m transfer.Mark) error {
	switch at := m.At.UTC().Format(time.DateTime); m.Phase {
	case transfer.Moved:
		return fmt.Errorf("%w: it was moved to %s at %s UTC; set database to where it is now, or take it back with handstamp move --undo", ErrMoved, m.Peer, at)
	case transfer.Filling:
		return fmt.Errorf("%w: handstamp move began to fill it from %s at %s UTC and has not finished; run the move again", ErrMoved, m.Peer, at)
	default:
		return nil
	}
}

// Moved answers an error that wraps [ErrMoved] if a move has closed the database since it was opened, nil if none has, and
// any other error if that cannot be found out. A store that was left behind fails whatever it is asked; this says why.
func (s *Store) Moved(ctx context.Context) error {
	var there bool
	if err := s.row(ctx, "SELECT to_regclass($1) IS NOT NULL", []any{s.sql("@move")}, &there); err != nil || !there {
		return harmless(err)
	}
	var m transfer.Mark
	err := s.row(ctx, s.sql("SELECT phase, log, peer, run, at FROM @move WHERE id = 1"), nil,
		asText(&m.Phase), asText(&m.Log), asText(&m.Peer), asText(&m.Run), asTime(&m.At))
	if err != nil {
		return harmless(err)
	}
	return movedError(m)
}

// readMark reads the mark, in any database. The table is there only while a database is not open.
func readMark(ctx context.Context, c asker, o Options) (transfer.Mark, error) {
	var m transfer.Mark
	var there bool
	if err := c.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", o.qualify("@move")).Scan(&there); err != nil || !there {
		return m, harmless(err)
	}
	err := c.QueryRow(ctx, o.qualify("SELECT phase, log, peer, run, at FROM @move WHERE id = 1")).Scan(
		asText(&m.Phase), asText(&m.Log), asText(&m.Peer), asText(&m.Run), asTime(&m.At))
	return m, harmless(err)
}

// marked answers ErrTaken unless the database carries the mark.
func marked(ctx context.Context, c asker, o Options, want transfer.Mark) error {
	m, err := readMark(ctx, c, o)
	if err != nil {
		return err
	}
	if m.Phase != want.Phase || m.Log != want.Log || m.Run != want.Run {
		return transfer.ErrTaken
	}
	return nil
}

// Set implements transfer.Reader. It takes the lock of migrations, so that nobody migrates meanwhile and that of two
// calls one waits for the other.
func (t *Transfer) Set(ctx context.Context, from, to transfer.Mark) error {
	err := t.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, t.opt.qualify("SELECT 1 FROM @migrations WHERE version = 0 FOR UPDATE")); err != nil {
			return harmless(err)
		}
		if err := marked(ctx, tx, t.opt, from); err != nil {
			return err
		}
		if err := t.opt.thisVersion(ctx, tx); err != nil {
			return err
		}
		if from.Phase == transfer.Fenced && to.Phase == transfer.Moved {
			var left bool
			if err := tx.QueryRow(ctx, t.opt.qualify("SELECT EXISTS (SELECT 1 FROM @move_changes)")).Scan(&left); err != nil {
				return harmless(err)
			}
			if left {
				return transfer.ErrChanges
			}
		}
		return t.change(ctx, tx, from, to)
	})
	if err != nil {
		return fmt.Errorf("set the mark of a move: %w", err)
	}
	return nil
}

// change does what a phase does. Every table is locked first, in the order in which servers lock them: whoever writes
// to one of them has then committed or has not begun, so that a trigger misses nobody.
func (t *Transfer) change(ctx context.Context, tx pgx.Tx, from, to transfer.Mark) error {
	if statements := between(from.Phase, to.Phase); len(statements) > 0 {
		statements = append([]string{locking(from.Phase, to.Phase)}, statements...)
		if err := script(ctx, tx, t.opt.qualify(strings.Join(statements, ";\n"))); err != nil {
			return err
		}
	}
	if from.Phase != transfer.Open {
		if err := script(ctx, tx, t.opt.qualify("DROP TABLE @move")); err != nil {
			return err
		}
	}
	if to.Phase == transfer.Open {
		return nil
	}
	if err := script(ctx, tx, t.opt.qualify(markTable+";\n"+sharing("move"))); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, t.opt.qualify("INSERT INTO @move (id, phase, log, peer, run, at) VALUES (1, $1, $2, $3, $4, $5)"),
		string(to.Phase), to.Log, said(to.Peer), to.Run, micros(to.At))
	return harmless(err)
}

// locking waits for whoever writes and, where something is dropped or renamed, for whoever reads. Verifiers renew all the
// same, until the tables are closed.
func locking(from, to transfer.Phase) string {
	mode, names := "SHARE ROW EXCLUSIVE", closing()[1:]
	if from == transfer.Fenced || tracks(from) && !tracks(to) {
		mode = "ACCESS EXCLUSIVE"
	}
	if from.Closed() != to.Closed() {
		mode, names = "ACCESS EXCLUSIVE", closing()
	}
	for i, name := range names {
		names[i] = prefixOf(from) + name
	}
	return "LOCK TABLE " + strings.Join(names, ", ") + " IN " + mode + " MODE"
}

const markTable = `CREATE TABLE @move (id bigint PRIMARY KEY CHECK (id = 1), phase text NOT NULL, log text NOT NULL,
	peer text NOT NULL, run text NOT NULL, at bigint NOT NULL)`

const changesTable = `CREATE TABLE @move_changes (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tbl text NOT NULL,
	k1 text COLLATE "C" NOT NULL, k2 text COLLATE "C")`

// sharing gives everybody who may use the log the same rights on a table: a server looks at its rights on all tables of
// the schema when it starts.
func sharing(table string) string {
	return `DO $do$ DECLARE v_role regrole; BEGIN
	FOR v_role IN SELECT DISTINCT a.grantee::regrole FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
		WHERE c.oid = coalesce(to_regclass('@log'), to_regclass('@moved_log')) AND a.grantee <> 0 AND a.grantee <> c.relowner LOOP
		EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON @` + table + ` TO %s', v_role);
	END LOOP; END $do$`
}

func tracks(p transfer.Phase) bool { return p == transfer.Tracked || p == transfer.Fenced }

// between is what must be defined and dropped on the way from one phase to another.
func between(from, to transfer.Phase) []string {
	var all []string
	if !tracks(from) && tracks(to) {
		all = append(all, changesTable, sharing("move_changes"))
	}
	if from != transfer.Fenced && to == transfer.Fenced {
		all = append(all, fenceFunction)
	}
	for _, t := range transfer.Tables() {
		all = append(all, triggers(t, from, to)...)
	}
	if from == transfer.Fenced && to != transfer.Fenced {
		all = append(all, "DROP FUNCTION @move_fence()")
	}
	if tracks(from) && !tracks(to) {
		all = append(all, "DROP TABLE @move_changes")
	}
	if from.Closed() != to.Closed() {
		for _, name := range closing() {
			all = append(all, "ALTER TABLE "+prefixOf(from)+name+" RENAME TO "+strings.TrimPrefix(prefixOf(to), "@")+name)
		}
	}
	return all
}

// closing are the tables that nobody may find in a closed database, in the order in which they are locked. The list of
// migrations stays, so that an older program does not take the schema for an empty one.
func closing() []string {
	names := []string{"verifiers"}
	for _, t := range transfer.Tables() {
		names = append(names, t.Name)
	}
	return names
}

// fenceFunction refuses a statement before it does anything, also one that would change no row. The error is none of
// those that a server tries again or takes for an answer.
const fenceFunction = `CREATE FUNCTION @move_fence() RETURNS trigger LANGUAGE plpgsql AS $fn$ BEGIN
	RAISE EXCEPTION 'this database is being moved; nothing is changed until that is done' USING ERRCODE = 'object_not_in_prerequisite_state';
	END $fn$`

// triggers are those of one table. They cost nothing while they are not there, and no statement gets around them.
func triggers(t transfer.Table, from, to transfer.Phase) []string {
	var all []string
	note := "@move_note_" + t.Name
	if tracks(from) && !tracks(to) {
		all = append(all, "DROP TRIGGER move_note ON @"+t.Name, "DROP FUNCTION "+note+"()")
	}
	if !tracks(from) && tracks(to) {
		all = append(all, noting(t, note),
			"CREATE TRIGGER move_note AFTER INSERT OR UPDATE OR DELETE ON @"+t.Name+" FOR EACH ROW EXECUTE FUNCTION "+note+"()")
	}
	if from == transfer.Fenced && to != transfer.Fenced {
		all = append(all, "DROP TRIGGER move_fence ON @"+t.Name)
	}
	if from != transfer.Fenced && to == transfer.Fenced {
		all = append(all, "CREATE TRIGGER move_fence BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON @"+t.Name+
			" FOR EACH STATEMENT EXECUTE FUNCTION @move_fence()")
	}
	return all
}

// noting is the function that notes the key after a change and, where that is another one, the key before it. It runs
// with the rights of its owner, who made the table that it writes to.
func noting(t transfer.Table, name string) string {
	insert := func(side string) string {
		keys := []string{"NULL", "NULL"}
		for i, c := range t.Columns[:t.Keys] {
			keys[i] = keyText(side, c)
		}
		return "INSERT INTO @move_changes (tbl, k1, k2) VALUES ('" + t.Name + "', " + strings.Join(keys, ", ") + ");"
	}
	var differs []string
	for _, c := range t.Columns[:t.Keys] {
		differs = append(differs, "NEW."+columnName(c)+" <> OLD."+columnName(c))
	}
	return "CREATE FUNCTION " + name + "() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $fn$ BEGIN\n" +
		"IF TG_OP <> 'DELETE' THEN " + insert("NEW") + " END IF;\n" +
		"IF TG_OP = 'DELETE' THEN " + insert("OLD") + " RETURN NULL; END IF;\n" +
		"IF TG_OP = 'UPDATE' THEN IF " + strings.Join(differs, " OR ") + " THEN " + insert("OLD") + " END IF; END IF;\n" +
		"RETURN NULL; END $fn$"
}
