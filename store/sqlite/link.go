package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// link is one connection to the database with the statements that were prepared on it. One goroutine uses it at a time.
//
// Its methods run under no deadline. An interrupted statement may have rolled the whole transaction back, and those
// after it would then commit one by one; so a caller looks at its context between statements, each of which is short.
type link struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

func (l *link) prepare(query string) (*sql.Stmt, error) {
	if st, ok := l.prepared[query]; ok {
		return st, nil
	}
	st, err := l.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	l.prepared[query] = st
	return st, nil
}

// exec runs a statement and says how many rows it changed.
func (l *link) exec(query string, args ...any) (int64, error) {
	st, err := l.prepare(query) //nolint:sqlclosecheck // statements are kept for as long as their connection
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// script runs several statements without values.
func (l *link) script(text string) error {
	_, err := l.conn.ExecContext(context.Background(), text)
	return err
}

// row reads one row. It answers sql.ErrNoRows if there is none.
func (l *link) row(query string, args []any, into ...any) error {
	st, err := l.prepare(query) //nolint:sqlclosecheck // statements are kept for as long as their connection
	if err != nil {
		return err
	}
	return st.QueryRowContext(context.Background(), args...).Scan(into...)
}

// each reads all rows, calling scan for each of them. It ends early when ctx does: reads may be long and may be
// interrupted, since no transaction hangs on them.
func (l *link) each(ctx context.Context, query string, args []any, scan func(scanner) error) (err error) {
	st, err := l.prepare(query) //nolint:sqlclosecheck // statements are kept for as long as their connection
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(context.WithoutCancel(ctx), args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// scanner is a row.
type scanner interface{ Scan(into ...any) error }

// close ends the connection for good instead of giving it back to database/sql. Its statements go first: the engine does
// not let go of a file while one of them is there, and they may not be touched after their connection is gone.
func (l *link) close() {
	if err := l.conn.Raw(func(any) error { return nil }); err == nil {
		for _, st := range l.prepared {
			_ = st.Close()
		}
	}
	_ = l.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = l.conn.Close()
}

// pool is a fixed number of connections of one kind. A slot holds nil until its connection is needed, and again after
// the connection was given up.
type pool struct {
	db     *sql.DB
	want   []pragma
	slots  chan *link
	closed chan struct{}
}

// pragma is what a connection must say of itself before it is used.
type pragma struct{ name, value string }

func newPool(connector driver.Connector, want []pragma, size int) *pool {
	p := &pool{db: sql.OpenDB(connector), want: want, slots: make(chan *link, size), closed: make(chan struct{})}
	p.db.SetMaxIdleConns(0)
	for range size {
		p.slots <- nil
	}
	return p
}

// dial opens a connection and reads back what it must be. A connection that silently kept another setting, such as a
// weaker synchronous, would acknowledge what a power cut then takes away.
func (p *pool) dial(ctx context.Context) (*link, error) {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", readOnly(err))
	}
	l := &link{conn: conn, prepared: make(map[string]*sql.Stmt)}
	for _, w := range p.want {
		var got string
		if err := conn.QueryRowContext(ctx, "PRAGMA "+w.name).Scan(&got); err != nil {
			l.close()
			return nil, fmt.Errorf("read back the setting %s: %w", w.name, err)
		}
		if !strings.EqualFold(got, w.value) {
			l.close()
			return nil, fmt.Errorf("the engine keeps the setting %s at %s, not %s", w.name, got, w.value)
		}
	}
	return l, nil
}

// take waits for a connection, until ctx ends.
func (p *pool) take(ctx context.Context) (*link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // select picks at random among what is ready
	}
	select {
	case <-p.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case l := <-p.slots:
		if l != nil {
			return l, nil
		}
		l, err := p.dial(ctx)
		if err != nil {
			p.slots <- nil
			return nil, err
		}
		return l, nil
	}
}

// give returns a connection. One that may not be in the state it was taken in is not used again.
func (p *pool) give(l *link, good bool) {
	if !good {
		l.close()
		l = nil
	}
	p.slots <- l
}

// shut waits for all connections to come back and closes them; last is called with one that is open, if there is one.
func (p *pool) shut(last func(*link)) error {
	close(p.closed)
	for range cap(p.slots) {
		l := <-p.slots
		if l == nil {
			continue
		}
		if last != nil {
			last(l)
		}
		l.close()
	}
	return p.db.Close()
}
