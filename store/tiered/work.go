package tiered

import (
	"context"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
)

// Work returns the engine's units of work.
func (s *Store) Work() handstamp.UnitOfWork[handstamp.Tx] {
	return work[handstamp.Tx]{s, func(u *unit) handstamp.Tx { return u }}
}

// AccountWork returns the units of work on accounts.
func (s *Store) AccountWork() handstamp.UnitOfWork[account.Tx] {
	return work[account.Tx]{s, func(u *unit) account.Tx { return u }}
}

// LoginWork returns the units of work of logins.
func (s *Store) LoginWork() handstamp.UnitOfWork[login.Tx] {
	return work[login.Tx]{s, func(u *unit) login.Tx { return u }}
}

// work is one of the store's views for units.
type work[T any] struct {
	s  *Store
	as func(*unit) T
}

// Do runs a unit of the database, and then tells the cache what it appended: first the database, then the cache.
func (w work[T]) Do(ctx context.Context, fn func(tx T) error) error {
	var last *unit
	err := w.s.base.LoginWork().Do(ctx, func(tx login.Tx) error {
		last = &unit{Tx: tx}
		return fn(w.as(last))
	})
	if err != nil || last == nil || len(last.events) == 0 {
		return err
	}
	w.s.events.Add(last.events...)
	number := last.events[len(last.events)-1].Seq
	w.s.call(context.WithoutCancel(ctx), func(ctx context.Context) error {
		return w.s.cache.Note(ctx, number, touched(last.events)...)
	})
	return nil
}

// unit is the database's unit; it notes what is appended.
type unit struct {
	login.Tx
	events []revoke.Event
}

// Append appends in the database.
func (u *unit) Append(ctx context.Context, events ...revoke.Event) (handstamp.Appended, error) {
	a, err := u.Tx.Append(ctx, events...)
	if err == nil {
		u.events = append(u.events, a.Events...)
	}
	return a, err
}
