package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/permission"
)

type (
	roleOut struct {
		Name        string   `json:"name"`
		Permissions []string `json:"permissions"`
	}
	rolesOut struct {
		Roles []roleOut `json:"roles"`
		Next  *string   `json:"next" nullable:"true"`
	}
	changedRoleOut struct {
		roleOut
		appliedOut
	}
	signingKeyOut struct {
		ID         string     `json:"kid"`
		Algorithm  string     `json:"algorithm"`
		Use        string     `json:"use"`
		State      string     `json:"state"`
		CreatedAt  time.Time  `json:"created_at"`
		ActivateAt *time.Time `json:"activate_at" nullable:"true" doc:"Planned, for a standby."`
		RetireAt   *time.Time `json:"retire_at" nullable:"true"`
		RemoveAt   *time.Time `json:"remove_at" nullable:"true"`
		RevokedAt  *time.Time `json:"revoked_at" nullable:"true"`
		Reason     string     `json:"reason,omitempty"`
		Unusable   bool       `json:"unusable,omitempty" doc:"This node has no secret that opens it."`
	}
	signingKeysOut struct {
		Keys []signingKeyOut `json:"keys"`
		Next *string         `json:"next" nullable:"true"`
	}
	changedKeysOut struct {
		signingKeysOut
		appliedOut
	}
	serviceKeyOut struct {
		ID          string     `json:"id"`
		Name        string     `json:"name"`
		Permissions []string   `json:"permissions"`
		CreatedAt   time.Time  `json:"created_at"`
		ExpiresAt   *time.Time `json:"expires_at" nullable:"true"`
	}
	serviceKeysOut struct {
		ServiceKeys []serviceKeyOut `json:"service_keys"`
		Next        *string         `json:"next" nullable:"true"`
	}
	newServiceKeyOut struct {
		ID          string     `json:"id"`
		Name        string     `json:"name"`
		Permissions []string   `json:"permissions"`
		ExpiresAt   *time.Time `json:"expires_at" nullable:"true"`
		Key         string     `json:"key" doc:"Shown this once."`
	}
	eventOut struct {
		ID        string            `json:"id"`
		At        time.Time         `json:"at"`
		Kind      string            `json:"kind"`
		Actor     string            `json:"actor"`
		Target    string            `json:"target"`
		Session   string            `json:"session"`
		IP        string            `json:"ip"`
		UserAgent string            `json:"user_agent"`
		RequestID string            `json:"request_id"`
		Detail    map[string]string `json:"detail"`
	}
	auditOut struct {
		Events []eventOut `json:"events"`
		Next   *string    `json:"next" nullable:"true"`
	}
)

// listRoles: GET /v1/admin/roles.
func (s *Server) listRoles(w http.ResponseWriter, r *http.Request) error {
	q, err := queryOf(r)
	if err != nil {
		return err
	}
	page := s.pageOf(q, "roles")
	if err := q.err(); err != nil {
		return err
	}
	table, _, err := s.opt.Roles(r.Context())
	if err != nil {
		return fmt.Errorf("list roles: %w", err)
	}
	list := make([]roleOut, 0, len(table))
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if name > page.after {
			list = append(list, roleOut{Name: name, Permissions: table[name].List()})
		}
	}
	out := rolesOut{}
	out.Roles, out.Next = turn(s, page, list[:min(len(list), page.ask())], func(r roleOut) string { return r.Name })
	return answer(w, http.StatusOK, out)
}

// roleRule is what a name of a role keeps to.
const roleRule = "is letters, digits, '.', '_' and '-', at most 128 bytes"

// putRole: PUT /v1/admin/roles/{name}.
func (s *Server) putRole(w http.ResponseWriter, r *http.Request) error {
	var in permissionsIn
	if err := decode(r, &in); err != nil {
		return err
	}
	var f fields
	role := account.Role{Name: r.PathValue("name"), Permissions: f.permissions(in.Permissions)}
	if in.Permissions == nil {
		f.bad("permissions", "is needed")
	}
	if permission.CheckRole(role.Name) != nil {
		f.bad("name", roleRule)
	}
	if err := f.err(); err != nil {
		return err
	}
	opt, err := s.endOptions(r, "")
	if err != nil {
		return err
	}
	slices.Sort(role.Permissions)
	ended, err := s.opt.Accounts.PutRole(r.Context(), role, opt)
	if errors.Is(err, account.ErrInput) {
		return invalidField("permissions", lastSentence(err))
	}
	if err != nil {
		return err
	}
	out := changedRoleOut{roleOut: roleOut{Name: role.Name, Permissions: orEmpty(role.Permissions)}, appliedOut: applied(ended, opt)}
	return answer(w, http.StatusOK, out)
}

