package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/handstamp/handstamp/store/transfer"
)

// Transfer is a database as a move sees it; see package transfer. It reads and writes tables that servers are kept out
// of, so it is no [Store]. It is safe for concurrent use.
type Transfer struct {
	pool *pgxpool.Pool
	opt  Options
}

var _ transfer.Database = (*Transfer)(nil)

// transferConns are enough for a page that is read and one that is written.
const transferConns = 4

// atLeisure are the limits of a move: nobody has to be answered in time. Only the wait for a lock is short, since others
// stand in line behind it.
func atLeisure() limits {
	return limits{
		lock: time.Second, statement: 2 * time.Minute, idle: time.Minute, acquire: 30 * time.Second, total: 2 * time.Minute,
		commit: time.Minute, ping: 5 * time.Second, open: time.Minute,
	}
}

// OpenTransfer opens the database for a move, in whichever phase it is. It migrates none; with create it makes the
// tables where there are none of ours yet, as [Open] does. The user must own the tables. Its errors are those of [Open]
// with Options.SkipMigrations, but it does not answer [ErrMoved].
func OpenTransfer(ctx context.Context, dsn string, opt Options, create bool) (*Transfer, error) {
	t, err := openTransfer(ctx, dsn, opt, create)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return t, nil
}

func openTransfer(ctx context.Context, dsn string, opt Options, create bool) (*Transfer, error) {
	opt.limits, opt.MaxConns = atLeisure(), transferConns
	opt, err := opt.complete()
	if err != nil {
		return nil, err
	}
	config, err := configOf(dsn, opt)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, describe(err)
	}
	t := &Transfer{pool: pool, opt: opt}
	if err := t.prime(ctx, create); err != nil {
		pool.Close()
		return nil, err
	}
	return t, nil
}

// prime refuses what a store refuses, and tables of another version.
func (t *Transfer) prime(ctx context.Context, create bool) error {
	ctx, cancel := context.WithTimeout(ctx, t.opt.limits.open)
	defer cancel()
	conn, err := t.pool.Acquire(ctx)
	if err != nil {
		return describe(err)
	}
	defer conn.Release()
	m, err := readMark(ctx, conn, t.opt)
	if err != nil || m.Phase.Closed() { // its tables have other names, and nobody but a move has written to it
		return err
	}
	opt := t.opt
	if opt.SkipMigrations = true; create {
		var none bool
		if none, err = t.untouched(ctx, conn.Conn()); err != nil {
			return err
		}
		opt.SkipMigrations = !none
	}
	if _, err := opt.prepare(ctx, conn.Conn()); err != nil {
		return err
	}
	return opt.thisVersion(ctx, conn)
}

// untouched reports whether the database has no tables of ours, or those of somebody who was interrupted while making
// them: then nobody has used them.
func (t *Transfer) untouched(ctx context.Context, c *pgx.Conn) (bool, error) {
	all, err := migrations()
	if err != nil {
		return false, err
	}
	found, err := t.opt.look(ctx, c, len(all))
	if err != nil || found.version == 0 {
		return err == nil, err
	}
	var used bool
	err = c.QueryRow(ctx, t.opt.qualify("SELECT l.head > 0 OR l.lease > 0 FROM @log AS l WHERE l.id = 1")).Scan(&used)
	return err == nil && !used, harmless(err)
}

// asker is a connection, a pool or a transaction.
type asker interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

// thisVersion refuses tables that are not those of this program, also newer ones that it could work with: it would leave
// behind what they have more.
func (o Options) thisVersion(ctx context.Context, c asker) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	var have int
	err = c.QueryRow(ctx, o.qualify("SELECT coalesce(max(m.version), 0) FROM @migrations AS m")).Scan(asNumber(&have))
	switch {
	case err != nil:
		return fmt.Errorf("read the version of the tables: %w", harmless(err))
	case have > len(all):
		return fmt.Errorf("%w: %w (its tables are version %d, this program knows %d)", transfer.ErrSchema, ErrNewer, have, len(all))
	case have < len(all):
		return fmt.Errorf("%w: %w (its tables are version %d, this program needs %d)", transfer.ErrSchema, ErrOlder, have, len(all))
	default:
		return nil
	}
}

// Close closes the connections.
func (t *Transfer) Close() error {
	t.pool.Close()
	return nil
}

// Mark implements transfer.Reader.
func (t *Transfer) Mark(ctx context.Context) (transfer.Mark, error) {
	m, err := readMark(ctx, t.pool, t.opt)
	if err != nil {
		return m, fmt.Errorf("read the mark of a move: %w", describe(err))
	}
	return m, nil
}

// Page implements transfer.Reader.
func (t *Transfer) Page(ctx context.Context, table transfer.Table, after transfer.Row, limit int) ([]transfer.Row, error) {
	rows, err := t.read(ctx, table, func(q statements) (string, []any) {
		if after == nil {
			return q.first, []any{limit}
		}
		return q.next, append(argsOf(table, after), limit)
	})
	if err != nil {
		return nil, fmt.Errorf("read a page of %s: %w", table.Name, err)
	}
	return rows, nil
}

// Rows implements transfer.Reader.
func (t *Transfer) Rows(ctx context.Context, table transfer.Table, keys []transfer.Row) ([]transfer.Row, error) {
	rows, err := t.read(ctx, table, func(q statements) (string, []any) { return q.some, columnsOf(table, keys, table.Keys) })
	if err != nil {
		return nil, fmt.Errorf("read rows of %s: %w", table.Name, err)
	}
	return rows, nil
}

