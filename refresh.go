package handstamp

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// RefreshRequest is a request for the next access token.
type RefreshRequest struct {
	Token token.Secret // from the body or the refresh cookie
	// IdempotencyKey makes a retry safe for as long as the successor was not used, also after the grace time. Keep the key
	// before you send the request. Empty for none.
	IdempotencyKey string
	// Background does not count as activity of the user.
	Background bool
	Client     Client
}

// verdict is what to do with a refresh token. Its zero value is no verdict, so that a forgotten one is never "rotate".
type verdict uint8

const (
	rotate verdict = iota + 1 // the current token: make the next generation
	repeat                    // the one before: give its successor, the current one, again
	hold                      // the current one, made a moment ago: give itself again, with a new access token
	ahead                     // a generation that this store has not seen: the store was restored
	reused                    // an old one came back: end the session
)

// presented is a refresh token as decideRefresh sees it, after its MAC and its nonce were found good.
type presented struct {
	generation uint32
	request    token.Hash // of the Idempotency-Key; zero for none
	now        time.Time
}

// decideRefresh is the whole rule, and pure. A lost answer, a retry and fifty tabs at once all end in rotate or repeat;
// only a token that its owner can no longer hold is reused.
func decideRefresh(cur Family, p presented, t Transport, grace time.Duration) verdict {
	young := !cur.RotatedAt.IsZero() && p.now.Before(cur.RotatedAt.Add(grace))
	switch {
	case p.generation == cur.Generation && t == TransportCookie && young:
		// A late Set-Cookie of a slower tab would put back an older generation, and be taken for theft later.
		return hold
	case p.generation == cur.Generation:
		return rotate
	case p.generation > cur.Generation:
		return ahead
	case p.generation+1 == cur.Generation && (young || p.request.Equal(cur.Request)):
		return repeat
	default:
		return reused
	}
}

// maxRefreshTries bounds how often a refresh starts over because another one of the same session was faster. Each time
// somebody made progress.
const maxRefreshTries = 100

// Refresh gives the next access token of a session, and the next refresh token. Refreshing twice is harmless: whoever
// asks again, or at the same time, gets the same next token. Errors that are ErrUnauthenticated say why not; of them only
// ReasonReused has ended the session. Any other error means it is not known, and the same token may be sent again.
func (a *Auth) Refresh(ctx context.Context, r RefreshRequest) (Grant, error) {
	t, err := a.minter.Open(r.Token.Reveal()) // by MAC, before any store is touched
	if err != nil {
		return Grant{}, denied(ReasonInvalid, "refresh_mac")
	}
	if g, err := a.rotateUnread(ctx, r, t); !errors.Is(err, ErrConflict) {
		return g, err
	}
	for range maxRefreshTries {
		g, err := a.refreshOnce(ctx, r, t)
		if !errors.Is(err, ErrConflict) {
			return g, err
		}
	}
	return Grant{}, &UnavailableError{Err: errors.New("this session is refreshed too often at once")}
}

// unreadWeight is the most that a refresh may put into a value token without having seen it before; see [Found.Weight].
const unreadWeight = 512

// rotateUnread is the usual refresh in one statement: the token is the current one of a session that is alive, its
// rotation is not young, nobody has to be asked for roles or claims, and a value token can be made of whatever the answer
// says. Then what decideRefresh would say is known without reading. Whatever is not so is ErrConflict, nothing has
// happened, and it is read and decided.
func (a *Auth) rotateUnread(ctx context.Context, r RefreshRequest, t token.RefreshToken) (Grant, error) {
	if a.opt.Permissions != nil || a.opt.Claims != nil || a.opt.Keys == nil || t.Generation == math.MaxUint32 {
		return Grant{}, ErrConflict
	}
	now, err := a.issueTime()
	if err != nil {
		return Grant{}, err
	}
	if _, err := a.mint(a.heaviest(now), TransportCookie, now); err != nil {
		return Grant{}, ErrConflict
	}
	rotation := a.rotation(r, t, now, nil)
	rotation.Unread = &Unread{RotatedBy: now.Add(-a.opt.Refresh.Grace), Weight: unreadWeight}
	after, err := a.store.Sessions().Rotate(ctx, id.SessionFromBytes(t.Session), t.Generation, rotation)
	if errors.Is(err, ErrConflict) {
		return Grant{}, ErrConflict
	}
	if err != nil {
		return Grant{}, fmt.Errorf("rotate: %w", err)
	}
	return a.grant(after, secrets{nonce: t.Nonce}, now)
}

