package server

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
)

// handler answers a request or returns why not; endpoint writes that.
type handler func(w http.ResponseWriter, r *http.Request) error

// route is one line of the API.
type route struct {
	method  string // anyMethod, or one
	pattern string // of http.ServeMux, below the prefix
	guard   guard
	handle  handler
	doc     about
}

const (
	anyMethod = "*"
	get       = http.MethodGet
	post      = http.MethodPost
	put       = http.MethodPut
	patch     = http.MethodPatch
	del       = http.MethodDelete
)

// Permissions of the API.
const (
	permAdmin = "handstamp.admin"
	// permStart amounts to permAdmin: who holds it starts a session for any user, an administrator too, and says which roles
	// the user has. Roles are not held against what the caller may do. The users and their roles are the caller's, who mostly
	// may do nothing of what they may; and a rule about roles would keep nobody out who can name an administrator as the user.
	permStart      = "handstamp.start"
	permIntrospect = "handstamp.introspect"
	// permRevocations reads who was ended, by id, and gets leases: who holds one and does not obey keeps wait=fleet waiting for
	// as long as a lease, and no longer.
	permRevocations = "handstamp.revocations"
)

// routes is every route there is. The mux and the OpenAPI document are both made from it.
func (s *Server) routes() []route {
	admin, change, start := may(permAdmin), s.mayChange(permAdmin), s.mayChange(permStart)
	passwords := s.opt.Passwords != nil
	all := slices.Concat([]route{
		{post, "/v1/signup", anyone(), s.signUp, says("Make an account and log in").takes(credentialsIn{}).gives(201, grantOut{}).when(passwords)},
		{post, "/v1/login", anyone(), s.logIn, says("Log in").takes(credentialsIn{}).gives(200, grantOut{}).when(passwords)},
		{post, "/v1/setup", anyone(), s.setUp, says("Make the first administrator with the one-time link").takes(setUpIn{}).gives(201, grantOut{}).when(passwords)},
		{post, refreshPath, anyone(), s.refresh, says("Get the next access token").mayTake(refreshIn{}).with("Idempotency-Key").gives(200, grantOut{})},
		{post, "/v1/logout", anyone(), s.logOut, says("End the session of any credential of it").mayTake(logOutIn{}).waits().gives(204, nil)},
		{post, "/v1/password", users(), s.changePassword, says("Change the password").takes(passwordIn{}).waits().gives(200, grantOut{}).when(passwords)},
		{del, "/v1/account", usersWhoJustLoggedIn(), s.deleteAccount, says("Delete the own account").waits().gives(204, nil)},

		{get, "/v1/session", guard{}, s.session, says("Who the credential speaks for").gives(200, meOut{})},
		{get, "/v1/sessions", users(), s.sessions, says("The own sessions").pages().gives(200, sessionsOut{})},
		{del, "/v1/sessions", users(), s.endSessions, says("End all own sessions").with("keep").waits().gives(200, revokedOut{})},
		{del, "/v1/sessions/{id}", users(), s.endSession, says("End one own session").waits().gives(204, nil)},

		{anyMethod, checkPath, anyone(), s.check, says("Check a request, for reverse proxies").with("permission", "max_age", "fresh", "login").gives(200, nil)},
		{post, "/v1/introspect", may(permIntrospect), s.introspect, says("What a token says (RFC 7662)").takes(tokenIn{}).orForm().gives(200, introspectionOut{})},
		{post, "/v1/revoke", anyone(), s.revoke, says("End the session of a token (RFC 7009)").takes(tokenIn{}).orForm().waits().gives(200, appliedOut{})},
		{get, "/.well-known/jwks.json", anyone(), s.keySet, says("The public keys (RFC 7517)").gives(200, keySetOut{}).orNotModified()},

		{post, "/v1/revocations/lease", may(permRevocations), s.renewLease, says("Renew a verifier's lease and acknowledge what it applied").takes(renewalIn{}).gives(200, renewalOut{}).orGives(renewalResetOut{})},
		{get, revocationsPath, may(permRevocations), s.revocations, says("What was ended or changed").with("after", lastEventID).gives(200, revocationsOut{}).orStreams()},

		{get, "/v1/admin/users", admin, s.listUsers, says("List users").with("query").pages().gives(200, usersOut{})},
		{post, "/v1/admin/users", change, s.createUser, says("Make a user").takes(newUserIn{}).gives(201, userOut{}).when(passwords)},
		{get, "/v1/admin/users/{id}", admin, s.readUser, says("Read a user").gives(200, userOut{})},
		{patch, "/v1/admin/users/{id}", change, s.changeUser, says("Disable or enable a user, or give them another address").takes(changeUserIn{}).waits().gives(200, changedUserOut{})},
		{del, "/v1/admin/users/{id}", change, s.deleteUser, says("Delete a user").waits().gives(204, nil)},
		{put, "/v1/admin/users/{id}/roles", change, s.setRoles, says("Say which roles a user has, at once everywhere").takes(rolesIn{}).waits().gives(200, changedUserOut{})},
		{del, "/v1/admin/users/{id}/sessions", change, s.endUserSessions, says("Log a user out everywhere").waits().gives(204, nil)},
		{get, "/v1/admin/sessions", admin, s.listSessions, says("List sessions").with("user").pages().gives(200, sessionsOut{})},
		{post, "/v1/admin/sessions", start, s.startSession, says("Start a session for any user").
			warns("Who may do this can be anybody: the caller says who the user is and which roles they have, administrators' among them. A key with "+
				"this permission alone is worth as much as one that may do everything: give it to the one application that keeps the users, and to nothing else.").takes(startIn{}).waits().gives(201, grantOut{})},
		{del, "/v1/admin/sessions/{id}", change, s.endAnySession, says("End a session").waits().gives(204, nil)},
		{get, "/v1/admin/roles", admin, s.listRoles, says("List roles").pages().gives(200, rolesOut{}).when(s.opt.Roles != nil)},
		{put, "/v1/admin/roles/{name}", change, s.putRole, says("Say what a role grants").takes(permissionsIn{}).waits().gives(200, changedRoleOut{})},
		{del, "/v1/admin/roles/{name}", change, s.deleteRole, says("Delete a role").waits().gives(204, nil)},
		{get, "/v1/admin/keys", admin, s.listKeys, says("List signing keys").pages().gives(200, signingKeysOut{})},
		{post, "/v1/admin/keys/rotate", change, s.rotateKey, says("Let the standby key sign as soon as everybody can have it").gives(201, signingKeysOut{})},
		{post, "/v1/admin/keys/{kid}/revoke", change, s.revokeKey, says("Revoke a signing key: every token it signed is over").waits().gives(201, changedKeysOut{})},
		{get, "/v1/admin/service-keys", admin, s.listServiceKeys, says("List service keys").pages().gives(200, serviceKeysOut{})},
		{post, "/v1/admin/service-keys", change, s.addServiceKey, says("Make a service key; it is shown this once").takes(newServiceKeyIn{}).gives(201, newServiceKeyOut{})},
		{del, "/v1/admin/service-keys/{id}", change, s.endServiceKey, says("End a service key").waits().gives(204, nil)},
		{get, "/v1/admin/audit", admin, s.listAudit, says("Who did what, when, from where").with("user", "kind").pages().gives(200, auditOut{}).when(s.opt.Audit != nil)},

		{get, "/healthz", anyone(), s.healthz, says("The process runs and has read the log").gives(200, statusOut{})},
		{get, "/openapi.json", anyone(), s.openAPI, says("This document").gives(200, nil)},
	}, s.pageRoutes())
	return slices.DeleteFunc(all, func(r route) bool { return r.doc.absent })
}

