package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// adminMaxAuthAge is how long after a login the administration is open: a browser that was left open is no administrator.
const adminMaxAuthAge = 10 * time.Minute

func (a *app) showAdmin(w http.ResponseWriter, r *http.Request) error {
	users, err := a.accounts.Users().List(r.Context(), account.UserFilter{Limit: 1000})
	if err != nil {
		return err
	}
	return a.render(w, r, "admin", view{Users: users})
}

// changeUser disables a user, who is out at that moment on every device, or enables one, who then has to log in.
func (a *app) changeUser(w http.ResponseWriter, r *http.Request) error {
	disable := r.PostFormValue("action") == "disable"
	if !disable && r.PostFormValue("action") != "enable" {
		return handstamp.ErrNotFound
	}
	user := handstamp.UserID(r.PathValue("id"))
	_, err := a.accounts.SetDisabled(r.Context(), user, disable, handstamp.EndOptions{Client: a.auth.ClientOf(r)})
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/admin", http.StatusSeeOther)
	return nil
}

// makeAdmin gives an account the role admin, which may do everything. It takes effect on the session that is open.
func (a *app) makeAdmin(ctx context.Context, email string) error {
	address, err := account.ParseAddress(email)
	if err != nil {
		return err
	}
	user, err := a.accounts.Users().ByEmail(ctx, address)
	if errors.Is(err, handstamp.ErrNotFound) {
		return fmt.Errorf("there is no account with the address %s: sign up first", address)
	}
	if err != nil {
		return fmt.Errorf("find the account to make admin: %w", err)
	}
	_, err = a.accounts.SetRoles(ctx, user.ID, []string{account.RoleAdmin}, handstamp.EndOptions{Client: handstamp.Client{Actor: "cli"}})
	return err
}
