package handstamp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// EndOptions says how something ends.
type EndOptions struct {
	// WaitFleet waits until every registered verifier has applied the end or can no longer answer from memory. A check
	// that begins after that, anywhere, does not accept what was ended.
	WaitFleet bool
	// Except is the one session that EndUser spares.
	Except SessionID
	// Of is whose session EndSession may end; one of anybody else is ErrNotFound. Set it wherever the id comes from a user.
	Of UserID
	// Reason is for people: lists, the audit log and "inspect" show it.
	Reason string
	// Client is who asked for it.
	Client Client
}

// Ended is what was ended. It is returned once the end is durable and applied in this process.
type Ended struct {
	Sessions int  // live sessions that ended: exact up to 10,000
	More     bool // there were more
	By       uint64
	// With WaitFleet: how many verifiers were waited for, how many of them only ran out of their lease, and how long.
	Verifiers int
	WaitedOut int
	Waited    time.Duration
}

// Do runs a unit of work and, once it is committed, applies to this process what it ended, so that the very next check
// here knows. fn may run more than once. If Do returns an error that is not fn's own, the outcome may be unknown.
func Do[T any](ctx context.Context, a *Auth, w UnitOfWork[T], fn func(tx T) (Appended, error)) (Appended, error) {
	var done Appended
	err := w.Do(ctx, func(tx T) (err error) {
		done, err = fn(tx)
		return err
	})
	if err != nil {
		return Appended{}, err
	}
	a.learn(done.Events)
	return done, nil
}

// EndSession ends one session in all its forms. It answers ErrNotFound for an id without a record. Ending again answers
// the same, and with WaitFleet waits for the event that ended it.
func (a *Auth) EndSession(ctx context.Context, s SessionID, opt EndOptions) (Ended, error) {
	found, err := a.store.Sessions().Find(ctx, Lookup{Session: s})
	if err != nil {
		return Ended{}, fmt.Errorf("find the session to end: %w", err)
	}
	if opt.Of != "" && found.Session.User != opt.Of {
		return Ended{}, ErrNotFound
	}
	if by := found.Session.EndedBy; by != 0 {
		// Whoever ended it may have been another process, or this one in a try whose answer was lost: it must be known here
		// before the answer all the same.
		e := a.event(revoke.KindSession, string(s), revoke.End, found.Session.EndReason, found.Session.EndedAt)
		e.Seq = by
		a.learn([]revoke.Event{e})
		return a.waited(ctx, Ended{By: by}, opt)
	}
	user := found.Session.User
	return a.end(ctx, user, opt, audit.Event{Kind: audit.SessionEnded, Target: string(user), Session: s},
		a.event(revoke.KindSession, string(s), revoke.End, opt.Reason, a.now()))
}

// EndUser ends all sessions of a user, whoever keeps that user's account, but for opt.Except.
func (a *Auth) EndUser(ctx context.Context, u UserID, opt EndOptions) (Ended, error) {
	if _, err := id.ParseUser(string(u)); err != nil {
		return Ended{}, err
	}
	e := a.event(revoke.KindUser, string(u), revoke.End, opt.Reason, a.now())
	e.Except = opt.Except
	return a.end(ctx, u, opt, audit.Event{Kind: audit.UserSessionsEnd, Target: string(u), Session: opt.Except}, e)
}

// EndAll ends everybody's sessions. Service keys are not sessions and stay.
func (a *Auth) EndAll(ctx context.Context, opt EndOptions) (Ended, error) {
	return a.end(ctx, "", opt, audit.Event{Kind: audit.AllSessionsEnded},
		a.event(revoke.KindAll, "", revoke.End, opt.Reason, a.now()))
}

// EndKey revokes a signing key: every token it ever signed is over. The standby key signs from then on.
func (a *Auth) EndKey(ctx context.Context, kid string, opt EndOptions) (Ended, error) {
	ended, err := a.end(ctx, "", opt, audit.Event{Kind: audit.KeyRevoked, Target: kid},
		a.event(revoke.KindKey, kid, revoke.End, opt.Reason, a.now()))
	if err == nil && a.opt.Keys != nil {
		if err := a.opt.Keys.Reload(ctx); err != nil {
			return ended, fmt.Errorf("the key is revoked, but the keys could not be read again: %w", err)
		}
	}
	return ended, err
}

