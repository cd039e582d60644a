package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// The roles that exist from the start.
const (
	RoleAdmin  = "admin"  // may do everything
	RoleMember = "member" // what everybody gets at sign-up; no permissions until given some
)

// MethodPassword is the Credential.Method of a password.
const MethodPassword = "password"

// ErrInput is a value that fails validation; the wrapped text is a sentence for people and never holds the value.
var ErrInput = errors.New("account: invalid input")

// Accounts changes users, roles and service keys. Every change is one unit of work with its audit entry and, where it
// ends or changes what somebody may do, its event. It is safe for concurrent use.
type Accounts struct {
	auth  *handstamp.Auth
	store Store
}

// New makes Accounts on the engine and a backend's view for accounts.
func New(auth *handstamp.Auth, store Store) *Accounts { return &Accounts{auth: auth, store: store} }

// Users reads.
func (a *Accounts) Users() Users { return a.store.Users() }

// NewUser is a user that is about to be made.
type NewUser struct {
	Email         Address
	EmailVerified bool
	Roles         []string // nil is RoleMember
}

// CreateIn makes a user inside a unit of work. It answers handstamp.ErrTaken if the address is in use.
func (a *Accounts) CreateIn(ctx context.Context, tx Tx, n NewUser, u handstamp.UserID, by handstamp.Client) (User, error) {
	if n.Roles == nil {
		n.Roles = []string{RoleMember}
	}
	if err := checkRoles(n.Roles); err != nil {
		return User{}, err
	}
	now := a.auth.Now()
	user := User{ID: u, Email: n.Email, EmailVerified: n.EmailVerified, Roles: n.Roles, CreatedAt: now}
	if err := tx.PutUser(ctx, user); err != nil {
		return User{}, fmt.Errorf("write the user: %w", err)
	}
	sub, err := tx.Subject(ctx, u)
	if err != nil {
		return User{}, fmt.Errorf("lock the subject: %w", err)
	}
	sub.Grants.Roles, sub.Email, sub.EmailVerified = n.Roles, string(n.Email), n.EmailVerified
	if err := tx.PutSubject(ctx, sub); err != nil {
		return User{}, fmt.Errorf("write the subject: %w", err)
	}
	user.Version = 1
	return user, tx.Record(ctx, a.auth.AuditEntry(by, audit.Event{Kind: audit.UserCreated, Target: string(u)}))
}

// Create makes a user without a credential.
func (a *Accounts) Create(ctx context.Context, n NewUser, by handstamp.Client) (User, error) {
	var user User
	u := id.NewUser(a.auth.Now())
	err := a.store.AccountWork().Do(ctx, func(tx Tx) (err error) {
		user, err = a.CreateIn(ctx, tx, n, u, by)
		return err
	})
	if err != nil {
		return User{}, err
	}
	return user, nil
}

// Change is what one call changes about an account. What is nil stays as it is.
type Change struct {
	Email    *Address // another address, which is unverified
	Disabled *bool    // true ends all sessions; false brings none back
}

// Change changes an account: all that is asked for in one unit, or nothing of it. A change of nothing is ErrInput;
// handstamp.ErrTaken is an address in use, and handstamp.ErrNotFound a user that no account knows.
func (a *Accounts) Change(ctx context.Context, u handstamp.UserID, c Change, opt handstamp.EndOptions) (handstamp.Ended, error) {
	var edits []edit
	if c.Email != nil {
		edits = append(edits, a.withEmail(*c.Email))
	}
	if c.Disabled != nil {
		edits = append(edits, a.withDisabled(*c.Disabled))
	}
	if len(edits) == 0 {
		return handstamp.Ended{}, fmt.Errorf("%w: a change names email, disabled, or both", ErrInput)
	}
	return a.change(ctx, u, opt, edits...)
}