// deleteRole: DELETE /v1/admin/roles/{name}.
func (s *Server) deleteRole(w http.ResponseWriter, r *http.Request) error {
	opt, err := s.endCall(r, "")
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	if permission.CheckRole(name) != nil {
		return invalidField("name", roleRule)
	}
	ended, err := s.opt.Accounts.DeleteRole(r.Context(), name, opt)
	if errors.Is(err, account.ErrInput) {
		return invalidField("name", lastSentence(err))
	}
	if err != nil {
		return err
	}
	return done(w, ended, opt)
}

func (s *Server) signingKeys() signingKeysOut {
	out := signingKeysOut{Keys: []signingKeyOut{}}
	if s.opt.Keys == nil {
		return out
	}
	for _, k := range s.opt.Keys.List() {
		out.Keys = append(out.Keys, signingKeyOut{
			ID: k.ID, Algorithm: string(k.Algorithm), Use: string(k.Use), State: string(k.State), CreatedAt: k.CreatedAt.UTC(),
			ActivateAt: orNull(k.ActivateAt), RetireAt: orNull(k.RetireAt), RemoveAt: orNull(k.RemoveAt),
			RevokedAt: orNull(k.RevokedAt), Reason: k.Reason, Unusable: k.Unusable,
		})
	}
	return out
}

// listKeys: GET /v1/admin/keys. There are a handful, in the order of their lives.
func (s *Server) listKeys(w http.ResponseWriter, r *http.Request) error {
	q, err := queryOf(r)
	if err != nil {
		return err
	}
	page := s.pageOf(q, "keys")
	if err := q.err(); err != nil {
		return err
	}
	all := s.signingKeys().Keys
	from := 1 + slices.IndexFunc(all, func(k signingKeyOut) bool { return k.ID == page.after })
	out := signingKeysOut{}
	out.Keys, out.Next = turn(s, page, all[from:min(len(all), from+page.ask())], func(k signingKeyOut) string { return k.ID })
	return answer(w, http.StatusOK, out)
}

// rotateKey: POST /v1/admin/keys/rotate. A rotation is several steps in the store of keys, none of which can be one with an
// entry in the audit log. So the entry goes first and says what was asked for: without it nothing is rotated, and what an
// administrator did is on record even if this process stops in the middle. A rotation that then fails leaves an entry too
// many, which hides nothing; the list of keys says what came of it.
func (s *Server) rotateKey(w http.ResponseWriter, r *http.Request) error {
	if err := noBody(r); err != nil {
		return err
	}
	if s.opt.Keys == nil {
		return handstamp.ErrNotFound
	}
	entry := audit.Event{Kind: audit.KeyRotated, Detail: map[string]string{"step": "requested"}}
	if err := s.auth.RecordAudit(r.Context(), s.auth.AuditEntry(s.auth.ClientOf(r), entry)); err != nil {
		return fmt.Errorf("write the audit entry: %w", err)
	}
	if _, err := s.opt.Keys.Rotate(r.Context(), s.auth.Now()); err != nil {
		return fmt.Errorf("rotate the signing key: %w", err)
	}
	return answer(w, http.StatusCreated, s.signingKeys())
}

// revokeKey: POST /v1/admin/keys/{kid}/revoke.
func (s *Server) revokeKey(w http.ResponseWriter, r *http.Request) error {
	opt, err := s.endCall(r, "revoked by an administrator")
	if err != nil {
		return err
	}
	kid, err := inPath(r, "kid")
	if err != nil {
		return err
	}
	known := s.opt.Keys != nil && slices.ContainsFunc(s.opt.Keys.List(), func(k keyring.Info) bool { return k.ID == kid })
	if !known {
		return handstamp.ErrNotFound
	}
	ended, err := s.auth.EndKey(r.Context(), kid, opt)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if opt.WaitFleet {
		status = http.StatusOK
	}
	return answer(w, status, changedKeysOut{signingKeysOut: s.signingKeys(), appliedOut: applied(ended, opt)})
}

// listServiceKeys: GET /v1/admin/service-keys.
func (s *Server) listServiceKeys(w http.ResponseWriter, r *http.Request) error {
	q, err := queryOf(r)
	if err != nil {
		return err
	}
	page := s.pageOf(q, "service-keys")
	if err := q.err(); err != nil {
		return err
	}
	list, err := s.opt.Accounts.Users().ServiceKeys(r.Context(), id.ServiceKey(page.after), page.ask())
	if err != nil {
		return fmt.Errorf("list service keys: %w", err)
	}
	out := serviceKeysOut{ServiceKeys: []serviceKeyOut{}}
	list, out.Next = turn(s, page, list, func(k handstamp.ServiceKey) string { return string(k.ID) })
	for _, k := range list {
		out.ServiceKeys = append(out.ServiceKeys, serviceKeyOut{
			ID: string(k.ID), Name: k.Name, Permissions: orEmpty(k.Permissions), CreatedAt: k.CreatedAt.UTC(), ExpiresAt: orNull(k.ExpiresAt),
		})
	}
	return answer(w, http.StatusOK, out)
}

