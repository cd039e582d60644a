package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mileusna/useragent"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// What the API takes. Every member is a pointer or a slice: nil is "not sent".
type (
	credentialsIn struct {
		Email     *string `json:"email,omitempty" doc:"One plain address."`
		Password  *string `json:"password,omitempty" doc:"Any Unicode but NUL, up to 1,024 bytes."`
		Mode      *string `json:"mode,omitempty" enum:"session,token,hybrid" doc:"How the identity is kept; the default is the first mode that is offered."`
		Transport *string `json:"transport,omitempty" enum:"cookie,bearer"`
		Remember  *bool   `json:"remember,omitempty" doc:"false: the cookies end with the browser."`
	}
	setUpIn struct {
		Token    *string `json:"token,omitempty" doc:"From the one-time link."`
		Email    *string `json:"email,omitempty"`
		Password *string `json:"password,omitempty"`
	}
	refreshIn struct {
		RefreshToken *string `json:"refresh_token,omitempty" doc:"Or the refresh cookie."`
		Background   *bool   `json:"background,omitempty" doc:"true: does not count as activity."`
	}
	logOutIn struct {
		RefreshToken *string `json:"refresh_token,omitempty"`
	}
	passwordIn struct {
		Current *string `json:"current_password,omitempty"`
		New     *string `json:"new_password,omitempty"`
	}
	tokenIn struct {
		Token *string `json:"token,omitempty"`
		Hint  *string `json:"token_type_hint,omitempty" doc:"Ignored: every kind of token is tried."`
	}
	newUserIn struct {
		Email    *string   `json:"email,omitempty"`
		Password *string   `json:"password,omitempty" doc:"Without one the account has no credential."`
		Roles    *[]string `json:"roles,omitempty" doc:"Default: member."`
	}
	changeUserIn struct {
		Disabled *bool   `json:"disabled,omitempty"`
		Email    *string `json:"email,omitempty"`
	}
	rolesIn struct {
		Roles *[]string `json:"roles,omitempty"`
	}
	permissionsIn struct {
		Permissions *[]string `json:"permissions,omitempty"`
	}
	startIn struct {
		User      *string   `json:"user,omitempty" doc:"Any string of 1 to 128 bytes without control characters."`
		Methods   *[]string `json:"methods,omitempty" doc:"How the user proved who they are: RFC 8176 names."`
		Roles     *[]string `json:"roles,omitempty" doc:"Written as the user's roles; left out, the user's roles stay."`
		Mode      *string   `json:"mode,omitempty" enum:"session,token,hybrid"`
		Transport *string   `json:"transport,omitempty" enum:"bearer"`
	}
	newServiceKeyIn struct {
		Name        *string   `json:"name,omitempty"`
		Permissions *[]string `json:"permissions,omitempty"`
		ExpiresAt   *string   `json:"expires_at,omitempty" format:"date-time"`
	}
)

// What the API answers.
type (
	userOut struct {
		ID            string     `json:"id"`
		Email         string     `json:"email,omitempty" doc:"Left out for a user that no account here knows."`
		EmailVerified *bool      `json:"email_verified,omitempty"`
		Roles         []string   `json:"roles"`
		CreatedAt     *time.Time `json:"created_at,omitempty"`
		Disabled      *bool      `json:"disabled,omitempty" doc:"Administrators see it."`
	}
	changedUserOut struct {
		userOut
		appliedOut
	}
	sessionOut struct {
		ID            string     `json:"id"`
		Mode          string     `json:"mode" enum:"session,token,hybrid"`
		CreatedAt     time.Time  `json:"created_at"`
		ExpiresAt     time.Time  `json:"expires_at"`
		IdleExpiresAt *time.Time `json:"idle_expires_at" nullable:"true"`
	}
	grantOut struct {
		User             userOut    `json:"user"`
		Session          sessionOut `json:"session"`
		TokenType        string     `json:"token_type,omitempty" doc:"This and what follows: bearer transport only."`
		AccessToken      string     `json:"access_token,omitempty"`
		ExpiresIn        *int64     `json:"expires_in,omitempty" doc:"Seconds."`
		RefreshToken     string     `json:"refresh_token,omitempty" doc:"In hybrid only."`
		RefreshExpiresIn *int64     `json:"refresh_expires_in,omitempty"`
		appliedOut
	}
	meOut struct {
		User        userOut     `json:"user"`
		Session     *sessionOut `json:"session" nullable:"true" doc:"null for a service key."`
		Permissions []string    `json:"permissions"`
	}
	deviceOut struct {
		ID         string     `json:"id"`
		User       string     `json:"user,omitempty"`
		Current    bool       `json:"current"`
		Mode       string     `json:"mode"`
		CreatedAt  time.Time  `json:"created_at"`
		LastSeenAt *time.Time `json:"last_seen_at" nullable:"true" doc:"null in token mode."`
		ExpiresAt  time.Time  `json:"expires_at"`
		IP         string     `json:"ip"`
		UserAgent  string     `json:"user_agent"`
		Device     string     `json:"device" doc:"The same in a few words."`
	}
	sessionsOut struct {
		Sessions []deviceOut `json:"sessions"`
		Next     *string     `json:"next" nullable:"true"`
	}
	revokedOut struct {
		Revoked int  `json:"revoked"`
		More    bool `json:"more,omitempty" doc:"There were more than that."`
		appliedOut
	}
	appliedOut struct {
		Applied   string `json:"applied,omitempty" enum:"node,fleet"`
		Verifiers *int   `json:"verifiers,omitempty" doc:"With wait=fleet: how many were waited for."`
		WaitedOut *int   `json:"waited_out,omitempty" doc:"How many of them only ran out of their lease."`
		WaitedMS  *int64 `json:"waited_ms,omitempty"`
	}
	statusOut struct {
		Status string `json:"status"`
	}
)