// SetEmail gives a user another address, which is unverified. Sessions go on; what copies say of the address is stale.
// handstamp.ErrTaken if the address is in use.
func (a *Accounts) SetEmail(ctx context.Context, u handstamp.UserID, email Address, opt handstamp.EndOptions) (handstamp.Ended, error) {
	return a.change(ctx, u, opt, a.withEmail(email))
}

// SetDisabled disables a user, which ends all sessions, or enables one, which brings none back.
func (a *Accounts) SetDisabled(ctx context.Context, u handstamp.UserID, disabled bool, opt handstamp.EndOptions) (handstamp.Ended, error) {
	return a.change(ctx, u, opt, a.withDisabled(disabled))
}

// Delete removes a user: account, credentials and personal data. The id is never used again; the audit log keeps it.
func (a *Accounts) Delete(ctx context.Context, u handstamp.UserID, opt handstamp.EndOptions) (handstamp.Ended, error) {
	return a.change(ctx, u, opt, edit{audit.UserDeleted, func(ctx context.Context, tx Tx, _ User, sub *handstamp.Subject) (revoke.Event, error) {
		*sub = handstamp.Subject{User: u, Deleted: true}
		return a.ended(u, "deleted"), tx.DeleteUser(ctx, u)
	}})
}

// edit is one thing that changes about an account: the kind of its audit entry, and what writes it and says which event
// tells of it.
type edit struct {
	kind  audit.Kind
	write func(ctx context.Context, tx Tx, user User, sub *handstamp.Subject) (revoke.Event, error)
}

func (a *Accounts) withEmail(email Address) edit {
	return edit{audit.UserChanged, func(ctx context.Context, tx Tx, user User, sub *handstamp.Subject) (revoke.Event, error) {
		user.Email, user.EmailVerified = email, false
		sub.Email, sub.EmailVerified = string(email), false
		return a.auth.Event(revoke.KindUser, string(user.ID), revoke.Change, "address"), tx.PutUser(ctx, user)
	}}
}

func (a *Accounts) withDisabled(disabled bool) edit {
	kind := audit.UserEnabled
	if disabled {
		kind = audit.UserDisabled
	}
	return edit{kind, func(_ context.Context, _ Tx, user User, sub *handstamp.Subject) (revoke.Event, error) {
		sub.Disabled = disabled
		if disabled {
			return a.ended(user.ID, "disabled"), nil
		}
		return a.auth.Event(revoke.KindUser, string(user.ID), revoke.Change, "enabled"), nil
	}}
}

func (a *Accounts) ended(u handstamp.UserID, reason string) revoke.Event {
	return a.auth.Event(revoke.KindUser, string(u), revoke.End, reason)
}

// change is the unit behind every change of an account: lock, write, record, append.
func (a *Accounts) change(ctx context.Context, u handstamp.UserID, opt handstamp.EndOptions, edits ...edit) (handstamp.Ended, error) {
	return a.unit(ctx, opt, func(tx Tx) (handstamp.Appended, error) {
		user, err := tx.User(ctx, u)
		if err != nil {
			return handstamp.Appended{}, fmt.Errorf("read the user: %w", err)
		}
		sub, err := tx.Subject(ctx, u)
		if err != nil {
			return handstamp.Appended{}, fmt.Errorf("lock the subject: %w", err)
		}
		var events []revoke.Event
		for _, e := range edits {
			event, err := e.write(ctx, tx, user, &sub)
			if err != nil {
				return handstamp.Appended{}, err
			}
			events = append(events, event)
		}
		if err := tx.PutSubject(ctx, sub); err != nil {
			return handstamp.Appended{}, fmt.Errorf("write the subject: %w", err)
		}
		for _, e := range edits {
			if err := tx.Record(ctx, a.auth.AuditEntry(opt.Client, audit.Event{Kind: e.kind, Target: string(u)})); err != nil {
				return handstamp.Appended{}, fmt.Errorf("write the audit entry: %w", err)
			}
		}
		return tx.Append(ctx, events...)
	})
}

