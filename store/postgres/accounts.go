package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
)

// Users reads accounts, roles and service keys.
func (s *Store) Users() account.Users { return &users{s} }

type users struct{ s *Store }

// Roles and Disabled come from the subject's row, in the same statement.
const selectUser = `SELECT a.id, a.email, a.email_verified, a.created_at, a.version, u.disabled, u.roles
	FROM @users AS a LEFT JOIN @subjects AS u ON u.user_id = a.id WHERE `

func userInto(a *account.User) []any {
	return []any{
		asText(&a.ID), asText(&a.Email), asBool(&a.EmailVerified), asTime(&a.CreatedAt), asNumber(&a.Version),
		asBool(&a.Disabled), asList(&a.Roles),
	}
}

const (
	userByID    = selectUser + `a.id = $1`
	userByEmail = selectUser + `a.email = $1`
)

// ByID implements account.Users.
func (v *users) ByID(ctx context.Context, u handstamp.UserID) (account.User, error) {
	return v.by(ctx, userByID, string(u))
}

// ByEmail implements account.Users.
func (v *users) ByEmail(ctx context.Context, a account.Address) (account.User, error) {
	return v.by(ctx, userByEmail, string(a))
}

func (v *users) by(ctx context.Context, query, value string) (account.User, error) {
	var a account.User
	if err := v.s.row(ctx, query, []any{value}, userInto(&a)...); err != nil {
		return account.User{}, fmt.Errorf("read account: %w", notFound(err))
	}
	return a, nil
}

// The query is looked for as it is: strpos knows no wildcards. In the collation of the column lower() is for ASCII letters
// only.
const listUsers = selectUser + `a.id > $1 AND ($2 = '' OR strpos(lower(a.email), lower($2 COLLATE "C")) > 0) ORDER BY a.id LIMIT $3`

// maxPage is the longest page of accounts, keys and audit entries.
const maxPage = 1_000

// List implements account.Users.
func (v *users) List(ctx context.Context, f account.UserFilter) ([]account.User, error) {
	found := []account.User{}
	args := []any{string(f.After), f.Query, int64(min(max(f.Limit, 1), maxPage))}
	err := v.s.each(ctx, listUsers, args, func(r pgx.Rows) error {
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
}

//nolint:gosec // a statement, no credential
const selectCredential = `SELECT c.user_id, c.method, c.data, c.created_at, c.updated_at, c.version
	FROM @credentials AS c WHERE c.user_id = $1 AND c.method = $2`

func credentialInto(c *account.Credential) []any {
	return []any{
		asText(&c.User), asText(&c.Method), asText(&c.Data), asTime(&c.CreatedAt), asTime(&c.UpdatedAt), asNumber(&c.Version),
	}
}

// Credential implements account.Users.
func (v *users) Credential(ctx context.Context, u handstamp.UserID, method string) (account.Credential, error) {
	var c account.Credential
	if err := v.s.row(ctx, selectCredential, []any{string(u), method}, credentialInto(&c)...); err != nil {
		return account.Credential{}, fmt.Errorf("read credential: %w", notFound(err))
	}
	return c, nil
}

// Role implements account.Users.
func (v *users) Role(ctx context.Context, name string) (account.Role, error) {
	r := account.Role{Name: name}
	err := v.s.row(ctx, "SELECT r.permissions FROM @roles AS r WHERE r.name = $1", []any{name}, asList(&r.Permissions))
	if err != nil {
		return account.Role{}, fmt.Errorf("read role: %w", notFound(err))
	}
	return r, nil
}

const serviceKeyColumns = `k.id, k.hash, k.name, k.permissions, k.created_at, k.expires_at, k.ended_by, k.ended_at, k.end_reason, k.version`

func serviceKeyInto(k *handstamp.ServiceKey) []any {
	return []any{
		asText(&k.ID), asHash(&k.Hash), asText(&k.Name), asList(&k.Permissions), asTime(&k.CreatedAt), asTime(&k.ExpiresAt),
		asNumber(&k.EndedBy), asTime(&k.EndedAt), asText(&k.EndReason), asNumber(&k.Version),
	}
}

const listServiceKeys = `SELECT ` + serviceKeyColumns + ` FROM @service_keys AS k
	WHERE k.id > $1 AND k.ended_by = 0 ORDER BY k.id LIMIT $2`

// ServiceKeys implements account.Users.
func (v *users) ServiceKeys(ctx context.Context, after id.ServiceKey, limit int) ([]handstamp.ServiceKey, error) {
	found := []handstamp.ServiceKey{}
	err := v.s.each(ctx, listServiceKeys, []any{string(after), int64(min(max(limit, 1), maxPage))}, func(r pgx.Rows) error {
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
}
