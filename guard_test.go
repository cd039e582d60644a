package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/token"
)

// over reports whether a guarded connection has ended, and why: "open", a reason, or "don't know".
func over(ctx context.Context) string {
	if ctx.Err() == nil {
		return "open"
	}
	return verdict(context.Cause(ctx))
}

// connection is a guarded connection of a session.
func (e *engine) connection(t testing.TB, g handstamp.Grant) context.Context {
	t.Helper()
	p := must[handstamp.Principal](t)(e.verify(g))
	ctx, cancel := e.Guard(t.Context(), p)
	t.Cleanup(cancel)
	if got := over(ctx); got != "open" {
		t.Fatalf("a new connection of a live session: %s", got)
	}
	return ctx
}

// TestGuardEndsWithTheSession: every way a session ends closes its connections, in the process that ended it before the
// answer and in another one within a second; nobody else's close.
func TestGuardEndsWithTheSession(t *testing.T) {
	type world struct {
		e, other *engine
		g        handstamp.Grant
	}
	causes := map[string]func(t *testing.T, w world) error{
		"session": func(t *testing.T, w world) error {
			_, err := w.e.EndSession(t.Context(), w.g.Session.ID, handstamp.EndOptions{})
			return err
		},
		"user": func(t *testing.T, w world) error {
			_, err := w.e.EndUser(t.Context(), "ada", handstamp.EndOptions{})
			return err
		},
		"everybody": func(t *testing.T, w world) error {
			_, err := w.e.EndAll(t.Context(), handstamp.EndOptions{})
			return err
		},
		"log-out": func(t *testing.T, w world) error {
			_, err := w.e.LogOut(t.Context(), w.g.AccessToken, handstamp.EndOptions{})
			return err
		},
	}
	for name, end := range causes {
		for _, mode := range modes() {
			t.Run(name+"/"+string(mode), func(t *testing.T) {
				bubbletest.Test(t, func(t *testing.T) {
					store := memory.New()
					w := world{e: setup{store: store, now: time.Now}.open(t), other: setup{store: store, now: time.Now}.open(t)}
					w.g = w.e.start(t, "ada", mode)
					bob := w.e.start(t, "bob", mode)
					here, there, bobs := w.e.connection(t, w.g), w.other.connection(t, w.g), w.other.connection(t, bob)
					if err := end(t, w); err != nil {
						t.Fatal(err)
					}
					if got := over(here); got != string(handstamp.ReasonRevoked) {
						t.Errorf("in the process that ended it: %s", got)
					}
					time.Sleep(time.Second)
					if got := over(there); got != string(handstamp.ReasonRevoked) {
						t.Errorf("in another process after a second: %s", got)
					}
					want := "open"
					if name == "everybody" {
						want = string(handstamp.ReasonRevoked)
					}
					if got := over(bobs); got != want {
						t.Errorf("somebody else's connection: %s, want %s", got, want)
					}
				})
			})
		}
	}
}

// TestGuardSpares: "log out everywhere else", a new password and a change of roles close no connection of the session
// that goes on.
func TestGuardSpares(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, nil)
		g, other := e.start(t, "ada", handstamp.ModeHybrid), e.start(t, "ada", handstamp.ModeSession)
		spared, ended := e.connection(t, g), e.connection(t, other)
		must[handstamp.Ended](t)(e.EndUser(t.Context(), "ada", handstamp.EndOptions{Except: g.Session.ID}))
		if a, b := over(spared), over(ended); a != "open" || b != string(handstamp.ReasonRevoked) {
			t.Errorf("spared: %s; the other: %s", a, b)
		}
		must[handstamp.Grant](t)(e.Renew(t.Context(), g.Session.ID, e.prove(t, "ada", handstamp.ModeHybrid)))
		must[handstamp.Ended](t)(e.Changed(t.Context(), "ada", handstamp.EndOptions{}))
		time.Sleep(time.Second)
		if got := over(spared); got != "open" {
			t.Errorf("after new secrets and new roles: %s", got)
		}
	})
}

