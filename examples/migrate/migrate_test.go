package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// kinds are what a browser may have of the version before.
func kinds() map[string][]string {
	return map[string][]string{
		"both": {"shop_session", "shop_token"}, "session": {"shop_session"}, "token": {"shop_token"},
	}
}

// TestCrossOver: who was logged in before the switch stays logged in, and keeps the cart.
func TestCrossOver(t *testing.T) {
	for name, cookies := range kinds() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := newBrowser(t, w.before)
			b.post("/cart", "product", "1") // as a visitor
			b.login()
			b.post("/cart", "product", "1")
			b.keep(cookies...)
			b.base = w.after
			if !b.isLoggedIn() {
				t.Fatal("the switch cost a login")
			}
			if n := w.sessions(t); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
			if a := b.get("/api/orders"); a.status != http.StatusOK {
				t.Errorf("the API: %+v", a)
			}
			if name == "token" {
				return // a token never had a cart
			}
			if n := b.inCart(); n != "2" {
				t.Errorf("%s in the cart, want 2", n)
			}
			b.post("/cart", "product", "1")
			if a := b.post("/orders"); a.location != "/orders" {
				t.Errorf("order: %+v", a)
			}
			if a := b.get("/orders"); !strings.Contains(a.body, "<li>3×1 </li>") || !strings.Contains(a.body, "Thank you.") {
				t.Errorf("the orders are %s", a.body)
			}
			if n := b.inCart(); n != "0" {
				t.Errorf("%s in the cart after the order: the old one came back", n)
			}
			b.keep("handstamp")
			if !b.isLoggedIn() {
				t.Error("the new cookie alone is not enough")
			}
		})
	}
}

// TestVisitorCrossesOver: a visitor's cart crosses over, and then goes along with the login.
func TestVisitorCrossesOver(t *testing.T) {
	w := newWorld(t)
	b := newBrowser(t, w.before)
	b.post("/cart", "product", "1")
	b.base = w.after
	if n := b.inCart(); n != "1" {
		t.Fatalf("%s in the visitor's cart, want 1", n)
	}
	b.post("/cart", "product", "1")
	if b.isLoggedIn() {
		t.Fatal("a cart logged somebody in")
	}
	b.login()
	if n := b.inCart(); n != "2" {
		t.Errorf("%s in the user's cart, want 2", n)
	}
	b.post("/orders")
	if n := b.inCart(); n != "0" {
		t.Errorf("%s in the cart after the order: the old one came back", n)
	}
}

func sign(t *testing.T, method jwt.SigningMethod, key any, c jwt.Claims) *http.Cookie {
	t.Helper()
	text, err := jwt.NewWithClaims(method, c).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Cookie{Name: "shop_token", Value: text}
}

// TestNotGood: with an old cookie that is not good one is a visitor, and nothing is written.
func TestNotGood(t *testing.T) {
	w := newWorld(t)
	good := func(change func(*jwt.RegisteredClaims)) jwt.RegisteredClaims {
		c := jwt.RegisteredClaims{
			Issuer: "shop", Subject: w.user,
			IssuedAt: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)),
		}
		change(&c)
		return c
	}
	hs := jwt.SigningMethodHS256
	old := newBrowser(t, w.before)
	old.login()
	session := old.value("shop_session")
	if _, err := w.shop.DB.ExecContext(t.Context(), "UPDATE sessions SET expiry = julianday('now') - 1"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*http.Cookie{
		"expired session":       {Name: "shop_session", Value: session},
		"made-up session":       {Name: "shop_session", Value: strings.Repeat("A", 43)},
		"empty session":         {Name: "shop_session"},
		"session as a token":    {Name: "shop_token", Value: session},
		"another key":           sign(t, hs, []byte("somebody else's key"), good(func(*jwt.RegisteredClaims) {})),
		"no signature":          sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good(func(*jwt.RegisteredClaims) {})),
		"expired":               sign(t, hs, jwtKey(), good(func(c *jwt.RegisteredClaims) { c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Second)) })),
		"no end":                sign(t, hs, jwtKey(), good(func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil })),
		"no time of issue":      sign(t, hs, jwtKey(), good(func(c *jwt.RegisteredClaims) { c.IssuedAt = nil })),
		"issued in the future":  sign(t, hs, jwtKey(), good(func(c *jwt.RegisteredClaims) { c.IssuedAt = jwt.NewNumericDate(time.Now().Add(time.Hour)) })),
		"of another system":     sign(t, hs, jwtKey(), good(func(c *jwt.RegisteredClaims) { c.Issuer = "blog" })),
		"of nobody":             sign(t, hs, jwtKey(), good(func(c *jwt.RegisteredClaims) { c.Subject = "" })),
		"of a user who is gone": sign(t, hs, jwtKey(), good(func(c *jwt.RegisteredClaims) { c.Subject = "4711" })),
	} {
		t.Run(name, func(t *testing.T) {
			was := w.written(t)
			b := newBrowser(t, w.after)
			b.set(c)
			if a := b.get("/"); a.status != http.StatusOK || len(a.cookies) != 0 {
				t.Errorf("GET /: %+v", a)
			}
			if b.isLoggedIn() {
				t.Error("logged in")
			}
			if a := b.get("/api/orders"); a.status != http.StatusUnauthorized {
				t.Errorf("the API: %+v", a)
			}
			if is := w.written(t); is != was {
				t.Errorf("was %s, is %s", was, is)
			}
		})
	}
	t.Run("good", func(t *testing.T) { // or the others would prove nothing
		b := newBrowser(t, w.after)
		b.set(sign(t, hs, jwtKey(), good(func(*jwt.RegisteredClaims) {})))
		if !b.isLoggedIn() {
			t.Error("not logged in")
		}
	})
}

// TestEndedBefore: what the version before ended stays ended.
func TestEndedBefore(t *testing.T) {
	w := newWorld(t)
	laptop, phone := newBrowser(t, w.before), newBrowser(t, w.before)
	laptop.login()
	phone.login()
	// The version before compares whole seconds: the second must be over.
	if _, err := w.shop.DB.ExecContext(t.Context(), "UPDATE users SET valid_after = ?", time.Now().Unix()+1); err != nil {
		t.Fatal(err)
	}
	laptop.base = w.after
	if laptop.isLoggedIn() {
		t.Error("what was ended before the switch came back to life by it")
	}
}
