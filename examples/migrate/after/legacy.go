package after

import (
	"context"
	"database/sql"
	"encoding/gob"
	"errors"
	"net/http"
	"time"

	"github.com/alexedwards/scs/sqlite3store"
	"github.com/alexedwards/scs/v2"
	"github.com/golang-jwt/jwt/v5"

	"github.com/handstamp/handstamp"

	"github.com/handstamp/handstamp/examples/migrate/shop"
)

// The names of the cookies of the version before.
const (
	oldSession = "shop_session"
	oldToken   = "shop_token"
)

// movedName is session data that says that the old cart was looked at.
const movedName = "moved"

// legacy reads what the version before wrote. Take it out once no login of that version can live any more, here seven
// days after the switch.
type legacy struct {
	shop     *shop.Shop
	auth     *handstamp.Auth
	sessions *scs.SessionManager
	key      []byte
	moved    *handstamp.Data[bool]
}

func newLegacy(s *shop.Shop, auth *handstamp.Auth, key []byte) *legacy {
	gob.Register(shop.Cart{})
	sessions := scs.New()
	sessions.Store = sqlite3store.NewWithCleanupInterval(s.DB, 0)
	sessions.Cookie.Name = oldSession
	sessions.Cookie.SameSite = http.SameSiteLaxMode
	return &legacy{shop: s, auth: auth, sessions: sessions, key: key, moved: handstamp.NewData[bool](auth, movedName)}
}

// prove is for Auth.Adopt: who was logged in before the switch.
func (l *legacy) prove(r *http.Request) (handstamp.Proof, error) {
	user, credential, issued, err := l.find(r)
	if err != nil {
		return handstamp.Proof{}, err // could not be found out
	}
	if user == "" {
		return handstamp.Proof{}, handstamp.ErrUnauthenticated
	}
	// Prove comes before the look at what can end a login.
	proof, err := l.auth.Prove(r.Context(), handstamp.UserID(user))
	if err != nil {
		return handstamp.Proof{}, err
	}
	var good bool // what the version before ended stays ended
	err = l.shop.DB.QueryRowContext(r.Context(), "SELECT valid_after <= ? FROM users WHERE id = ?", issued.Unix(), user).Scan(&good)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !good {
		return handstamp.Proof{}, handstamp.ErrUnauthenticated
	}
	if err != nil {
		return handstamp.Proof{}, err
	}
	proof.Methods = []string{"pwd"}
	return proof.Replacing(credential, issued), nil
}

// find looks at the two old credentials of one login, the one that lives longer first and always: a browser that is
// adopted by one of them today and by the other one tomorrow would have two sessions.
func (l *legacy) find(r *http.Request) (user, credential string, issued time.Time, err error) {
	if c, err := r.Cookie(oldToken); err == nil {
		var claims jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(c.Value, &claims, func(*jwt.Token) (any, error) { return l.key, nil },
			jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("shop"), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
		if err == nil && claims.IssuedAt != nil {
			return claims.Subject, c.Value, claims.IssuedAt.Time, nil
		}
	}
	ctx, text, err := l.load(r)
	if err != nil || text == "" {
		return "", "", time.Time{}, err
	}
	return l.sessions.GetString(ctx, "user"), text, time.Unix(l.sessions.GetInt64(ctx, "login_at"), 0), nil
}

// load reads the old session of a request; the text is empty for none. Nothing is written.
func (l *legacy) load(r *http.Request) (ctx context.Context, text string, err error) {
	c, err := r.Cookie(oldSession)
	if err != nil {
		return nil, "", nil
	}
	ctx, err = l.sessions.Load(r.Context(), c.Value)
	return ctx, c.Value, err
}

// bringOver puts the cart of the old session, the user's or the visitor's, into the new one, once.
func (a *App) bringOver(next http.Handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := a.old.cart(w, r, a.cart); err != nil {
			return err
		}
		next.ServeHTTP(w, r)
		return nil
	}
}

func (l *legacy) cart(w http.ResponseWriter, r *http.Request, to *handstamp.Data[shop.Cart]) error {
	ctx, text, err := l.load(r)
	if err != nil || text == "" {
		return err
	}
	old, _ := l.sessions.Get(ctx, "cart").(shop.Cart)
	if len(old) == 0 {
		return nil
	}
	sid, err := l.auth.Anonymous(w, r)
	if err != nil {
		return err
	}
	if moved, _, err := l.moved.Get(r.Context(), sid); err != nil || moved {
		return err
	}
	err = to.Update(r.Context(), sid, func(c shop.Cart) (shop.Cart, error) {
		if c == nil {
			c = old
		}
		return c, nil
	})
	if err != nil {
		return err
	}
	return l.moved.Set(r.Context(), sid, true)
}

// forget ends the old session at a log-out, in case somebody goes back to the version before, and clears its cookies. The
// old token cannot be ended; that it opens nothing here any more is for Adopt to know.
func (l *legacy) forget(w http.ResponseWriter, r *http.Request) error {
	ctx, text, err := l.load(r)
	if err == nil && text != "" {
		err = l.sessions.Destroy(ctx)
	}
	for _, name := range []string{oldSession, oldToken} {
		//nolint:gosec // it has no value any more
		http.SetCookie(w, &http.Cookie{Name: name, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	}
	return err
}