// TestGuardSigningKey: a connection that came with a value token ends when its key is revoked.
func TestGuardSigningKey(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, nil)
		g, ref := e.start(t, "ada", handstamp.ModeToken), e.start(t, "ada", handstamp.ModeSession)
		byToken, byReference := e.connection(t, g), e.connection(t, ref)
		must[handstamp.Ended](t)(e.EndKey(t.Context(), scene{e: e}.kid(t), handstamp.EndOptions{}))
		if a, b := over(byToken), over(byReference); a != string(handstamp.ReasonRevoked) || b != "open" {
			t.Errorf("by token: %s; by reference: %s", a, b)
		}
	})
}

// TestGuardBetweenCheckAndGuard: an end between the check and the Guard is not missed, heard or not.
func TestGuardBetweenCheckAndGuard(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		store := memory.New()
		e, other := setup{store: store, now: time.Now}.open(t), setup{store: store, now: time.Now}.open(t)
		for _, mode := range modes() {
			g := e.start(t, "ada", mode)
			p := must[handstamp.Principal](t)(e.verify(g))
			must[handstamp.Ended](t)(e.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{}))
			ctx, cancel := e.Guard(t.Context(), p)
			if got := over(ctx); got != string(handstamp.ReasonRevoked) {
				t.Errorf("%s: ended before Guard: %s", mode, got)
			}
			cancel()
			late, cancel := other.Guard(t.Context(), p) // has not heard of it yet
			defer cancel()
			time.Sleep(time.Second)
			if got := over(late); got != string(handstamp.ReasonRevoked) {
				t.Errorf("%s: another process after a second: %s", mode, got)
			}
		}
	})
}

// TestGuardEnds: a connection ends with the idle and the absolute end of its session, and not with its value token;
// Active moves the idle end.
func TestGuardEnds(t *testing.T) {
	short := func(o *handstamp.Options) {
		o.Session = handstamp.SessionOptions{IdleTimeout: 10 * time.Minute, AbsoluteTimeout: time.Hour}
		o.Refresh = handstamp.RefreshOptions{IdleTimeout: 20 * time.Minute, AbsoluteTimeout: 40 * time.Minute}
		o.Token.AccessTTL = time.Minute
	}
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, short)
		idle, busy, hybrid := e.start(t, "ada", handstamp.ModeSession), e.start(t, "ada", handstamp.ModeSession), e.start(t, "ada", handstamp.ModeHybrid)
		onIdle, onBusy, onHybrid := e.connection(t, idle), e.connection(t, busy), e.connection(t, hybrid)
		p := must[handstamp.Principal](t)(e.verify(busy))
		var writes, finds atomic.Int32
		e.store.set(func(op string, call func() error) error {
			switch op {
			case "Touch":
				writes.Add(1)
			case "Find":
				finds.Add(1)
			}
			return call()
		})
		for range 9 * 6 * 10 { // nine minutes, ten messages in ten seconds
			time.Sleep(time.Second)
			e.Active(p)
		}
		if got := over(onHybrid); got != "open" || finds.Load() != 1 {
			t.Errorf("after the value token's end: %s; %d look-ups, want the one at its end", got, finds.Load())
		}
		e.store.set(func(op string, call func() error) error {
			if op == "Touch" {
				return errDown // what memory knows counts
			}
			return call()
		})
		if n := writes.Load(); n > 9*2+1 {
			t.Errorf("activity on a connection was written %d times in nine minutes; at most every 30 s is due", n)
		}
		time.Sleep(time.Minute + time.Second)
		if a, b := over(onIdle), over(onBusy); a != string(handstamp.ReasonExpired) || b != "open" {
			t.Errorf("after the idle end: the idle one %s, the busy one %s", a, b)
		}
		e.store.set(func(op string, call func() error) error {
			if op == "Touch" {
				return errDown
			}
			return call()
		})
		for range 12 {
			time.Sleep(time.Minute)
			e.Active(p)
		}
		if got := over(onBusy); got != "open" {
			t.Errorf("activity that could not be written yet did not count: %s", got)
		}
		e.store.set(nil)
		for range 40 {
			time.Sleep(time.Minute)
			e.Active(p)
		}
		if a, b := over(onBusy), over(onHybrid); a != string(handstamp.ReasonExpired) || b != string(handstamp.ReasonExpired) {
			t.Errorf("after the absolute end: %s and %s", a, b)
		}
	})
}

