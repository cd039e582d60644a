package before

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/handstamp/handstamp/examples/migrate/shop"
)

func (a *App) cart(r *http.Request) shop.Cart {
	c, ok := a.sessions.Get(r.Context(), "cart").(shop.Cart)
	if !ok {
		c = shop.Cart{}
	}
	return c
}

// render writes a page with what all pages show.
func (a *App) render(w http.ResponseWriter, r *http.Request, page string, v shop.View) error {
	u, err := a.sessionUser(r.Context())
	if err != nil {
		return err
	}
	if u != "" {
		if v.Email, err = a.shop.Email(r.Context(), u); err != nil {
			return err
		}
	}
	v.Flash = a.sessions.PopString(r.Context(), "flash")
	return a.shop.Render(w, page, v)
}

func (a *App) home(w http.ResponseWriter, r *http.Request) error {
	products, err := a.shop.Products(r.Context(), a.cart(r))
	if err != nil {
		return err
	}
	return a.render(w, r, "home", shop.View{Products: products})
}

func (a *App) addToCart(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.Atoi(r.PostFormValue("product"))
	if err != nil {
		http.Error(w, "no such product", http.StatusBadRequest)
		return nil
	}
	c := a.cart(r)
	c[id]++ // two requests at once: the second answer overwrites what the first one added
	a.sessions.Put(r.Context(), "cart", c)
	a.sessions.Put(r.Context(), "flash", "It is in your cart.")
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (a *App) showLogin(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, "login", shop.View{ReturnTo: r.FormValue("return_to")})
}

// check is the application's own check of a password.
func (a *App) check(r *http.Request) (user string, ok bool, err error) {
	if user, err = a.shop.UserByEmail(r.Context(), r.PostFormValue("email")); err != nil {
		return "", false, err
	}
	ok, err = a.shop.PasswordIsRight(r.Context(), user, r.PostFormValue("password"))
	return user, ok, err
}

func (a *App) login(w http.ResponseWriter, r *http.Request) error {
	u, ok, err := a.check(r)
	if err != nil {
		return err
	}
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return a.render(w, r, "login", shop.View{ReturnTo: r.FormValue("return_to")})
	}
	if err := a.begin(w, r, u); err != nil {
		return err
	}
	a.sessions.Put(r.Context(), "flash", "Welcome.")
	http.Redirect(w, r, localPath(r.PostFormValue("return_to")), http.StatusSeeOther) //nolint:gosec // localPath is the check
	return nil
}

// localPath lets through only what stays in this application.
func localPath(target string) string {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(target, "/") ||
		strings.HasPrefix(target, "//") || strings.ContainsAny(target, "\\\t\r\n") {
		return "/"
	}
	return target
}

func (a *App) logout(w http.ResponseWriter, r *http.Request) error {
	if err := a.end(w, r); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (a *App) logoutEverywhere(w http.ResponseWriter, r *http.Request) error {
	if err := a.endEverywhere(r.Context(), user(r.Context())); err != nil {
		return err
	}
	return a.logout(w, r)
}

func (a *App) orders(w http.ResponseWriter, r *http.Request) error {
	list, err := a.shop.Orders(r.Context(), user(r.Context()))
	if err != nil {
		return err
	}
	return a.render(w, r, "orders", shop.View{Orders: list})
}

func (a *App) order(w http.ResponseWriter, r *http.Request) error {
	c := a.cart(r)
	if len(c) == 0 {
		a.sessions.Put(r.Context(), "flash", "Your cart is empty.")
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	if err := a.shop.Order(r.Context(), user(r.Context()), c); err != nil {
		return err
	}
	a.sessions.Remove(r.Context(), "cart")
	a.sessions.Put(r.Context(), "flash", "Thank you.")
	http.Redirect(w, r, "/orders", http.StatusSeeOther)
	return nil
}

// apiLogin gives a token to programs that are no browser.
func (a *App) apiLogin(w http.ResponseWriter, r *http.Request) error {
	u, ok, err := a.check(r)
	if err != nil {
		return err
	}
	if !ok {
		http.Error(w, "wrong address or password", http.StatusUnauthorized)
		return nil
	}
	text, err := a.sign(u, time.Now())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(map[string]string{"token": text})
}

func (a *App) apiOrders(w http.ResponseWriter, r *http.Request) error {
	list, err := a.shop.Orders(r.Context(), user(r.Context()))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string][]string{"orders": list})
}