// heaviest is the largest content of a value token that weighs at most unreadWeight: the longest user id, each character
// of it escaped, and everything that weighs twice, since what a permission of one's own grants is in two lists. A store
// does not know the roles of Options.Roles, so all of them are in it.
func (a *Auth) heaviest(now time.Time) jwt.Claims {
	const user, number = `""""""""""""""""`, 1<<53 - 1
	return jwt.Claims{
		Issuer: a.opt.Token.Issuer, Subject: strings.Repeat(user, 8), Audience: []string{a.opt.Token.Audience}, ClientID: a.opt.Token.Audience,
		ExpiresAt: now, IssuedAt: now, NotBefore: now, ID: newTokenID(), Session: string(id.NewSession(now)), AuthTime: now,
		Methods: []string{""}, Roles: []string{""}, Grants: []string{""}, AsOf: number,
		Permissions: []string{strings.Repeat("-", 2*unreadWeight+a.roles.weight)},
	}
}

func (a *Auth) refreshOnce(ctx context.Context, r RefreshRequest, t token.RefreshToken) (Grant, error) {
	now, err := a.issueTime()
	if err != nil {
		return Grant{}, err
	}
	found, err := a.store.Sessions().Find(ctx, Lookup{Session: id.SessionFromBytes(t.Session)})
	if errors.Is(err, ErrNotFound) {
		return Grant{}, denied(ReasonInvalid, "unknown_session")
	}
	if err != nil {
		return Grant{}, fmt.Errorf("look up the session of a refresh token: %w", err)
	}
	s := found.Session
	if err := judge(s, found.Subject, now); err != nil {
		return Grant{}, err // an ended session answers revoked, never refresh_reused
	}
	if s.Mode != ModeHybrid {
		return Grant{}, denied(ReasonInvalid, "mode")
	}
	if !s.Refresh.Nonce.Equal(t.Nonce.Hash()) {
		// A family that new secrets have replaced, or a forgery with a leaked secret. The session itself lives.
		return Grant{}, a.recordRefusal(ctx, r, s, audit.RefreshForeign, denied(ReasonRevoked, "family"), now)
	}
	p := presented{generation: t.Generation, request: hashKey(r.IdempotencyKey), now: now}
	switch decideRefresh(s.Refresh, p, s.Transport, a.opt.Refresh.Grace) {
	case rotate:
		return a.rotate(ctx, r, found, t, now)
	case repeat, hold:
		return a.again(ctx, r, found, t, now)
	case ahead:
		if a.mayForward(found, now) {
			return a.rotate(ctx, r, found, t, now)
		}
		return Grant{}, a.recordRefusal(ctx, r, s, audit.RefreshAhead, denied(ReasonExpired, "ahead_of_restored_store"), now)
	default:
		return Grant{}, a.endReused(ctx, r, s)
	}
}

func hashKey(key string) token.Hash {
	if key == "" {
		return token.Hash{}
	}
	return sha256.Sum256([]byte(key))
}

