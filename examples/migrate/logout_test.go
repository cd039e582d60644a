package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// TestLogOut: after a log-out the old cookies open nothing, although they are still sent and still good.
func TestLogOut(t *testing.T) {
	for name, cookies := range kinds() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := newBrowser(t, w.before)
			b.login()
			b.keep(cookies...)
			stolen := b.cookies()
			var data []byte
			var expiry float64
			row := w.shop.DB.QueryRowContext(t.Context(), "SELECT data, expiry FROM sessions")
			if err := row.Scan(&data, &expiry); err != nil {
				t.Fatal(err)
			}
			b.base = w.after
			if !b.isLoggedIn() {
				t.Fatal("not logged in")
			}
			if a := b.post("/logout"); a.status != http.StatusSeeOther {
				t.Fatalf("log-out: %+v", a)
			}
			if b.isLoggedIn() {
				t.Error("logged in after the log-out")
			}
			b.set(stolen...)
			if b.isLoggedIn() {
				t.Error("the old cookies logged in again")
			}
			if a := b.get("/"); len(a.cookies) != 0 {
				t.Errorf("the old cookies got others: %v", a.cookies)
			}
			b.base = w.before
			if name != "token" && b.isLoggedIn() {
				t.Error("logged in on the version before")
			}
			if name == "both" {
				return
			}
			// What is refused is not only what is gone: as if the old session had not been destroyed.
			_, err := w.shop.DB.ExecContext(t.Context(), "REPLACE INTO sessions (token, data, expiry) VALUES (?, ?, ?)", b.value("shop_session"), data, expiry)
			if err != nil {
				t.Fatal(err)
			}
			b.base = w.after
			if b.isLoggedIn() {
				t.Error("the old cookies logged in again once the old session was back")
			}
			b.login()
			if !b.isLoggedIn() {
				t.Error("cannot log in any more")
			}
		})
	}
}

// TestLogOutEverywhere: it reaches devices that have not crossed over yet.
func TestLogOutEverywhere(t *testing.T) {
	for name, cookies := range kinds() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			laptop, phone := newBrowser(t, w.before), newBrowser(t, w.before)
			laptop.login()
			phone.login()
			laptop.keep(cookies...)
			laptop.base, phone.base = w.after, w.after
			if a := phone.post("/logout/everywhere"); a.status != http.StatusSeeOther {
				t.Fatalf("log out everywhere: %+v", a)
			}
			was := w.written(t)
			if laptop.isLoggedIn() {
				t.Error("the laptop is logged in: it had not crossed over")
			}
			if is := w.written(t); is != was {
				t.Errorf("was %s, is %s", was, is)
			}
			laptop.login()
			if !laptop.isLoggedIn() || phone.isLoggedIn() {
				t.Error("a new login of the laptop logs in the laptop and nobody else")
			}
		})
	}
}

// TestParallel: all requests of a page that loads are the first one, and get the same session.
func TestParallel(t *testing.T) {
	for name, cookies := range kinds() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := newBrowser(t, w.before)
			b.login()
			b.post("/cart", "product", "1")
			b.keep(cookies...)
			sent := b.cookies()
			const n = 20
			var wg sync.WaitGroup
			got := make([]string, n)
			for i := range got {
				one := newBrowser(t, w.after)
				one.set(sent...)
				wg.Go(func() {
					if a := one.get("/orders"); a.status != http.StatusOK {
						t.Errorf("GET /orders: %+v", a)
					}
					got[i] = one.value("handstamp")
				})
			}
			wg.Wait()
			for _, v := range got {
				if v == "" || v != got[0] {
					t.Fatal("the answers have different cookies")
				}
			}
			if n := w.sessions(t); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
		})
	}
}

// TestLostAnswer: the first answer never arrives, and the browser asks again with what it has.
func TestLostAnswer(t *testing.T) {
	w := newWorld(t)
	b := newBrowser(t, w.before)
	b.login()
	b.post("/cart", "product", "1")
	b.base = w.after
	sent := b.cookies()
	if !b.isLoggedIn() {
		t.Fatal("not logged in")
	}
	first := b.value("handstamp")
	b.set(sent...) // the answer is lost
	if !b.isLoggedIn() || b.value("handstamp") != first {
		t.Error("the second try got something else")
	}
	if n := b.inCart(); n != "1" {
		t.Errorf("%s in the cart, want 1", n)
	}
}

