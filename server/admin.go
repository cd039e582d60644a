package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/permission"
)

type usersOut struct {
	Users []userOut `json:"users"`
	Next  *string   `json:"next" nullable:"true"`
}

// listUsers: GET /v1/admin/users.
func (s *Server) listUsers(w http.ResponseWriter, r *http.Request) error {
	q, err := queryOf(r)
	if err != nil {
		return err
	}
	part := q.one("query")
	page := s.pageOf(q, "users", part)
	if err := q.err(); err != nil {
		return err
	}
	list, err := s.opt.Accounts.Users().List(r.Context(), account.UserFilter{
		Query: part, After: handstamp.UserID(page.after), Limit: page.ask(),
	})
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	out := usersOut{Users: []userOut{}}
	list, out.Next = turn(s, page, list, func(u account.User) string { return string(u.ID) })
	for _, u := range list {
		out.Users = append(out.Users, accountOut(u))
	}
	return answer(w, http.StatusOK, out)
}

// createUser: POST /v1/admin/users.
func (s *Server) createUser(w http.ResponseWriter, r *http.Request) error {
	var in newUserIn
	if err := decode(r, &in); err != nil {
		return err
	}
	var f fields
	n := account.NewUser{Email: f.address(in.Email), Roles: f.roles(in.Roles)}
	password := ""
	if in.Password != nil {
		if password = *in.Password; password == "" {
			f.bad("password", "is empty: leave it out for an account without one")
		}
	}
	if err := f.err(); err != nil {
		return err
	}
	u, err := s.opt.Passwords.Create(r.Context(), n, password, s.auth.ClientOf(r))
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, accountOut(u))
}

// maxListed bounds the names in one list of a body.
const maxListed = 1000

// roles reads names of roles; nil for none sent.
func (f *fields) roles(v *[]string) []string {
	return f.list("roles", v, 100, func(s string) bool { return permission.CheckRole(s) == nil },
		"is a name of letters, digits, '.', '_' and '-', at most 128 bytes")
}

func (f *fields) permissions(v *[]string) []string {
	return f.list("permissions", v, maxListed, func(s string) bool { return permission.Check(s) == nil },
		"is resource:action, resource:*, * or a dotted name, at most 128 bytes")
}

func (f *fields) list(field string, v *[]string, limit int, ok func(string) bool, rule string) []string {
	if v == nil {
		return nil
	}
	if len(*v) > limit {
		f.bad(field, fmt.Sprintf("has at most %d entries", limit))
		return nil
	}
	for i, s := range *v {
		switch {
		case !ok(s):
			f.bad(fmt.Sprintf("%s[%d]", field, i), rule)
		case slices.Contains((*v)[:i], s):
			f.bad(fmt.Sprintf("%s[%d]", field, i), "is there twice")
		}
	}
	return *v
}

// idRule is what every id keeps to, whoever gave it.
const idRule = "has 1 to 128 bytes without control characters"

// userInPath reads a user id from the path, whoever keeps that user.
func userInPath(r *http.Request) (handstamp.UserID, error) {
	u, err := id.ParseUser(r.PathValue("id"))
	if err != nil {
		return "", invalidField("id", idRule)
	}
	return u, nil
}

// inPath reads an id or a name of another kind from the path. What none can be is bad input, as it is of a user; what is
// left is there, or is not.
func inPath(r *http.Request, name string) (string, error) {
	v := r.PathValue(name)
	if _, err := id.ParseUser(v); err != nil {
		return "", invalidField(name, idRule)
	}
	return v, nil
}

// readUser: GET /v1/admin/users/{id}.
func (s *Server) readUser(w http.ResponseWriter, r *http.Request) error {
	u, err := userInPath(r)
	if err != nil {
		return err
	}
	user, err := s.opt.Accounts.Users().ByID(r.Context(), u)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, accountOut(user))
}

// changeUser: PATCH /v1/admin/users/{id}. All of it happens, or nothing of it; a change of nothing is refused, since there
// is nothing that could be waited for.
func (s *Server) changeUser(w http.ResponseWriter, r *http.Request) error {
	var in changeUserIn
	if err := decode(r, &in); err != nil {
		return err
	}
	var f fields
	c := account.Change{Disabled: in.Disabled}
	if in.Email != nil {
		c.Email = new(f.address(in.Email))
	}
	if err := f.err(); err != nil {
		return err
	}
	opt, err := s.endOptions(r, "changed by an administrator")
	if err != nil {
		return err
	}
	u, err := userInPath(r)
	if err != nil {
		return err
	}
	ended, err := s.opt.Accounts.Change(r.Context(), u, c, opt)
	if err != nil {
		return err
	}
	user, err := s.opt.Accounts.Users().ByID(r.Context(), u)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, changedUserOut{userOut: accountOut(user), appliedOut: applied(ended, opt)})
}

// deleteUser: DELETE /v1/admin/users/{id}.
func (s *Server) deleteUser(w http.ResponseWriter, r *http.Request) error {
	opt, err := s.endCall(r, "deleted by an administrator")
	if err != nil {
		return err
	}
	u, err := userInPath(r)
	if err != nil {
		return err
	}
	ended, err := s.opt.Accounts.Delete(r.Context(), u, opt)
	if err != nil {
		return err
	}
	return done(w, ended, opt)
}