// rotate moves the family on. The token that was presented decides which generation comes next, which is the current
// one's successor unless the store was restored.
func (a *Auth) rotate(ctx context.Context, r RefreshRequest, found Found, t token.RefreshToken, now time.Time) (Grant, error) {
	s := found.Session
	if t.Generation == math.MaxUint32 {
		return Grant{}, denied(ReasonExpired, "generations")
	}
	found, err := a.today(ctx, found, r.Client, now)
	if err != nil {
		return Grant{}, err
	}
	claims, err := a.claims(ctx, found.Session)
	if err != nil {
		return Grant{}, err
	}
	found.Session.Claims = claims
	if err := a.tryToMint(found, now); err != nil {
		return Grant{}, err
	}
	after, err := a.store.Sessions().Rotate(ctx, s.ID, s.Refresh.Generation, a.rotation(r, t, now, claims))
	if errors.Is(err, ErrConflict) {
		return Grant{}, ErrConflict
	}
	if err != nil {
		return Grant{}, fmt.Errorf("rotate: %w", err)
	}
	return a.grant(after, secrets{nonce: t.Nonce}, now)
}

// rotation is what the refresh with a token writes.
func (a *Auth) rotation(r RefreshRequest, t token.RefreshToken, now time.Time, claims []byte) Rotation {
	n := Rotation{
		At: now, Claims: claims,
		Family: Family{
			Generation: t.Next().Generation, Nonce: t.Nonce.Hash(), RotatedAt: now, Request: hashKey(r.IdempotencyKey),
			IP: r.Client.IP, UserAgent: cut(r.Client.UserAgent, maxUserAgentBytes),
		},
	}
	if !r.Background {
		n.SeenAt = now
	}
	return n
}

// again gives what was given before: the current generation, derived once more, and a new access token with the roles
// of today. No time moves.
func (a *Auth) again(ctx context.Context, r RefreshRequest, found Found, t token.RefreshToken, now time.Time) (Grant, error) {
	s := found.Session
	if !sameNetwork(s.Refresh.IP, r.Client.IP) || s.Refresh.UserAgent != cut(r.Client.UserAgent, maxUserAgentBytes) {
		// Not refused: people change networks. Not silent either: inside the grace a thief would look like this.
		if err := a.recordOnce(ctx, r, s, audit.RefreshRepeated, now); err != nil {
			return Grant{}, err
		}
	}
	found, err := a.today(ctx, found, r.Client, now)
	if err != nil {
		return Grant{}, err
	}
	return a.grant(found, secrets{nonce: t.Nonce}, now)
}

// sameNetwork compares two addresses as texts. An IPv6 client draws new ones within its network all the time.
func sameNetwork(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return a == b || errX == nil && errY == nil && Network(x) == Network(y)
}

// today asks the application for the user's roles, if it keeps them, and writes them if they are others than before. It
// answers with the record as it is then. What was decided about the token holds for that record only if the session is
// alive in it and its family has not moved; otherwise the refresh starts over: a token that new secrets have replaced in
// the meantime would be answered with a number from after that.
func (a *Auth) today(ctx context.Context, found Found, c Client, now time.Time) (Found, error) {
	if a.opt.Permissions == nil {
		return found, nil
	}
	sub := found.Subject
	g, err := a.opt.Permissions(ctx, sub.User)
	if err != nil {
		return Found{}, fmt.Errorf("ask for permissions: %w", err)
	}
	if sameGrants(g, sub.Grants) {
		return found, nil
	}
	sub.Grants = g
	if _, err := a.writeGrants(ctx, sub, c, now); err != nil {
		return Found{}, err // a conflict starts the refresh over
	}
	after, err := a.store.Sessions().Find(ctx, Lookup{Session: found.Session.ID})
	if err != nil {
		return Found{}, fmt.Errorf("read the session again: %w", unavailableIfGone(err))
	}
	if err := judge(after.Session, after.Subject, now); err != nil {
		return Found{}, err
	}
	was, is := found.Session.Refresh, after.Session.Refresh
	if was.Generation != is.Generation || !was.Nonce.Equal(is.Nonce) {
		return Found{}, ErrConflict
	}
	return after, nil
}

// restoreWindow is how long after a restore a client may be ahead of the store.
const restoreWindow = time.Hour

