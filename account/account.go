// Package account keeps Handstamp's own users: addresses, credentials, roles and service keys. An application that has
// users of its own does not need it. Package account never checks a password and never starts a session.
package account

import (
	"context"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
)

// User is one account. Roles and Disabled live in the engine's subject row, so that they are decided in one place for
// every kind of user; stores read them together.
type User struct {
	ID            handstamp.UserID
	Email         Address
	EmailVerified bool
	Disabled      bool
	Roles         []string
	CreatedAt     time.Time
	Version       uint64 // 0 is an account that does not exist yet
}

// Credential is how a user proves who they are by one method. Data belongs to the method (a password's is its hash).
type Credential struct {
	User      handstamp.UserID
	Method    string // "password"
	Data      string
	CreatedAt time.Time
	UpdatedAt time.Time
	Version   uint64
}

// Role is a name and what it grants.
type Role struct {
	Name        string
	Permissions []string
}

// UserFilter selects accounts. The zero value selects all.
type UserFilter struct {
	Query string           // part of the address, ASCII letters of either case alike; empty for all
	After handstamp.UserID // the last id of the page before; ids follow in ascending order
	Limit int              // 1 to 1,000
}

// Users reads accounts, roles and service keys. Absent records answer handstamp.ErrNotFound.
type Users interface {
	ByID(ctx context.Context, u handstamp.UserID) (User, error)
	ByEmail(ctx context.Context, a Address) (User, error)
	List(ctx context.Context, f UserFilter) ([]User, error)
	Credential(ctx context.Context, u handstamp.UserID, method string) (Credential, error)
	// Role reads one role.
	Role(ctx context.Context, name string) (Role, error)
	// ServiceKeys lists keys that have not ended, ids ascending, those after the id given.
	ServiceKeys(ctx context.Context, after id.ServiceKey, limit int) ([]handstamp.ServiceKey, error)
}

// Tx is a unit of work on accounts and everything the engine needs in the same transaction.
type Tx interface {
	handstamp.Tx
	// User reads an account and locks its subject.
	User(ctx context.Context, u handstamp.UserID) (User, error)
	// PutUser creates (Version 0) or replaces by compare-and-swap (handstamp.ErrConflict). Email is unique
	// (handstamp.ErrTaken). Roles and Disabled are not written: they are the subject's.
	PutUser(ctx context.Context, u User) error
	// DeleteUser removes the account, its credentials, and IP and UserAgent from the records of its sessions and from the
	// entries of the audit log that are the user's own ([audit.Event.Whose]); a long history may be finished by
	// [audit.Log.Sweep]. The subject's row stays.
	DeleteUser(ctx context.Context, u handstamp.UserID) error
	Credentials
	Roles
	// PutServiceKey creates a service key. It ends by an event.
	PutServiceKey(ctx context.Context, k handstamp.ServiceKey) error
}

// Credentials is the part of Tx that a login method needs.
type Credentials interface {
	// Credential reads a credential in the transaction.
	Credential(ctx context.Context, u handstamp.UserID, method string) (Credential, error)
	// PutCredential creates (Version 0) or replaces by compare-and-swap (handstamp.ErrConflict).
	PutCredential(ctx context.Context, c Credential) error
}

// Roles is the part of Tx that writes role definitions.
type Roles interface {
	// PutRole creates or replaces a role.
	PutRole(ctx context.Context, r Role) error
	// DeleteRole answers handstamp.ErrNotFound if there is none.
	DeleteRole(ctx context.Context, name string) error
}

// Store is a backend's view for accounts.
type Store interface {
	Users() Users
	AccountWork() handstamp.UnitOfWork[Tx]
}
