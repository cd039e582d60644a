package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// How a listener keeps its connection.
const (
	listenPing  = 5 * time.Second        // how long nothing may be heard before it asks whether the server is there
	listenAgain = 100 * time.Millisecond // the first pause after a connection was lost
	listenMost  = 2 * time.Second        // the longest
)

// Watch implements revoke.Log. It listens on a connection of its own, which is none of the pool's, and connects again
// when that is lost. Behind a pooler there is nothing to listen to, and it returns nil at once.
func (v *eventLog) Watch(ctx context.Context, wake func()) error {
	if v.s.opt.Pooler == Transaction {
		return nil
	}
	listening, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(v.s.closed, stop)()
	wait := listenAgain
	for {
		heard, err := v.s.listen(listening, wake)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case v.s.closed.Err() != nil:
			return fmt.Errorf("watch the log: %w", ErrClosed)
		}
		// What broke this connection has perhaps broken all of them, and nobody else is told so soon.
		v.s.distrust()
		v.s.log.Warn("postgres: the connection that listens was lost; revocations are noticed by polling until there is another", "error", err)
		if heard {
			wait = listenAgain
		}
		_ = pause(listening, wait)
		wait = min(2*wait, listenMost)
	}
}

// listen wakes for each notification until the connection is lost. heard says whether there was one.
func (s *Store) listen(ctx context.Context, wake func()) (heard bool, err error) {
	conn, err := s.dialListener(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.ping)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.opt.channel()}.Sanitize()); err != nil {
		return false, fmt.Errorf("listen: %w", harmless(err))
	}
	for {
		wake() // also for what was appended before the first look
		if err := s.notified(ctx, conn); err != nil {
			return true, err
		}
	}
}

// notified waits for a notification. A connection that is silent may be dead without anybody saying so, so it is asked now
// and then.
func (s *Store) notified(ctx context.Context, conn *pgx.Conn) error {
	for {
		waiting, cancel := context.WithTimeout(ctx, listenPing)
		_, err := conn.WaitForNotification(waiting)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || conn.IsClosed() {
			return err
		}
		asking, cancel := context.WithTimeout(ctx, s.limits.acquire)
		err = conn.Ping(asking)
		cancel()
		if err != nil {
			return fmt.Errorf("the server does not answer: %w", err)
		}
	}
}

// dialListener connects as the pool does.
func (s *Store) dialListener(ctx context.Context) (*pgx.Conn, error) {
	config := s.pool.Config().ConnConfig
	if !s.own {
		if err := s.opt.adapt(config); err != nil {
			return nil, err
		}
	}
	dialing, cancel := context.WithTimeout(ctx, s.limits.acquire)
	defer cancel()
	conn, err := pgx.ConnectConfig(dialing, config)
	if err != nil {
		return nil, describe(err)
	}
	return conn, nil
}
