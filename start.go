package handstamp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// Login starts a session for a browser or a client that has just proved who it is, and writes its cookies. It applies
// the origin rules, and ends the session whose cookie the request carries, since the new one takes its place.
func (a *Auth) Login(w http.ResponseWriter, r *http.Request, p Proof) (Grant, error) {
	return a.LoginWith(w, r, p.StartOptions, func(o StartOptions) (Grant, error) {
		p.StartOptions = o
		return a.Start(r.Context(), p)
	})
}

// FromRequest fills what a request says about a login: the client, unless it is set, and the sessions that a cookie login
// takes the place of: the one before, and the visitor's anonymous one. An id that the client presents is never adopted.
func (a *Auth) FromRequest(r *http.Request, o StartOptions) (StartOptions, error) {
	if o.Client == (Client{}) {
		o.Client = a.ClientOf(r)
	}
	if err := a.CheckCookies(r); err != nil {
		return StartOptions{}, err
	}
	if err := a.offered(o); err != nil {
		return StartOptions{}, err // before anybody looks at a credential
	}
	if o.transport(a.opt) != TransportCookie {
		return o, nil
	}
	visitor, err := a.visitor(r)
	if err != nil {
		return StartOptions{}, err
	}
	o.visitor = visitor
	text, ok, err := a.cookies.find(r, a.cookies.session)
	if err != nil || !ok {
		return o, nil // a broken cookie names no session; the new one overwrites it
	}
	found, err := a.sessionOf(r.Context(), text)
	switch s := found.Session; {
	case err == nil && s.EndedBy == 0:
		o.replaces, o.replacing = s.ID, s.User
		s.SeenAt = a.seen.latest(s.ID, s.SeenAt)
		o.carries = judge(s, found.Subject, a.now()) == nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return StartOptions{}, err
	}
	return o, nil
}

// Start begins a session for who a Proof is about. Errors: ErrDisabled, ErrProofOutdated (check the credential again,
// once), ErrMode, ErrTooLarge; anything else means it is not known whether the session began.
//
// A proof that is [Proof.Replacing] an old credential begins its session once, by the rules of [Auth.Adopt].
func (a *Auth) Start(ctx context.Context, p Proof) (Grant, error) {
	if p.legacy.isSet() {
		return a.startAdopted(ctx, p)
	}
	return a.start(ctx, p)
}

func (a *Auth) start(ctx context.Context, p Proof) (Grant, error) {
	s, err := a.Prepare(ctx, p)
	if err != nil {
		return Grant{}, err
	}
	if _, err := Do(ctx, a, a.store.Work(), func(tx Tx) (Appended, error) { return s.In(ctx, tx) }); err != nil {
		return Grant{}, err
	}
	return s.Grant(ctx)
}

// Starting is a session that is about to begin, for those who begin it inside a larger unit of work: Prepare, In as the
// last step of the unit, and Grant once the unit is committed.
type Starting struct {
	auth    *Auth
	proof   Proof
	session Session
	grants  *Grants
	now     time.Time
	secrets secrets
}

// secrets are what a client will hold and a store never sees.
type secrets struct {
	reference token.Secret
	nonce     token.Nonce
}

// Prepare asks for roles and claims, before any lock is taken, and draws the secrets.
func (a *Auth) Prepare(ctx context.Context, p Proof) (*Starting, error) {
	if p.user == "" {
		return nil, errors.New("handstamp: a Proof comes from Auth.Prove")
	}
	if p.legacy.isSet() && !p.legacy.judged {
		return nil, errors.New("handstamp: a Proof that replaces an old credential is for Start, Login and Adopt")
	}
	now, err := a.issueTime()
	if err != nil {
		return nil, err
	}
	if err := a.offered(p.StartOptions); err != nil {
		return nil, err
	}
	p.Mode, p.Transport = cmp.Or(p.Mode, a.opt.Modes[0]), p.transport(a.opt)
	s := &Starting{auth: a, proof: p, grants: p.Grants, now: now}
	s.session = Session{
		ID: id.NewSession(now), User: p.user, Mode: p.Mode, Transport: p.Transport, BrowserSession: p.BrowserSession,
		Methods: slices.Clone(p.Methods), CreatedAt: now, AuthAt: p.provedAt.Truncate(time.Microsecond), SeenAt: now,
		Stamp: p.stamp, IP: p.Client.IP, UserAgent: cut(p.Client.UserAgent, maxUserAgentBytes),
	}
	a.setEnds(&s.session, now)
	s.secrets = draw(&s.session)
	if p.legacy.isSet() {
		s.secrets = adopted(&s.session, a.adoptKeys[0], p.legacy)
		s.session.ExpiresAt = now.Add(a.absolute(s.session.Mode)).Truncate(time.Microsecond) // to the full: its tombstone counts
	}
	if a.opt.Permissions != nil {
		g, err := a.opt.Permissions(ctx, p.user)
		if err != nil {
			return nil, fmt.Errorf("ask for permissions: %w", err)
		}
		s.grants = &g
	}
	if s.session.Claims, err = a.claims(ctx, s.session); err != nil {
		return nil, err
	}
	found := Found{Session: s.session, Subject: Subject{User: p.user, Grants: p.known}}
	if s.grants != nil {
		found.Subject.Grants = *s.grants
	}
	if c := a.roles.copy.Load(); c != nil {
		found.Roles = c.table
	}
	return s, a.tryToMint(found, now)
}