// TestOutage: a table that cannot be read logs nobody out.
func TestOutage(t *testing.T) {
	for table, cookie := range map[string]string{"sessions": "shop_session", "users": "shop_token"} {
		w := newWorld(t)
		b := newBrowser(t, w.before)
		b.login()
		b.keep(cookie)
		b.base = w.after
		if _, err := w.shop.DB.ExecContext(t.Context(), "ALTER TABLE "+table+" RENAME TO elsewhere"); err != nil {
			t.Fatal(err)
		}
		if a := b.get("/orders"); a.status != http.StatusServiceUnavailable || len(a.cookies) != 0 {
			t.Errorf("GET /orders without %s: %+v", table, a)
		}
		if _, err := w.shop.DB.ExecContext(t.Context(), "ALTER TABLE elsewhere RENAME TO "+table); err != nil {
			t.Fatal(err)
		}
		if !b.isLoggedIn() {
			t.Errorf("the outage of %s logged the user out", table)
		}
	}
}

// TestSameApplication walks through both versions: the answers are the same.
func TestSameApplication(t *testing.T) {
	w := newWorld(t)
	walk := func(b *browser) (seen []string) {
		note := func(what string, a answer) {
			body := a.body
			if a.status >= 400 { // what is refused is said in other words
				body = ""
			}
			seen = append(seen, fmt.Sprintf("%s: %d %s %s", what, a.status, a.location, body))
		}
		note("home", b.get("/"))
		note("orders of a visitor", b.get("/orders"))
		note("API of a visitor", b.get("/api/orders"))
		note("not a product", b.post("/cart", "product", "x"))
		note("add", b.post("/cart", "product", "2"))
		note("home", b.get("/"))
		note("home without the message", b.get("/"))
		note("login page", b.get("/login?return_to=/orders"))
		note("wrong password", b.post("/login", "email", email, "password", "guess"))
		note("nobody", b.post("/login", "email", "eve@example.com", "password", password))
		note("login", b.post("/login", "email", email, "password", password, "return_to", "/orders"))
		note("orders", b.get("/orders"))
		note("home", b.get("/"))
		note("order", b.post("/orders"))
		note("orders", b.get("/orders"))
		note("order again", b.post("/orders"))
		note("home", b.get("/"))
		note("API", b.get("/api/orders"))
		note("API login", b.do(http.MethodPost, "/api/login", "email", email, "password", "guess"))
		note("log out everywhere", b.post("/logout/everywhere"))
		note("orders", b.get("/orders"))
		note("login elsewhere", b.post("/login", "email", email, "password", password, "return_to", "https://evil.example"))
		note("log out", b.post("/logout"))
		note("home", b.get("/"))
		return seen
	}
	one := walk(newBrowser(t, w.before))
	if _, err := w.shop.DB.ExecContext(t.Context(), "DELETE FROM orders"); err != nil {
		t.Fatal(err)
	}
	two := walk(newBrowser(t, w.after))
	for i := range one {
		if one[i] != two[i] {
			t.Errorf("before: %s\nafter: %s", one[i], two[i])
		}
	}
}

// TestBearer: a program that is no browser logs in by the same call, and log out everywhere reaches it.
func TestBearer(t *testing.T) {
	w := newWorld(t)
	b := newBrowser(t, w.after)
	a := b.post("/api/login", "email", email, "password", password)
	m := regexp.MustCompile(`^{"token":"([^"]+)"}\n$`).FindStringSubmatch(a.body)
	if m == nil || len(a.cookies) != 0 {
		t.Fatalf("login: %+v", a)
	}
	orders := func() int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.after+"/api/orders", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+m[1])
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		return res.StatusCode
	}
	if got := orders(); got != http.StatusOK {
		t.Errorf("the API: %d", got)
	}
	b.login()
	b.post("/logout/everywhere")
	if got := orders(); got != http.StatusUnauthorized {
		t.Errorf("the API after log out everywhere: %d", got)
	}
}

// TestLines: the numbers in the README are those of the script, and the script counts every file of both versions.
func TestLines(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "lines").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name, n, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !bytes.Contains(readme, []byte("`"+name+"` | "+n+" |")) {
			t.Errorf("the README does not say that %s has %s lines", name, n)
		}
	}
	for _, pattern := range []string{"before/*.go", "after/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, f := range files {
			if !bytes.Contains(out, []byte(f+" ")) {
				t.Errorf("the script does not count %s", f)
			}
		}
	}
}
