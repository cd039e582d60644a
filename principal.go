package handstamp

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/token"
)

// Principal is who sent a request, and what they may do. It is immutable and may be shared between requests. The zero
// value is nobody and may nothing.
type Principal struct {
	User      UserID    // for a service key its id, key_…
	Session   SessionID // empty for a service key
	Form      Form
	AuthTime  time.Time // when the user last proved who they are; zero for a service key
	ExpiresAt time.Time // when this credential stops, if nothing stops it before
	asOf      uint64
	more      *principalMore
}

// principalMore is behind a pointer so that a Principal is cheap to pass, and behind methods so that nobody can change a
// slice that others share.
type principalMore struct {
	roles    []string
	methods  []string
	grants   permission.Set
	claims   []byte         // of a session's record
	custom   map[string]any // of a value token
	email    string
	verified bool

	signingKey string        // of a value token
	idle       time.Duration // of a session that was looked up
	program    *ServiceKey   // of a service key that was looked up
	credential token.Secret  // what to ask the authority about again; only of a Verifier without a store
}

// May reports whether the principal has a permission such as posts:write. Patterns are for grants: asking for posts:* is
// always false.
func (p Principal) May(permission string) bool { return p.more != nil && p.more.grants.Has(permission) }

// Roles returns the names of the principal's roles.
func (p Principal) Roles() []string {
	if p.more == nil {
		return nil
	}
	return slices.Clone(p.more.roles)
}

// Permissions returns everything the principal is granted, patterns among it, sorted.
func (p Principal) Permissions() []string {
	if p.more == nil {
		return []string{}
	}
	return p.more.grants.List()
}

// Methods returns how the user proved who they are, by their RFC 8176 names.
func (p Principal) Methods() []string {
	if p.more == nil {
		return nil
	}
	return slices.Clone(p.more.methods)
}

// Claim decodes one of the application's own claims into the value that into points to. It reports whether there is
// such a claim and it fits.
func (p Principal) Claim(name string, into any) bool {
	if p.more == nil {
		return false
	}
	if v, ok := p.more.custom[name]; ok {
		raw, err := json.Marshal(v)
		return err == nil && json.Unmarshal(raw, into) == nil
	}
	if len(p.more.claims) == 0 {
		return false
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(p.more.claims, &all) != nil {
		return false
	}
	raw, ok := all[name]
	return ok && json.Unmarshal(raw, into) == nil
}

// Email returns the user's address and whether it is verified, where the check knew it without another look-up; empty
// otherwise. A value token carries no address.
func (p Principal) Email() (address string, verified bool) {
	if p.more == nil {
		return "", false
	}
	return p.more.email, p.more.verified
}

// AsOf is the number of the last event that was known when this was found out.
func (p Principal) AsOf() uint64 { return p.asOf }

// IsZero reports whether the principal is nobody.
func (p Principal) IsZero() bool { return p.User == "" }

type principalKey struct{}

// NewContext returns a context that carries the principal.
func NewContext(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns the principal that Require or Optional put there. It answers false for a visitor.
func FromContext(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok && !p.IsZero()
}