// offered refuses a mode or transport that is unknown or switched off.
func (a *Auth) offered(o StartOptions) error {
	if mode := cmp.Or(o.Mode, a.opt.Modes[0]); !slices.Contains(a.opt.Modes, mode) {
		return fmt.Errorf("%w: %q", ErrMode, mode)
	}
	if t := o.transport(a.opt); t != TransportCookie && t != TransportBearer {
		return fmt.Errorf("%w: transport %q", ErrMode, t)
	}
	return nil
}

func (p StartOptions) transport(o Options) Transport {
	mode := p.Mode
	if mode == "" {
		mode = o.Modes[0]
	}
	switch {
	case p.Transport != "":
		return p.Transport
	case mode == ModeSession:
		return TransportCookie
	default:
		return TransportBearer
	}
}

// setEnds fixes the absolute end, and the idle time, for a session's whole life. Ends are shortened at random by up to a
// twentieth, never lengthened, so that what began together does not end together.
func (a *Auth) setEnds(s *Session, now time.Time) {
	absolute := a.absolute(s.Mode)
	switch s.Mode {
	case ModeSession:
		s.IdleTimeout = min(a.opt.Session.IdleTimeout, absolute)
	case ModeHybrid:
		s.IdleTimeout = min(a.opt.Refresh.IdleTimeout, absolute)
	}
	s.ExpiresAt = now.Add(jitter(absolute)).Truncate(time.Microsecond)
}

// absolute is the longest that a session of a mode may live.
func (a *Auth) absolute(m Mode) time.Duration {
	switch m {
	case ModeToken:
		return a.opt.Token.StatelessTTL
	case ModeHybrid:
		return a.opt.Refresh.AbsoluteTimeout
	default:
		return a.opt.Session.AbsoluteTimeout
	}
}

// jitter shortens a duration by up to 5 %. It needs to be uneven, not unpredictable.
func jitter(d time.Duration) time.Duration {
	//nolint:gosec // spreads load; nothing depends on guessing it
	return d - time.Duration(rand.Int64N(int64(d)/20+1))
}

// draw gives a session new secrets: the old ones open nothing once the record is written.
func draw(s *Session) secrets {
	var sec secrets
	switch s.Mode {
	case ModeSession:
		sec.reference = token.Generate(token.Reference)
		s.Key = token.HashOf(sec.reference)
	case ModeHybrid:
		sec.nonce = token.NewNonce()
		s.Refresh = Family{Nonce: sec.nonce.Hash()}
	}
	return sec
}

// claims asks the application for its own claims and writes them as JSON.
func (a *Auth) claims(ctx context.Context, s Session) ([]byte, error) {
	if a.opt.Claims == nil {
		return nil, nil
	}
	custom, err := a.opt.Claims(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("ask for claims: %w", err)
	}
	if len(custom) == 0 {
		return nil, nil
	}
	if err := jwt.CheckCustom(custom); err != nil {
		return nil, fmt.Errorf("claims of the application: %w", err)
	}
	b, err := json.Marshal(custom)
	if err != nil {
		return nil, fmt.Errorf("claims of the application (%v) cannot be written as JSON", slices.Sorted(maps.Keys(custom)))
	}
	return b, nil
}

