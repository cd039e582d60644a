package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

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
	_, err := read(ctx, s, func(c *link) (struct{}, error) { return struct{}{}, refuseMoved(c) })
	return err
}

// refuseMoved answers ErrMoved for a database that is closed.
func refuseMoved(l *link) error {
	m, err := readMark(l.row)
	if err != nil {
		return err
	}
	return movedError(m)
}

// markTable is there only while a database is not open.
const markTable = `CREATE TABLE handstamp_move (
	id    INTEGER PRIMARY KEY CHECK (id = 1),
	phase TEXT    NOT NULL,
	log   TEXT    NOT NULL,
	peer  TEXT    NOT NULL,
	run   TEXT    NOT NULL,
	at    INTEGER NOT NULL
) STRICT`

// changesTable keeps keys as they are. Its numbers are never used twice, so that forgetting one change cannot forget
// another.
const changesTable = `CREATE TABLE handstamp_move_changes (
	n   INTEGER PRIMARY KEY AUTOINCREMENT,
	tbl TEXT NOT NULL,
	k1,
	k2
)`

// readMark reads the mark, in any database.
func readMark(row rower) (transfer.Mark, error) {
	var m transfer.Mark
	var there int
	err := row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'handstamp_move'", nil, &there)
	if err != nil || there == 0 {
		return m, err
	}
	err = row("SELECT phase, log, peer, run, at FROM handstamp_move WHERE id = 1", nil,
		asText(&m.Phase), asText(&m.Log), asText(&m.Peer), asText(&m.Run), asTime(&m.At))
	if err != nil {
		return m, fmt.Errorf("read the mark of a move: %w", err)
	}
	return m, nil
}

// markOf reads the mark of a file, and the version of its tables, before anything else is asked of it.
func markOf(ctx context.Context, name string) (found transfer.Mark, version int, err error) {
	pool, err := connect(plain, name, func() settings { return settings{set: probing(leastOpenTimeout)} }, 1)
	if err != nil {
		return found, 0, err
	}
	defer func() { _ = pool.shut(nil) }()
	l, err := pool.take(ctx)
	if err != nil {
		return found, 0, damaged(err)
	}
	defer pool.give(l, false)
	if found, err = readMark(l.row); err == nil {
		version, err = schemaVersion(l)
	}
	return found, version, damaged(err)
}

// marked answers ErrTaken unless the database carries the mark.
func (u *unit) marked(want transfer.Mark) error {
	m, err := readMark(u.row)
	if err != nil {
		return err
	}
	if m.Phase != want.Phase || m.Log != want.Log || m.Run != want.Run {
		return transfer.ErrTaken
	}
	return nil
}

// Set implements transfer.Reader. All of it is one transaction, also the definitions of triggers and tables.
func (t *Transfer) Set(ctx context.Context, from, to transfer.Mark) error {
	err := t.s.do(ctx, func(u *unit) error {
		if err := u.marked(from); err != nil {
			return err
		}
		if err := thisVersion(u.l); err != nil {
			return err
		}
		if from.Phase == transfer.Fenced && to.Phase == transfer.Moved {
			var left int
			if err := u.row("SELECT EXISTS (SELECT 1 FROM handstamp_move_changes)", nil, &left); err != nil {
				return err
			}
			if left != 0 {
				return transfer.ErrChanges
			}
		}
		return u.define(append(between(from.Phase, to.Phase), mark(from.Phase, to)...))
	})
	if err != nil {
		return fmt.Errorf("set the mark of a move: %w", err)
	}
	return nil
}

// define runs statements that have no values.
func (u *unit) define(script []string) error {
	for _, statement := range script {
		if err := u.note(u.l.script(statement)); err != nil {
			return err
		}
	}
	return nil
}

// mark writes the mark.
func mark(from transfer.Phase, to transfer.Mark) []string {
	var script []string
	if from != transfer.Open {
		script = append(script, "DROP TABLE handstamp_move")
	}
	if to.Phase == transfer.Open {
		return script
	}
	quote := func(s string) string {
		return "'" + strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "'", "''") + "'"
	}
	return append(script, markTable, fmt.Sprintf("INSERT INTO handstamp_move VALUES (1, %s, %s, %s, %s, %d)",
		quote(string(to.Phase)), quote(to.Log), quote(to.Peer), quote(to.Run), micros(to.At)))
}

func tracks(p transfer.Phase) bool { return p == transfer.Tracked || p == transfer.Fenced }

// between is what must be defined and dropped on the way from one phase to another.
func between(from, to transfer.Phase) []string {
	var script []string
	for _, t := range transfer.Tables() {
		script = append(script, triggers(t, from, to)...)
	}
	if tracks(from) && !tracks(to) {
		script = append(script, "DROP TABLE handstamp_move_changes")
	}
	if !tracks(from) && tracks(to) {
		script = append([]string{changesTable}, script...)
	}
	if from.Closed() != to.Closed() {
		for _, name := range closing() {
			script = append(script, "ALTER TABLE "+prefixOf(from)+name+" RENAME TO "+prefixOf(to)+name)
		}
	}
	return script
}

// closing are the tables that nobody may find in a closed database. The list of migrations stays, so that an older
// program does not take the database for an empty one.
func closing() []string {
	names := []string{"verifiers"}
	for _, t := range transfer.Tables() {
		names = append(names, t.Name)
	}
	return names
}

// fenceText is what a change is told.
const fenceText = "this database is being moved; nothing is changed until that is done"

// triggers are those of one table. A trigger costs nothing while it is not there, and no statement gets around it: the
// program's own, those of other versions, and those that another process has prepared before.
func triggers(t transfer.Table, from, to transfer.Phase) []string {
	var script []string
	for _, on := range []string{"INSERT", "UPDATE", "DELETE"} {
		name := "handstamp_move_" + t.Name + "_" + strings.ToLower(on)
		if tracks(from) && !tracks(to) {
			script = append(script, "DROP TRIGGER "+name)
		}
		if !tracks(from) && tracks(to) {
			script = append(script, "CREATE TRIGGER "+name+" AFTER "+on+" ON handstamp_"+t.Name+" BEGIN "+noting(t, on)+"END")
		}
		name = "handstamp_fence_" + t.Name + "_" + strings.ToLower(on)
		if from == transfer.Fenced && to != transfer.Fenced {
			script = append(script, "DROP TRIGGER "+name)
		}
		if from != transfer.Fenced && to == transfer.Fenced {
			script = append(script, "CREATE TRIGGER "+name+" BEFORE "+on+" ON handstamp_"+t.Name+" BEGIN SELECT RAISE(ABORT, '"+fenceText+"'); END")
		}
	}
	return script
}

// noting is the body of a trigger: the key after the statement, and the one before it.
func noting(t transfer.Table, on string) string {
	var body strings.Builder
	for _, side := range []string{"NEW", "OLD"} {
		if on == "INSERT" && side == "OLD" || on == "DELETE" && side == "NEW" {
			continue
		}
		keys := []string{"NULL", "NULL"}
		var differs []string
		for i, c := range t.Columns[:t.Keys] {
			keys[i] = side + "." + c.Name
			differs = append(differs, "NEW."+c.Name+" <> OLD."+c.Name)
		}
		body.WriteString("INSERT INTO handstamp_move_changes (tbl, k1, k2) SELECT '" + t.Name + "', " + strings.Join(keys, ", "))
		if on == "UPDATE" && side == "OLD" {
			body.WriteString(" WHERE " + strings.Join(differs, " OR "))
		}
		body.WriteString("; ")
	}
	return body.String()
}
