package handstamp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// Inspection is what can be said about one credential, for people who look into why it is accepted or refused. It holds
// no secret.
type Inspection struct {
	Kind string // "session token", "anonymous session token", "refresh token", "service key", "setup token", "value token" or "no credential"
	// Err is nil if the credential is accepted now for what it is for; otherwise why not: a *DeniedError names the check,
	// the event and the time. Any other error means that it could not be found out.
	Err        error
	Principal  Principal // if accepted, and it stands for somebody
	Session    Session   // the record behind it, if there is one
	Subject    Subject   // of the session's user, if there is one
	ServiceKey ServiceKey
	Claims     jwt.Claims // of a value token
	Genuine    bool       // signature, MAC or record matched; claims of a token that is not genuine are only what it says
	Generation uint32     // of a refresh token that is genuine
}

// Inspect says what a credential is, whether it is accepted now, and if not which check refuses it, since when and by
// which event. It asks the store, changes nothing, and uses up nothing.
func (a *Auth) Inspect(ctx context.Context, text string) Inspection {
	text = strings.TrimSpace(text)
	kind, ours := token.KindOf(text)
	switch {
	case ours && kind == token.Refresh:
		return a.inspectRefresh(ctx, text)
	case ours && kind == token.Setup:
		_, err := token.Parse(kind, text)
		return Inspection{Kind: kind.String(), Genuine: false, Err: inspectForm(err)}
	case ours:
		return a.inspectOpaque(ctx, kind, text)
	case strings.Count(text, ".") == 2 || strings.Count(text, ".") == 4:
		return a.inspectValue(ctx, text)
	default:
		return Inspection{Kind: "no credential", Err: denied(ReasonInvalid, "form")}
	}
}

func inspectForm(err error) error {
	if err != nil {
		return denied(ReasonInvalid, "checksum")
	}
	return nil
}

func (a *Auth) inspectOpaque(ctx context.Context, kind token.Kind, text string) Inspection {
	in := Inspection{Kind: kind.String()}
	key, err := token.Parse(kind, text)
	if err != nil {
		in.Err = denied(ReasonInvalid, "checksum")
		return in
	}
	if kind == token.Anonymous {
		if found, err := a.store.Sessions().Find(ctx, Lookup{Key: key}); err == nil {
			in.Genuine, in.Session, in.Subject = true, found.Session, found.Subject
		}
		_, in.Err = a.anonymousBy(ctx, text)
		return in
	}
	now := a.moment()
	c, _, err := a.look(ctx, question{form: formOf(kind), key: key, text: text}, now)
	if err != nil {
		in.Err = err
		return in
	}
	in.Genuine, in.Session, in.Subject, in.ServiceKey = true, c.found.Session, c.found.Subject, c.found.ServiceKey
	looking := *a.Verifier
	looking.quiet = true // or a look at an idle session would keep it alive
	in.Principal, in.Err = looking.fromAnswer(c, now)
	return in
}

func (a *Auth) inspectValue(ctx context.Context, text string) Inspection {
	in := Inspection{Kind: "value token"}
	_, claims, err := jwt.InspectUnverified(text)
	if err == nil {
		in.Claims = claims
	}
	if a.keys == nil {
		in.Err = denied(ReasonInvalid, "no_keys")
		return in
	}
	in.Principal, in.Err = a.CheckToken(ctx, text, Fresh())
	rules := a.rules
	rules.Now = a.now()
	genuine, err := jwt.VerifyIgnoringExpiry(text, a.keys, rules)
	if err != nil {
		return in
	}
	in.Genuine, in.Claims = true, genuine
	if found, err := a.store.Sessions().Find(ctx, Lookup{Session: id.Session(genuine.Session)}); err == nil {
		in.Session, in.Subject = found.Session, found.Subject
	}
	a.dateEvent(in)
	return in
}

// dateEvent adds when the event happened that decided, where the record does not say so and the log still remembers it.
func (a *Auth) dateEvent(in Inspection) {
	d, ok := errors.AsType[*DeniedError](in.Err)
	if !ok || d.By == 0 || !d.Since.IsZero() {
		return
	}
	set := a.log.Set()
	for _, events := range [][]revoke.Event{
		set.Find(revoke.KindUser, in.Claims.Subject), set.Find(revoke.KindSession, in.Claims.Session),
		set.Find(revoke.KindKey, in.Claims.KeyID), set.Find(revoke.KindAll, ""),
	} {
		for _, e := range events {
			if e.Seq == d.By {
				d.Since = e.At
			}
		}
	}
}

// inspectRefresh runs the decision of a refresh without acting on it.
func (a *Auth) inspectRefresh(ctx context.Context, text string) Inspection {
	in := Inspection{Kind: token.Refresh.String()}
	t, err := a.minter.Open(text)
	if err != nil {
		in.Err = denied(ReasonInvalid, "refresh_mac")
		if errors.Is(err, token.ErrMalformed) {
			in.Err = denied(ReasonInvalid, "checksum")
		}
		return in
	}
	in.Genuine, in.Generation = true, t.Generation
	found, err := a.store.Sessions().Find(ctx, Lookup{Session: id.SessionFromBytes(t.Session)})
	if errors.Is(err, ErrNotFound) {
		in.Err = denied(ReasonInvalid, "unknown_session")
		return in
	}
	if err != nil {
		in.Err = fmt.Errorf("look up the session: %w", err)
		return in
	}
	in.Session, in.Subject = found.Session, found.Subject
	now := a.now()
	if in.Err = judge(found.Session, found.Subject, now); in.Err != nil {
		return in
	}
	if !found.Session.Refresh.Nonce.Equal(t.Nonce.Hash()) {
		in.Err = denied(ReasonRevoked, "family")
		return in
	}
	p := presented{generation: t.Generation, now: now}
	switch decideRefresh(found.Session.Refresh, p, found.Session.Transport, a.opt.Refresh.Grace) {
	case rotate, repeat, hold:
	case ahead:
		in.Err = denied(ReasonExpired, "ahead_of_restored_store")
	default:
		in.Err = &DeniedError{Reason: ReasonReused, Check: "generation", Since: found.Session.Refresh.RotatedAt}
	}
	return in
}

// Health is how well this process can answer, for operators.
type Health struct {
	Log        string        // id of the log it follows
	Applied    uint64        // the last event it applied in order
	Low        uint64        // the last event the log has forgotten
	LeaseFresh bool          // whether it may answer from memory now
	LeaseLeft  time.Duration // for how long
	Durability Durability
	Err        error // why renewals do not run; nil while they do
}

// Health says how well this process can answer. It asks nobody.
func (a *Auth) Health() Health {
	v := a.log.View()
	return Health{
		Log: v.Log, Applied: v.Applied, Low: v.Low, LeaseFresh: v.LeaseLeft > 0, LeaseLeft: v.LeaseLeft,
		Durability: a.settled.Durability, Err: a.log.Err(),
	}
}

// Ping reads once from the store, to find out whether it answers.
func (a *Auth) Ping(ctx context.Context) error {
	_, err := a.store.Sessions().Subject(ctx, "handstamp-ping")
	return err
}
