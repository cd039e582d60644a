package main

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
)

// TestUnknownTakesAHash: for an address that nobody has, one comparison is made as well, with a hash of the same cost.
func TestUnknownTakesAHash(t *testing.T) {
	var mu sync.Mutex
	var costs []int
	_, running := serve(t, settings{compare: func(hash, password []byte) error {
		cost, err := bcrypt.Cost(hash)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		costs = append(costs, cost)
		mu.Unlock()
		return bcrypt.CompareHashAndPassword(hash, password)
	}})
	ada := running.browser(t, "laptop").signUp("ada@example.com")
	for _, body := range []object{
		{"email": "ada@example.com", "password": "not the password"}, {"email": "nobody@example.com", "password": goodPassword},
		{"email": "", "password": ""}, {"email": "ada@example.com", "password": strings.Repeat("x", 1000)},
	} {
		costs = nil
		ada.send("POST", "/login", body, 401)
		if !slices.Equal(costs, []int{bcrypt.MinCost}) {
			t.Errorf("a login with %v made comparisons of the costs %v, want one", body, costs)
		}
	}
}

// TestSeventyTwoBytes: bcrypt looks at 72 bytes, so a password has no more; what is longer is no password of anybody.
func TestSeventyTwoBytes(t *testing.T) {
	_, running := serve(t, settings{})
	b := running.browser(t, "laptop")
	whole := strings.Repeat("é", 36) // 72 bytes
	for password, want := range map[string]int{whole: 201, whole + "x": 422, strings.Repeat("é", 37): 422} {
		b.send("POST", "/signup", object{"name": "x", "email": "ada@example.com", "password": password}, want)
	}
	b.send("POST", "/login", object{"email": "ada@example.com", "password": whole + "anything"}, 401)
	b.send("POST", "/login", object{"email": "ada@example.com", "password": whole[:71]}, 401)
	b.send("POST", "/login", object{"email": "ada@example.com", "password": whole}, 204)
	b.send("POST", "/password", object{"password": whole, "new": whole + "x"}, 422)
}

// TestChangePassword ends the sessions of whoever knew the old one.
func TestChangePassword(t *testing.T) {
	_, running := serve(t, settings{})
	ada := running.browser(t, "laptop").signUp("ada@example.com")
	phone := running.browser(t, "phone").logIn("ada@example.com")
	const next = "another battery staple"
	ada.refused("POST", "/password", object{"password": "not the password", "new": next}, 403, "invalid_credentials")
	phone.in()
	old := ada.cookies()
	ada.send("POST", "/password", object{"password": goodPassword, "new": next}, 204)
	ada.in()
	phone.out()
	ada.with(old).out()
	phone.send("POST", "/login", object{"email": "ada@example.com", "password": goodPassword}, 401)
	phone.send("POST", "/login", object{"email": "ada@example.com", "password": next}, 204)
}

// TestLoginThatWaited: a new password, another role or "disabled" that comes while the old password is being compared is not
// overtaken by that login.
func TestLoginThatWaited(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(ctx context.Context, a *app, id handstamp.UserID) error
		want      int
	}{
		"nothing":      {func(context.Context, *app, handstamp.UserID) error { return nil }, 204},
		"new password": {func(ctx context.Context, a *app, id handstamp.UserID) error { return newPassword(ctx, a, id) }, 401},
		"disabled": {func(ctx context.Context, a *app, id handstamp.UserID) error {
			if err := a.users.setDisabled(ctx, id, true); err != nil {
				return err
			}
			_, err := a.auth.EndUser(ctx, id, handstamp.EndOptions{})
			return err
		}, 403},
		"another role": {func(ctx context.Context, a *app, id handstamp.UserID) error {
			if err := a.users.setRole(ctx, id, manager); err != nil {
				return err
			}
			_, err := a.auth.Changed(ctx, id, handstamp.EndOptions{})
			return err
		}, 204},
	} {
		t.Run(name, func(t *testing.T) {
			var a *app
			var once sync.Once
			var armed handstamp.UserID
			a, running := serve(t, settings{compare: func(hash, password []byte) error {
				if armed != "" {
					once.Do(func() {
						if err := tt.meanwhile(t.Context(), a, armed); err != nil {
							t.Error(err)
						}
					})
				}
				return bcrypt.CompareHashAndPassword(hash, password)
			}})
			running.browser(t, "root").signUp("root@example.com")
			ada := running.browser(t, "laptop").signUp("ada@example.com")
			ada.send("POST", "/logout", nil, 204)
			armed = handstamp.UserID(ada.userID)
			ada.send("POST", "/login", object{"email": "ada@example.com", "password": goodPassword}, tt.want)
			if tt.want != 204 {
				ada.out()
				return
			}
			role := map[bool]string{true: manager, false: customer}[name == "another role"]
			if me := ada.send("GET", "/me", nil, 200); me["role"] != role || (len(me["permissions"].([]any)) == 1) != (role == manager) {
				t.Errorf("GET /me = %v", me)
			}
		})
	}
}

func newPassword(ctx context.Context, a *app, id handstamp.UserID) error {
	hash, err := a.hashes.hash("another battery staple")
	if err != nil {
		return err
	}
	if err := a.users.setHash(ctx, id, hash); err != nil {
		return err
	}
	_, err = a.auth.EndUser(ctx, id, handstamp.EndOptions{})
	return err
}

// TestTwoMigrations: the application's tables and Handstamp's stand side by side, whoever comes first and however often.
func TestTwoMigrations(t *testing.T) {
	a, running := serve(t, settings{})
	running.browser(t, "laptop").signUp("ada@example.com")
	for range 2 {
		again, err := openUsers(t.Context(), databaseFile(t, a.users.db))
		if err != nil {
			t.Fatal(err)
		}
		if err := again.close(); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := a.users.db.QueryContext(t.Context(), "SELECT name FROM sqlite_schema WHERE type = 'table'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var own []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, "handstamp_") && !strings.HasPrefix(name, "sqlite_") {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	if err := rows.Err(); err != nil || !slices.Equal(own, []string{"app_schema", "users"}) {
		t.Errorf("tables that do not begin with handstamp_: %v, %v", own, err)
	}
}

func databaseFile(t *testing.T, db *sql.DB) string {
	t.Helper()
	var file string
	if err := db.QueryRowContext(t.Context(), "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestAuditLog: what the application refused stands beside what Handstamp did, and no password does.
func TestAuditLog(t *testing.T) {
	a, running := serve(t, settings{})
	ada := running.browser(t, "laptop").signUp("ada@example.com")
	ada.send("POST", "/login", object{"email": "ada@example.com", "password": "not the password"}, 401)
	ada.send("POST", "/logout/everywhere", nil, 204)
	list, err := a.store.Audit().List(t.Context(), audit.Filter{User: handstamp.UserID(ada.userID), Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range list {
		kinds = append(kinds, string(e.Kind))
		if e.IP != "127.0.0.1" || e.UserAgent != "laptop" {
			t.Errorf("an entry is %+v", e)
		}
	}
	slices.Sort(kinds)
	if want := []string{"login.failed", "login.ok", "user.roles_changed", "user.sessions_ended"}; !slices.Equal(kinds, want) {
		t.Errorf("the audit log says %v, want %v", kinds, want)
	}
}