// TestGuardLapsedLease: a process that does not hear from the log asks the store, and goes by what it says; where the
// store cannot say either, connections end with "could not find out".
func TestGuardLapsedLease(t *testing.T) {
	for _, mode := range modes() {
		bubbletest.Test(t, func(t *testing.T) {
			store := memory.New()
			e, other := setup{store: store, now: time.Now}.open(t), setup{store: store, now: time.Now}.open(t)
			ada, bob := e.start(t, "ada", mode), e.start(t, "bob", mode)
			adas, bobs := e.connection(t, ada), e.connection(t, bob)
			e.cutLog()
			var finds atomic.Int32
			e.store.set(func(op string, call func() error) error {
				if strings.HasPrefix(op, "log.") {
					return errDown
				}
				if op == "Find" {
					finds.Add(1)
				}
				return call()
			})
			time.Sleep(5 * time.Second)
			if a, b := over(adas), over(bobs); a != "open" || b != "open" {
				t.Errorf("%s: cut off the log: %s, %s", mode, a, b)
			}
			if n := finds.Load(); n == 0 || n > 2*5 {
				t.Errorf("%s: %d look-ups for two connections in 5 s of a lapsed lease of 2 s", mode, n)
			}
			must[handstamp.Ended](t)(other.EndUser(t.Context(), "ada", handstamp.EndOptions{}))
			time.Sleep(2*time.Second + 250*time.Millisecond)
			if a, b := over(adas), over(bobs); a != string(handstamp.ReasonRevoked) || b != "open" {
				t.Errorf("%s: ended elsewhere while cut off: %s, %s", mode, a, b)
			}
			e.store.set(func(string, func() error) error { return errDown })
			time.Sleep(2*time.Second + 250*time.Millisecond)
			if got := over(bobs); got != "don't know" {
				t.Errorf("%s: the store is gone too: %s", mode, got)
			}
			if _, ok := errors.AsType[*handstamp.UnavailableError](context.Cause(bobs)); !ok {
				t.Errorf("%s: cause = %v", mode, context.Cause(bobs))
			}
			e.store.set(nil)
			if _, err := e.verify(bob); err != nil {
				t.Errorf("%s: an outage ended more than a connection: %v", mode, err)
			}
		})
	}
}

// TestGuardUnderALapsedLease: a connection that opens while memory may not decide is asked for at once, also about the
// key that signed its token.
func TestGuardUnderALapsedLease(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		store := memory.New()
		e, other := setup{store: store, now: time.Now}.open(t), setup{store: store, now: time.Now}.open(t)
		ended, live, signed := e.start(t, "ada", handstamp.ModeSession), e.start(t, "bob", handstamp.ModeSession), e.start(t, "eve", handstamp.ModeToken)
		var ps []handstamp.Principal
		for _, g := range []handstamp.Grant{ended, live, signed} {
			ps = append(ps, must[handstamp.Principal](t)(e.verify(g)))
		}
		byKey := e.connection(t, signed)
		e.cutLog()
		must[handstamp.Ended](t)(other.EndUser(t.Context(), "ada", handstamp.EndOptions{}))
		must[handstamp.Ended](t)(other.EndKey(t.Context(), scene{e: other}.kid(t), handstamp.EndOptions{}))
		for i, want := range []string{"revoked", "open", "revoked"} {
			ctx, cancel := e.Guard(t.Context(), ps[i])
			defer cancel()
			if got := over(ctx); got != want {
				t.Errorf("connection %d: %s, want %s", i, got, want)
			}
		}
		time.Sleep(2*time.Second + 250*time.Millisecond)
		if got := over(byKey); got != "revoked" {
			t.Errorf("the connection of a token whose key was revoked elsewhere: %s", got)
		}
		e.store.set(func(string, func() error) error { return errDown })
		ctx, cancel := e.Guard(t.Context(), ps[1])
		defer cancel()
		if got := over(ctx); got != "don't know" {
			t.Errorf("a connection that nobody can be asked about: %s", got)
		}
	})
}