// In begins the session inside a unit of work. It is the unit's last step: it appends.
func (s *Starting) In(ctx context.Context, tx Tx) (Appended, error) {
	sub, err := tx.Subject(ctx, s.proof.user)
	if err != nil {
		return Appended{}, fmt.Errorf("lock the subject: %w", err)
	}
	switch {
	case sub.Disabled || sub.Deleted:
		return Appended{}, ErrDisabled
	case sub.stamp() != s.proof.stamp:
		return Appended{}, ErrProofOutdated
	case s.grants != nil && sub.Changed != s.proof.changed:
		return Appended{}, ErrProofOutdated // the roles were asked for before they changed
	}
	events, err := s.writeGrants(ctx, tx, sub)
	if err != nil {
		return Appended{}, err
	}
	over, err := s.evict(ctx, tx)
	if err != nil {
		return Appended{}, err
	}
	events = append(events, over...)
	if err := tx.PutSession(ctx, s.session); err != nil {
		return Appended{}, fmt.Errorf("write the session: %w", err)
	}
	if err := s.carry(ctx, tx); err != nil {
		return Appended{}, err
	}
	if err := tx.Record(ctx, s.entry()); err != nil {
		return Appended{}, fmt.Errorf("write the audit entry: %w", err)
	}
	if len(events) == 0 {
		return Appended{}, nil
	}
	return tx.Append(ctx, events...)
}

// writeGrants keeps the roles that were asked for. If they are others than before, tokens that carry the old ones are
// made stale.
func (s *Starting) writeGrants(ctx context.Context, tx Tx, sub Subject) ([]revoke.Event, error) {
	old := sub.Grants
	if s.grants != nil {
		sub.Grants = *s.grants
	}
	if err := tx.PutSubject(ctx, sub); err != nil { // also makes the row of a user who never had one
		return nil, fmt.Errorf("write the subject: %w", err)
	}
	if sameGrants(old, sub.Grants) {
		return nil, nil
	}
	if err := tx.Record(ctx, s.auth.rolesEntry(s.proof.Client, sub, s.now)); err != nil {
		return nil, fmt.Errorf("write the audit entry: %w", err)
	}
	return []revoke.Event{s.auth.event(revoke.KindUser, string(sub.User), revoke.Change, "roles", s.now)}, nil
}

// rolesEntry says in the audit log that a user's roles are others than before.
func (a *Auth) rolesEntry(c Client, sub Subject, now time.Time) audit.Event {
	return a.entry(c, audit.Event{
		Kind: audit.RolesChanged, Target: string(sub.User), Detail: map[string]string{"roles": strings.Join(sub.Grants.Roles, " ")},
	}, now)
}

// sameGrants compares them as sets: an application that answers in another order each time would otherwise make every
// token stale at every refresh.
func sameGrants(a, b Grants) bool {
	return sameSet(a.Roles, b.Roles) && sameSet(a.Permissions, b.Permissions)
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func (s *Starting) entry() audit.Event {
	c := s.proof.Client
	if c.Actor == "" {
		c.Actor = string(s.proof.user)
	}
	detail := map[string]string{"mode": string(s.session.Mode), "transport": string(s.session.Transport)}
	if s.proof.legacy.isSet() {
		detail["adopted"] = "true"
	}
	return s.auth.entry(c, audit.Event{
		Kind: audit.LoginOK, Target: string(s.proof.user), Session: s.session.ID, Detail: detail,
	}, s.now)
}

// Grant makes the credential, after the unit is committed. Everything in it comes from one read after the commit, and
// only if the session is alive in that read: so its number may be that read's.
func (s *Starting) Grant(ctx context.Context) (Grant, error) {
	return s.auth.grantAfterCommit(ctx, s.session, s.secrets)
}

// grantAfterCommit reads a session back and makes its credentials. If other new secrets were faster, these open nothing
// any more, and a value token made now would outlive them: the answer is that they were replaced.
func (a *Auth) grantAfterCommit(ctx context.Context, wrote Session, sec secrets) (Grant, error) {
	found, err := a.store.Sessions().Find(ctx, Lookup{Session: wrote.ID})
	if err != nil {
		return Grant{}, fmt.Errorf("read the session back: %w", unavailableIfGone(err))
	}
	now, err := a.issueTime()
	if err != nil {
		return Grant{}, err
	}
	if err := judge(found.Session, found.Subject, now); err != nil {
		return Grant{}, err
	}
	if is := found.Session; is.Key != wrote.Key || is.Refresh.Nonce != wrote.Refresh.Nonce || is.Changed != wrote.Changed {
		return Grant{}, denied(ReasonRevoked, "secrets_replaced")
	}
	return a.grant(found, sec, now)
}

// unavailableIfGone keeps "not found" from being read as an answer where a record must exist.
func unavailableIfGone(err error) error {
	if errors.Is(err, ErrNotFound) {
		return errors.New("the record that was just written is not there")
	}
	return err
}
