package main

import (
	"context"
	"errors"
	"net/http"
	"net/mail"
	"net/netip"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
)

// errWrong is the one answer to an unknown address and to a wrong password.
var errWrong = refuse(http.StatusUnauthorized, "invalid_credentials", "The address or the password is wrong.")

// signUp makes a user, who then logs in like everybody.
func (a *app) signUp(w http.ResponseWriter, r *http.Request) error {
	var in struct{ Name, Email, Password string }
	if err := read(r, &in); err != nil {
		return err
	}
	address, err := mail.ParseAddress(in.Email)
	if err != nil || address.Name != "" {
		return refuse(http.StatusUnprocessableEntity, "invalid_input", "The address is not one.")
	}
	if err := checkNew(in.Password); err != nil {
		return err
	}
	n := user{Name: in.Name, Email: canonical(in.Email)}
	if n.Hash, err = a.hashes.hash(in.Password); err != nil {
		return err
	}
	n, ok, err := a.users.add(r.Context(), n)
	if err != nil {
		return err
	}
	if !ok {
		return refuse(http.StatusConflict, "email_taken", "There is an account with this address.")
	}
	return write(w, http.StatusCreated, map[string]string{"id": string(n.id())})
}

func checkNew(password string) error {
	if len(password) < minPasswordBytes || len(password) > maxPasswordBytes {
		return refuse(http.StatusUnprocessableEntity, "invalid_input", "A password has 8 to 72 bytes.")
	}
	return nil
}

func canonical(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// logIn checks the password against the application's own table, and begins a session.
func (a *app) logIn(w http.ResponseWriter, r *http.Request) error {
	var in struct{ Email, Password string }
	if err := read(r, &in); err != nil {
		return err
	}
	client := a.auth.ClientOf(r)
	address := limit{"address " + canonical(in.Email), 10}
	if err := a.mayTry(address, limit{"network " + network(client.IP), 100}); err != nil {
		return err
	}
	// Once more, if a new password or "log out everywhere" came in between: then the check is out of date.
	for try := 0; ; try++ {
		id, err := a.users.idOf(r.Context(), canonical(in.Email))
		if err != nil {
			return err
		}
		proof, err := a.prove(r.Context(), id, in.Password)
		if errors.Is(err, errWrong) {
			// What was typed is not in the log: people type their password into the wrong field.
			failed := a.auth.AuditEntry(client, audit.Event{Kind: audit.LoginFailed, Target: string(id)})
			if err := a.auth.RecordAudit(r.Context(), failed); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		_, err = a.auth.Login(w, r, proof)
		if errors.Is(err, handstamp.ErrProofOutdated) && try == 0 {
			continue
		}
		if err != nil {
			return err
		}
		a.attempts.forget(address)
		return done(w)
	}
}

// prove checks the password of a user. The order is what makes it safe: first the numbers of Handstamp (Prove), then the
// row. A new password is written first, and then ends the sessions; so whoever reads the old hash here has read the numbers
// from before that end, and Login refuses the proof.
func (a *app) prove(ctx context.Context, id handstamp.UserID, typed string) (handstamp.Proof, error) {
	proof, err := a.auth.Prove(ctx, id)
	if err != nil {
		return handstamp.Proof{}, err
	}
	u, err := a.users.byID(ctx, id)
	if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
		return handstamp.Proof{}, err
	}
	right, err := a.hashes.right(u.Hash, typed)
	switch {
	case err != nil:
		return handstamp.Proof{}, err
	case !right:
		return handstamp.Proof{}, errWrong
	case u.Disabled: // said only to who knows the password
		return handstamp.Proof{}, handstamp.ErrDisabled
	}
	proof.Methods = []string{"pwd"}
	return proof, nil
}

func (a *app) mayTry(limits ...limit) error {
	wait := a.attempts.take(a.auth.Now(), limits...)
	if wait == 0 {
		return nil
	}
	p := handstamp.NewProblem(http.StatusTooManyRequests, "too_many_attempts", "Too many attempts", "Wait a moment and try again.")
	p.RetryAfter = max(wait, time.Second)
	return &refusal{p}
}

// network is what an address counts as: an IPv6 client has 2^64 of them.
func network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return "unknown"
	}
	return handstamp.Network(addr).String()
}
