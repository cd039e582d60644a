package memory

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
)

// maxUsers is the largest page of accounts and of service keys.
const maxUsers = 1000

// users is the view for reads of accounts.
type users struct{ s *Store }

// read runs a read in one snapshot.
func read[T any](ctx context.Context, s *Store, what string, fn func(d *data) (T, error)) (T, error) {
	if err := ctx.Err(); err != nil {
		var none T
		return none, fmt.Errorf("read %s: %w", what, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return fn(s.data)
}

// joined puts what the subject decides into an account.
func joined(u account.User, row *handstamp.Subject) account.User {
	u.Disabled, u.Roles = false, nil
	if row != nil {
		u.Disabled, u.Roles = row.Disabled, slices.Clone(row.Grants.Roles)
	}
	return u
}

func (d *data) user(u handstamp.UserID) (account.User, error) {
	kept, ok := d.users[u]
	if !ok {
		return account.User{}, handstamp.ErrNotFound
	}
	return joined(kept, d.subjects[u]), nil
}

// ByID reads an account.
func (v users) ByID(ctx context.Context, u handstamp.UserID) (account.User, error) {
	return read(ctx, v.s, "an account", func(d *data) (account.User, error) { return d.user(u) })
}

// ByEmail reads the account of an address.
func (v users) ByEmail(ctx context.Context, a account.Address) (account.User, error) {
	return read(ctx, v.s, "an account", func(d *data) (account.User, error) {
		u, ok := d.emails[a]
		if !ok {
			return account.User{}, handstamp.ErrNotFound
		}
		return d.user(u)
	})
}

// List returns accounts by ascending id.
func (v users) List(ctx context.Context, f account.UserFilter) ([]account.User, error) {
	return read(ctx, v.s, "accounts", func(d *data) ([]account.User, error) {
		ids := d.userIDs
		if f.After != "" {
			at, found := slices.BinarySearch(ids, f.After)
			if found {
				at++
			}
			ids = ids[at:]
		}
		query, page := lower(f.Query), []account.User{}
		for _, u := range ids {
			if len(page) == pageOf(f.Limit) {
				break
			}
			if strings.Contains(lower(string(d.users[u].Email)), query) {
				page = append(page, joined(d.users[u], d.subjects[u]))
			}
		}
		return page, nil
	})
}

func pageOf(limit int) int {
	if limit < 1 || limit > maxUsers {
		return maxUsers
	}
	return limit
}

// lower changes the letters A to Z and no others: strings.ToLower would also turn the KELVIN SIGN into a k.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// Credential reads a credential.
func (v users) Credential(ctx context.Context, u handstamp.UserID, method string) (account.Credential, error) {
	return read(ctx, v.s, "a credential", func(d *data) (account.Credential, error) {
		return credential(d.credentials[u], method)
	})
}

func credential(all []account.Credential, method string) (account.Credential, error) {
	for _, c := range all {
		if c.Method == method {
			return c, nil
		}
	}
	return account.Credential{}, handstamp.ErrNotFound
}

// Role reads one role.
func (v users) Role(ctx context.Context, name string) (account.Role, error) {
	return read(ctx, v.s, "a role", func(d *data) (account.Role, error) {
		r, ok := d.roles[name]
		if !ok {
			return account.Role{}, handstamp.ErrNotFound
		}
		return ownedRole(r), nil
	})
}

func ownedRole(r account.Role) account.Role {
	r.Permissions = slices.Clone(r.Permissions)
	return r
}

// ServiceKeys lists keys that have not ended.
func (v users) ServiceKeys(ctx context.Context, after id.ServiceKey, limit int) ([]handstamp.ServiceKey, error) {
	return read(ctx, v.s, "service keys", func(d *data) ([]handstamp.ServiceKey, error) {
		page := []handstamp.ServiceKey{}
		for _, k := range d.serviceKeys {
			if k.EndedBy == 0 && k.ID > after {
				page = append(page, ownedKey(*k))
			}
		}
		slices.SortFunc(page, func(a, b handstamp.ServiceKey) int { return compareIDs(a.ID, b.ID) })
		return page[:min(len(page), pageOf(limit))], nil
	})
}

// User reads an account.
func (t *tx) User(ctx context.Context, u handstamp.UserID) (account.User, error) {
	if err := t.open(ctx); err != nil {
		return account.User{}, fmt.Errorf("read an account: %w", err)
	}
	kept, ok := t.users.get(u)
	if !ok {
		return account.User{}, handstamp.ErrNotFound
	}
	row, _ := t.subjects.get(u)
	return joined(kept, row), nil
}

// PutUser creates or replaces an account.
func (t *tx) PutUser(ctx context.Context, u account.User) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("write an account: %w", err)
	}
	kept, found := t.users.get(u.ID)
	if found != (u.Version > 0) || found && kept.Version != u.Version {
		return handstamp.ErrConflict
	}
	if holder, taken := t.emails.get(u.Email); taken && holder != u.ID {
		return handstamp.ErrTaken
	}
	if found && kept.Email != u.Email {
		t.emails.drop(kept.Email)
	}
	t.emails.put(u.Email, u.ID)
	u.Roles, u.Disabled = nil, false
	u.Version++
	t.users.put(u.ID, u)
	return nil
}

