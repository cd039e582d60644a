// Package logintest is the contract of a login method as tests: what every way of logging in must keep, whoever writes it.
// The test of a method is a call of [Run] with a function that makes it in a [World]:
//
//	func TestMethod(t *testing.T) {
//		logintest.Run(t, func(t testing.TB, w logintest.World) logintest.Method { … })
//	}
//
// Each rule has a name and a sentence that is printed when it is broken. Package logintest never sleeps and never measures
// time: that two answers cost the same is told by the work that the method counts.
package logintest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
)

// MaxFailures is the budget of the flow in a [World].
const MaxFailures = 4

// World is what a method is made in: an engine on a store in memory, and a clock that stands still.
type World struct {
	Store    *memory.Store
	Auth     *handstamp.Auth
	Accounts *account.Accounts
	Flow     *login.Flow
	clock    *clock
}

// Advance moves the clock.
func (w World) Advance(d time.Duration) { w.clock.advance(d) }

// Who says which account a try is about.
type Who uint8

// The accounts.
const (
	Owner      Who = iota + 1 // exists and has a credential
	Stranger                  // there is no such account
	Credential                // exists, and has no credential of this method
)

// Method is a method under test, with one account that it can log in.
type Method struct {
	Name  string           // RFC 8176
	Owner handstamp.UserID // the account that has a credential
	// Login tries to log in, with the right credential or a wrong one. Where there is nothing right, right is as good a
	// credential as anybody could have.
	Login func(ctx context.Context, who Who, right bool, start handstamp.StartOptions) (handstamp.Grant, error)
	// Work counts what is dear about checking a credential, such as hashes.
	Work func() uint64
	// During, if the method can do that, calls fn while a credential is being checked, once.
	During func(fn func())
	// SingleUse says that a right credential is used up by its success.
	SingleUse bool
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// NewWorld makes a world.
func NewWorld(t testing.TB) World {
	t.Helper()
	w := World{Store: memory.New(), clock: &clock{now: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)}}
	var err error
	w.Auth, err = handstamp.Open(t.Context(), w.Store, handstamp.Options{
		PublicURL: "https://app.example.com", Now: w.clock.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Auth.Close(); err != nil {
			t.Error(err)
		}
	})
	w.Accounts = account.New(w.Auth, w.Store)
	if w.Flow, err = login.New(w.Auth, w.Store, login.Options{MaxFailures: MaxFailures}); err != nil {
		t.Fatal(err)
	}
	return w
}

// Run checks every rule.
func Run(t *testing.T, make func(t testing.TB, w World) Method) {
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			w := NewWorld(t)
			m := make(t, w)
			trial := &trial{T: t, w: w, m: m}
			r.check(trial)
			if t.Failed() {
				t.Log(r.why)
			}
		})
	}
}

type rule struct {
	name, why string
	check     func(t *trial)
}

type trial struct {
	*testing.T
	w World
	m Method
}

// try logs in from a network of its own number.
func (t *trial) try(who Who, right bool, network string) (handstamp.Grant, error) {
	return t.m.Login(t.Context(), who, right, handstamp.StartOptions{Client: handstamp.Client{IP: network, UserAgent: "Agent"}})
}

