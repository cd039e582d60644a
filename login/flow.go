// Package login is the frame that every way of logging in fills: attempts are counted before anything is looked at, the
// numbers that a session must carry are read before a credential is checked, unknown and known accounts cost the same,
// and session, audit entry and counters are written in one transaction. A method (package login/password is one) says
// how an account is found and how a credential is checked; it never starts a session, and it cannot forget a shared step.
package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
)

// ErrInvalidCredentials is the one answer to an unknown account and to a wrong credential.
var ErrInvalidCredentials = errors.New("login: invalid credentials")

// Flow runs logins. It is safe for concurrent use.
type Flow struct {
	auth        *handstamp.Auth
	store       Store
	budgetKey   []byte
	maxFailures int
	local       local
}

// Options of a Flow.
type Options struct {
	// MaxFailures is how many attempts at one account, and from one network, count before delays begin; default 10.
	MaxFailures int
}

// nobody is asked about where there is no user, for the time it takes. No session is ever started for it.
const nobody handstamp.UserID = "handstamp-nobody"

// budgetLabel is of the key for the names of the counters, so that their table is no list of addresses.
const budgetLabel = "handstamp/v1/login-budgets"

// New makes a Flow.
func New(auth *handstamp.Auth, store Store, opt Options) (*Flow, error) {
	f := &Flow{auth: auth, store: store, maxFailures: opt.MaxFailures}
	if f.maxFailures == 0 {
		f.maxFailures = 10
	}
	if f.maxFailures < 1 || f.maxFailures > 1_000_000 {
		return nil, errors.New("login: MaxFailures is 1 to 1,000,000")
	}
	var err error
	if f.budgetKey, err = auth.DeriveKey(budgetLabel); err != nil {
		return nil, err
	}
	return f, nil
}

// Attempt is one try to log in by some method.
type Attempt struct {
	// Method is the name of RFC 8176 that the session will show ("pwd").
	Method string
	// Account is what the attempt is about, in one canonical text, whether or not there is such an account: every
	// spelling and every method share one budget.
	Account string
	// Find says which user that is. handstamp.ErrNotFound is a legal answer, and not the end of the attempt.
	Find func(ctx context.Context) (handstamp.UserID, error)
	// Verify checks the credential of that user; u is empty for an account that was not found: then it does the same work
	// and answers no.
	Verify func(ctx context.Context, u handstamp.UserID) (Verified, error)
}

// Verified is what a method says about a credential. The zero value is no.
type Verified struct {
	OK bool
	// Failure, if set with a no, is what the audit log calls this failure instead of audit.LoginFailed. Every failure is
	// one entry, so that accounts with something special about them take no longer than others.
	Failure audit.Kind
	// Finish, if set, runs in the transaction of the login, such as to write a stronger hash. It must leave alone what
	// has changed since the credential was read.
	Finish func(ctx context.Context, tx Tx) error
}

// Proved is an attempt whose credential was right.
type Proved struct {
	Proof    handstamp.Proof
	flow     *Flow
	budgets  budgets
	verified Verified
}

// Login runs an attempt to its end. Errors: *TooManyError, ErrInvalidCredentials, handstamp.ErrDisabled (only after a
// right credential), those of Auth.Start, those of the method; anything else is "don't know".
func (f *Flow) Login(ctx context.Context, a Attempt, start handstamp.StartOptions) (handstamp.Grant, error) {
	p, err := f.Prove(ctx, a, start.Client)
	ctx, cancel := p.budgets.hurry(ctx)
	defer cancel()
	// What ended this user's sessions between the proof and the session may have been a new password: check once more.
	for try := 0; err == nil; try++ {
		p.Proof.StartOptions = start
		var g handstamp.Grant
		if g, err = f.start(ctx, p); err == nil {
			if p.budgets.here {
				f.local.cleared(p.budgets.account, p.budgets.network)
			}
			return g, nil
		}
		if !errors.Is(err, handstamp.ErrProofOutdated) {
			if !errors.Is(err, handstamp.ErrDisabled) {
				p.Undone()
			}
			break
		}
		if try > 0 {
			p.Undone()
			return handstamp.Grant{}, &handstamp.UnavailableError{Err: err}
		}
		p, err = f.check(ctx, a, p.budgets, start.Client)
	}
	if errors.Is(err, handstamp.ErrDisabled) {
		if err := f.failed(ctx, audit.Event{Target: string(p.Proof.User()), Detail: reason(a.Method, "disabled")}, start.Client); err != nil {
			return handstamp.Grant{}, err
		}
	}
	return handstamp.Grant{}, err
}

