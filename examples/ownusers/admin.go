package main

import (
	"net/http"

	"github.com/handstamp/handstamp"
)

// changeUser gives a user another role or switches them off. Each is written to the application's table first, and then
// told to Handstamp; if the second step fails, the answer is 503, and the same call again completes it.
func (a *app) changeUser(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Role     *string
		Disabled *bool
	}
	if err := read(r, &in); err != nil {
		return err
	}
	id := handstamp.UserID(r.PathValue("id"))
	if in.Role != nil {
		if *in.Role != manager && *in.Role != customer {
			return refuse(http.StatusUnprocessableEntity, "invalid_input", "There is no such role.")
		}
		if err := a.users.setRole(r.Context(), id, *in.Role); err != nil {
			return err
		}
		// Handstamp asks for the role now; the user's next request has it. Sessions go on.
		if _, err := a.auth.Changed(r.Context(), id, a.end(r, "role")); err != nil {
			return err
		}
	}
	if in.Disabled != nil {
		if err := a.users.setDisabled(r.Context(), id, *in.Disabled); err != nil {
			return err
		}
		if *in.Disabled { // no login from now on, and what began before ends
			if _, err := a.auth.EndUser(r.Context(), id, a.end(r, "disabled")); err != nil {
				return err
			}
		}
	}
	return done(w)
}