// addServiceKey: POST /v1/admin/service-keys.
func (s *Server) addServiceKey(w http.ResponseWriter, r *http.Request) error {
	var in newServiceKeyIn
	if err := decode(r, &in); err != nil {
		return err
	}
	var f fields
	n := account.NewServiceKey{Name: f.text("name", in.Name, 200), Permissions: f.permissions(in.Permissions)}
	if in.Permissions == nil {
		f.bad("permissions", "is needed")
	}
	if in.ExpiresAt != nil {
		at, err := time.Parse(time.RFC3339, *in.ExpiresAt)
		switch {
		case err != nil:
			f.bad("expires_at", "is a time as in RFC 3339")
		case !at.After(s.auth.Now()):
			f.bad("expires_at", "is over already")
		}
		n.ExpiresAt = at
	}
	if err := f.err(); err != nil {
		return err
	}
	k, secret, err := s.opt.Accounts.AddServiceKey(r.Context(), n, s.auth.ClientOf(r))
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, newServiceKeyOut{
		ID: string(k.ID), Name: k.Name, Permissions: orEmpty(k.Permissions), ExpiresAt: orNull(k.ExpiresAt), Key: secret.Reveal(),
	})
}

// endServiceKey: DELETE /v1/admin/service-keys/{id}. Ending a key again answers the same.
func (s *Server) endServiceKey(w http.ResponseWriter, r *http.Request) error {
	opt, err := s.endCall(r, "ended by an administrator")
	if err != nil {
		return err
	}
	text, err := inPath(r, "id")
	if err != nil {
		return err
	}
	kid, err := id.ParseServiceKey(text)
	if err != nil {
		return handstamp.ErrNotFound
	}
	if err := s.findServiceKey(r.Context(), kid); err != nil {
		return err
	}
	ended, err := s.auth.EndServiceKey(r.Context(), kid, opt)
	if err != nil {
		return err
	}
	return done(w, ended, opt)
}

// findServiceKey answers ErrNotFound unless there is such a key, or was one. Accounts list those that have not ended; of
// the others the audit log knows as long as its entries are kept, where it can be read here.
func (s *Server) findServiceKey(ctx context.Context, kid id.ServiceKey) error {
	after := id.ServiceKey("")
	for {
		list, err := s.opt.Accounts.Users().ServiceKeys(ctx, after, maxLimit)
		if err != nil {
			return fmt.Errorf("find the service key: %w", err)
		}
		for _, k := range list {
			if k.ID == kid {
				return nil
			}
		}
		if len(list) < maxLimit || list[len(list)-1].ID > kid {
			return s.findEndedServiceKey(ctx, kid)
		}
		after = list[len(list)-1].ID
	}
}

func (s *Server) findEndedServiceKey(ctx context.Context, kid id.ServiceKey) error {
	if s.opt.Audit == nil {
		return handstamp.ErrNotFound
	}
	// A key may also be the actor of such entries, when it ended others. Its own end is newer than those.
	list, err := s.opt.Audit.List(ctx, audit.Filter{User: id.User(kid), Kind: audit.ServiceKeyEnded, Limit: 10})
	if err != nil {
		return fmt.Errorf("find the ended service key: %w", err)
	}
	if !slices.ContainsFunc(list, func(e audit.Event) bool { return e.Target == string(kid) }) {
		return handstamp.ErrNotFound
	}
	return nil
}

// listAudit: GET /v1/admin/audit.
func (s *Server) listAudit(w http.ResponseWriter, r *http.Request) error {
	q, err := queryOf(r)
	if err != nil {
		return err
	}
	user, kind := q.user(), q.one("kind")
	page := s.pageOf(q, "audit", string(user), kind)
	if err := q.err(); err != nil {
		return err
	}
	list, err := s.opt.Audit.List(r.Context(), audit.Filter{
		User: user, Kind: audit.Kind(kind), Before: id.Audit(page.after), Limit: page.ask(),
	})
	if err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	out := auditOut{Events: []eventOut{}}
	list, out.Next = turn(s, page, list, func(e audit.Event) string { return string(e.ID) })
	for _, e := range list {
		detail := e.Detail
		if detail == nil {
			detail = map[string]string{}
		}
		out.Events = append(out.Events, eventOut{
			ID: string(e.ID), At: e.At.UTC(), Kind: string(e.Kind), Actor: e.Actor, Target: e.Target, Session: string(e.Session),
			IP: e.IP, UserAgent: e.UserAgent, RequestID: e.RequestID, Detail: detail,
		})
	}
	return answer(w, http.StatusOK, out)
}