// pageRoutes are for browsers; they are no part of the document.
func (s *Server) pageRoutes() []route {
	if s.opt.NoPages {
		return nil
	}
	return []route{
		{get, "/{$}", anyone(), s.bounced(s.homePage), about{}},
		{get, "/login", anyone(), s.bounced(s.loginPage), about{}},
		{post, "/login", anyone(), s.loginForm, about{}},
		{post, "/logout", anyone(), s.logOutForm, about{}},
		{get, "/setup", anyone(), s.setUpPage, about{}},
		{get, "/static/{file}", anyone(), s.staticFile, about{}},
	}
}

// guard says who may call a route. Its zero value asks for a credential of any kind.
type guard struct {
	open  bool // nobody is asked who they are
	users bool // a session is needed: a program's key has none
	rules []handstamp.Rule
	needs string // the permission among the rules, for the document
}

// anyone is asked nothing.
func anyone() guard { return guard{open: true} }

// users have a session.
func users() guard { return guard{users: true} }

// usersWhoJustLoggedIn is for what cannot be undone.
func usersWhoJustLoggedIn() guard {
	return guard{users: true, rules: []handstamp.Rule{handstamp.MaxAuthAge(10 * time.Minute)}}
}

func may(permission string) guard {
	return guard{rules: []handstamp.Rule{handstamp.Permission(permission)}, needs: permission}
}

