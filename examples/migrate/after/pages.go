package after

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/handstamp/handstamp"

	"github.com/handstamp/handstamp/examples/migrate/shop"
)

// user is who is logged in; empty for a visitor.
func user(r *http.Request) string {
	p, _ := handstamp.FromContext(r.Context())
	return string(p.User)
}

// render writes a page with what all pages show.
func (a *App) render(w http.ResponseWriter, r *http.Request, page string, v shop.View) error {
	sid, ok, err := a.auth.Visitor(r) // a page that only shows things begins no session
	if err != nil {
		return err
	}
	if ok {
		if v.Flash, _, err = a.flash.Pop(r.Context(), sid); err != nil {
			return err
		}
	}
	if u := user(r); u != "" {
		if v.Email, err = a.shop.Email(r.Context(), u); err != nil {
			return err
		}
	}
	return a.shop.Render(w, page, v)
}

func (a *App) home(w http.ResponseWriter, r *http.Request) error {
	var c shop.Cart
	sid, ok, err := a.auth.Visitor(r)
	if err == nil && ok {
		c, _, err = a.cart.Get(r.Context(), sid)
	}
	if err != nil {
		return err
	}
	products, err := a.shop.Products(r.Context(), c)
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
	sid, err := a.auth.Anonymous(w, r) // the user's session, or the visitor's, which begins with the first thing to keep
	if err != nil {
		return err
	}
	err = a.cart.Update(r.Context(), sid, func(c shop.Cart) (shop.Cart, error) {
		if c == nil {
			c = shop.Cart{}
		}
		c[id]++
		return c, nil
	})
	return a.tell(w, r, sid, err, "It is in your cart.", "/")
}

// tell keeps a message for the next page and goes there.
func (a *App) tell(w http.ResponseWriter, r *http.Request, sid handstamp.SessionID, err error, message, next string) error {
	if err == nil {
		err = a.flash.Set(r.Context(), sid, message)
	}
	if err == nil {
		http.Redirect(w, r, next, http.StatusSeeOther) //nolint:gosec // a path of this program, or what ReturnTo let through
	}
	return err
}

func (a *App) showLogin(w http.ResponseWriter, r *http.Request) error {
	return a.render(w, r, "login", shop.View{ReturnTo: r.FormValue("return_to")})
}

// check is the application's own check of a password. Prove comes before the hash is read.
func (a *App) check(r *http.Request) (proof handstamp.Proof, ok bool, err error) {
	u, err := a.shop.UserByEmail(r.Context(), r.PostFormValue("email"))
	if err == nil && u != "" {
		proof, err = a.auth.Prove(r.Context(), handstamp.UserID(u))
	}
	if err == nil {
		ok, err = a.shop.PasswordIsRight(r.Context(), u, r.PostFormValue("password"))
	}
	proof.Methods = []string{"pwd"}
	return proof, ok, err
}

func (a *App) login(w http.ResponseWriter, r *http.Request) error {
	proof, ok, err := a.check(r)
	if err != nil {
		return err
	}
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return a.render(w, r, "login", shop.View{ReturnTo: r.FormValue("return_to")})
	}
	g, err := a.auth.Login(w, r, proof)
	return a.tell(w, r, g.Session.ID, err, "Welcome.", a.auth.ReturnTo(r.PostFormValue("return_to"), "/"))
}

func (a *App) logout(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.auth.LogOutRequest(w, r, handstamp.EndOptions{}); err != nil {
		return err
	}
	if err := a.old.forget(w, r); err != nil {
		return err
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (a *App) logoutEverywhere(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.auth.EndUser(r.Context(), handstamp.UserID(user(r)), handstamp.EndOptions{}); err != nil {
		return err
	}
	return a.logout(w, r)
}

func (a *App) orders(w http.ResponseWriter, r *http.Request) error {
	list, err := a.shop.Orders(r.Context(), user(r))
	if err != nil {
		return err
	}
	return a.render(w, r, "orders", shop.View{Orders: list})
}

func (a *App) order(w http.ResponseWriter, r *http.Request) error {
	p, _ := handstamp.FromContext(r.Context())
	c, ok, err := a.cart.Pop(r.Context(), p.Session) // of two clicks one gets it
	if err != nil || !ok {
		return a.tell(w, r, p.Session, err, "Your cart is empty.", "/")
	}
	if err := a.shop.Order(r.Context(), user(r), c); err != nil {
		return errors.Join(err, a.cart.Set(r.Context(), p.Session, c))
	}
	return a.tell(w, r, p.Session, nil, "Thank you.", "/orders")
}

// apiLogin gives a token to programs that are no browser.
func (a *App) apiLogin(w http.ResponseWriter, r *http.Request) error {
	proof, ok, err := a.check(r)
	if err != nil {
		return err
	}
	if !ok {
		http.Error(w, "wrong address or password", http.StatusUnauthorized)
		return nil
	}
	proof.Transport = handstamp.TransportBearer
	g, err := a.auth.Login(w, r, proof)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(map[string]string{"token": g.AccessToken.Reveal()})
}

func (a *App) apiOrders(w http.ResponseWriter, r *http.Request) error {
	list, err := a.shop.Orders(r.Context(), user(r))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string][]string{"orders": list})
}