func (a *Accounts) unit(ctx context.Context, opt handstamp.EndOptions, fn func(tx Tx) (handstamp.Appended, error)) (handstamp.Ended, error) {
	done, err := handstamp.Do(ctx, a.auth, a.store.AccountWork(), fn)
	if err != nil {
		return handstamp.Ended{}, err
	}
	e := handstamp.Ended{Sessions: done.Sessions, More: done.More, By: done.Last()}
	if opt.WaitFleet {
		return a.auth.WaitFleet(ctx, e)
	}
	return e, nil
}

// SetRoles says what a user may do, also a user whom no account knows. It takes effect on every node and every token.
func (a *Accounts) SetRoles(ctx context.Context, u handstamp.UserID, roles []string, opt handstamp.EndOptions) (handstamp.Ended, error) {
	if _, err := id.ParseUser(string(u)); err != nil {
		return handstamp.Ended{}, fmt.Errorf("%w: %w", ErrInput, err)
	}
	if err := checkRoles(roles); err != nil {
		return handstamp.Ended{}, err
	}
	return a.unit(ctx, opt, func(tx Tx) (handstamp.Appended, error) {
		sub, err := tx.Subject(ctx, u)
		if err != nil {
			return handstamp.Appended{}, fmt.Errorf("lock the subject: %w", err)
		}
		if sub.Deleted {
			return handstamp.Appended{}, handstamp.ErrNotFound
		}
		sub.Grants.Roles = roles
		if err := tx.PutSubject(ctx, sub); err != nil {
			return handstamp.Appended{}, fmt.Errorf("write the subject: %w", err)
		}
		entry := audit.Event{Kind: audit.RolesChanged, Target: string(u), Detail: map[string]string{"roles": strings.Join(roles, " ")}}
		if err := tx.Record(ctx, a.auth.AuditEntry(opt.Client, entry)); err != nil {
			return handstamp.Appended{}, fmt.Errorf("write the audit entry: %w", err)
		}
		return tx.Append(ctx, a.auth.Event(revoke.KindUser, string(u), revoke.Change, "roles"))
	})
}

func checkRoles(roles []string) error {
	if len(roles) > 100 {
		return fmt.Errorf("%w: a user has at most 100 roles", ErrInput)
	}
	for i, r := range roles {
		if err := permission.CheckRole(r); err != nil {
			return fmt.Errorf("%w: %w", ErrInput, err)
		}
		if slices.Contains(roles[:i], r) {
			return fmt.Errorf("%w: a role is named twice", ErrInput)
		}
	}
	return nil
}

// PutRole defines what a role grants, for everybody who has it, at once.
func (a *Accounts) PutRole(ctx context.Context, r Role, opt handstamp.EndOptions) (handstamp.Ended, error) {
	if err := permission.CheckRole(r.Name); err != nil {
		return handstamp.Ended{}, fmt.Errorf("%w: %w", ErrInput, err)
	}
	if err := checkPermissions(r.Permissions); err != nil {
		return handstamp.Ended{}, err
	}
	if r.Name == RoleAdmin && !slices.Equal(r.Permissions, []string{permission.Everything}) {
		return handstamp.Ended{}, fmt.Errorf("%w: the role %s always grants %s, or nobody could give it back", ErrInput, RoleAdmin, permission.Everything)
	}
	r.Permissions = slices.Compact(slices.Sorted(slices.Values(r.Permissions))) // the caller's slice stays as it is
	return a.roleUnit(ctx, r.Name, opt, audit.RoleDefined, func(tx Tx) error { return tx.PutRole(ctx, r) })
}

// DeleteRole removes a role; who has it keeps the name, and is granted nothing by it.
func (a *Accounts) DeleteRole(ctx context.Context, name string, opt handstamp.EndOptions) (handstamp.Ended, error) {
	if name == RoleAdmin || name == RoleMember {
		return handstamp.Ended{}, fmt.Errorf("%w: the roles %s and %s stay", ErrInput, RoleAdmin, RoleMember)
	}
	return a.roleUnit(ctx, name, opt, audit.RoleDeleted, func(tx Tx) error { return tx.DeleteRole(ctx, name) })
}