// applied says how far a change has come.
func applied(e handstamp.Ended, opt handstamp.EndOptions) appliedOut {
	if !opt.WaitFleet {
		return appliedOut{Applied: "node"}
	}
	ms := e.Waited.Milliseconds()
	return appliedOut{Applied: "fleet", Verifiers: &e.Verifiers, WaitedOut: &e.WaitedOut, WaitedMS: &ms}
}

// userOf describes who a principal is. A user of the application's own, whom no account knows, is known by id and roles
// alone; an account that was imported has an id of another system, so that the id does not say which of the two it is. A
// service key is no user.
func (s *Server) userOf(ctx context.Context, p handstamp.Principal) (userOut, error) {
	out := userOut{ID: string(p.User), Roles: orEmpty(p.Roles())}
	if p.Session == "" || unaccounted(p) {
		return out, nil
	}
	u, err := s.opt.Accounts.Users().ByID(ctx, p.User)
	if errors.Is(err, handstamp.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return userOut{}, fmt.Errorf("read the user: %w", err)
	}
	known := accountOut(u)
	known.Roles, known.Disabled = out.Roles, nil // the roles that this credential speaks with
	return known, nil
}

// unaccounted reports whether it is known without a look-up that a user has no account: the id is the application's, and
// the record that was read has no address, which all accounts have. A value token has none in any case.
func unaccounted(p handstamp.Principal) bool {
	address, _ := p.Email()
	return !p.User.Own() && address == "" && p.Form != handstamp.Value
}

func accountOut(u account.User) userOut {
	created := u.CreatedAt.UTC()
	return userOut{
		ID: string(u.ID), Email: u.Email.String(), EmailVerified: &u.EmailVerified, Roles: orEmpty(u.Roles),
		CreatedAt: &created, Disabled: &u.Disabled,
	}
}

func sessionOf(s handstamp.Session) sessionOut {
	return sessionOut{
		ID: string(s.ID), Mode: string(s.Mode), CreatedAt: s.CreatedAt.UTC(), ExpiresAt: s.ExpiresAt.UTC(),
		IdleExpiresAt: orNull(s.IdleExpiresAt()),
	}
}

func (s *Server) grantOf(ctx context.Context, g handstamp.Grant) (grantOut, error) {
	p := g.Principal
	p.Form = handstamp.Reference // whatever the client gets: the record was read for it
	user, err := s.userOf(ctx, p)
	if err != nil {
		return grantOut{}, err
	}
	return s.grantFor(user, g), nil
}

// grantFor is a grant to a user that is known already.
func (s *Server) grantFor(user userOut, g handstamp.Grant) grantOut {
	out := grantOut{User: user, Session: sessionOf(g.Session)}
	if g.Session.Transport != handstamp.TransportBearer {
		return out // what a script cannot read, it cannot lose
	}
	now := s.auth.Now()
	out.TokenType, out.AccessToken, out.ExpiresIn = "Bearer", g.AccessToken.Reveal(), seconds(g.AccessExpiresAt, now)
	if !g.RefreshToken.IsZero() {
		out.RefreshToken, out.RefreshExpiresIn = g.RefreshToken.Reveal(), seconds(g.RefreshExpiresAt, now)
	}
	return out
}

func seconds(until, now time.Time) *int64 {
	const answering = 100 * time.Millisecond // what it took to get here does not make 2,592,000 s one less
	n := max(0, int64((until.Sub(now)+answering)/time.Second))
	return &n
}

// deviceOf is one line of a list of sessions.
func deviceOf(d handstamp.Session, current handstamp.SessionID) deviceOut {
	out := deviceOut{
		ID: string(d.ID), Current: d.ID == current, Mode: string(d.Mode), CreatedAt: d.CreatedAt.UTC(),
		ExpiresAt: d.ExpiresAt.UTC(), IP: d.IP, UserAgent: d.UserAgent, Device: device(d.UserAgent),
	}
	if d.Mode != handstamp.ModeToken {
		out.LastSeenAt = orNull(d.SeenAt)
	}
	return out
}

// device says in a few words what a User-Agent header stands for. It is worked out when it is shown and decides nothing.
func device(header string) string {
	if header == "" {
		return "unknown"
	}
	ua := useragent.Parse(header)
	name := cmp.Or(ua.Name, "unknown program")
	switch {
	case ua.OS != "" && ua.Device != "":
		return name + " on " + ua.Device + " (" + ua.OS + ")"
	case ua.OS != "":
		return name + " on " + ua.OS
	default:
		return name
	}
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// answer writes a JSON body.
func answer(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the status is out; an error here is the client's connection
	return nil
}
