package main

import (
	"net/http"
	"time"

	"github.com/handstamp/handstamp"
)

type device struct {
	ID        handstamp.SessionID `json:"id"`
	Current   bool                `json:"current"`
	IP        string              `json:"ip"`
	UserAgent string              `json:"user_agent"`
	Since     time.Time           `json:"created_at"`
	LastSeen  time.Time           `json:"last_seen_at"`
}

// devices lists where the user is logged in.
func (a *app) devices(w http.ResponseWriter, r *http.Request) error {
	p, _ := handstamp.FromContext(r.Context())
	sessions, err := a.auth.Sessions(r.Context(), handstamp.SessionFilter{User: p.User})
	if err != nil {
		return err
	}
	list := make([]device, 0, len(sessions))
	for _, s := range sessions {
		list = append(list, device{ID: s.ID, Current: s.ID == p.Session, IP: s.IP, UserAgent: s.UserAgent, Since: s.CreatedAt, LastSeen: s.SeenAt})
	}
	return write(w, http.StatusOK, map[string][]device{"devices": list})
}

// endDevice logs one device out. The session must be the user's own: its id is no secret.
func (a *app) endDevice(w http.ResponseWriter, r *http.Request) error {
	p, _ := handstamp.FromContext(r.Context())
	s, err := a.auth.Session(r.Context(), handstamp.SessionID(r.PathValue("id")))
	if err != nil {
		return err
	}
	if s.User != p.User {
		return handstamp.ErrNotFound
	}
	if _, err := a.auth.EndSession(r.Context(), s.ID, a.end(r, "ended by its user")); err != nil {
		return err
	}
	return done(w)
}

// endOthers logs every device out but this one.
func (a *app) endOthers(w http.ResponseWriter, r *http.Request) error {
	p, _ := handstamp.FromContext(r.Context())
	opt := a.end(r, "ended by its user")
	opt.Except = p.Session
	if _, err := a.auth.EndUser(r.Context(), p.User, opt); err != nil {
		return err
	}
	return done(w)
}

// logOut ends the session of this browser. Who has none is logged out already.
func (a *app) logOut(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.auth.LogOutRequest(w, r, a.end(r, "logout")); err != nil {
		return err // not ended: the cookie stays, and the user can try again
	}
	return done(w)
}

// logOutEverywhere ends all sessions of the user, this one among them.
func (a *app) logOutEverywhere(w http.ResponseWriter, r *http.Request) error {
	p, _ := handstamp.FromContext(r.Context())
	if _, err := a.auth.EndUser(r.Context(), p.User, a.end(r, "logout everywhere")); err != nil {
		return err
	}
	a.auth.ClearCookies(w)
	return done(w)
}

// end says in the audit log who ended something, from where and why.
func (a *app) end(r *http.Request, reason string) handstamp.EndOptions {
	return handstamp.EndOptions{Reason: reason, Client: a.auth.ClientOf(r)}
}