func (a *Accounts) roleUnit(ctx context.Context, name string, opt handstamp.EndOptions, k audit.Kind, write func(tx Tx) error) (handstamp.Ended, error) {
	return a.unit(ctx, opt, func(tx Tx) (handstamp.Appended, error) {
		if err := write(tx); err != nil {
			return handstamp.Appended{}, fmt.Errorf("write the role: %w", err)
		}
		if err := tx.Record(ctx, a.auth.AuditEntry(opt.Client, audit.Event{Kind: k, Target: name})); err != nil {
			return handstamp.Appended{}, fmt.Errorf("write the audit entry: %w", err)
		}
		return tx.Append(ctx, a.auth.Event(revoke.KindRole, name, revoke.Change, "definition"))
	})
}

func checkPermissions(permissions []string) error {
	if len(permissions) > 1000 {
		return fmt.Errorf("%w: at most 1,000 permissions", ErrInput)
	}
	for _, p := range permissions {
		if err := permission.Check(p); err != nil {
			return fmt.Errorf("%w: %w", ErrInput, err)
		}
	}
	return nil
}

// NewServiceKey is a program's credential that is about to be made.
type NewServiceKey struct {
	Name        string // for people; 1 to 200 bytes
	Permissions []string
	ExpiresAt   time.Time // zero is never
}

// AddServiceKey makes a credential for a program. The secret is returned this once.
func (a *Accounts) AddServiceKey(ctx context.Context, n NewServiceKey, by handstamp.Client) (handstamp.ServiceKey, token.Secret, error) {
	now := a.auth.Now()
	if n.Name == "" || len(n.Name) > 200 {
		return handstamp.ServiceKey{}, token.Secret{}, fmt.Errorf("%w: a name has 1 to 200 bytes", ErrInput)
	}
	if err := checkPermissions(n.Permissions); err != nil {
		return handstamp.ServiceKey{}, token.Secret{}, err
	}
	if !n.ExpiresAt.IsZero() && !n.ExpiresAt.After(now) {
		return handstamp.ServiceKey{}, token.Secret{}, fmt.Errorf("%w: the key would be expired already", ErrInput)
	}
	secret := token.Generate(token.ServiceKey)
	k := handstamp.ServiceKey{
		ID: id.NewServiceKey(now), Hash: token.HashOf(secret), Name: n.Name, Permissions: slices.Clone(n.Permissions),
		CreatedAt: now, ExpiresAt: n.ExpiresAt.UTC().Truncate(time.Microsecond),
	}
	if n.ExpiresAt.IsZero() {
		k.ExpiresAt = time.Time{}
	}
	err := a.store.AccountWork().Do(ctx, func(tx Tx) error {
		if err := tx.PutServiceKey(ctx, k); err != nil {
			return fmt.Errorf("write the service key: %w", err)
		}
		return tx.Record(ctx, a.auth.AuditEntry(by, audit.Event{Kind: audit.ServiceKeyAdded, Target: string(k.ID), Detail: map[string]string{"name": n.Name}}))
	})
	if err != nil {
		return handstamp.ServiceKey{}, token.Secret{}, err
	}
	return k, secret, nil
}

// HasAdmin reports whether any account has the role admin.
func (a *Accounts) HasAdmin(ctx context.Context) (bool, error) {
	f := UserFilter{Limit: 1000}
	for {
		list, err := a.Users().List(ctx, f)
		if err != nil {
			return false, fmt.Errorf("list users: %w", err)
		}
		for _, u := range list {
			if slices.Contains(u.Roles, RoleAdmin) {
				return true, nil
			}
		}
		if len(list) < f.Limit {
			return false, nil
		}
		f.After = list[len(list)-1].ID
	}
}
