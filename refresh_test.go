package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/store/memory"
)

func (e *engine) audited(t testing.TB, k audit.Kind) []audit.Event {
	t.Helper()
	list, err := e.store.Audit().List(context.Background(), audit.Filter{Kind: k, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// atOnce runs fn n times in parallel, as nearly at the same moment as can be had.
func atOnce(n int, fn func(i int)) {
	var ready, done sync.WaitGroup
	barrier := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-barrier
			fn(i)
		})
	}
	ready.Wait()
	close(barrier)
	done.Wait()
}

// TestJ18_FiftyRefreshesOfOneToken: fifty tabs that refresh at once get one successor, there is one row, and no alarm.
func TestJ18_FiftyRefreshesOfOneToken(t *testing.T) {
	rounds := map[string]int{"memory": 1000, "sqlite": 100}
	if raceEnabled || testing.Short() {
		rounds = map[string]int{"memory": 100, "sqlite": 10}
	}
	for _, b := range backends() {
		for _, tr := range transports() {
			t.Run(b.name+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				e := setup{store: b.open(t), keys: func(o *keyring.Options) { o.Algorithm = jwt.HS256 }}.open(t)
				g := e.as(t, "ada", handstamp.ModeHybrid, tr)
				for round := range rounds[b.name] {
					var children sync.Map
					var failed atomic.Pointer[error]
					atOnce(50, func(int) {
						next, err := e.refresh(g)
						if err != nil {
							failed.Store(&err)
							return
						}
						children.Store(next.RefreshToken.Reveal(), next)
					})
					if err := failed.Load(); err != nil {
						t.Fatalf("round %d: %v", round, *err)
					}
					n := 0
					children.Range(func(_, v any) bool {
						n++
						g = v.(handstamp.Grant)
						return true
					})
					if n != 1 {
						t.Fatalf("round %d: %d successors", round, n)
					}
					e.clock.Advance(30 * time.Second) // or a cookie would be answered with itself
				}
				list := must[[]handstamp.Session](t)(e.Sessions(t.Context(), handstamp.SessionFilter{User: "ada"}))
				if len(list) != 1 || len(e.audited(t, audit.RefreshReused)) != 0 {
					t.Errorf("%d sessions, %d alarms", len(list), len(e.audited(t, audit.RefreshReused)))
				}
				row := must[handstamp.Session](t)(e.Session(t.Context(), g.Session.ID))
				if got := int(row.Refresh.Generation); got != rounds[b.name] {
					t.Errorf("generation %d after %d rounds", got, rounds[b.name])
				}
			})
		}
	}
}

// TestJ17_ReuseEndsTheWholeSession: the reuse of a spent token ends the session in all its forms, is in the audit log and in
// the record, and ends no other session.
func TestJ17_ReuseEndsTheWholeSession(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t)}.open(t)
			other := e.start(t, "ada", handstamp.ModeSession)
			g := e.start(t, "ada", handstamp.ModeHybrid)
			next := must[handstamp.Grant](t)(e.refresh(g))
			e.clock.Advance(time.Minute)
			_, err := e.refresh(g)
			wantReason(t, err, handstamp.ReasonReused)
			_, err = e.verify(next)
			wantReason(t, err, handstamp.ReasonRevoked)
			_, err = e.refresh(next)
			wantReason(t, err, handstamp.ReasonRevoked)
			_, err = e.verify(other)
			wantVerdict(t, err, "yes")
			row := must[handstamp.Session](t)(e.Session(t.Context(), g.Session.ID))
			if row.EndReason != "refresh_reused" || len(e.audited(t, audit.RefreshReused)) != 1 {
				t.Errorf("end reason %q, audit %v", row.EndReason, e.audited(t, audit.RefreshReused))
			}
		})
	}
}

// hold makes the first call of an operation wait: arrived is closed when it is there, and it goes on when release is.
func holdFirst(h *hooked, op string) (arrived, release chan struct{}) {
	arrived, release = make(chan struct{}), make(chan struct{})
	var first atomic.Bool // no sync.Once: the second caller must not wait for the first
	h.set(func(name string, call func() error) error {
		if name == op && first.CompareAndSwap(false, true) {
			close(arrived)
			<-release
		}
		return call()
	})
	return arrived, release
}