// Prove runs an attempt up to the point where the credential is known to be right. The caller's own unit of work calls
// [Proved.Settle] first.
func (f *Flow) Prove(ctx context.Context, a Attempt, c handstamp.Client) (Proved, error) {
	b, err := f.count(ctx, a, c)
	if err != nil {
		// A refusal is not recorded: who is refused could fill the audit log at the speed of the network. The failures
		// that used the budget up are in it, and that delays began.
		return Proved{}, err
	}
	hurried, cancel := b.hurry(ctx)
	defer cancel()
	return f.check(hurried, a, b, c)
}

func (f *Flow) check(ctx context.Context, a Attempt, b budgets, c handstamp.Client) (Proved, error) {
	u, err := a.Find(ctx)
	if err != nil && !errors.Is(err, handstamp.ErrNotFound) {
		f.undecided(ctx, b)
		return Proved{}, fmt.Errorf("find the account: %w", err)
	}
	// The numbers come before the credential: a login that waits for its turn to hash while the password changes must not
	// begin a session with the old one. An account that was not found costs the same read.
	p := Proved{flow: f, budgets: b}
	if p.Proof, err = f.auth.Prove(ctx, cmp.Or(u, nobody)); err != nil {
		f.undecided(ctx, b)
		return Proved{}, err
	}
	if p.verified, err = a.Verify(ctx, u); err != nil {
		f.undecided(ctx, b) // its turn to hash did not come, or the credential could not be read
		return Proved{}, err
	}
	if u == "" || !p.verified.OK {
		if err := f.failed(ctx, audit.Event{Kind: p.verified.Failure, Target: string(u), Detail: reason(a.Method, "credential")}, c); err != nil {
			return Proved{}, err
		}
		return Proved{}, ErrInvalidCredentials
	}
	p.Proof.Methods = []string{a.Method}
	p.Proof.Client = c
	return p, nil
}

// Settle writes what a right credential means for the counters and for the credential itself. It belongs into the
// transaction of whatever the credential was checked for.
func (p Proved) Settle(ctx context.Context, tx Tx) error {
	if p.flow == nil {
		return errors.New("login: nothing was proved")
	}
	if p.verified.Finish != nil {
		if err := p.verified.Finish(ctx, tx); err != nil {
			return err
		}
	}
	return p.flow.clear(ctx, tx, p.budgets)
}

// Undone is told when the credential was right and what it was checked for did not happen, for a reason that is not its
// owner's. The attempt is taken back, or an outage would keep the owner out after its end. It may be called once.
func (p Proved) Undone() {
	if p.flow != nil {
		p.flow.takeBack(p.budgets)
	}
}

// Hurry bounds the time for what is left of an attempt whose counting the store made wait in vain, so that the answer does
// not take another such wait; it leaves alone all others. Call cancel when that is done.
func (p Proved) Hurry(ctx context.Context) (hurried context.Context, cancel context.CancelFunc) {
	return p.budgets.hurry(ctx)
}

func (f *Flow) start(ctx context.Context, p Proved) (handstamp.Grant, error) {
	s, err := f.auth.Prepare(ctx, p.Proof)
	if err != nil {
		return handstamp.Grant{}, err
	}
	_, err = handstamp.Do(ctx, f.auth, f.store.LoginWork(), func(tx Tx) (handstamp.Appended, error) {
		if err := p.Settle(ctx, tx); err != nil {
			return handstamp.Appended{}, err
		}
		return s.In(ctx, tx)
	})
	if err != nil {
		return handstamp.Grant{}, err
	}
	return s.Grant(ctx)
}

// failed records an attempt that did not get in. The address that was tried is not recorded: people type passwords into
// the wrong field.
func (f *Flow) failed(ctx context.Context, e audit.Event, c handstamp.Client) error {
	e.Kind = cmp.Or(e.Kind, audit.LoginFailed)
	return f.auth.RecordAudit(ctx, f.auth.AuditEntry(c, e))
}

func reason(method, why string) map[string]string {
	return map[string]string{"method": method, "reason": why}
}

// Store returns the backend's view for logins, for methods that have units of work of their own.
func (f *Flow) Store() Store { return f.store }

// Auth returns the engine.
func (f *Flow) Auth() *handstamp.Auth { return f.auth }
