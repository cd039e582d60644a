package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxTries is how often something is done that another transaction got in the way of.
const maxTries = 4

// read runs one statement that changes nothing. If the connection turns out to be dead, or the statement was prepared for
// a table as it was before a migration, it is asked once more, since nobody is the worse for it. An answer that broke off
// after its first row is not asked for again: whoever has taken rows would get them twice.
func (s *Store) read(ctx context.Context, p purpose, st statement) error {
	if !storable(st.args) {
		return nil // no row has such a text
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.total)
	defer cancel()
	given, scan := false, st.scan
	st.scan = func(r pgx.Rows) error { given = true; return scan(r) }
	err := s.try(ctx, p, st)
	if (brokeOff(err) || again(err)) && !given && ctx.Err() == nil {
		err = s.try(ctx, p, st)
	}
	return err
}

func (s *Store) try(ctx context.Context, p purpose, st statement) error {
	l, err := s.take(ctx, p)
	if err != nil {
		return err
	}
	sent, cancel := toItsEnd(ctx)
	defer cancel()
	err = l.one(sent, st)
	l.give(err)
	return hungUp(ctx, err)
}

// hungUp says that it was the caller who did not wait for what failed.
func hungUp(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w (%w)", ctx.Err(), err)
}

// toItsEnd is for a statement that is sent: it ends with the deadline of ctx, and not with a caller who hangs up. To give a
// statement up costs its connection, and the next one a login, which is dearer by far than the few milliseconds that are left
// of it: by hanging up, clients could keep the pool, and the server, busy with nothing else. A caller who gives up is so kept
// for as long as a statement takes, or waits for a lock, and no longer than a second or two.
func toItsEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	by, ok := ctx.Deadline()
	if !ok {
		return context.WithoutCancel(ctx), func() {}
	}
	return context.WithDeadline(context.WithoutCancel(ctx), by)
}

// row reads one row; pgx.ErrNoRows if there is none.
func (s *Store) row(ctx context.Context, query string, args []any, into ...any) error {
	found := false
	err := s.read(ctx, forRead, statement{query: query, args: args, scan: func(r pgx.Rows) error {
		found = true
		return r.Scan(into...)
	}})
	if err == nil && !found {
		return pgx.ErrNoRows
	}
	return err
}

// each reads all rows.
func (s *Store) each(ctx context.Context, query string, args []any, scan func(pgx.Rows) error) error {
	return s.read(ctx, forRead, statement{query: query, args: args, scan: scan})
}

// write runs one statement that changes something and is a transaction of its own. It is done again only when it is
// certain that it has not happened; otherwise the error says "don't know".
func (s *Store) write(ctx context.Context, p purpose, st statement) error {
	if !storable(st.args) {
		return errText
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.total)
	defer cancel()
	var err error
	for range maxTries {
		err = s.try(ctx, p, st)
		if st.taken != nil && code(err) == codeUnique {
			return st.taken
		}
		if ctx.Err() != nil || !again(err) && !pgconn.SafeToRetry(err) {
			break
		}
	}
	return err
}

// milliseconds is a limit as PostgreSQL's settings want it; 0 would be no limit.
func milliseconds(d time.Duration) string { return fmt.Sprint(max(d.Milliseconds(), 1)) }
