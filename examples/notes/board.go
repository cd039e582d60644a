package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/handstamp/handstamp"
)

// note is one note on the board. Its owner is a Handstamp user id, as any table of an application would keep it.
type note struct {
	ID        int64
	Owner     handstamp.UserID
	Text      string
	CreatedAt time.Time
}

// MayDelete is the rule for one object: the owner may, and who has the permission for all of them.
func (n note) MayDelete(p handstamp.Principal) bool {
	return p.User == n.Owner || p.May("notes:delete")
}

const maxNoteBytes = 2000

func (a *app) showBoard(w http.ResponseWriter, r *http.Request) error {
	notes, err := a.board.list(r.Context())
	if err != nil {
		return err
	}
	return a.render(w, r, "board", view{Notes: notes})
}

func (a *app) addNote(w http.ResponseWriter, r *http.Request) error {
	p, _ := handstamp.FromContext(r.Context())
	text := r.PostFormValue("text")
	if text == "" || len(text) > maxNoteBytes {
		return a.render(w, r, "problem", view{
			Status: http.StatusUnprocessableEntity, Message: fmt.Sprintf("A note has 1 to %d bytes.", maxNoteBytes),
		})
	}
	// The owner is who sent the request, never what the form says.
	if err := a.board.add(r.Context(), note{Owner: p.User, Text: text, CreatedAt: a.auth.Now()}); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (a *app) deleteNote(w http.ResponseWriter, r *http.Request) error {
	p, _ := handstamp.FromContext(r.Context())
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return handstamp.ErrNotFound
	}
	n, err := a.board.get(r.Context(), id)
	if err != nil {
		return err
	}
	if !n.MayDelete(p) {
		return &handstamp.DeniedError{Reason: handstamp.ReasonForbidden, Check: "owner", Permission: "notes:delete"}
	}
	if err := a.board.delete(r.Context(), id); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// board keeps the notes in a table of the application's own, in the same file as Handstamp's.
type board struct{ db *sql.DB }

func openBoard(ctx context.Context, file string) (*board, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	// The driver came with package sqlite. A write waits for Handstamp's to finish, instead of failing.
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS notes (
		id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, text TEXT NOT NULL, created_at INTEGER NOT NULL) STRICT`); err != nil {
		return nil, errors.Join(fmt.Errorf("make the table of notes: %w", err), db.Close())
	}
	return &board{db}, nil
}

func (b *board) close() error { return b.db.Close() }

func (b *board) add(ctx context.Context, n note) error {
	_, err := b.db.ExecContext(ctx, "INSERT INTO notes (owner, text, created_at) VALUES (?, ?, ?)", string(n.Owner), n.Text, n.CreatedAt.Unix())
	if err != nil {
		return fmt.Errorf("write the note: %w", err)
	}
	return nil
}

func (b *board) get(ctx context.Context, id int64) (note, error) {
	n := note{ID: id}
	var created int64
	err := b.db.QueryRowContext(ctx, "SELECT owner, text, created_at FROM notes WHERE id = ?", id).Scan(&n.Owner, &n.Text, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return note{}, handstamp.ErrNotFound
	}
	if err != nil {
		return note{}, fmt.Errorf("read the note: %w", err)
	}
	n.CreatedAt = time.Unix(created, 0).UTC()
	return n, nil
}

// list returns the newest notes.
func (b *board) list(ctx context.Context) (notes []note, err error) {
	rows, err := b.db.QueryContext(ctx, "SELECT id, owner, text, created_at FROM notes ORDER BY id DESC LIMIT 100")
	if err != nil {
		return nil, fmt.Errorf("list the notes: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var n note
		var created int64
		if err := rows.Scan(&n.ID, &n.Owner, &n.Text, &created); err != nil {
			return nil, fmt.Errorf("list the notes: %w", err)
		}
		n.CreatedAt = time.Unix(created, 0).UTC()
		notes = append(notes, n)
	}
	return notes, rows.Err()
}

func (b *board) delete(ctx context.Context, id int64) error {
	if _, err := b.db.ExecContext(ctx, "DELETE FROM notes WHERE id = ?", id); err != nil {
		return fmt.Errorf("delete the note: %w", err)
	}
	return nil
}
