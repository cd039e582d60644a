package sqlite

import (
	"context"
	"fmt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
)

// Users reads accounts, roles and service keys.
func (s *Store) Users() account.Users { return &users{s} }

type users struct{ s *Store }

// Roles and Disabled come from the subject's row, in the same statement.
const selectUser = `SELECT a.id, a.email, a.email_verified, a.created_at, a.version, u.disabled, u.roles
	FROM handstamp_users AS a LEFT JOIN handstamp_subjects AS u ON u.user = a.id WHERE `

func userInto(a *account.User) []any {
	return []any{
		asText(&a.ID), asText(&a.Email), asBool(&a.EmailVerified), asTime(&a.CreatedAt), asNumber(&a.Version),
		asBool(&a.Disabled), asList(&a.Roles),
	}
}

func userBy(row rower, where, value string) (account.User, error) {
	var a account.User
	if err := row(selectUser+where, []any{value}, userInto(&a)...); err != nil {
		return account.User{}, fmt.Errorf("read account: %w", notFound(err))
	}
	return a, nil
}

// ByID implements account.Users.
func (v *users) ByID(ctx context.Context, u handstamp.UserID) (account.User, error) {
	return read(ctx, v.s, func(c *link) (account.User, error) { return userBy(c.row, "a.id = ?1", string(u)) })
}

// ByEmail implements account.Users.
func (v *users) ByEmail(ctx context.Context, a account.Address) (account.User, error) {
	return read(ctx, v.s, func(c *link) (account.User, error) { return userBy(c.row, "a.email = ?1", string(a)) })
}

// read runs one read on a connection of the readers.
func read[T any](ctx context.Context, s *Store, f func(*link) (T, error)) (T, error) {
	c, err := s.readers.take(ctx)
	if err != nil {
		var none T
		return none, fmt.Errorf("wait for a reader: %w", err)
	}
	defer s.readers.give(c, true)
	return f(c)
}

// The query is looked for as it is: instr knows no wildcards. lower() is for ASCII letters only.
const listUsers = selectUser + `a.id > ?1 AND (?2 = '' OR instr(lower(a.email), lower(?2)) > 0) ORDER BY a.id LIMIT ?3`

// maxPage is the longest page of accounts, keys and audit entries.
const maxPage = 1_000

// List implements account.Users.
func (v *users) List(ctx context.Context, f account.UserFilter) ([]account.User, error) {
	return read(ctx, v.s, func(c *link) ([]account.User, error) {
		found := []account.User{}
		args := []any{string(f.After), f.Query, min(max(f.Limit, 1), maxPage)}
		err := c.each(ctx, listUsers, args, func(r scanner) error {
			var a account.User
			if err := r.Scan(userInto(&a)...); err != nil {
				return err
			}
			found = append(found, a)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list accounts: %w", err)
		}
		return found, nil
	})
}

//nolint:gosec // a statement, no credential
const selectCredential = `SELECT c.user, c.method, c.data, c.created_at, c.updated_at, c.version
	FROM handstamp_credentials AS c WHERE c.user = ?1 AND c.method = ?2`

func credentialOf(row rower, u handstamp.UserID, method string) (account.Credential, error) {
	var c account.Credential
	err := row(selectCredential, []any{string(u), method}, asText(&c.User), asText(&c.Method), asText(&c.Data),
		asTime(&c.CreatedAt), asTime(&c.UpdatedAt), asNumber(&c.Version))
	if err != nil {
		return account.Credential{}, fmt.Errorf("read credential: %w", notFound(err))
	}
	return c, nil
}

// Credential implements account.Users.
func (v *users) Credential(ctx context.Context, u handstamp.UserID, method string) (account.Credential, error) {
	return read(ctx, v.s, func(c *link) (account.Credential, error) { return credentialOf(c.row, u, method) })
}

// Role implements account.Users.
func (v *users) Role(ctx context.Context, name string) (account.Role, error) {
	return read(ctx, v.s, func(c *link) (account.Role, error) {
		r := account.Role{Name: name}
		err := c.row("SELECT permissions FROM handstamp_roles WHERE name = ?", []any{name}, asList(&r.Permissions))
		if err != nil {
			return account.Role{}, fmt.Errorf("read role: %w", notFound(err))
		}
		return r, nil
	})
}

const serviceKeyColumns = `k.id, k.hash, k.name, k.permissions, k.created_at, k.expires_at, k.ended_by, k.ended_at, k.end_reason, k.version`

func serviceKeyInto(k *handstamp.ServiceKey) []any {
	return []any{
		asText(&k.ID), asHash(&k.Hash), asText(&k.Name), asList(&k.Permissions), asTime(&k.CreatedAt), asTime(&k.ExpiresAt),
		asNumber(&k.EndedBy), asTime(&k.EndedAt), asText(&k.EndReason), asNumber(&k.Version),
	}
}

const listServiceKeys = `SELECT ` + serviceKeyColumns + ` FROM handstamp_service_keys AS k
	WHERE k.id > ?1 AND k.ended_by = 0 ORDER BY k.id LIMIT ?2`

// ServiceKeys implements account.Users.
func (v *users) ServiceKeys(ctx context.Context, after id.ServiceKey, limit int) ([]handstamp.ServiceKey, error) {
	return read(ctx, v.s, func(c *link) ([]handstamp.ServiceKey, error) {
		found := []handstamp.ServiceKey{}
		err := c.each(ctx, listServiceKeys, []any{string(after), min(max(limit, 1), maxPage)}, func(r scanner) error {
			var k handstamp.ServiceKey
			if err := r.Scan(serviceKeyInto(&k)...); err != nil {
				return err
			}
			found = append(found, k)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list service keys: %w", err)
		}
		return found, nil
	})
}
