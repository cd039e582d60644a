// Package before is the shop as many applications are today: sessions of alexedwards/scs for the pages, with the cart and
// messages in them, and tokens of golang-jwt for the API.
package before

import (
	"context"
	"encoding/gob"
	"log/slog"
	"net/http"
	"time"

	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"

	"github.com/handstamp/handstamp/examples/migrate/shop"
)

// App is the application.
type App struct {
	shop     *shop.Shop
	sessions *scs.SessionManager
	store    *sqlite3store.SQLite3Store
	key      []byte // signs the tokens of the API
}

// Open puts the application together. key signs the tokens of the API.
func Open(_ context.Context, s *shop.Shop, key []byte) (*App, error) {
	gob.Register(shop.Cart{})
	store := sqlite3store.New(s.DB)
	sessions := scs.New()
	sessions.Store = store
	sessions.Lifetime = 24 * time.Hour
	sessions.IdleTimeout = 2 * time.Hour
	sessions.Cookie.Name = "shop_session"
	sessions.Cookie.SameSite = http.SameSiteLaxMode
	return &App{shop: s, sessions: sessions, store: store, key: key}, nil
}

// Close ends what Open began.
func (a *App) Close() error {
	a.store.StopCleanup()
	return nil
}

// Handler is every page.
func (a *App) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", a.page(a.home))
	mux.Handle("POST /cart", a.page(a.addToCart))
	mux.Handle("GET /login", a.page(a.showLogin))
	mux.Handle("POST /login", a.page(a.login))
	mux.Handle("POST /logout", a.page(a.logout))
	mux.Handle("POST /logout/everywhere", a.loggedIn(a.page(a.logoutEverywhere)))
	mux.Handle("GET /orders", a.loggedIn(a.page(a.orders)))
	mux.Handle("POST /orders", a.loggedIn(a.page(a.order)))
	mux.Handle("POST /api/login", a.page(a.apiLogin))
	mux.Handle("GET /api/orders", a.withToken(a.page(a.apiOrders)))
	return http.NewCrossOriginProtection().Handler(a.sessions.LoadAndSave(mux))
}

type handler func(w http.ResponseWriter, r *http.Request) error

func (a *App) page(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			slog.ErrorContext(r.Context(), "request failed", "error", err)
			http.Error(w, "something went wrong", http.StatusInternalServerError)
		}
	})
}
