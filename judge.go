package handstamp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// What every way to check ends in: whether a record is good, and the Principal that is made of it.

// judge is the one rule for whether a record is good now, and if not, why. What was ended stays revoked, also after it
// would have expired.
func judge(s Session, sub Subject, now time.Time) error {
	switch {
	case s.EndedBy != 0:
		return &DeniedError{Reason: ReasonRevoked, Check: "session_ended", By: s.EndedBy, Since: s.EndedAt}
	case sub.Ended > s.Stamp:
		return &DeniedError{Reason: ReasonRevoked, Check: "user_ended", By: sub.Ended, Since: sub.EndedAt}
	case sub.AllEnded > s.Stamp:
		return &DeniedError{Reason: ReasonRevoked, Check: "all_ended", By: sub.AllEnded, Since: sub.AllEndedAt}
	case sub.Disabled || sub.Deleted:
		return denied(ReasonRevoked, "user_disabled")
	case !now.Before(s.ExpiresAt):
		return &DeniedError{Reason: ReasonExpired, Check: "absolute_end", Since: s.ExpiresAt}
	case s.IdleTimeout > 0 && !now.Before(s.SeenAt.Add(s.IdleTimeout)):
		return &DeniedError{Reason: ReasonExpired, Check: "idle_end", Since: s.SeenAt.Add(s.IdleTimeout)}
	}
	return nil
}

// judgeKey is judge for a program's credential.
func judgeKey(k ServiceKey, now time.Time) error {
	switch {
	case k.EndedBy != 0:
		return &DeniedError{Reason: ReasonRevoked, Check: "service_key", By: k.EndedBy, Since: k.EndedAt}
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return &DeniedError{Reason: ReasonExpired, Check: "service_key", Since: k.ExpiresAt}
	}
	return nil
}

// program looks a service key up and judges it, for who has only its hash.
func (v *Verifier) program(ctx context.Context, hash token.Hash, now time.Time) (Found, error) {
	found, err := v.find.Find(ctx, Lookup{ServiceKey: hash})
	if errors.Is(err, ErrNotFound) {
		return Found{}, denied(ReasonInvalid, "unknown")
	}
	if err != nil {
		return Found{}, fmt.Errorf("look up the service key: %w", err)
	}
	if !found.ServiceKey.Hash.Equal(hash) {
		return Found{}, errOther
	}
	return found, judgeKey(found.ServiceKey, now)
}

// fromRecord makes the Principal of a session that was judged good, with the roles that came with it.
func (v *Verifier) fromRecord(s Session, found Found, form Form) Principal {
	found.Session = s
	p := v.principalOf(found, v.roles.of(found))
	p.Form = form
	return p
}

// principalOf makes the Principal of a record that was judged good.
func (v *Verifier) principalOf(found Found, roles permission.Table) Principal {
	if k := found.ServiceKey; k.ID != "" {
		return Principal{
			User: UserID(k.ID), Form: Key, ExpiresAt: k.ExpiresAt, asOf: found.Subject.Head,
			more: &principalMore{grants: permission.NewSet(k.Permissions...), program: &k},
		}
	}
	s, sub := found.Session, found.Subject
	grants := roles.Grants(sub.Grants.Roles)
	if len(sub.Grants.Permissions) > 0 {
		grants = grants.Union(permission.NewSet(sub.Grants.Permissions...))
	}
	return Principal{
		User: s.User, Session: s.ID, Form: Reference, AuthTime: s.AuthAt, ExpiresAt: s.ends(), asOf: sub.Head,
		more: &principalMore{
			roles: sub.Grants.Roles, methods: s.Methods, grants: grants, claims: s.Claims,
			email: sub.Email, verified: sub.EmailVerified, idle: s.IdleTimeout,
		},
	}
}

// fromClaims makes the Principal of a value token that no event hits, if what its roles grant is known here.
func (v *Verifier) fromClaims(c *copied, verdict revoke.Verdict, now moment) (Principal, bool) {
	t := c.claims
	if v.authority != nil { // what the roles grant is in the token, as of its own number
		if v.log.RolesChanged(t.Roles, c.asOf.Load()) {
			return Principal{}, false
		}
		return v.readyClaims(c, nil, verdict), true
	}
	roles, ok := v.roles.current(v.log, now.clock, t.Roles)
	if !ok {
		return Principal{}, false
	}
	return v.readyClaims(c, roles, verdict), true
}

// readyClaims makes the Principal, or takes the one that was made before.
func (v *Verifier) readyClaims(c *copied, roles *roleCopy, verdict revoke.Verdict) Principal {
	asOf := c.clean(verdict.Applied)
	if r := c.ready.Load(); r != nil && r.roles == roles {
		p := r.principal
		p.asOf = asOf
		return p
	}
	t := c.claims
	grants := permission.NewSet(t.Permissions...)
	if roles != nil {
		grants = roles.table.Grants(t.Roles)
		if len(t.Grants) > 0 {
			grants = grants.Union(permission.NewSet(t.Grants...))
		}
	}
	p := Principal{
		User: UserID(t.Subject), Session: SessionID(t.Session), Form: Value, AuthTime: t.AuthTime, ExpiresAt: t.ExpiresAt, asOf: asOf,
		more: &principalMore{roles: t.Roles, methods: t.Methods, grants: grants, custom: t.Custom, signingKey: t.KeyID, credential: c.credential},
	}
	c.ready.Store(&ready{principal: p, roles: roles})
	return p
}