// TestJ17_RefreshRacesNewSecrets: a refresh that was decided before a password change and is written after it must not
// put the old family back, nor get anything for the old token.
func TestJ17_RefreshRacesNewSecrets(t *testing.T) {
	for _, b := range refreshing() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t), change: b.read}.open(t)
			for range 3 { // a fresh family, and ones that were renewed before
				g := e.start(t, "ada", handstamp.ModeHybrid)
				arrived, release := holdFirst(e.store, "Rotate")
				stolen := make(chan error, 1)
				go func() {
					_, err := e.refresh(g)
					stolen <- err
				}()
				<-arrived
				mine, err := e.Renew(t.Context(), g.Session.ID, e.prove(t, "ada", ""))
				close(release)
				if err != nil {
					t.Fatal(err)
				}
				wantReason(t, <-stolen, handstamp.ReasonRevoked)
				next, err := e.refresh(mine)
				if err != nil {
					t.Fatalf("the owner's new token is refused: %v", err)
				}
				_, err = e.verify(next)
				wantVerdict(t, err, "yes")
			}
		})
	}
}

// TestJ17_RedeliveryRacesNewSecrets: the same for a token that is delivered again while roles are being asked for.
func TestJ17_RedeliveryRacesNewSecrets(t *testing.T) {
	for _, redelivery := range []bool{true, false} {
		roles := "a"
		e := newEngine(t, func(o *handstamp.Options) {
			o.Permissions = func(context.Context, handstamp.UserID) (handstamp.Grants, error) {
				return handstamp.Grants{Roles: []string{roles}}, nil
			}
		})
		g := e.start(t, "ada", handstamp.ModeHybrid)
		if redelivery {
			must[handstamp.Grant](t)(e.refresh(g))
		}
		roles = "b"
		// Between the decision and the second read of the record, the password changes.
		var mine handstamp.Grant
		finds := 0
		e.store.set(func(op string, call func() error) error {
			if op == "Find" {
				if finds++; finds == 2 { // the read after the new roles were written
					finds = 100
					mine = must[handstamp.Grant](t)(e.Renew(t.Context(), g.Session.ID, e.prove(t, "ada", "")))
				}
			}
			return call()
		})
		got, err := e.refresh(g)
		e.store.set(nil)
		wantReason(t, err, handstamp.ReasonRevoked)
		if !got.AccessToken.IsZero() {
			t.Error("a token of before the password change bought a value token of after it")
		}
		_, err = e.verify(mine)
		wantVerdict(t, err, "yes")
	}
}

// TestRefreshTooLargeSpendsNothing: a value token that would be too large is found out before the refresh token is spent.
func TestRefreshTooLargeSpendsNothing(t *testing.T) {
	size := 10
	e := newEngine(t, func(o *handstamp.Options) {
		o.Claims = func(context.Context, handstamp.Session) (map[string]any, error) {
			return map[string]any{"blob": strings.Repeat("x", size)}, nil
		}
	})
	g := e.start(t, "ada", handstamp.ModeHybrid)
	size = 10_000
	_, err := e.refresh(g)
	if !errors.Is(err, handstamp.ErrTooLarge) || !strings.Contains(err.Error(), `"blob"`) {
		t.Errorf("Refresh = %v, want ErrTooLarge that names the claim", err)
	}
	if _, err = e.Renew(t.Context(), g.Session.ID, e.prove(t, "ada", "")); !errors.Is(err, handstamp.ErrTooLarge) {
		t.Errorf("Renew = %v, want ErrTooLarge", err)
	}
	size = 10
	e.clock.Advance(time.Hour)
	must[handstamp.Grant](t)(e.refresh(g))
}

// TestRefreshBackground: a refresh in the background does not move the idle time; one that counts does.
func TestRefreshBackground(t *testing.T) {
	e := newEngine(t, func(o *handstamp.Options) { o.Refresh.IdleTimeout = time.Hour })
	g := e.start(t, "ada", handstamp.ModeHybrid)
	end := g.RefreshExpiresAt
	for range 3 {
		e.clock.Advance(15 * time.Minute)
		g = must[handstamp.Grant](t)(e.Refresh(t.Context(), handstamp.RefreshRequest{Token: g.RefreshToken, Background: true}))
		if !g.RefreshExpiresAt.Equal(end) {
			t.Errorf("the idle end moved to %v", g.RefreshExpiresAt)
		}
	}
	counts := must[handstamp.Grant](t)(e.refresh(g))
	if !counts.RefreshExpiresAt.After(end) {
		t.Error("a refresh that counts did not move the idle end")
	}
	e.clock.Advance(time.Hour)
	_, err := e.refresh(counts)
	wantReason(t, err, handstamp.ReasonExpired)
}