// DeleteUser removes an account, its credentials and the addresses in its sessions and in its entries of the audit log;
// handstamp.ErrNotFound if there is none.
func (t *tx) DeleteUser(ctx context.Context, u handstamp.UserID) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("delete an account: %w", err)
	}
	kept, found := t.users.get(u)
	if !found {
		return handstamp.ErrNotFound
	}
	t.users.drop(u)
	t.emails.drop(kept.Email)
	t.credentials.drop(u)
	forgetAddresses(&t.d.records, &t.sessions, u)
	t.forgotten = append(t.forgotten, u)
	return nil
}

// Credential reads a credential.
func (t *tx) Credential(ctx context.Context, u handstamp.UserID, method string) (account.Credential, error) {
	if err := t.open(ctx); err != nil {
		return account.Credential{}, fmt.Errorf("read a credential: %w", err)
	}
	all, _ := t.credentials.get(u)
	return credential(all, method)
}

// PutCredential creates or replaces a credential.
func (t *tx) PutCredential(ctx context.Context, c account.Credential) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("write a credential: %w", err)
	}
	all, _ := t.credentials.get(c.User)
	at := slices.IndexFunc(all, func(kept account.Credential) bool { return kept.Method == c.Method })
	if at < 0 != (c.Version == 0) || at >= 0 && all[at].Version != c.Version {
		return handstamp.ErrConflict
	}
	c.Version++
	all = slices.Clone(all)
	if at < 0 {
		all = append(all, c)
	} else {
		all[at] = c
	}
	t.credentials.put(c.User, all)
	return nil
}

// PutRole creates or replaces a role.
func (t *tx) PutRole(ctx context.Context, r account.Role) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("write a role: %w", err)
	}
	t.roles.put(r.Name, ownedRole(r))
	return nil
}

// DeleteRole removes a role.
func (t *tx) DeleteRole(ctx context.Context, name string) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("delete a role: %w", err)
	}
	if _, ok := t.roles.get(name); !ok {
		return handstamp.ErrNotFound
	}
	t.roles.drop(name)
	return nil
}

// PutServiceKey creates a service key: handstamp.ErrConflict if the id exists, handstamp.ErrTaken if the hash does.
func (t *tx) PutServiceKey(ctx context.Context, k handstamp.ServiceKey) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("write a service key: %w", err)
	}
	if _, found := t.serviceKeys.get(k.ID); found || k.Version != 0 {
		return handstamp.ErrConflict
	}
	if _, taken := t.keyHashes.get(k.Hash); taken {
		return handstamp.ErrTaken
	}
	k = ownedKey(k)
	k.Version = 1
	t.serviceKeys.put(k.ID, &k)
	t.keyHashes.put(k.Hash, k.ID)
	return nil
}
