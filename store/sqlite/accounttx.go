package sqlite

import (
	"context"
	"fmt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// User implements account.Tx.
func (u *unit) User(ctx context.Context, user handstamp.UserID) (account.User, error) {
	if err := u.ready(ctx); err != nil {
		return account.User{}, err
	}
	return userBy(u.row, "a.id = ?1", string(user))
}

// PutUser implements account.Tx.
func (u *unit) PutUser(ctx context.Context, a account.User) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	var err error
	if a.Version == 0 {
		err = u.change(handstamp.ErrConflict, `INSERT INTO handstamp_users (id, email, email_verified, created_at, version)
			VALUES (?1, ?2, ?3, ?4, 1) ON CONFLICT (id) DO NOTHING`,
			string(a.ID), string(a.Email), a.EmailVerified, micros(a.CreatedAt))
	} else {
		err = u.change(handstamp.ErrConflict, `UPDATE handstamp_users SET email = ?2, email_verified = ?3, created_at = ?4,
			version = version + 1 WHERE id = ?1 AND version = ?5`,
			string(a.ID), string(a.Email), a.EmailVerified, micros(a.CreatedAt), number(a.Version))
	}
	if err != nil {
		return fmt.Errorf("write account: %w", err)
	}
	return nil
}

// clearAddresses raises the versions, so that whoever read a record before does not write its addresses back.
const clearAddresses = `UPDATE handstamp_sessions SET ip = '', user_agent = '', refresh_ip = '', refresh_agent = '',
	version = version + 1 WHERE user = ?`

// DeleteUser implements account.Tx.
func (u *unit) DeleteUser(ctx context.Context, user handstamp.UserID) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	if err := u.change(handstamp.ErrNotFound, "DELETE FROM handstamp_users WHERE id = ?", string(user)); err != nil {
		return fmt.Errorf("delete account: %w", err)
	}
	if _, err := u.exec("DELETE FROM handstamp_credentials WHERE user = ?", string(user)); err != nil {
		return fmt.Errorf("delete credentials: %w", err)
	}
	if _, err := u.exec(clearAddresses, string(user)); err != nil {
		return fmt.Errorf("clear addresses of sessions: %w", err)
	}
	if err := u.forgetAudit(user); err != nil {
		return fmt.Errorf("clear addresses of audit entries: %w", err)
	}
	return nil
}

// Credential implements account.Credentials.
func (u *unit) Credential(ctx context.Context, user handstamp.UserID, method string) (account.Credential, error) {
	if err := u.ready(ctx); err != nil {
		return account.Credential{}, err
	}
	return credentialOf(u.row, user, method)
}

// PutCredential implements account.Credentials.
func (u *unit) PutCredential(ctx context.Context, c account.Credential) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	var err error
	if c.Version == 0 {
		err = u.change(handstamp.ErrConflict, `INSERT INTO handstamp_credentials (user, method, data, created_at, updated_at, version)
			VALUES (?1, ?2, ?3, ?4, ?5, 1)`, string(c.User), c.Method, c.Data, micros(c.CreatedAt), micros(c.UpdatedAt))
	} else {
		err = u.change(handstamp.ErrConflict, `UPDATE handstamp_credentials SET data = ?3, created_at = ?4, updated_at = ?5,
			version = version + 1 WHERE user = ?1 AND method = ?2 AND version = ?6`,
			string(c.User), c.Method, c.Data, micros(c.CreatedAt), micros(c.UpdatedAt), number(c.Version))
	}
	if err != nil {
		return fmt.Errorf("write credential: %w", err)
	}
	return nil
}

// PutRole implements account.Roles.
func (u *unit) PutRole(ctx context.Context, r account.Role) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	_, err := u.exec(`INSERT INTO handstamp_roles (name, permissions) VALUES (?1, ?2)
		ON CONFLICT (name) DO UPDATE SET permissions = ?2`, r.Name, list(r.Permissions))
	if err != nil {
		return fmt.Errorf("write role: %w", err)
	}
	return nil
}

// DeleteRole implements account.Roles.
func (u *unit) DeleteRole(ctx context.Context, name string) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	if err := u.change(handstamp.ErrNotFound, "DELETE FROM handstamp_roles WHERE name = ?", name); err != nil {
		return fmt.Errorf("delete role: %w", err)
	}
	return nil
}

// PutServiceKey implements account.Tx.
func (u *unit) PutServiceKey(ctx context.Context, k handstamp.ServiceKey) error {
	if err := u.ready(ctx); err != nil {
		return err
	}
	if k.Version != 0 {
		return fmt.Errorf("write service key: %w", handstamp.ErrConflict)
	}
	err := u.change(handstamp.ErrConflict, `INSERT INTO handstamp_service_keys (id, hash, name, permissions, created_at,
		expires_at, ended_by, ended_at, end_reason, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1) ON CONFLICT (id) DO NOTHING`,
		string(k.ID), k.Hash[:], k.Name, list(k.Permissions), micros(k.CreatedAt), micros(k.ExpiresAt),
		number(k.EndedBy), micros(k.EndedAt), k.EndReason)
	if err != nil {
		return fmt.Errorf("write service key: %w", err)
	}
	return nil
}