// TestS7_RefreshNeverOutlivesTheAbsoluteEnd: nothing extends the absolute end, and no value token lives beyond it.
func TestS7_RefreshNeverOutlivesTheAbsoluteEnd(t *testing.T) {
	e := newEngine(t, func(o *handstamp.Options) { o.Refresh.AbsoluteTimeout = time.Hour })
	g := e.start(t, "ada", handstamp.ModeHybrid)
	end := g.Session.ExpiresAt
	if life := end.Sub(g.Session.CreatedAt); life > time.Hour || life < 57*time.Minute {
		t.Errorf("absolute life = %v, want 57 min to 1 h", life)
	}
	for {
		e.clock.Advance(5 * time.Minute)
		next, err := e.refresh(g)
		if !e.clock.Now().Before(end) {
			wantReason(t, err, handstamp.ReasonExpired)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if next.AccessExpiresAt.After(end) || !next.Session.ExpiresAt.Equal(end) || next.RefreshExpiresAt.After(end) {
			t.Fatalf("grant outlives its session: %v %v %v, end %v", next.AccessExpiresAt, next.Session.ExpiresAt, next.RefreshExpiresAt, end)
		}
		g = next
	}
}

// TestRefreshAfterRestore: a client that is ahead of a restored store is refused without an alarm, or goes on where that is
// allowed: only for an hour, and only with a session that is older than the restore.
func TestRefreshAfterRestore(t *testing.T) {
	for _, forward := range []bool{false, true} {
		t.Run(fmt.Sprint("forward=", forward), func(t *testing.T) {
			e := newEngine(t, func(o *handstamp.Options) { o.Refresh.ForwardAfterRestore = forward })
			s := &served{t: t, e: e, transport: handstamp.TransportBearer}
			ahead := func() handstamp.Grant {
				s.begin()
				g := must[handstamp.Grant](t)(e.Refresh(t.Context(), handstamp.RefreshRequest{Token: s.tokens[0]}))
				return must[handstamp.Grant](t)(e.refresh(g))
			}
			restored := func() {
				s.restore()
				must[any](t)(e.store.Restored(t.Context(), true, e.clock.Now()))
			}
			g := ahead()
			e.clock.Advance(time.Second)
			restored()
			next, err := e.refresh(g)
			if forward {
				wantVerdict(t, err, "yes")
				must[handstamp.Grant](t)(e.refresh(next))
				e.clock.Advance(time.Second)
				g = ahead() // a session that began after the restore cannot be ahead of it
				s.restore()
				_, err = e.refresh(g)
			}
			wantReason(t, err, handstamp.ReasonExpired)
			if got := len(e.audited(t, audit.RefreshAhead)); got != 1 {
				t.Errorf("%d entries in the audit log", got)
			}
			row := must[handstamp.Session](t)(e.Session(t.Context(), g.Session.ID))
			if row.EndedBy != 0 {
				t.Error("the session was ended")
			}
			g = ahead()
			e.clock.Advance(time.Second)
			restored()
			e.clock.Advance(time.Hour)
			_, err = e.refresh(g)
			wantReason(t, err, handstamp.ReasonExpired)
		})
	}
}

// TestRefreshOtherFamily: a genuine token of a family that new secrets replaced is refused and audited, whatever its
// generation, and the session lives.
func TestRefreshOtherFamily(t *testing.T) {
	e := newEngine(t, nil)
	g := e.start(t, "ada", handstamp.ModeHybrid)
	old := []handstamp.Grant{g}
	for range 5 {
		e.clock.Advance(time.Minute)
		g = must[handstamp.Grant](t)(e.refresh(g))
		old = append(old, g)
	}
	mine := must[handstamp.Grant](t)(e.Renew(t.Context(), g.Session.ID, e.prove(t, "ada", "")))
	for i, g := range old {
		for range 3 { // once a minute: a dead token must not fill the log
			_, err := e.refresh(g)
			wantReason(t, err, handstamp.ReasonRevoked)
		}
		if got := len(e.audited(t, audit.RefreshForeign)); got != i+1 {
			t.Errorf("%d entries in the audit log, want %d", got, i+1)
		}
		e.clock.Advance(time.Minute)
	}
	must[handstamp.Grant](t)(e.refresh(mine))
}

// TestRefreshRepeatedIsAudited: a re-delivery to another network or program is in the audit log; to the same one it is
// not, nor to another address of the same network.
func TestRefreshRepeatedIsAudited(t *testing.T) {
	e := newEngine(t, nil)
	from := func(g handstamp.Grant, ip, agent string) {
		t.Helper()
		_, err := e.Refresh(t.Context(), handstamp.RefreshRequest{Token: g.RefreshToken, Client: handstamp.Client{IP: ip, UserAgent: agent}})
		wantVerdict(t, err, "yes")
	}
	g := e.start(t, "ada", handstamp.ModeHybrid)
	from(g, "2001:db8::1", "A")
	from(g, "2001:db8::1", "A")
	from(g, "2001:db8::2", "A")
	if got := len(e.audited(t, audit.RefreshRepeated)); got != 0 {
		t.Errorf("%d entries for the same network", got)
	}
	from(g, "2001:db8:0:1::1", "A")
	from(g, "192.0.2.1", "A")
	from(g, "2001:db8::1", "B")
	if got := len(e.audited(t, audit.RefreshRepeated)); got != 3 {
		t.Errorf("%d entries for others, want 3", got)
	}
}

// TestRefreshRolesInAnyOrder: an application that names the same roles in another order each time changes nothing.
func TestRefreshRolesInAnyOrder(t *testing.T) {
	orders := [][]string{{"a", "b"}, {"b", "a"}, {"b", "a", "b"}}
	n := 0
	e := newEngine(t, func(o *handstamp.Options) {
		o.Permissions = func(context.Context, handstamp.UserID) (handstamp.Grants, error) {
			n++
			return handstamp.Grants{Roles: orders[n%3]}, nil
		}
	})
	phone, laptop := e.start(t, "ada", handstamp.ModeHybrid), e.start(t, "ada", handstamp.ModeHybrid)
	for range 3 {
		e.clock.Advance(30 * time.Second)
		phone = must[handstamp.Grant](t)(e.refresh(phone))
	}
	_, err := e.verify(laptop)
	wantVerdict(t, err, "yes")
}

// TestF21_NodesWithOtherClocks: two nodes whose own clocks are a minute apart, on a store that has a clock of its own. No
// benign retry on the other node is taken for theft, and nothing ends early or lives longer.
func TestF21_NodesWithOtherClocks(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		store := newHooked(memory.New())
		store.clock = time.Now
		node := func(off time.Duration) *engine {
			return setup{
				store: store, now: func() time.Time { return time.Now().Add(off) },
				keys: func(o *keyring.Options) { o.Now = time.Now },
				change: func(o *handstamp.Options) {
					o.Token.AccessTTL, o.Refresh.IdleTimeout = time.Minute, time.Hour
				},
			}.open(t)
		}
		ahead, behind := node(30*time.Second), node(-30*time.Second)
		for i, nodes := range [][2]*engine{{ahead, behind}, {behind, ahead}} {
			a, b := nodes[0], nodes[1]
			g := a.start(t, "ada", handstamp.ModeHybrid)
			if off := time.Until(g.Session.CreatedAt); off.Abs() > time.Millisecond {
				t.Fatalf("%d: created %v off the fleet's time", i, off)
			}
			lost := must[handstamp.Grant](t)(a.refresh(g))
			time.Sleep(19 * time.Second)
			again, err := b.refresh(g)
			if err != nil {
				t.Fatalf("%d: a retry on the other node: %v", i, err)
			}
			if again.RefreshToken.Reveal() != lost.RefreshToken.Reveal() {
				t.Error("another successor")
			}
			for _, n := range nodes {
				_, err := n.verify(lost)
				wantVerdict(t, err, "yes")
			}
			time.Sleep(time.Until(lost.AccessExpiresAt))
			for _, n := range nodes {
				_, err := n.verify(lost)
				wantReason(t, err, handstamp.ReasonExpired)
			}
		}
		if len(ahead.audited(t, audit.RefreshReused)) != 0 {
			t.Error("a false alarm")
		}
	})
}

