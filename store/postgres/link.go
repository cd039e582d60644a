package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// purpose is what a connection is wanted for.
type purpose uint8

const (
	forLog  purpose = iota // renewals and what else the lease hangs on: it waits for a connection only
	forRead                // one statement
	forUnit                // a unit of work, which holds the connection while its caller computes
)

// gate lets so many through at a time as it has places.
type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	default:
	}
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) leave() { <-g }

// link is a connection that is used by one call.
type link struct {
	s     *Store
	conn  *pgxpool.Conn
	gates []gate
}

// health is kept with a connection: when it last worked, since the store was opened.
type health struct{ worked time.Duration }

const healthKey = "handstamp/health"

// gatesOf are the places that a purpose needs, in the order in which everybody takes them.
func (s *Store) gatesOf(p purpose) []gate {
	switch p {
	case forUnit:
		return []gate{s.units, s.work}
	case forRead:
		return []gate{s.work}
	default:
		return nil
	}
}

// take waits for a place and for a connection, and for no longer than the limit.
func (s *Store) take(ctx context.Context, p purpose) (*link, error) {
	if s.closed.Err() != nil {
		return nil, ErrClosed
	}
	waiting, cancel := context.WithTimeout(ctx, s.limits.acquire)
	defer cancel()
	l := &link{s: s}
	for _, g := range s.gatesOf(p) {
		if g.enter(waiting) != nil {
			l.leave()
			return nil, tooLong(ctx, errBusy)
		}
		l.gates = append(l.gates, g)
	}
	if err := l.dial(waiting); err != nil {
		l.leave()
		if waiting.Err() != nil {
			return nil, tooLong(ctx, fmt.Errorf("%w: %w", errBusy, err))
		}
		return nil, err
	}
	return l, nil
}

// tooLong is why a wait was over: the caller's own context, if that has ended.
func tooLong(ctx context.Context, otherwise error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return otherwise
}

// dial takes connections from the pool until one is not known to be dead. When a connection breaks, all that have not
// worked since then are suspect (the server may have been restarted, or the network cut), and are asked first: a request
// does not pay for each of them, one after the other.
func (l *link) dial(ctx context.Context) error {
	for {
		conn, err := l.s.pool.Acquire(ctx)
		if err != nil {
			if l.s.closed.Err() != nil {
				return ErrClosed
			}
			return describe(err)
		}
		h := healthOf(conn)
		if h.worked >= time.Duration(l.s.suspect.Load()) {
			l.conn = conn
			return nil
		}
		if l.s.ping(ctx, conn) == nil {
			h.worked = time.Since(l.s.born)
			l.conn = conn
			return nil
		}
		l.s.discard(conn)
		if l.s.own {
			l.s.pool.Reset()
		}
	}
}

func healthOf(conn *pgxpool.Conn) *health {
	data := conn.Conn().PgConn().CustomData()
	h, ok := data[healthKey].(*health)
	if !ok {
		h = &health{} // not used yet; whether it is alive is seen when it is
		data[healthKey] = h
	}
	return h
}

func (s *Store) ping(ctx context.Context, conn *pgxpool.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, s.limits.ping)
	defer cancel()
	return conn.Ping(ctx)
}

// discard closes a connection without waiting for the server, and gives its place in the pool back.
func (s *Store) discard(conn *pgxpool.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = conn.Conn().Close(ctx)
	s.release(conn)
}

// lastWords is how long a connection that was given up may take to end.
const lastWords = 2 * time.Second

// release gives a connection back. The pool keeps none that is in a transaction. One that was given up is taken out of it:
// the driver asks the server to cancel what it does and waits for its last words, up to 15 s on a network that swallows
// everything, and the place in the pool would be taken as long.
func (s *Store) release(conn *pgxpool.Conn) {
	if !conn.Conn().IsClosed() {
		conn.Release()
		return
	}
	dead := conn.Hijack().PgConn()
	s.burials.Go(func() {
		t := time.NewTimer(lastWords)
		defer t.Stop()
		select {
		case <-dead.CleanupDone():
		case <-t.C:
			_ = dead.Conn().Close()
		}
	})
}

// give takes a connection back after a call that ended with err. The pool keeps none that is closed or in a transaction.
func (l *link) give(err error) {
	switch {
	case err == nil || refused(err) || absent(err):
		healthOf(l.conn).worked = time.Since(l.s.born)
	case lost(err):
		l.s.distrust()
	}
	l.s.release(l.conn)
	l.leave()
}

// distrust makes every connection suspect that does not prove from here on that it is alive.
func (s *Store) distrust() { s.suspect.Store(int64(time.Since(s.born))) }

func (l *link) leave() {
	for _, g := range l.gates {
		g.leave()
	}
	l.gates = nil
}

// statement is one query of a batch.
type statement struct {
	query   string
	args    []any
	scan    func(pgx.Rows) error // for each row; nil where there are none
	changed *int64               // how many rows it changed, where somebody wants to know
	tag     func(string)         // what the server says that it did
	what    string               // in words, for the error
	taken   error                // what it means that a unique value is there already, where it has a meaning
}

// send runs statements in one round trip. The first that fails ends it.
func (l *link) send(ctx context.Context, all []statement) (err error) {
	batch := &pgx.Batch{}
	for _, st := range all {
		if !storable(st.args) {
			return errText
		}
		batch.Queue(l.s.sql(st.query), st.args...)
	}
	results := l.conn.SendBatch(ctx, batch)
	defer func() {
		if closing := results.Close(); err == nil && closing != nil {
			err = harmless(closing)
		}
	}()
	for _, st := range all {
		if err := collect(results, st); err != nil {
			return st.explain(err)
		}
	}
	return nil
}

func (st statement) explain(err error) error {
	if st.taken != nil && code(err) == codeUnique {
		err = fmt.Errorf("%w (%w)", st.taken, err)
	}
	if st.what != "" {
		return fmt.Errorf("%s: %w", st.what, harmless(err))
	}
	return harmless(err)
}

func collect(results pgx.BatchResults, st statement) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	return drain(rows, st)
}

// drain reads all rows of one result.
func drain(rows pgx.Rows, st statement) error {
	defer rows.Close()
	for rows.Next() {
		if st.scan == nil {
			continue
		}
		if err := st.scan(rows); err != nil {
			return err
		}
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return err
	}
	if st.changed != nil {
		*st.changed = rows.CommandTag().RowsAffected()
	}
	if st.tag != nil {
		st.tag(rows.CommandTag().String())
	}
	return nil
}

// one runs a single statement, which is a transaction of its own.
func (l *link) one(ctx context.Context, st statement) error {
	rows, err := l.conn.Query(ctx, l.s.sql(st.query), st.args...)
	if err != nil {
		return harmless(err)
	}
	return harmless(drain(rows, st))
}
