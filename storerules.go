package handstamp

import (
	"slices"
	"time"
	"unicode/utf8"
)

// What every store decides alike is decided here: stores call these rules, or say the same in a statement.

// Live is the one rule for when a session's record counts as alive, for stores that must decide it in a statement and
// for those that call it: it stands, and its idle end is not reached at now. The end itself is over.
func Live(s Session, sub Subject, now time.Time) bool {
	return Standing(s, sub, now) && (s.IdleTimeout == 0 || now.Before(s.SeenAt.Add(s.IdleTimeout)))
}

// Standing is [Live] but for the idle end: no tombstone, no later end of its user or of everybody, the user enabled, and
// the absolute end not reached at now.
func Standing(s Session, sub Subject, now time.Time) bool {
	return s.EndedBy == 0 && !sub.Disabled && !sub.Deleted && s.Stamp >= sub.stamp() && now.Before(s.ExpiresAt)
}

// Moves is the one rule for whether a refresh may move a family on from a generation: the session is at that generation
// with the nonce of r.Family (two that are absent are not equal), it is [Live] at r.At, and what r.Unread says holds.
func (r Rotation) Moves(f Found, from uint32) bool {
	s := f.Session
	if s.Refresh.Generation != from || !s.Refresh.Nonce.Equal(r.Family.Nonce) || !Live(s, f.Subject, r.At) {
		return false
	}
	return r.Unread == nil || !s.Refresh.RotatedAt.After(r.Unread.RotatedBy) && f.Weight() <= r.Unread.Weight
}

// Weight is how much the session's methods, the user's roles and permissions, and what these roles grant take in lists of
// JSON texts, in bytes. A store may count more, never less: nobody is told the number, and what is heavier is read.
func (f Found) Weight() int {
	n := weight(f.Session.Methods) + weight(f.Subject.Grants.Roles) + weight(f.Subject.Grants.Permissions)
	for _, role := range f.Subject.Grants.Roles {
		n += weight(f.Roles[role].List())
	}
	return n
}

func weight(texts []string) (n int) {
	for _, s := range texts {
		if n += len(s) + len(`"",`); !utf8.ValidString(s) {
			n += 1 << 20 // no token can be made of it
		}
		for i := range len(s) {
			switch {
			case s[i] < ' ':
				n += len(`\u0000`) - 1
			case s[i] == '"' || s[i] == '\\':
				n++
			}
		}
	}
	return n
}

// Swept is the one rule for which records of sessions Sweep deletes: those whose absolute end is before now, and those
// without a user as soon as they are over, since nothing refers to them but their own token. Activity may be written a
// little late, so an idle end counts five minutes after.
func Swept(s Session, now time.Time) bool {
	over := s.EndedBy != 0 || s.IdleTimeout != 0 && s.SeenAt.Add(s.IdleTimeout+5*time.Minute).Before(now)
	return s.ExpiresAt.Before(now) || s.IsAnonymous() && over
}

// Agree is the one rule for [Store].Settle: what the processes of a database have in common once one that wants this has
// joined those that agreed on s before, and whether that is something new. It answers ErrConflict if its secrets share no
// fingerprint with theirs. Durability stays as it is in s.
func (s Settings) Agree(want Settings) (agreed Settings, changed bool, err error) {
	known := func(fingerprint string) bool { return slices.Contains(s.Secrets, fingerprint) }
	if len(want.Secrets) > 0 && len(s.Secrets) > 0 && !slices.ContainsFunc(want.Secrets, known) {
		return s, false, ErrConflict
	}
	agreed = s
	if s.Lease == 0 {
		agreed.Lease = want.Lease
	}
	// Whoever is told another lease does not start, so its secrets are none of the fleet's.
	if len(want.Secrets) > 0 && (want.Lease == 0 || want.Lease == agreed.Lease) {
		agreed.Secrets = slices.Clone(want.Secrets)
	}
	return agreed, agreed.Lease != s.Lease || !slices.Equal(agreed.Secrets, s.Secrets), nil
}