// TestGuardStolenKey: who stole a signing key writes any number into his token; the key's end closes his connection.
func TestGuardStolenKey(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, nil)
		g := e.start(t, "ada", handstamp.ModeToken)
		now := time.Now()
		stolen := must[string](t)(e.ring.Seal(jwt.Claims{
			Issuer: "https://app.example.com", Audience: []string{"https://app.example.com"}, ClientID: "https://app.example.com",
			Subject: "ada", Session: string(g.Session.ID), ID: "x", IssuedAt: now, NotBefore: now, AuthTime: now,
			ExpiresAt: now.Add(10 * time.Minute), AsOf: 1 << 40,
		}, now))
		p := must[handstamp.Principal](t)(e.VerifyToken(t.Context(), stolen))
		ctx, cancel := e.Guard(t.Context(), p)
		defer cancel()
		must[handstamp.Ended](t)(e.EndKey(t.Context(), scene{e: e}.kid(t), handstamp.EndOptions{}))
		if got := over(ctx); got != "revoked" {
			t.Errorf("%s", got)
		}
	})
}

// TestGuardRestored: when the log is another one, every connection is asked for.
func TestGuardRestored(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, nil)
		ctx := e.connection(t, e.start(t, "ada", handstamp.ModeToken))
		var asked atomic.Int32
		e.store.set(func(op string, call func() error) error {
			if op == "Find" {
				asked.Add(1)
			}
			return call()
		})
		must[any](t)(e.store.Restored(t.Context(), true, time.Now()))
		time.Sleep(3 * time.Second)
		if got := over(ctx); got != "open" || asked.Load() == 0 {
			t.Errorf("a restore that keeps sessions: %s, asked %d times", got, asked.Load())
		}
		must[any](t)(e.store.Restored(t.Context(), false, time.Now()))
		time.Sleep(3 * time.Second)
		if got := over(ctx); got != string(handstamp.ReasonRevoked) {
			t.Errorf("a restore that ends sessions: %s", got)
		}
	})
}

// TestGuardOfAProgram: a service key's connection ends with the key, and not with everybody's sessions.
func TestGuardOfAProgram(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, nil)
		kid, secret := e.serviceKey(t, time.Time{})
		p := must[handstamp.Principal](t)(e.VerifyToken(t.Context(), secret.Reveal()))
		ctx, cancel := e.Guard(t.Context(), p)
		defer cancel()
		must[handstamp.Ended](t)(e.EndAll(t.Context(), handstamp.EndOptions{}))
		e.cutLog()
		time.Sleep(3 * time.Second)
		if got := over(ctx); got != "open" {
			t.Errorf("after everybody's end and with a lapsed lease: %s", got)
		}
		e.store.set(nil)
		time.Sleep(3 * time.Second)
		must[handstamp.Ended](t)(e.EndServiceKey(t.Context(), kid, handstamp.EndOptions{}))
		if got := over(ctx); got != string(handstamp.ReasonRevoked) {
			t.Errorf("after the key's end: %s", got)
		}
		kid, secret = e.serviceKey(t, time.Now().Add(time.Hour))
		p = must[handstamp.Principal](t)(e.VerifyToken(t.Context(), secret.Reveal()))
		if short, cancel := e.Guard(t.Context(), p); true {
			defer cancel()
			time.Sleep(time.Hour + time.Second)
			if got := over(short); got != string(handstamp.ReasonExpired) {
				t.Errorf("%s: after the key's own end: %s", kid, got)
			}
		}
	})
}