// EndServiceKey ends a program's credential.
func (a *Auth) EndServiceKey(ctx context.Context, k id.ServiceKey, opt EndOptions) (Ended, error) {
	return a.end(ctx, "", opt, audit.Event{Kind: audit.ServiceKeyEnded, Target: string(k)},
		a.event(revoke.KindServiceKey, string(k), revoke.End, opt.Reason, a.now()))
}

// end is the one unit behind every way to end: lock the subject, record, append.
func (a *Auth) end(ctx context.Context, lock UserID, opt EndOptions, entry audit.Event, e revoke.Event) (Ended, error) {
	if opt.Reason != "" {
		entry.Detail = map[string]string{"reason": opt.Reason}
	}
	done, err := Do(ctx, a, a.store.Work(), func(tx Tx) (Appended, error) {
		if lock != "" {
			if _, err := tx.Subject(ctx, lock); err != nil {
				return Appended{}, fmt.Errorf("lock the subject: %w", err)
			}
		}
		if err := tx.Record(ctx, a.entry(opt.Client, entry, e.At)); err != nil {
			return Appended{}, fmt.Errorf("write the audit entry: %w", err)
		}
		return tx.Append(ctx, e)
	})
	if err != nil {
		return Ended{}, err
	}
	return a.waited(ctx, Ended{Sessions: done.Sessions, More: done.More, By: done.Last()}, opt)
}

// waited waits for the fleet, if asked to.
func (a *Auth) waited(ctx context.Context, e Ended, opt EndOptions) (Ended, error) {
	if !opt.WaitFleet {
		return e, nil
	}
	return a.WaitFleet(ctx, e)
}

// WaitFleet waits until every registered verifier has applied what was ended, or can no longer answer from memory. It
// takes at most 1.12 times the lease. If it fails, the error is ErrNotAwaited, and e comes back as it was.
func (a *Auth) WaitFleet(ctx context.Context, e Ended) (Ended, error) {
	ctx, back := OutsideBudget(ctx)
	defer back()
	w, err := a.log.Wait(ctx, e.By)
	if err != nil {
		return e, fmt.Errorf("%w: %w", ErrNotAwaited, err)
	}
	e.Verifiers, e.WaitedOut, e.Waited = w.Verifiers, w.WaitedOut, w.Took
	return e, nil
}

// Changed says that what a user may do has changed where the application keeps it. Write there first, then call Changed:
// it asks Options.Permissions (once more if the roles moved meanwhile), writes the answer and makes every value token that
// says otherwise stale. Sessions go on, and the next check in this process has the new roles; in others within a lease, or
// before it returns with WaitFleet. If it fails, call it again. For a user who may not log in any more call EndUser.
func (a *Auth) Changed(ctx context.Context, u UserID, opt EndOptions) (Ended, error) {
	if _, err := id.ParseUser(string(u)); err != nil {
		return Ended{}, err
	}
	for range maxRefreshTries {
		sub, err := a.store.Sessions().Subject(ctx, u) // its number is read before the roles are asked for
		if err != nil {
			return Ended{}, fmt.Errorf("read the subject: %w", err)
		}
		g := sub.Grants
		if a.opt.Permissions != nil {
			if g, err = a.opt.Permissions(ctx, u); err != nil {
				return Ended{}, fmt.Errorf("ask for permissions: %w", err)
			}
		}
		sub.Grants = g
		done, err := a.writeGrants(ctx, sub, opt.Client, a.now())
		if errors.Is(err, ErrConflict) {
			continue // somebody else changed the roles meanwhile: what was asked may be old
		}
		if err != nil {
			return Ended{}, err
		}
		return a.waited(ctx, Ended{By: done.Last()}, opt)
	}
	return Ended{}, &UnavailableError{Err: errors.New("the roles of this user change too often")}
}

