package handstamp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp/revoke"
)

// Guard returns a context for what outlives its request: a WebSocket, an event stream, a gRPC stream, a long job. It ends
// with the principal's session, and [context.Cause] says why: a *DeniedError when the session, its user, its key or
// everybody was ended, or when it reached its idle or absolute end; an *UnavailableError when that could not be found out
// any more, because neither the log nor the store can be reached, or the Auth was closed.
//
// An end reaches the context as fast as it reaches a check: at once in the process that ended it, within 250 ms (p99) and
// at most 1 s in others that can reach the log. A process that cannot reach it asks the store when its lease has lapsed,
// and every lease after that; if the store cannot say either, the context ends. A connection costs about 1.4 KB
// and no goroutine, and an end costs the same however many connections there are.
//
// An open connection by itself is no activity: see [Verifier.Active]. What the user may do is as it was when p was found
// out; ask again by [Verifier.Alive] before something that needs a permission. Call cancel when the connection is over.
//
// Do not read from the connection with this context itself where the end of a context hangs up: wait for it beside, say
// why, and close. Ask for a *DeniedError first: an *UnavailableError may wrap context.DeadlineExceeded.
func (v *Verifier) Guard(ctx context.Context, p Principal) (guarded context.Context, cancel context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	if p.IsZero() || p.more == nil {
		end(denied(ReasonMissing, "guard"))
		return ctx, func() {}
	}
	g := &guard{
		end: end, user: p.User, session: p.Session, signingKey: p.more.signingKey, program: p.more.program, credential: p.more.credential,
		asOf: p.asOf, due: p.ExpiresAt, idle: p.more.idle, place: -1,
	}
	q := g.query() // before anybody else can move it
	if !v.guards.add(g) {
		end(guardsClosed())
		return ctx, func() {}
	}
	context.AfterFunc(ctx, func() { v.guards.remove(g) })
	// What happened since p was found out is asked after the guard stands, so that nothing falls between.
	now := v.moment()
	switch verdict := v.log.Check(now.clock, q); {
	case verdict.Ended != 0:
		end(&DeniedError{Reason: ReasonRevoked, Check: "event", By: verdict.Ended})
	case !verdict.Fresh:
		v.askAgain(ctx, []*guard{g})
	}
	return ctx, func() { end(context.Canceled) }
}

// Alive asks the store whether a session is good now, what its user may do now, and whether every rule is met: for a
// worker that acts for somebody an hour after the request. The error is ErrUnauthenticated if the session is over,
// ErrForbidden if a rule is not met; any other means that it could not be found out. Asking is no activity of the user.
func (v *Verifier) Alive(ctx context.Context, s SessionID, rules ...Rule) (Principal, error) {
	if v.find == nil {
		return Principal{}, &UnavailableError{Err: errors.New("a verifier without a store can only ask about credentials, by CheckToken with Fresh")}
	}
	found, err := v.find.Find(ctx, Lookup{Session: s})
	if errors.Is(err, ErrNotFound) || err == nil && found.Session.IsAnonymous() {
		return Principal{}, denied(ReasonInvalid, "unknown_session")
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up the session: %w", err)
	}
	found.Session.SeenAt = v.seen.latest(s, found.Session.SeenAt)
	now := v.now()
	if err := judge(found.Session, found.Subject, now); err != nil {
		return Principal{}, err
	}
	p := v.fromRecord(found.Session, found, Reference)
	if err := obey(p, rules, now); err != nil {
		return Principal{}, err
	}
	return p, nil
}

// Active says that the user did something on a guarded connection, such as sending a message: it counts as activity for
// the idle end of the session. It asks nobody and may be called for every message.
func (v *Verifier) Active(p Principal) {
	now := v.now()
	if v.guards.active(p.Session, now) {
		v.seen.mark(p.Session, now)
	}
}

func guardsClosed() error { return &UnavailableError{Err: errors.New("the verifier is closed")} }

// guardTick is how often the lease and the clock are looked at while there are connections. Both are in memory.
const guardTick = 250 * time.Millisecond

// watchGuards asks for sessions that are due, and for all of them while the lease has lapsed: once a lease.
func (v *Verifier) watchGuards(ctx context.Context) {
	defer v.guards.close()
	var asked revoke.Instant // when all were asked for last
	timer := time.NewTimer(guardTick)
	defer timer.Stop()
	for {
		tick := timer.C
		if _, some := v.guards.next(); some {
			timer.Reset(guardTick)
		} else {
			tick = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-v.guards.wake:
		case <-tick:
		}
		now := v.moment()
		view := v.log.View()
		all := v.guards.reset() || view.LeaseLeft == 0 && now.clock.Mono-asked.Mono >= view.Lease
		if all {
			asked = now.clock
		}
		if due, some := v.guards.next(); all || some && !due.IsZero() && !now.fleet.Before(due) {
			v.askAgain(ctx, v.guards.take(now.fleet, all))
		}
	}
}

