package before

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	issuer      = "shop"
	tokenCookie = "shop_token"
	tokenLife   = 7 * 24 * time.Hour
)

type userKey struct{}

// user is who is logged in, in the session or by a token; empty for a visitor.
func user(ctx context.Context) string {
	u, _ := ctx.Value(userKey{}).(string)
	return u
}

// sessionUser is who is logged in by the session. Sessions from before "log out everywhere" do not count.
func (a *App) sessionUser(ctx context.Context) (string, error) {
	u := a.sessions.GetString(ctx, "user")
	if u == "" {
		return "", nil
	}
	ok, err := a.validSince(ctx, u, time.Unix(a.sessions.GetInt64(ctx, "login_at"), 0))
	if err != nil || ok {
		return u, err
	}
	return "", a.sessions.Destroy(ctx)
}

// validSince reports whether a login of that time is one that "log out everywhere" did not end.
func (a *App) validSince(ctx context.Context, user string, at time.Time) (ok bool, err error) {
	err = a.shop.DB.QueryRowContext(ctx, "SELECT valid_after <= ? FROM users WHERE id = ?", at.Unix(), user).Scan(&ok)
	return ok, err
}

// loggedIn lets nobody else through.
func (a *App) loggedIn(next http.Handler) http.Handler {
	return a.page(func(w http.ResponseWriter, r *http.Request) error {
		u, err := a.sessionUser(r.Context())
		if err != nil {
			return err
		}
		if u == "" {
			http.Redirect(w, r, "/login?return_to="+url.QueryEscape(r.URL.RequestURI()), http.StatusFound)
			return nil
		}
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, u)))
		return nil
	})
}

// begin logs a user in: a new session token against fixation, and a token for the API.
func (a *App) begin(w http.ResponseWriter, r *http.Request, user string) error {
	if err := a.sessions.RenewToken(r.Context()); err != nil {
		return err
	}
	now := time.Now()
	a.sessions.Put(r.Context(), "user", user)
	a.sessions.Put(r.Context(), "login_at", now.Unix())
	text, err := a.sign(user, now)
	if err != nil {
		return err
	}
	//nolint:gosec // without Secure, since the example runs on plain http
	http.SetCookie(w, &http.Cookie{
		Name: tokenCookie, Value: text, Path: "/", MaxAge: int(tokenLife.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return nil
}

// end logs this browser out. The token lives on until it runs out, wherever there is a copy of it.
func (a *App) end(w http.ResponseWriter, r *http.Request) error {
	//nolint:gosec // it has no value any more
	http.SetCookie(w, &http.Cookie{Name: tokenCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	return a.sessions.Destroy(r.Context())
}

// endEverywhere logs a user out on every device. What was issued in the very second of the call goes on.
func (a *App) endEverywhere(ctx context.Context, user string) error {
	_, err := a.shop.DB.ExecContext(ctx, "UPDATE users SET valid_after = ? WHERE id = ?", time.Now().Unix(), user)
	return err
}

func (a *App) sign(user string, now time.Time) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		ID: rand.Text(), Issuer: issuer, Subject: user, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(tokenLife)),
	}).SignedString(a.key)
}

// withToken lets through who has a good token, in the header or in the cookie.
func (a *App) withToken(next http.Handler) http.Handler {
	return a.page(func(w http.ResponseWriter, r *http.Request) error {
		text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if c, err := r.Cookie(tokenCookie); !ok && err == nil {
			text = c.Value
		}
		var claims jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(text, &claims, func(*jwt.Token) (any, error) { return a.key, nil },
			jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(issuer), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
		if err == nil && claims.IssuedAt == nil {
			err = errors.New("no time of issue")
		}
		if err != nil {
			http.Error(w, "not logged in", http.StatusUnauthorized)
			return nil
		}
		ok, err = a.validSince(r.Context(), claims.Subject, claims.IssuedAt.Time)
		if err != nil {
			return err
		}
		if !ok {
			http.Error(w, "not logged in", http.StatusUnauthorized)
			return nil
		}
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, claims.Subject)))
		return nil
	})
}
