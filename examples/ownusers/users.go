package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/handstamp/handstamp"
)

// user is a row of the application's table. Its id, as text, is the user id that Handstamp knows.
type user struct {
	ID       int64
	Name     string
	Email    string
	Hash     string
	Role     string
	Disabled bool
}

func (u user) id() handstamp.UserID { return handstamp.UserID(strconv.FormatInt(u.ID, 10)) }

// users is the table. Handstamp has a pool of its own on the same file, and tables that begin with handstamp_.
type users struct{ db *sql.DB }

// migrations are the application's own. A real one has a tool for them.
func migrations() []string {
	return []string{
		// AUTOINCREMENT: an id that was given never comes back, and with it no session of somebody who was deleted.
		`CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE,
			password_bcrypt TEXT NOT NULL, role TEXT NOT NULL) STRICT`,
		`ALTER TABLE users ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0`,
	}
}

func openUsers(ctx context.Context, file string) (*users, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	// The driver came with package store/sqlite. A write waits for Handstamp's to finish, instead of failing.
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	u := &users{db}
	if err := u.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate the application's tables: %w", err), db.Close())
	}
	return u, nil
}

func (u *users) close() error { return u.db.Close() }

func (u *users) migrate(ctx context.Context) error {
	tx, err := u.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS app_schema (version INTEGER NOT NULL) STRICT"); err != nil {
		return err
	}
	var version int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM app_schema").Scan(&version); err != nil {
		return err
	}
	for i, step := range migrations() {
		if i < version {
			continue
		}
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO app_schema (version) VALUES (?)", i+1); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// idOf finds the id to an address; "0", which nobody has, for an address that nobody has.
func (u *users) idOf(ctx context.Context, email string) (handstamp.UserID, error) {
	var id int64
	err := u.db.QueryRowContext(ctx, "SELECT id FROM users WHERE email = ?", email).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("find the user: %w", err)
	}
	return user{ID: id}.id(), nil
}

// byID reads a user. It answers handstamp.ErrNotFound if there is none.
func (u *users) byID(ctx context.Context, id handstamp.UserID) (user, error) {
	var out user
	err := u.db.QueryRowContext(ctx, "SELECT id, name, email, password_bcrypt, role, disabled FROM users WHERE id = ?", string(id)).
		Scan(&out.ID, &out.Name, &out.Email, &out.Hash, &out.Role, &out.Disabled)
	if errors.Is(err, sql.ErrNoRows) {
		return user{}, handstamp.ErrNotFound
	}
	if err != nil {
		return user{}, fmt.Errorf("read the user: %w", err)
	}
	return out, nil
}

// add makes a user: the first one manages the others. It answers false if the address is taken.
func (u *users) add(ctx context.Context, n user) (user, bool, error) {
	err := u.db.QueryRowContext(ctx, `INSERT INTO users (name, email, password_bcrypt, role)
		VALUES (?, ?, ?, CASE WHEN EXISTS (SELECT 1 FROM users) THEN ? ELSE ? END)
		ON CONFLICT (email) DO NOTHING RETURNING id, role`, n.Name, n.Email, n.Hash, customer, manager).Scan(&n.ID, &n.Role)
	if errors.Is(err, sql.ErrNoRows) {
		return user{}, false, nil
	}
	if err != nil {
		return user{}, false, fmt.Errorf("add the user: %w", err)
	}
	return n, true, nil
}

func (u *users) setHash(ctx context.Context, id handstamp.UserID, hash string) error {
	return u.change(ctx, "UPDATE users SET password_bcrypt = ? WHERE id = ?", hash, string(id))
}

func (u *users) setRole(ctx context.Context, id handstamp.UserID, role string) error {
	return u.change(ctx, "UPDATE users SET role = ? WHERE id = ?", role, string(id))
}

func (u *users) setDisabled(ctx context.Context, id handstamp.UserID, disabled bool) error {
	return u.change(ctx, "UPDATE users SET disabled = ? WHERE id = ?", disabled, string(id))
}

// delete is done as well when it was done before, so that a call that stopped half-way can be made again.
func (u *users) delete(ctx context.Context, id handstamp.UserID) error {
	if err := u.change(ctx, "DELETE FROM users WHERE id = ?", string(id)); err != nil && !errors.Is(err, handstamp.ErrNotFound) {
		return err
	}
	return nil
}

// change changes one row. It answers handstamp.ErrNotFound if there is none.
func (u *users) change(ctx context.Context, query string, args ...any) error {
	res, err := u.db.ExecContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("write the user: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return fmt.Errorf("write the user: %w", err)
	} else if n == 0 {
		return handstamp.ErrNotFound
	}
	return nil
}
