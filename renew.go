package handstamp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/revoke"
)

// Renewing gives a living session new secrets inside a larger unit of work: at a password change or a step-up. It is
// used like [Starting]: PrepareRenew, In as the last step of the unit, Grant after the commit.
type Renewing struct {
	auth    *Auth
	session Session
	secrets secrets
	proof   Proof
	now     time.Time
	// EndOthers ends all other sessions of the user in the same unit, with this reason.
	EndOthers string
}

// PrepareRenew reads the session and draws its new secrets. The proof must be about the session's user.
func (a *Auth) PrepareRenew(ctx context.Context, sid SessionID, p Proof) (*Renewing, error) {
	now, err := a.issueTime()
	if err != nil {
		return nil, err
	}
	found, err := a.store.Sessions().Find(ctx, Lookup{Session: sid})
	if err != nil {
		return nil, fmt.Errorf("find the session: %w", err)
	}
	s := found.Session
	s.SeenAt = a.seen.latest(s.ID, s.SeenAt)
	if s.User != p.user {
		return nil, denied(ReasonInvalid, "other_user")
	}
	if err := judge(s, found.Subject, now); err != nil {
		return nil, err
	}
	r := &Renewing{auth: a, session: s, proof: p, now: now}
	r.session.AuthAt = p.provedAt.Truncate(time.Microsecond)
	r.session.SeenAt = now
	for _, m := range p.Methods {
		if !slices.Contains(r.session.Methods, m) {
			r.session.Methods = append(slices.Clone(r.session.Methods), m)
		}
	}
	if r.session.Claims, err = a.claims(ctx, r.session); err != nil {
		return nil, err
	}
	// A new family nonce, and no grace: the thief's token of a second ago is worth nothing. The generation goes on, so that
	// a rotation of the old family that is under way finds another one, and cannot put the old nonce back.
	r.secrets = draw(&r.session)
	r.session.Refresh.Generation = s.Refresh.Generation + 1
	found.Session = r.session
	if err := a.tryToMint(found, now); err != nil {
		return nil, err
	}
	return r, nil
}

// In writes the new secrets. It is the unit's last step: it appends.
func (r *Renewing) In(ctx context.Context, tx Tx) (Appended, error) {
	sub, err := tx.Subject(ctx, r.session.User)
	if err != nil {
		return Appended{}, fmt.Errorf("lock the subject: %w", err)
	}
	if err := judge(r.session, sub, r.now); err != nil {
		return Appended{}, err
	}
	if sub.stamp() != r.proof.stamp {
		return Appended{}, ErrProofOutdated
	}
	if err := tx.PutSession(ctx, r.session); err != nil {
		return Appended{}, fmt.Errorf("write the session: %w", err)
	}
	a := r.auth
	entry := a.entry(r.proof.Client, audit.Event{Kind: audit.SecretsRenewed, Target: string(r.session.User), Session: r.session.ID}, r.now)
	if err := tx.Record(ctx, entry); err != nil {
		return Appended{}, fmt.Errorf("write the audit entry: %w", err)
	}
	events := []revoke.Event{a.event(revoke.KindSession, string(r.session.ID), revoke.Change, "new secrets", r.now)}
	if r.EndOthers != "" {
		e := a.event(revoke.KindUser, string(r.session.User), revoke.End, r.EndOthers, r.now)
		e.Except = r.session.ID
		events = append([]revoke.Event{e}, events...)
	}
	done, err := tx.Append(ctx, events...)
	if err == nil {
		r.session.Changed = done.Last() // the session/change is the last of the events
	}
	return done, err
}

// Grant makes the credential from a read after the commit.
func (r *Renewing) Grant(ctx context.Context) (Grant, error) {
	return r.auth.grantAfterCommit(ctx, r.session, r.secrets)
}

// Renew gives a session new secrets after its user proved once more who they are (a step-up): the old ones are dead, and
// AuthTime is now.
func (a *Auth) Renew(ctx context.Context, sid SessionID, p Proof) (Grant, error) {
	for range maxRefreshTries {
		r, err := a.PrepareRenew(ctx, sid, p)
		if err != nil {
			return Grant{}, err
		}
		_, err = Do(ctx, a, a.store.Work(), func(tx Tx) (Appended, error) { return r.In(ctx, tx) })
		switch {
		case err == nil:
			return r.Grant(ctx)
		case !errors.Is(err, ErrConflict): // a refresh was faster: the record is another one now
			return Grant{}, err
		}
	}
	return Grant{}, &UnavailableError{Err: errors.New("this session is refreshed too often at once")}
}