// TestGuardOfNobody: the zero Principal guards nothing, and a closed Auth keeps no connection open.
func TestGuardOfNobody(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, nil)
		ctx, cancel := e.Guard(t.Context(), handstamp.Principal{})
		defer cancel()
		if got := over(ctx); got != string(handstamp.ReasonMissing) {
			t.Errorf("the connection of nobody: %s", got)
		}
		second := setup{store: e.store, now: time.Now}.open(t)
		g := second.start(t, "ada", handstamp.ModeSession)
		p := must[handstamp.Principal](t)(second.verify(g))
		open := second.connection(t, g)
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		late, cancel := second.Guard(t.Context(), p)
		defer cancel()
		if a, b := over(open), over(late); a != "don't know" || b != "don't know" {
			t.Errorf("closed: %s, and a new one %s", a, b)
		}
	})
}

// TestGuardCancel: a connection that is over leaves nothing behind, whoever ended it.
func TestGuardCancel(t *testing.T) {
	e := newEngine(t, nil)
	g := e.start(t, "ada", handstamp.ModeSession)
	p := must[handstamp.Principal](t)(e.verify(g))
	for i := range 100 {
		parent, stop := context.WithCancel(t.Context())
		ctx, cancel := e.Guard(parent, p)
		if i%2 == 0 {
			cancel()
		}
		stop()
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			t.Fatalf("cause = %v", cause)
		}
		cancel()
	}
	for range 1000 { // the last ones are removed by goroutines of their own
		if e.Guarded() == 0 {
			return
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d connections are still listed", e.Guarded())
}

// TestAlive: what a worker is told about a session an hour later.
func TestAlive(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t)}.open(t)
			for _, mode := range modes() {
				g := e.start(t, "ada", mode)
				p := must[handstamp.Principal](t)(e.Alive(t.Context(), g.Session.ID))
				if p.User != "ada" || p.Session != g.Session.ID {
					t.Errorf("%s: %+v", mode, p)
				}
				if _, err := e.Alive(t.Context(), g.Session.ID, handstamp.Permission("posts:write")); !errors.Is(err, handstamp.ErrForbidden) {
					t.Errorf("%s: a rule that is not met: %v", mode, err)
				}
				e.store.set(func(string, func() error) error { return errDown })
				_, err := e.Alive(t.Context(), g.Session.ID)
				wantVerdict(t, err, "don't know")
				e.store.set(nil)
				must[handstamp.Ended](t)(e.EndUser(t.Context(), "ada", handstamp.EndOptions{}))
				_, err = e.Alive(t.Context(), g.Session.ID)
				wantReason(t, err, handstamp.ReasonRevoked)
			}
			_, err := e.Alive(t.Context(), id.NewSession(time.Now()))
			wantReason(t, err, handstamp.ReasonInvalid)
		})
	}
}

// TestGuardedConnections: 10,000 connections of 1,000 users; the end of one user closes exactly that user's.
func TestGuardedConnections(t *testing.T) {
	const users, each = 1000, 10
	store := memory.New()
	e, other := setup{store: store, now: time.Now}.open(t), setup{store: store, now: time.Now}.open(t)
	conns := make([][]context.Context, users)
	principals := make([]handstamp.Principal, users)
	for u := range users {
		principals[u] = must[handstamp.Principal](t)(e.verify(e.start(t, handstamp.UserID(fmt.Sprintf("user-%d", u)), handstamp.ModeSession)))
	}
	before := heapInUse()
	for u := range users {
		for range each {
			ctx, cancel := e.Guard(t.Context(), principals[u])
			t.Cleanup(cancel)
			conns[u] = append(conns[u], ctx)
		}
	}
	perConnection := float64(heapInUse()-before) / (users * each)
	began := time.Now()
	must[handstamp.Ended](t)(other.EndUser(t.Context(), "user-500", handstamp.EndOptions{}))
	for _, ctx := range conns[500] {
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatal("a connection of the ended user is still open after ten seconds")
		}
	}
	took := time.Since(began)
	for u, list := range conns {
		for _, ctx := range list {
			if got := over(ctx); (got == "open") != (u != 500) {
				t.Fatalf("user %d: %s", u, got)
			}
		}
	}
	t.Logf("%.0f bytes a connection; from the end in one process to the last of ten connections in another: %v", perConnection, took.Round(10*time.Microsecond))
	if took > time.Second {
		t.Errorf("it took %v, more than the published second", took)
	}
}