// TestJ18_SlowRotation: a rotation that was decided long ago moves no row back, and brings no session back to life.
func TestJ18_SlowRotation(t *testing.T) {
	for _, b := range backends() {
		for _, ended := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/ended=%v", b.name, ended), func(t *testing.T) {
				e := setup{store: b.open(t)}.open(t)
				g := e.start(t, "ada", handstamp.ModeHybrid)
				arrived, release := holdFirst(e.store, "Rotate")
				slow := make(chan error, 1)
				go func() {
					_, err := e.refresh(g)
					slow <- err
				}()
				<-arrived
				last, want := g, handstamp.ReasonReused // two generations old when it is written
				if ended {
					must[handstamp.Ended](t)(e.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{}))
					want = handstamp.ReasonRevoked
				} else {
					last = must[handstamp.Grant](t)(e.refresh(must[handstamp.Grant](t)(e.refresh(g))))
				}
				close(release)
				wantReason(t, <-slow, want)
				row := must[handstamp.Session](t)(e.Session(t.Context(), g.Session.ID))
				if row.Refresh.Generation != last.Session.Refresh.Generation || row.EndedBy == 0 {
					t.Errorf("generation %d, ended by %d", row.Refresh.Generation, row.EndedBy)
				}
			})
		}
	}
}