// How many sessions are asked for at once, how long one question may take, and after how many failures in a row the
// store counts as gone, so that the rest is not asked for.
const (
	guardAsks    = 8
	guardTimeout = 3 * time.Second
	guardFails   = 2 * guardAsks
)

// askAgain asks the store for each session, and ends the connections of those that are over or of which it cannot say.
func (v *Verifier) askAgain(ctx context.Context, list []*guard) {
	bySession := map[guardKey][]*guard{}
	for _, g := range list {
		k := guardKey{id: string(g.session) + "\x00" + g.signingKey}
		if g.session == "" {
			k = guardKey{revoke.KindServiceKey, string(g.user)}
		}
		bySession[k] = append(bySession[k], g)
	}
	var running sync.WaitGroup
	var failed atomic.Int32 // in a row
	free := make(chan struct{}, guardAsks)
	for _, same := range bySession {
		free <- struct{}{}
		running.Go(func() {
			v.askFor(ctx, same, &failed)
			<-free
		})
	}
	running.Wait()
}

// askFor asks for the one session that all of these connections belong to.
func (v *Verifier) askFor(ctx context.Context, same []*guard, failed *atomic.Int32) {
	var said goesOn
	var err error = &UnavailableError{Err: errors.New("the store does not answer")}
	if failed.Load() < guardFails {
		ask, cancel := context.WithTimeout(ctx, guardTimeout)
		said, err = v.standing(ask, same[0])
		cancel()
		if _, ok := errors.AsType[*UnavailableError](err); ok {
			failed.Add(1)
		} else {
			failed.Store(0)
		}
	}
	for _, g := range same {
		if err != nil {
			g.end(err)
		} else {
			v.guards.move(g, said)
		}
	}
}

// standing finds out whether what a guard stands for is good now. An error that is no *DeniedError says that it could not
// be found out.
func (v *Verifier) standing(ctx context.Context, g *guard) (goesOn, error) {
	if v.refuse && !v.leaseFresh(v.moment()) {
		return goesOn{}, &UnavailableError{Err: errors.New("the lease has lapsed")}
	}
	if v.authority != nil {
		return v.standingByAuthority(ctx, g)
	}
	if g.program != nil {
		found, err := v.program(ctx, g.program.Hash, v.now())
		if err != nil && !errors.Is(err, ErrUnauthenticated) {
			err = &UnavailableError{Err: err}
		}
		return goesOn{asOf: found.Subject.Head, due: found.ServiceKey.ExpiresAt}, err
	}
	found, err := v.find.Find(ctx, Lookup{Session: g.session, SigningKey: g.signingKey})
	switch {
	case errors.Is(err, ErrNotFound) && v.guards.wasDue(g, v.now()): // swept as soon as it was over
		return goesOn{}, denied(ReasonExpired, "absolute_end")
	case errors.Is(err, ErrNotFound):
		return goesOn{}, denied(ReasonInvalid, "unknown_session")
	case err != nil:
		return goesOn{}, &UnavailableError{Err: fmt.Errorf("look up the session of a connection: %w", err)}
	case found.Session.ID != g.session || found.Session.User != g.user:
		return goesOn{}, denied(ReasonInvalid, "other_user")
	case found.SigningKeyEnded != 0:
		return goesOn{}, &DeniedError{Reason: ReasonRevoked, Check: "signing_key", By: found.SigningKeyEnded}
	}
	found.Session.SeenAt = v.seen.latest(g.session, found.Session.SeenAt)
	s := found.Session
	return goesOn{asOf: found.Subject.Head, due: s.ends(), idle: s.IdleTimeout}, judge(s, found.Subject, v.now())
}

// standingByAuthority is standing without a store: the credential that the connection was opened with is asked about. A
// value token that runs out ends the connection, as it does at a server.
func (v *Verifier) standingByAuthority(ctx context.Context, g *guard) (goesOn, error) {
	said, err := v.authority.Introspect(ctx, g.credential.Reveal())
	switch {
	case err != nil:
		return goesOn{}, &UnavailableError{Err: fmt.Errorf("ask about the session of a connection: %w", err)}
	case !said.Active:
		return goesOn{}, denied(ReasonInvalid, "introspection")
	case said.User != g.user || said.Session != g.session:
		return goesOn{}, denied(ReasonInvalid, "other_user")
	}
	return goesOn{asOf: said.AsOf, due: said.ExpiresAt}, nil
}