// writeGrants writes the roles in want, which were asked for after the rest of want was read. It answers ErrConflict if
// the user's roles moved since.
func (a *Auth) writeGrants(ctx context.Context, want Subject, c Client, now time.Time) (Appended, error) {
	return Do(ctx, a, a.store.Work(), func(tx Tx) (Appended, error) {
		sub, err := tx.Subject(ctx, want.User)
		if err != nil {
			return Appended{}, fmt.Errorf("lock the subject: %w", err)
		}
		if sub.Changed != want.Changed {
			return Appended{}, ErrConflict
		}
		sub.Grants = want.Grants
		if err := tx.PutSubject(ctx, sub); err != nil {
			return Appended{}, fmt.Errorf("write the subject: %w", err)
		}
		if err := tx.Record(ctx, a.rolesEntry(c, sub, now)); err != nil {
			return Appended{}, fmt.Errorf("write the audit entry: %w", err)
		}
		return tx.Append(ctx, a.event(revoke.KindUser, string(sub.User), revoke.Change, "roles", now))
	})
}

// LogOut ends the session behind any credential of it: good, expired or ended, as long as its signature, MAC or record
// is genuine. An unknown credential is no error: there is nothing to end.
func (a *Auth) LogOut(ctx context.Context, credential token.Secret, opt EndOptions) (Ended, error) {
	found, err := a.sessionOf(ctx, credential.Reveal())
	if errors.Is(err, ErrNotFound) {
		return Ended{}, nil
	}
	if err != nil {
		return Ended{}, err
	}
	s := found.Session
	if opt.Client.Actor == "" {
		opt.Client.Actor = string(s.User)
	}
	return a.EndSession(ctx, s.ID, opt)
}

// LogOutEach ends the session behind each of several credentials, and waits for the fleet once.
func (a *Auth) LogOutEach(ctx context.Context, credentials []token.Secret, opt EndOptions) (Ended, error) {
	var all Ended
	each := opt
	each.WaitFleet = false // once, for the last event: who has applied that has applied those before it
	for _, c := range credentials {
		ended, err := a.LogOut(ctx, c, each)
		if err != nil {
			return all, err
		}
		all.Sessions += ended.Sessions
		all.By = max(all.By, ended.By)
	}
	return a.waited(ctx, all, opt)
}

// sessionOf finds the record behind a genuine credential, whatever its state. It answers ErrNotFound for anything else.
func (a *Auth) sessionOf(ctx context.Context, text string) (Found, error) {
	l, user, ok := a.genuine(text)
	if !ok {
		return Found{}, ErrNotFound
	}
	found, err := a.store.Sessions().Find(ctx, l)
	if err != nil {
		return Found{}, fmt.Errorf("find the session: %w", err)
	}
	if user != "" && found.Session.User != user {
		return Found{}, ErrNotFound
	}
	return found, nil
}

// genuine says which record a credential stands for, and for a value token whose it says it is.
func (a *Auth) genuine(text string) (l Lookup, of UserID, ok bool) {
	if hash, err := token.Parse(token.Reference, text); err == nil {
		return Lookup{Key: hash}, "", true
	}
	if t, err := a.minter.Open(text); err == nil {
		return Lookup{Session: id.SessionFromBytes(t.Session)}, "", true
	}
	if a.keys == nil {
		return Lookup{}, "", false
	}
	rules := a.rules
	rules.Now = a.now()
	if t, err := jwt.VerifyIgnoringExpiry(text, a.keys, rules); err == nil {
		return Lookup{Session: id.Session(t.Session)}, UserID(t.Subject), true
	}
	return Lookup{}, "", false
}

// event makes an event that the log keeps for as long as it can matter.
func (a *Auth) event(k revoke.Kind, of string, effect revoke.Effect, reason string, now time.Time) revoke.Event {
	return revoke.Event{Kind: k, ID: of, Effect: effect, Reason: cut(reason, 200), At: now, Until: now.Add(revoke.Retention)}
}