// read asks for rows under the names that the tables have now. If they get others in between, the statement fails.
func (t *Transfer) read(ctx context.Context, table transfer.Table, ask func(statements) (string, []any)) ([]transfer.Row, error) {
	m, err := readMark(ctx, t.pool, t.opt)
	if err != nil {
		return nil, describe(err)
	}
	query, args := ask(statementsOf(table, m.Phase))
	rows, err := t.pool.Query(ctx, t.opt.qualify(query), args...)
	if err != nil {
		return nil, describe(harmless(err))
	}
	defer rows.Close()
	var found []transfer.Row
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return nil, harmless(err)
		}
		row, err := rowOf(table, values)
		if err != nil {
			return nil, err
		}
		found = append(found, row)
	}
	return found, harmless(rows.Err())
}

// Write implements transfer.Target.
func (t *Transfer) Write(ctx context.Context, m transfer.Mark, table transfer.Table, put, drop []transfer.Row) error {
	err := t.inTx(ctx, func(tx pgx.Tx) error {
		// Reading the mark locks its table against Set until this transaction is over.
		if err := marked(ctx, tx, t.opt, m); err != nil {
			return err
		}
		if m.Phase != transfer.Filling {
			return transfer.ErrTaken
		}
		return t.write(ctx, tx, table, put, drop)
	})
	if err != nil {
		return fmt.Errorf("write rows of %s: %w", table.Name, err)
	}
	return nil
}

func (t *Transfer) write(ctx context.Context, tx pgx.Tx, table transfer.Table, put, drop []transfer.Row) error {
	q := statementsOf(table, transfer.Filling)
	batch := &pgx.Batch{}
	if len(drop) > 0 {
		batch.Queue(t.opt.qualify(q.drop), columnsOf(table, drop, table.Keys)...)
	}
	if q.yield != "" && len(put) > 0 {
		batch.Queue(t.opt.qualify(q.yield), columnsOf(table, put, len(table.Columns))...)
	}
	for _, r := range put {
		if err := transfer.Check(table, r); err != nil {
			return err
		}
		args := argsOf(table, r)
		if !storable(args) {
			return errText
		}
		batch.Queue(t.opt.qualify(q.put), args...)
	}
	return harmless(tx.SendBatch(ctx, batch).Close())
}

// Changes implements transfer.Source.
func (t *Transfer) Changes(ctx context.Context, limit int) ([]transfer.Change, error) {
	tables := map[string]transfer.Table{}
	for _, table := range transfer.Tables() {
		tables[table.Name] = table
	}
	rows, err := t.pool.Query(ctx, t.opt.qualify("SELECT n, tbl, k1, coalesce(k2, '') FROM @move_changes ORDER BY n LIMIT $1"), limit)
	if err != nil {
		return nil, fmt.Errorf("read what has changed: %w", describe(harmless(err)))
	}
	defer rows.Close()
	var found []transfer.Change
	for rows.Next() {
		var c transfer.Change
		var keys [2]string
		if err := rows.Scan(&c.N, &c.Table, &keys[0], &keys[1]); err != nil {
			return nil, fmt.Errorf("read what has changed: %w", harmless(err))
		}
		if c.Key, err = keyOf(tables[c.Table], keys); err != nil {
			return nil, fmt.Errorf("read what has changed: %w", err)
		}
		found = append(found, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read what has changed: %w", harmless(err))
	}
	return found, nil
}

// Forget implements transfer.Source. Numbers are given before transactions commit, so what is deleted is what was read
// and not all up to the last of it.
func (t *Transfer) Forget(ctx context.Context, done []transfer.Change) error {
	numbers := make([]int64, len(done))
	for i, c := range done {
		numbers[i] = c.N
	}
	if _, err := t.pool.Exec(ctx, t.opt.qualify("DELETE FROM @move_changes WHERE n = ANY ($1)"), numbers); err != nil {
		return fmt.Errorf("forget changes: %w", describe(harmless(err)))
	}
	return nil
}

// inTx runs fn in one transaction, again where others stand in its way.
func (t *Transfer) inTx(ctx context.Context, fn func(pgx.Tx) error) error {
	for try := 0; ; try++ {
		err := t.inTxOnce(ctx, fn)
		if try >= maxLockTries || !inTheWay(err) || ctx.Err() != nil {
			return err
		}
		if err := pause(ctx, time.Duration(try+1)*10*time.Millisecond); err != nil {
			return err
		}
	}
}

// maxLockTries of a second each are longer than any transaction of a server may take.
const maxLockTries = 20

func inTheWay(err error) bool {
	switch code(err) {
	case codeLockTimeout, codeDeadlock, codeSerialization:
		return refused(err)
	default:
		return false
	}
}

func (t *Transfer) inTxOnce(ctx context.Context, fn func(pgx.Tx) error) (err error) {
	tx, err := t.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return describe(harmless(err))
	}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.opt.limits.total)
			defer cancel()
			_ = tx.Rollback(ctx)
		}
	}()
	// Also behind a pooler, where a connection keeps no settings.
	const patience = `SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true)`
	if _, err := tx.Exec(ctx, patience, milliseconds(t.opt.limits.lock), milliseconds(t.opt.limits.statement)); err != nil {
		return harmless(err)
	}
	if err := fn(tx); err != nil {
		if code(err) == codePrivilege {
			return fmt.Errorf("%w: a move changes the tables, so it must run as their owner (%w)", ErrRights, err)
		}
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return &unknownError{harmless(err)}
	}
	return nil
}
