package postgres

import (
	"context"
	"fmt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// User implements account.Tx.
func (u *unit) User(ctx context.Context, user handstamp.UserID) (account.User, error) {
	var a account.User
	if err := u.row(ctx, u.lock(user), userByID, []any{string(user)}, userInto(&a)...); err != nil {
		return account.User{}, fmt.Errorf("read account: %w", notFound(err))
	}
	return a, nil
}

// The unique values are looked for by the statement itself, since an error of the engine would end the unit. Two units
// that write the same value at once are told apart by that error, and the one that loses is run again.
const (
	insertUser = `INSERT INTO @users (id, email, email_verified, created_at, version) VALUES ($1, $2, $3, $4, 1) ON CONFLICT DO NOTHING`
	updateUser = `UPDATE @users AS a SET email = $2, email_verified = $3, created_at = $4, version = a.version + 1
		WHERE a.id = $1 AND a.version = $5 AND NOT EXISTS (SELECT 1 FROM @users AS o WHERE o.email = $2 AND o.id <> $1)`
	whyUser = `SELECT EXISTS (SELECT 1 FROM @users AS a WHERE a.id = $1 AND ($2::bigint = 0 OR a.version = $2))`
)

// PutUser implements account.Tx.
func (u *unit) PutUser(ctx context.Context, a account.User) error {
	args, query := []any{string(a.ID), string(a.Email), a.EmailVerified, micros(a.CreatedAt)}, insertUser
	if a.Version != 0 {
		query, args = updateUser, append(args, number(a.Version))
	}
	n, err := u.change(ctx, query, args...)
	if err == nil && n == 0 {
		var there bool
		err = u.row(ctx, nil, whyUser, []any{string(a.ID), number(a.Version)}, asBool(&there))
		switch {
		case err != nil:
		case there == (a.Version == 0):
			err = handstamp.ErrConflict
		default:
			err = handstamp.ErrTaken
		}
	}
	if err != nil {
		return fmt.Errorf("write account: %w", err)
	}
	return nil
}

// clearAddresses raises the versions, so that whoever read a record before does not write its addresses back.
const clearAddresses = `UPDATE @sessions AS s SET ip = '', user_agent = '', refresh_ip = '', refresh_agent = '',
	version = s.version + 1 WHERE s.user_id = $1`

// DeleteUser implements account.Tx.
func (u *unit) DeleteUser(ctx context.Context, user handstamp.UserID) error {
	if err := u.swap(ctx, handstamp.ErrNotFound, "DELETE FROM @users AS a WHERE a.id = $1", string(user)); err != nil {
		return fmt.Errorf("delete account: %w", err)
	}
	return u.keep(ctx,
		statement{query: "DELETE FROM @credentials AS c WHERE c.user_id = $1", args: []any{string(user)}, what: "delete credentials"},
		statement{query: clearAddresses, args: []any{string(user)}, what: "clear addresses of sessions"},
		forgetAudit(user))
}

// Credential implements account.Credentials.
func (u *unit) Credential(ctx context.Context, user handstamp.UserID, method string) (account.Credential, error) {
	var c account.Credential
	if err := u.row(ctx, nil, selectCredential, []any{string(user), method}, credentialInto(&c)...); err != nil {
		return account.Credential{}, fmt.Errorf("read credential: %w", notFound(err))
	}
	return c, nil
}

// PutCredential implements account.Credentials.
func (u *unit) PutCredential(ctx context.Context, c account.Credential) error {
	args := []any{string(c.User), c.Method, c.Data, micros(c.CreatedAt), micros(c.UpdatedAt)}
	query := `INSERT INTO @credentials (user_id, method, data, created_at, updated_at, version) VALUES ($1, $2, $3, $4, $5, 1) ON CONFLICT DO NOTHING`
	if c.Version != 0 {
		query = `UPDATE @credentials AS c SET data = $3, created_at = $4, updated_at = $5, version = c.version + 1
			WHERE c.user_id = $1 AND c.method = $2 AND c.version = $6`
		args = append(args, number(c.Version))
	}
	if err := u.swap(ctx, handstamp.ErrConflict, query, args...); err != nil {
		return fmt.Errorf("write credential: %w", err)
	}
	return nil
}

// PutRole implements account.Roles.
func (u *unit) PutRole(ctx context.Context, r account.Role) error {
	return u.keep(ctx, statement{what: "write role", args: []any{r.Name, list(r.Permissions)},
		query: `INSERT INTO @roles (name, permissions) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET permissions = $2`})
}

// DeleteRole implements account.Roles.
func (u *unit) DeleteRole(ctx context.Context, name string) error {
	if !storable([]any{name}) {
		return fmt.Errorf("delete role: %w", handstamp.ErrNotFound)
	}
	if err := u.swap(ctx, handstamp.ErrNotFound, "DELETE FROM @roles AS r WHERE r.name = $1", name); err != nil {
		return fmt.Errorf("delete role: %w", err)
	}
	return nil
}

const insertServiceKey = `INSERT INTO @service_keys (id, hash, name, permissions, created_at, expires_at, ended_by, ended_at,
	end_reason, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1) ON CONFLICT DO NOTHING`

// PutServiceKey implements account.Tx.
func (u *unit) PutServiceKey(ctx context.Context, k handstamp.ServiceKey) error {
	err := error(handstamp.ErrConflict)
	if k.Version == 0 {
		var n int64
		n, err = u.change(ctx, insertServiceKey, string(k.ID), k.Hash[:], k.Name, list(k.Permissions), micros(k.CreatedAt),
			micros(k.ExpiresAt), number(k.EndedBy), micros(k.EndedAt), said(k.EndReason))
		if err == nil && n == 0 {
			var there bool
			err = u.row(ctx, nil, "SELECT EXISTS (SELECT 1 FROM @service_keys AS k WHERE k.id = $1)", []any{string(k.ID)}, asBool(&there))
			if err == nil {
				err = handstamp.ErrTaken
			}
			if there {
				err = handstamp.ErrConflict
			}
		}
	}
	if err != nil {
		return fmt.Errorf("write service key: %w", err)
	}
	return nil
}
