// Package after is the same shop on Handstamp: the same routes, pages and table of users. What is there only until
// everybody has crossed over is in legacy.go.
package after

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/sqlite"

	"github.com/handstamp/handstamp/examples/migrate/shop"
)

// App is the application.
type App struct {
	shop  *shop.Shop
	store *sqlite.Store
	auth  *handstamp.Auth
	cart  *handstamp.Data[shop.Cart]
	flash *handstamp.Data[string]
	old   *legacy
}

// Open puts the application together. Its sessions are in the file that the rest of it is in. key is what the tokens of
// the version before were signed with.
func Open(ctx context.Context, s *shop.Shop, file, publicURL string, secret, key []byte) (*App, error) {
	store, err := sqlite.Open(ctx, file, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	auth, err := handstamp.Open(ctx, store, handstamp.Options{
		PublicURL: publicURL,
		LoginURL:  "/login",
		Secrets:   [][]byte{secret},
		Session:   handstamp.SessionOptions{IdleTimeout: 24 * time.Hour, AbsoluteTimeout: 7 * 24 * time.Hour},
		Cookie:    handstamp.CookieOptions{SameSite: http.SameSiteLaxMode},
		Carry:     []string{"cart", "flash", movedName},
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &App{
		shop: s, store: store, auth: auth,
		cart: handstamp.NewData[shop.Cart](auth, "cart"), flash: handstamp.NewData[string](auth, "flash"),
		old: newLegacy(s, auth, key),
	}, nil
}

// Close ends what Open began.
func (a *App) Close() error { return errors.Join(a.auth.Close(), a.store.Close()) }

// Handler is every page.
func (a *App) Handler() http.Handler {
	anyone, loggedIn := a.auth.Optional(), a.auth.Require()
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", anyone(a.page(a.home)))
	mux.Handle("POST /cart", anyone(a.page(a.addToCart)))
	mux.Handle("GET /login", anyone(a.page(a.showLogin)))
	mux.Handle("POST /login", anyone(a.page(a.login)))
	mux.Handle("POST /logout", anyone(a.page(a.logout)))
	mux.Handle("POST /logout/everywhere", loggedIn(a.page(a.logoutEverywhere)))
	mux.Handle("GET /orders", loggedIn(a.page(a.orders)))
	mux.Handle("POST /orders", loggedIn(a.page(a.order)))
	mux.Handle("POST /api/login", a.page(a.apiLogin))
	mux.Handle("GET /api/orders", loggedIn(a.page(a.apiOrders)))
	return a.auth.Adopt(a.old.prove)(a.page(a.bringOver(mux)))
}

type handler func(w http.ResponseWriter, r *http.Request) error

func (a *App) page(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.auth.Deny(w, r, err)
		}
	})
}
