package handstamp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/token"
)

// anonymousUser is the name that sessions without a user are kept under, one per network. The control character keeps it
// from being the id of anybody.
const anonymousUser = "\x1fanonymous/"

// IsAnonymous reports whether a session has no user.
func (s Session) IsAnonymous() bool { return s.Mode == ModeAnonymous }

// Anonymous returns the session of a request: the user's if the request is logged in, else one without a user, which it
// begins if there is none (a cookie of its own is written to w). It is for what a visitor has before a login: see [Data].
// Nobody is logged in by it: Verify does not know it, and Require lets nobody through with it.
//
// When the visitor logs in, the session ends, and the data named in Options.Carry moves to the new one. Call it when
// there is something to keep, not for every visitor. Errors: ErrTooMany, ErrOrigin; any other means that it could not be
// found out.
func (a *Auth) Anonymous(w http.ResponseWriter, r *http.Request) (SessionID, error) {
	sid, err := a.sessionOfRequest(r)
	if err == nil || !errors.Is(err, ErrUnauthenticated) {
		return sid, err
	}
	if err := a.CheckOrigin(r); err != nil {
		return "", err
	}
	s, secret, err := a.startAnonymous(r)
	if err != nil {
		return "", err
	}
	a.cookies.setGuest(w, secret.Reveal(), s.ExpiresAt.Sub(a.now()))
	// Whoever asks again while answering the same request gets the same session.
	a.cookies.put(r, a.cookies.guest, secret.Reveal())
	return s.ID, nil
}

// Visitor returns what [Auth.Anonymous] would, but begins nothing: ok is false for a request without any session. It is
// for pages that show what a visitor has, if there is something.
func (a *Auth) Visitor(r *http.Request) (s SessionID, ok bool, err error) {
	s, err = a.sessionOfRequest(r)
	if errors.Is(err, ErrUnauthenticated) {
		return "", false, nil
	}
	return s, err == nil, err
}

// sessionOfRequest finds the user's session of a request, else the one without a user.
func (a *Auth) sessionOfRequest(r *http.Request) (SessionID, error) {
	if p, ok := FromContext(r.Context()); ok && p.Session != "" {
		return p.Session, nil
	}
	switch p, err := a.Verify(r); {
	case err == nil && p.Session != "":
		return p.Session, nil
	case err != nil && !errors.Is(err, ErrUnauthenticated):
		return "", err
	}
	s, err := a.anonymousOf(r)
	if err != nil {
		return "", err
	}
	a.seen.note(s, a.now())
	return s.ID, nil
}

// anonymousOf finds the live session without a user that a request carries. A broken cookie names none.
func (a *Auth) anonymousOf(r *http.Request) (Session, error) {
	text, ok, err := a.cookies.find(r, a.cookies.guest)
	if err != nil || !ok {
		return Session{}, denied(ReasonMissing, "no_anonymous_session")
	}
	return a.anonymousBy(r.Context(), text)
}

// anonymousBy finds the live session without a user that a token stands for.
func (a *Auth) anonymousBy(ctx context.Context, text string) (Session, error) {
	key, err := token.Parse(token.Anonymous, text)
	if err != nil {
		return Session{}, denied(ReasonInvalid, "checksum")
	}
	found, err := a.store.Sessions().Find(ctx, Lookup{Key: key})
	if errors.Is(err, ErrNotFound) {
		return Session{}, denied(ReasonInvalid, "unknown")
	}
	if err != nil {
		return Session{}, fmt.Errorf("look up the anonymous session: %w", err)
	}
	s := found.Session
	if !s.Key.Equal(key) || !s.IsAnonymous() {
		return Session{}, fmt.Errorf("look up the anonymous session: the store answered with another record")
	}
	s.SeenAt = a.seen.latest(s.ID, s.SeenAt)
	return s, judge(s, found.Subject, a.now())
}

// startAnonymous begins a session without a user. It leaves no row for a subject, and no entry in the audit log: nobody
// has proved anything.
func (a *Auth) startAnonymous(r *http.Request) (Session, token.Secret, error) {
	now, err := a.issueTime()
	if err != nil {
		return Session{}, token.Secret{}, err
	}
	client, opt := a.ClientOf(r), a.opt.Anonymous
	network := "unknown"
	if n := Network(ClientAddr(r, a.opt.TrustedProxies)); n.IsValid() {
		network = n.String()
	}
	if a.crowded.was(network, now) {
		return Session{}, token.Secret{}, ErrTooMany // a crowd that is refused does not hold up those who log in
	}
	secret := token.Generate(token.Anonymous)
	s := Session{
		ID: id.NewSession(now), User: UserID(anonymousUser + network), Key: token.HashOf(secret),
		Mode: ModeAnonymous, Transport: TransportCookie, CreatedAt: now, AuthAt: now, SeenAt: now,
		IdleTimeout: min(opt.IdleTimeout, opt.AbsoluteTimeout),
		ExpiresAt:   now.Add(jitter(opt.AbsoluteTimeout)).Truncate(time.Microsecond),
		IP:          client.IP, UserAgent: client.UserAgent,
	}
	err = a.store.Work().Do(r.Context(), func(tx Tx) error {
		sub, err := tx.Subject(r.Context(), s.User)
		if err != nil {
			return fmt.Errorf("lock the network: %w", err)
		}
		over, err := tx.Oldest(r.Context(), s.User, now, opt.MaxPerNetwork-1)
		if err != nil {
			return fmt.Errorf("count the anonymous sessions: %w", err)
		}
		if len(over) > 0 {
			return ErrTooMany
		}
		s.Stamp = sub.stamp()
		return tx.PutSession(r.Context(), s)
	})
	if errors.Is(err, ErrTooMany) {
		a.crowded.due(network, now)
	}
	if err != nil {
		return Session{}, token.Secret{}, err
	}
	return s, secret, nil
}

// visitor finds the anonymous session of the browser that logs in; empty for none.
func (a *Auth) visitor(r *http.Request) (SessionID, error) {
	s, err := a.anonymousOf(r)
	if err != nil && !errors.Is(err, ErrUnauthenticated) {
		return "", err
	}
	if err != nil {
		return "", nil
	}
	return s.ID, nil
}

// carry copies the data that a login takes along into the new session. What the visitor did last, without being logged
// in, wins over what the session before had.
func (s *Starting) carry(ctx context.Context, tx Tx) error {
	names := s.auth.opt.Carry
	if len(names) == 0 {
		return nil
	}
	from := []SessionID{s.proof.visitor}
	if s.proof.carries && s.proof.replacing == s.proof.user {
		from = append(from, s.proof.replaces)
	}
	for _, sid := range from {
		if sid == "" {
			continue
		}
		c := Carrying{From: sid, To: s.session.ID, Names: names, Limit: maxDataBytes, Now: s.now}
		if err := tx.Carry(ctx, c); err != nil {
			return fmt.Errorf("carry session data over: %w", err)
		}
	}
	return nil
}

// setGuest writes the cookie of a session without a user. It is Lax, unlike the others: a visitor who comes back over
// somebody else's link would otherwise get a new session in the place of the one that holds the cart.
func (c cookies) setGuest(w http.ResponseWriter, value string, life time.Duration) {
	c.sameSite = http.SameSiteLaxMode
	age := -1
	if value != "" {
		age = max(1, int(life/time.Second))
	}
	c.write(w, c.guest, value, "/", age)
}