// setRoles: PUT /v1/admin/users/{id}/roles, of any user id.
func (s *Server) setRoles(w http.ResponseWriter, r *http.Request) error {
	var in rolesIn
	if err := decode(r, &in); err != nil {
		return err
	}
	var f fields
	roles := f.roles(in.Roles)
	if in.Roles == nil {
		f.bad("roles", "is needed")
	}
	if err := f.err(); err != nil {
		return err
	}
	opt, err := s.endOptions(r, "roles changed by an administrator")
	if err != nil {
		return err
	}
	u, err := userInPath(r)
	if err != nil {
		return err
	}
	ended, err := s.opt.Accounts.SetRoles(r.Context(), u, roles, opt)
	if err != nil {
		return err
	}
	out := changedUserOut{userOut: userOut{ID: string(u), Roles: orEmpty(roles)}, appliedOut: applied(ended, opt)}
	user, err := s.opt.Accounts.Users().ByID(r.Context(), u)
	switch {
	case err == nil:
		out.userOut = accountOut(user)
	case !errors.Is(err, handstamp.ErrNotFound):
		return fmt.Errorf("read the user: %w", err)
	}
	return answer(w, http.StatusOK, out)
}

// endUserSessions: DELETE /v1/admin/users/{id}/sessions, of any user id.
func (s *Server) endUserSessions(w http.ResponseWriter, r *http.Request) error {
	opt, err := s.endCall(r, "ended by an administrator")
	if err != nil {
		return err
	}
	u, err := userInPath(r)
	if err != nil {
		return err
	}
	ended, err := s.auth.EndUser(r.Context(), u, opt)
	if err != nil {
		return err
	}
	return done(w, ended, opt)
}

// listSessions: GET /v1/admin/sessions.
func (s *Server) listSessions(w http.ResponseWriter, r *http.Request) error {
	q, err := queryOf(r)
	if err != nil {
		return err
	}
	user := q.user()
	page := s.pageOf(q, "all-sessions", string(user))
	if err := q.err(); err != nil {
		return err
	}
	f := handstamp.SessionFilter{User: user, After: handstamp.SessionID(page.after), Limit: page.ask()}
	list, err := s.auth.Sessions(r.Context(), f)
	if err != nil {
		return err
	}
	out := sessionsOut{Sessions: []deviceOut{}}
	list, out.Next = turn(s, page, list, func(d handstamp.Session) string { return string(d.ID) })
	for _, d := range list {
		line := deviceOf(d, who(r).Session)
		line.User = string(d.User)
		out.Sessions = append(out.Sessions, line)
	}
	return answer(w, http.StatusOK, out)
}

// user reads the filter of that name.
func (q *query) user() handstamp.UserID {
	text := q.one("user")
	if text == "" {
		return ""
	}
	u, err := id.ParseUser(text)
	if err != nil {
		q.bad("user", idRule)
	}
	return u
}

// endAnySession: DELETE /v1/admin/sessions/{id}.
func (s *Server) endAnySession(w http.ResponseWriter, r *http.Request) error {
	opt, err := s.endCall(r, "ended by an administrator")
	if err != nil {
		return err
	}
	text, err := inPath(r, "id")
	if err != nil {
		return err
	}
	sid, err := id.ParseSession(text)
	if err != nil {
		return handstamp.ErrNotFound
	}
	ended, err := s.auth.EndSession(r.Context(), sid, opt)
	if err != nil {
		return err
	}
	return done(w, ended, opt)
}

// startSession: POST /v1/admin/sessions. The caller has checked who the user is; whoever may call this can be anybody.
func (s *Server) startSession(w http.ResponseWriter, r *http.Request) error {
	var in startIn
	if err := decode(r, &in); err != nil {
		return err
	}
	var f fields
	user, err := id.ParseUser(f.need("user", in.User))
	if in.User != nil && err != nil {
		f.bad("user", idRule)
	}
	methods := f.list("methods", in.Methods, 10, isMethod, "is a name of RFC 8176: 1 to 32 lower case letters, digits, '-' and '_'")
	roles := f.roles(in.Roles)
	start := handstamp.StartOptions{Mode: f.mode(in.Mode, s.auth.Modes()), Transport: f.transport(in.Transport), Client: s.auth.ClientOf(r)}
	switch start.Transport {
	case "":
		start.Transport = handstamp.TransportBearer
	case handstamp.TransportCookie:
		f.bad("transport", "is bearer: the cookie would be the caller's")
	}
	if err := f.err(); err != nil {
		return err
	}
	opt, err := s.endOptions(r, "")
	if err != nil {
		return err
	}
	g, err := s.startProved(r, user, func(p *handstamp.Proof) {
		p.Methods, p.StartOptions = methods, start
		if in.Roles != nil {
			p.Grants = &handstamp.Grants{Roles: roles}
		}
	})
	if err != nil {
		return err
	}
	out, err := s.grantOf(r.Context(), g)
	if err != nil {
		return err
	}
	// What the user could do before may have been more, and a session too many was ended. The grant was read after both: who
	// has applied everything up to there has applied them.
	out.appliedOut = s.appliedAtLast(r, handstamp.Ended{By: g.Principal.AsOf()}, opt)
	status := http.StatusCreated
	if opt.WaitFleet {
		status = http.StatusOK
	}
	return answer(w, status, out)
}

// startProved starts a session, and once more if something ended the user's sessions meanwhile.
func (s *Server) startProved(r *http.Request, u handstamp.UserID, fill func(*handstamp.Proof)) (handstamp.Grant, error) {
	for try := 0; ; try++ {
		proof, err := s.auth.Prove(r.Context(), u)
		if err != nil {
			return handstamp.Grant{}, err
		}
		fill(&proof)
		g, err := s.auth.Start(r.Context(), proof)
		if try > 0 || !errors.Is(err, handstamp.ErrProofOutdated) {
			return g, err
		}
	}
}

func isMethod(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