func (a *Auth) mayForward(found Found, now time.Time) bool {
	restored := found.Subject.RestoredAt
	return a.opt.Refresh.ForwardAfterRestore && !restored.IsZero() &&
		found.Session.CreatedAt.Before(restored) && now.Before(restored.Add(restoreWindow))
}

// endReused ends the session of a token that came back after it was spent, if the session is still what was decided about:
// one that ended meanwhile answers revoked, and one that was refreshed or got new secrets is decided about again.
func (a *Auth) endReused(ctx context.Context, r RefreshRequest, s Session) error {
	now := a.now()
	_, err := Do(ctx, a, a.store.Work(), func(tx Tx) (Appended, error) {
		sub, err := tx.Subject(ctx, s.User)
		if err != nil {
			return Appended{}, fmt.Errorf("lock the subject: %w", err)
		}
		if err := judge(s, sub, now); err != nil {
			return Appended{}, err
		}
		if err := tx.PutSession(ctx, s); err != nil { // unchanged: what counts is that its version is
			return Appended{}, err
		}
		if err := tx.Record(ctx, a.refreshEntry(r, s, audit.RefreshReused, now)); err != nil {
			return Appended{}, fmt.Errorf("write the audit entry: %w", err)
		}
		return tx.Append(ctx, a.event(revoke.KindSession, string(s.ID), revoke.End, string(ReasonReused), now))
	})
	switch {
	case errors.Is(err, ErrConflict):
		return ErrConflict
	case errors.Is(err, ErrUnauthenticated):
		return err
	case err != nil:
		return fmt.Errorf("end the session of a reused refresh token: %w", err)
	}
	return denied(ReasonReused, "generation")
}

// recordRefusal writes the audit entry and then answers the refusal. Without the entry the answer is "don't know".
func (a *Auth) recordRefusal(ctx context.Context, r RefreshRequest, s Session, k audit.Kind, refusal error, now time.Time) error {
	if err := a.recordOnce(ctx, r, s, k, now); err != nil {
		return err
	}
	return refusal
}

// recordOnce writes the audit entry, once a minute for each session, kind and network: whoever holds a dead token could
// otherwise fill the log, and keep the store busy, at the speed of the network.
func (a *Auth) recordOnce(ctx context.Context, r RefreshRequest, s Session, k audit.Kind, now time.Time) error {
	network := r.Client.IP
	if addr, err := netip.ParseAddr(network); err == nil {
		network = Network(addr).String()
	}
	key := string(k) + " " + string(s.ID) + " " + network
	if !a.recorded.due(key, now) {
		return nil
	}
	if err := a.RecordAudit(ctx, a.refreshEntry(r, s, k, now)); err != nil {
		a.recorded.forget(key)
		return err
	}
	return nil
}

// recently remembers for a minute what was done. It keeps a bounded number of keys; beyond that everything is due.
type recently struct {
	mu   sync.Mutex
	done map[string]time.Time
}

const (
	recentlyFor = time.Minute
	maxRecently = 10_000
)

func (l *recently) due(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.done[key]; ok && now.Sub(at).Abs() < recentlyFor {
		return false
	}
	if len(l.done) >= maxRecently {
		maps.DeleteFunc(l.done, func(_ string, at time.Time) bool { return now.Sub(at).Abs() >= recentlyFor })
	}
	if l.done == nil {
		l.done = map[string]time.Time{}
	}
	if len(l.done) < maxRecently {
		l.done[key] = now
	}
	return true
}

// was reports whether a key was due lately.
func (l *recently) was(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.done[key]
	return ok && now.Sub(at).Abs() < recentlyFor
}

func (l *recently) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.done, key)
}

func (a *Auth) refreshEntry(r RefreshRequest, s Session, k audit.Kind, now time.Time) audit.Event {
	return a.entry(r.Client, audit.Event{Kind: k, Target: string(s.User), Session: s.ID}, now)
}
