// Package shop is what the application is about: products, orders, its own table of users, and its pages. Both versions
// of the application use it as it is. It knows nothing of sessions, cookies or tokens.
package shop

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/crypto/bcrypt"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed pages.html
var files embed.FS

const schema = `
CREATE TABLE IF NOT EXISTS users (
	id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, password_hash TEXT NOT NULL, valid_after INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS products (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BLOB NOT NULL, expiry REAL NOT NULL);
CREATE INDEX IF NOT EXISTS sessions_expiry ON sessions (expiry);
INSERT OR IGNORE INTO products (id, name) VALUES (1, 'Tea'), (2, 'Cup'), (3, 'Kettle');`

// Cart is how many of each product somebody has chosen.
type Cart map[int]int

// Shop is the application's own data. It is safe for concurrent use.
type Shop struct {
	DB    *sql.DB
	pages *template.Template
	none  []byte // a hash that is nobody's
}

// Open opens the database, and makes its tables if they are not there.
func Open(ctx context.Context, file string) (*Shop, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	pages, err := template.ParseFS(files, "pages.html")
	if err != nil {
		return nil, err
	}
	none, err := bcrypt.GenerateFromPassword([]byte("nobody has this one"), bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	// _txlock makes a transaction wait for its turn at its beginning, instead of failing in its middle.
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+
		"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("make the tables: %w", err), db.Close())
	}
	return &Shop{DB: db, pages: pages, none: none}, nil
}

// Close closes the database.
func (s *Shop) Close() error { return s.DB.Close() }

// AddUser makes a user. The cost is the least there is: an example's users are made anew with each of its tests.
func (s *Shop) AddUser(ctx context.Context, email, password string) (id string, err error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", err
	}
	res, err := s.DB.ExecContext(ctx, "INSERT INTO users (email, password_hash) VALUES (?, ?)", email, hash)
	if err != nil {
		return "", fmt.Errorf("make the user: %w", err)
	}
	n, err := res.LastInsertId()
	return strconv.FormatInt(n, 10), err
}

// UserByEmail finds a user's id; it is empty for an address that nobody has.
func (s *Shop) UserByEmail(ctx context.Context, email string) (id string, err error) {
	err = s.DB.QueryRowContext(ctx, "SELECT id FROM users WHERE email = ?", email).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// PasswordIsRight checks a password. For a user that is not there it does the same work, and answers no.
func (s *Shop) PasswordIsRight(ctx context.Context, user, password string) (bool, error) {
	hash := s.none
	err := s.DB.QueryRowContext(ctx, "SELECT password_hash FROM users WHERE id = ?", user).Scan(&hash)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil && err == nil, nil
}

// Email is a user's address.
func (s *Shop) Email(ctx context.Context, user string) (email string, err error) {
	err = s.DB.QueryRowContext(ctx, "SELECT email FROM users WHERE id = ?", user).Scan(&email)
	return email, err
}

// Product is something to buy.
type Product struct {
	ID      int
	Name    string
	Ordered int // how many are in the cart
}

// Products lists what there is, and how much of it a cart has.
func (s *Shop) Products(ctx context.Context, c Cart) (list []Product, err error) {
	rows, err := s.DB.QueryContext(ctx, "SELECT id, name FROM products ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var p Product
		if err := rows.Scan(&p.ID, &p.Name); err != nil {
			return nil, err
		}
		p.Ordered = c[p.ID]
		list = append(list, p)
	}
	return list, rows.Err()
}

// Order writes down what a user orders.
func (s *Shop) Order(ctx context.Context, user string, c Cart) error {
	text := ""
	for _, id := range slices.Sorted(maps.Keys(c)) {
		text += fmt.Sprintf("%d×%d ", c[id], id)
	}
	_, err := s.DB.ExecContext(ctx, "INSERT INTO orders (user_id, text) VALUES (?, ?)", user, text)
	return err
}

// Orders lists what a user has ordered.
func (s *Shop) Orders(ctx context.Context, user string) (list []string, err error) {
	rows, err := s.DB.QueryContext(ctx, "SELECT text FROM orders WHERE user_id = ? ORDER BY id", user)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	list = []string{}
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, rows.Err()
}

// View is what the pages are made from.
type View struct {
	Email    string // empty for a visitor
	Flash    string
	Products []Product
	Orders   []string
	ReturnTo string
}

// Render writes a page.
func (s *Shop) Render(w http.ResponseWriter, page string, v View) error {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return s.pages.ExecuteTemplate(w, page, v)
}
