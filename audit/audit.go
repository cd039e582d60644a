// Package audit defines the entries of the audit log: who did what, to whom, when and from where. A store writes an
// entry in the transaction of the change it speaks of, so that there is no change without an entry and no entry without
// a change. Package audit never writes anything by itself, and an entry never holds a secret.
package audit

import (
	"cmp"
	"context"
	"time"

	"github.com/handstamp/handstamp/id"
)

// Kind says what happened. Applications may use kinds of their own, with a prefix of their own ("shop.order.cancelled").
type Kind string

// The kinds that Handstamp itself writes. There is none for a refresh that went well: it is one statement on one row, and
// an entry would make two writes of it, for something that says no more than that the session lives. Refreshes that are
// out of the ordinary are in the log.
const (
	SignUp           Kind = "signup"
	LoginOK          Kind = "login.ok"
	LoginFailed      Kind = "login.failed"
	SessionEnded     Kind = "session.ended"
	UserSessionsEnd  Kind = "user.sessions_ended"
	AllSessionsEnded Kind = "all.sessions_ended"
	RefreshReused    Kind = "refresh.reused"
	RefreshRepeated  Kind = "refresh.repeated"
	RefreshAhead     Kind = "refresh.ahead"
	RefreshForeign   Kind = "refresh.foreign_nonce"
	PasswordChanged  Kind = "password.changed"
	PasswordRehashed Kind = "password.rehashed"
	SecretsRenewed   Kind = "session.secrets_renewed"
	UserCreated      Kind = "user.created"
	UserChanged      Kind = "user.changed"
	UserDisabled     Kind = "user.disabled"
	UserEnabled      Kind = "user.enabled"
	UserDeleted      Kind = "user.deleted"
	RolesChanged     Kind = "user.roles_changed"
	RoleDefined      Kind = "role.defined"
	RoleDeleted      Kind = "role.deleted"
	KeyRotated       Kind = "key.rotated"
	KeyRevoked       Kind = "key.revoked"
	ServiceKeyAdded  Kind = "service_key.added"
	ServiceKeyEnded  Kind = "service_key.deleted"
	Restored         Kind = "log.restored"
	SetupLinkUsed    Kind = "setup.link_used"

	// PasswordUnusable stands for LoginFailed where the account has a stored hash that nothing can be checked against
	// (damaged, or written there by somebody else): its owner cannot log in before a new password is set, and nobody
	// else would notice.
	PasswordUnusable Kind = "password.unusable"

	// LoginThrottled says that attempts to log in are slowed down from now on, once for each time that this begins: not
	// for each attempt that is refused, or who is refused could fill the log. Target is the user who was tried last, if
	// there is one; the detail "limit" says what is used up, with a space between if it is more than one thing: "account"
	// (strangers at that account), "known_network" (a network that logged in to the account before), "network" (one
	// network, at whatever accounts) or "aside" (what is let through at an account although its limit is used up).
	LoginThrottled Kind = "login.throttled"
)

// Event is one entry. The zero value of a field means "not known" or "does not apply".
type Event struct {
	ID        id.Audit
	At        time.Time         // UTC, microseconds; the fleet's time
	Kind      Kind              // what happened
	Actor     string            // who did it: a user id, a service key's id, "cli", "system", or "" for a visitor
	Target    string            // whom or what it was done to: a user id, a role, a key
	Session   id.Session        // the session it was done with, or the one that began or ended
	IP        string            // the client's address, as found by the rules for trusted proxies
	UserAgent string            // as sent, cut to 512 bytes
	RequestID string            // the header Request-Id of the answer
	Detail    map[string]string // facts that help, never a secret, and nothing that must go when a user is deleted
}

// Whose is the one whose client IP and UserAgent speak of: the actor, or who was acted on where nobody is known to have
// acted (whoever failed to log in may have been the user). When a user is deleted, stores take both out of all entries that
// are theirs by this rule, and write none into later ones; the rest of an entry stays. What an administrator did to a user
// is the administrator's.
func (e Event) Whose() string { return cmp.Or(e.Actor, e.Target) }

// Filter selects entries. Zero fields select everything.
type Filter struct {
	User   id.User // entries whose actor or target is this user
	Kind   Kind
	Before id.Audit // entries older than this one: the last id of the page before
	Limit  int      // 1 to 1,000
}

// Log reads the audit log. Implementations are safe for concurrent use.
type Log interface {
	// List returns entries newest first; none is an empty slice and no error.
	List(ctx context.Context, f Filter) ([]Event, error)
	// Sweep deletes at most limit entries that are older than before and says how many it deleted. It also goes on with
	// entries of deleted users whose addresses are still to be taken out (see [Event.Whose]).
	Sweep(ctx context.Context, before time.Time, limit int) (int, error)
}