// serviceKey makes a program's credential.
func (e *engine) serviceKey(t testing.TB, expires time.Time) (id.ServiceKey, token.Secret) {
	t.Helper()
	accounts := account.New(e.Auth, e.store)
	k, secret, err := accounts.AddServiceKey(t.Context(), account.NewServiceKey{Name: "ci", Permissions: []string{"posts:*"}, ExpiresAt: expires}, handstamp.Client{})
	if err != nil {
		t.Fatal(err)
	}
	return k.ID, secret
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestGuardManyConnections: asking for thousands of sessions ends none that the store answers for, and a store that is
// gone is not asked thousands of times.
func TestGuardManyConnections(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		e := inBubble(t, nil)
		var conns []context.Context
		for n := range 3000 {
			conns = append(conns, e.connection(t, e.start(t, handstamp.UserID(fmt.Sprint("user ", n)), handstamp.ModeSession)))
		}
		slow := func(op string, call func() error) error {
			if op == "Find" {
				time.Sleep(10 * time.Millisecond)
			}
			return call()
		}
		e.store.set(slow)
		must[any](t)(e.store.Restored(t.Context(), true, time.Now()))
		time.Sleep(10 * time.Second)
		for n, ctx := range conns {
			if got := over(ctx); got != "open" {
				t.Fatalf("connection %d after a slow answer: %v", n, context.Cause(ctx))
			}
		}
		var finds atomic.Int32
		e.store.set(func(op string, _ func() error) error {
			if op == "Find" {
				finds.Add(1)
				time.Sleep(3 * time.Second)
			}
			return errDown
		})
		time.Sleep(20 * time.Second)
		for n, ctx := range conns {
			if got := over(ctx); got != "don't know" {
				t.Fatalf("connection %d of a store that is gone: %s", n, got)
			}
		}
		if n := finds.Load(); n > 40 {
			t.Errorf("the store that is gone was asked %d times", n)
		}
	})
}

// TestGuardLogWentBack: where a log numbers anew without being told of a restore, a connection hears what the new numbers
// say.
func TestGuardLogWentBack(t *testing.T) {
	if g := handstamp.GuardMoved(1000, 5); g != 5 {
		t.Errorf("a connection that was found good at number 5 hears events from %d on", g)
	}
}

// TestGuardLaterVersions: an event of a kind or an effect that a later version invented is not taken for harmless.
func TestGuardLaterVersions(t *testing.T) {
	for _, tc := range []struct {
		kind   revoke.Kind
		effect revoke.Effect
		want   bool
	}{
		{"tenant", revoke.End, true}, {revoke.KindUser, "freeze", true}, {"tenant", revoke.Change, true},
		{revoke.KindUser, revoke.End, false}, {revoke.KindRole, revoke.Change, false}, {revoke.KindAll, revoke.End, false},
	} {
		if got := handstamp.GuardsDoubt(revoke.Event{Seq: 1, Kind: tc.kind, ID: "x", Effect: tc.effect}); got != tc.want {
			t.Errorf("%s/%s: asked for all = %v, want %v", tc.kind, tc.effect, got, tc.want)
		}
	}
}