// mayChange is for what administrators change: a user needs a login that is not old. A program has nobody who could log
// in again.
func (s *Server) mayChange(permission string) guard {
	g := may(permission)
	g.rules = append(g.rules, handstamp.MaxAuthAge(s.opt.AdminMaxAuthAge))
	return g
}

// guarded puts a guard before a handler. What it finds out is in the context; nothing else says who is acting.
func (s *Server) guarded(g guard, next handler) handler {
	if g.open {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := s.auth.Check(r, g.rules...)
		switch {
		case err != nil:
			return err
		case g.users && p.Session == "":
			return errProgram
		}
		return next(w, r.WithContext(handstamp.NewContext(r.Context(), p)))
	}
}

// asked puts the rule for query parameters before a handler of the API: one that is not known, or that is there twice, is
// refused, as members of a body are. Who mistypes keep=current must not end all sessions. /v1/check refuses for itself,
// and what is no part of the API takes what links carry (utm_…).
func (r route) asked() handler {
	if !r.strictQuery() {
		return r.handle
	}
	known := r.doc.query()
	return func(w http.ResponseWriter, req *http.Request) error {
		if err := checkQuery(req, known); err != nil {
			return err
		}
		return r.handle(w, req)
	}
}

func (r route) strictQuery() bool {
	return strings.HasPrefix(r.pattern, "/v1/") && r.pattern != checkPath
}

// storeBudget is what the stores may take over a request, in all. With the half second that a commit gets beyond it, and what
// sessions in Redis get after that, who asks hears in less than 3 s that nothing can be said.
const storeBudget = 2200 * time.Millisecond

// bounded puts the budget around whatever asks the stores. An event stream has no end, and answers from memory.
func (r route) bounded(next handler) handler {
	if r.doc.stream {
		return next
	}
	return func(w http.ResponseWriter, req *http.Request) error {
		ctx, cancel := handstamp.WithBudget(req.Context(), storeBudget)
		defer cancel()
		req = req.WithContext(ctx)
		if req.Body != nil && req.Body != http.NoBody {
			req.Body = sentBody{req.Body, ctx}
		}
		return next(w, req)
	}
}

// sentBody is the body of a request. What its sender takes to send it, which the listener bounds, is none of the stores' time.
type sentBody struct {
	io.ReadCloser
	ctx context.Context //nolint:containedctx // a reader is given none
}

// Read implements io.Reader.
func (b sentBody) Read(p []byte) (int, error) {
	_, back := handstamp.OutsideBudget(b.ctx)
	defer back()
	return b.ReadCloser.Read(p)
}

// who is the acting user: the credential's.
func who(r *http.Request) handstamp.Principal {
	p, _ := handstamp.FromContext(r.Context())
	return p
}

// install makes the mux of the table: one endpoint per path.
func (s *Server) install(routes []route) *http.ServeMux {
	mux := http.NewServeMux()
	endpoints := map[string]*endpoint{}
	for _, r := range routes {
		e, ok := endpoints[r.pattern]
		if !ok {
			e = &endpoint{pattern: r.pattern, fail: s.fail, methods: map[string]handler{}}
			endpoints[r.pattern] = e
			mux.Handle(r.pattern, e)
		}
		if r.method == anyMethod {
			e.any = s.guarded(r.guard, r.asked())
			continue
		}
		e.noHead = e.noHead || r.doc.stream
		e.methods[r.method] = r.bounded(s.guarded(r.guard, r.asked()))
	}
	for _, e := range endpoints {
		e.allow = allowOf(slices.Collect(maps.Keys(e.methods)), e.noHead)
		if e.any != nil {
			e.allow = allowOf(usualMethods(), false)
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, handstamp.ErrNotFound) })
	return mux
}

// usualMethods are what can be listed of a path that answers every method.
func usualMethods() []string { return []string{get, post, put, patch, del} }

// allowOf is the header Allow of a path: its methods and what every path with them has.
func allowOf(methods []string, noHead bool) string {
	list := []string{http.MethodOptions}
	for _, m := range methods {
		list = append(list, m)
		if m == get && !noHead {
			list = append(list, http.MethodHead)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
