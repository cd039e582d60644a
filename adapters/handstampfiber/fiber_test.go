package handstampfiber_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/adapters/handstampfiber"
	"github.com/handstamp/handstamp/store/memory"
)

// TestOverriddenMethod: what fiber routes as a POST is judged as a POST, also when the method was overridden between two
// middlewares of ours. The first one's look at the request is not kept then.
func TestOverriddenMethod(t *testing.T) {
	store := memory.New()
	auth, err := handstamp.Open(t.Context(), store, handstamp.Options{PublicURL: "http://127.0.0.1:3000"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(auth.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	p, err := auth.Prove(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	g, err := auth.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	app := fiber.New()
	app.Use(handstampfiber.Wrap(auth.Optional()), func(c fiber.Ctx) error {
		if c.Query("method") != "" {
			c.Method(c.Query("method"))
		}
		return c.Next()
	}, handstampfiber.Wrap(auth.Require()), func(c fiber.Ctx) error { return c.SendString("in") })
	for path, want := range map[string]int{"/": http.StatusOK, "/?method=POST": http.StatusForbidden} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Cookie", "handstamp="+g.AccessToken.Reveal())
		r.Header.Set("Origin", "https://evil.example")
		res, err := app.Test(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}