func (t *trial) audited(k audit.Kind) []audit.Event {
	t.Helper()
	list, err := t.w.Store.Audit().List(t.Context(), audit.Filter{Kind: k, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (t *trial) live() int {
	t.Helper()
	list, err := t.w.Auth.Sessions(t.Context(), handstamp.SessionFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func rules() []rule {
	return []rule{
		{"right credential starts a session", "a right credential gives one session that says how it was proved, and an entry in the audit log", startsSession},
		{"no is one answer", "an unknown account, an account without a credential and a wrong credential are one answer, for the same work", oneAnswer},
		{"counts before it checks", "a try is counted before anything about it is looked at, or parallel tries would overrun the budget", countsFirst},
		{"refused tries are free", "a try that is refused neither counts nor makes the delay longer, or a stranger could keep the owner out for ever", refusedAreFree},
		{"parallel tries", "of many tries at once no more than the budget reach the credential", parallel},
		{"disabled", "a disabled account is told so to nobody but who has its right credential", disabled},
		{"single use", "a credential that works once works once, also for many at the same time", singleUse},
		{"changed meanwhile", "a credential that was right when it was checked starts nothing after all sessions of its user were ended", changedMeanwhile},
		{"audit tells no secret", "the audit log says that somebody failed, not what was typed", auditTellsNothing},
	}
}

func startsSession(t *trial) {
	g, err := t.try(Owner, true, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	p, err := t.w.Auth.VerifyToken(t.Context(), g.AccessToken.Reveal())
	if err != nil || p.User != t.m.Owner || !slices.Equal(p.Methods(), []string{t.m.Name}) {
		t.Errorf("Verify = %+v %v, %v", p, p.Methods(), err)
	}
	ok := t.audited(audit.LoginOK)
	if len(ok) != 1 || ok[0].Target != string(t.m.Owner) || ok[0].Session != g.Session.ID || ok[0].IP != "192.0.2.1" {
		t.Errorf("audit log: %+v", ok)
	}
}

func oneAnswer(t *trial) {
	var texts []string
	var works []uint64
	for _, who := range []Who{Owner, Stranger, Credential} {
		before := t.m.Work()
		g, err := t.try(who, who != Owner, "192.0.2.1")
		if !errors.Is(err, login.ErrInvalidCredentials) || !g.AccessToken.IsZero() {
			t.Fatalf("%d: Login = %v", who, err)
		}
		texts, works = append(texts, err.Error()), append(works, t.m.Work()-before)
	}
	if len(slices.Compact(texts)) != 1 {
		t.Errorf("different texts: %q", texts)
	}
	if len(slices.Compact(works)) != 1 || works[0] == 0 {
		t.Errorf("different work: %v", works)
	}
	if n := len(t.audited(audit.LoginFailed)); n != 3 {
		t.Errorf("%d entries in the audit log, want 3", n)
	}
}

func countsFirst(t *trial) {
	for _, who := range []Who{Owner, Stranger} {
		network := []string{"", "192.0.2.1", "198.51.100.1"}[who]
		for range MaxFailures {
			if _, err := t.try(who, false, network); !errors.Is(err, login.ErrInvalidCredentials) {
				t.Fatalf("within the budget: %v", err)
			}
		}
		before := t.m.Work()
		_, err := t.try(who, true, network)
		if refused, ok := errors.AsType[*login.TooManyError](err); !ok || refused.RetryAfter <= 0 {
			t.Errorf("beyond the budget: %v", err)
		}
		if t.m.Work() != before {
			t.Error("a refused try reached the credential")
		}
	}
}

func refusedAreFree(t *trial) {
	for range MaxFailures {
		_, _ = t.try(Owner, false, "192.0.2.1")
	}
	for range 50 {
		if _, err := t.try(Owner, false, "192.0.2.1"); errors.Is(err, login.ErrInvalidCredentials) {
			t.Fatal("a try got through")
		}
	}
	t.w.Advance(5 * time.Second)
	if _, err := t.try(Owner, true, "192.0.2.1"); err != nil {
		t.Errorf("after the delay: %v", err)
	}
}

func parallel(t *trial) {
	before := t.m.Work()
	_, _ = t.try(Owner, false, "192.0.2.1")
	one := t.m.Work() - before
	var wg sync.WaitGroup
	var mu sync.Mutex
	through := 1
	for range 60 {
		wg.Go(func() {
			if _, err := t.try(Owner, false, "192.0.2.1"); errors.Is(err, login.ErrInvalidCredentials) {
				mu.Lock()
				through++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if work := t.m.Work() - before; through > MaxFailures || work > MaxFailures*one {
		t.Errorf("%d tries got through, %d of work; the budget is %d", through, work, MaxFailures)
	}
}

func disabled(t *trial) {
	if _, err := t.w.Accounts.SetDisabled(t.Context(), t.m.Owner, true, handstamp.EndOptions{}); err != nil {
		t.Fatal(err)
	}
	before := t.m.Work()
	_, wrong := t.try(Owner, false, "192.0.2.1")
	middle := t.m.Work()
	_, right := t.try(Owner, true, "192.0.2.1")
	if !errors.Is(wrong, login.ErrInvalidCredentials) || !errors.Is(right, handstamp.ErrDisabled) {
		t.Errorf("wrong: %v, right: %v", wrong, right)
	}
	if middle-before == 0 || t.live() != 0 || len(t.audited(audit.LoginFailed)) != 2 {
		t.Errorf("work %d, sessions %d, audit %d", middle-before, t.live(), len(t.audited(audit.LoginFailed)))
	}
}

func singleUse(t *trial) {
	if !t.m.SingleUse {
		t.Skip("the credential may be used again")
	}
	var wg sync.WaitGroup
	for range MaxFailures {
		wg.Go(func() { _, _ = t.try(Owner, true, "192.0.2.1") })
	}
	wg.Wait()
	if t.live() != 1 {
		t.Errorf("%d sessions", t.live())
	}
}

func changedMeanwhile(t *trial) {
	if t.m.During == nil {
		t.Skip("the method cannot be held up")
	}
	ended := 0
	end := func() { // twice: the login is done over once, and not for ever
		ended++
		_, err := handstamp.Do(t.Context(), t.w.Auth, t.w.Store.Work(), func(tx handstamp.Tx) (handstamp.Appended, error) {
			return tx.Append(t.Context(), t.w.Auth.Event(revoke.KindUser, string(t.m.Owner), revoke.End, "test"))
		})
		if err != nil {
			t.Error(err)
		}
	}
	t.m.During(func() { end(); t.m.During(end) })
	_, err := t.try(Owner, true, "192.0.2.1")
	if _, refused := handstamp.ReasonOf(err); err == nil || refused || errors.Is(err, login.ErrInvalidCredentials) || ended != 2 {
		t.Errorf("Login = %v, ended %d times", err, ended)
	}
	if t.live() != 0 {
		t.Error("a session lives")
	}
	if t.m.SingleUse {
		return
	}
	t.m.During(end)
	if _, err := t.try(Owner, true, "192.0.2.1"); err != nil || t.live() != 1 {
		t.Errorf("ended once: %v, %d sessions", err, t.live())
	}
}

func auditTellsNothing(t *trial) {
	_, _ = t.try(Owner, false, "192.0.2.1")
	_, _ = t.try(Stranger, true, "192.0.2.1")
	for _, e := range t.audited(audit.LoginFailed) {
		for k, v := range e.Detail {
			if !slices.Contains([]string{"method", "reason"}, k) || strings.ContainsAny(v, "@") {
				t.Errorf("detail %q: %q", k, v)
			}
		}
		if e.Target != "" && e.Target != string(t.m.Owner) {
			t.Errorf("target %q", e.Target)
		}
	}
}
