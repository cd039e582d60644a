package handstamp

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// Auth starts, refreshes, lists and ends sessions, and checks requests (it embeds a [Verifier]). It is safe for
// concurrent use. Open makes one; Close ends it.
type Auth struct {
	*Verifier
	store     Store
	opt       Options
	minter    token.Minter
	formKeys  [][]byte
	adoptKeys [][]byte // none without Options.Secrets
	first     []byte   // the secret that keys are derived from
	settled   Settings

	crowded  recently // networks that have as many sessions without a user as they may
	recorded recently // refusals of refresh tokens that are in the audit log

	reload chan struct{} // an event said that roles or keys changed
}

// Open checks the options, agrees with the store on what all processes share, reads the whole log, and starts what must
// run beside requests: renewals of the lease, last-seen, sweeps, key rotation. It reports every mistake in the options at
// once. Close the Auth before the store.
func Open(ctx context.Context, store Store, opt Options) (*Auth, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Auth{store: store, opt: opt, reload: make(chan struct{}, 1)}
	if err := a.deriveKeys(); err != nil {
		return nil, err
	}
	if err := a.settle(ctx); err != nil {
		return nil, err
	}
	v := newVerifier(opt)
	v.find = store.Sessions()
	if opt.Keys != nil {
		v.keys, v.readKeys = &issuedKeys{opt.Keys}, opt.Keys.Reload
		if err := opt.Keys.Maintain(ctx); err != nil {
			return nil, fmt.Errorf("handstamp: signing keys: %w", err)
		}
	}
	if v.origins, err = newOrigins(opt, v.cookies); err != nil {
		return nil, err
	}
	a.Verifier = v
	if err := a.follow(ctx); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop = stop
	v.running.Go(func() { a.background(run) })
	v.running.Go(func() { a.watchGuards(run) })
	return a, nil
}

// Close stops what Open started, writes last-seen, and leaves the list of verifiers. It does not close the store.
func (a *Auth) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := a.Verifier.Close(); err != nil {
		return err
	}
	return a.seen.flush(ctx, a.store.Sessions())
}

// follow registers this process as a verifier, reads the log from its beginning, and the roles.
func (a *Auth) follow(ctx context.Context) error {
	hooks := followHooks{events: a.onEvents, reset: func() { a.roles.drop(); a.guards.doubt(); a.wake() }}
	if err := a.Verifier.follow(ctx, a.store.Log(), a.opt, hooks); err != nil {
		return err
	}
	if lease := a.log.View().Lease; lease != a.opt.Lease { // it was changed between Settle and here
		a.log.Close()
		return otherLease(lease, a.opt.Lease)
	}
	if err := a.roles.load(ctx, a.store, a.log); err != nil {
		a.log.Close()
		return fmt.Errorf("handstamp: read the roles: %w", err)
	}
	return nil
}

// Labels separate the keys that are derived from one secret.
const (
	formLabel        = "handstamp/v1/csrf"
	adoptLabel       = "handstamp/v1/adopt"
	fingerprintLabel = "handstamp/v1/fingerprint"
)

func (a *Auth) deriveKeys() error {
	secrets := a.opt.Secrets
	if len(secrets) == 0 { // form tokens then last as long as the process; nothing else is made of it
		var b [32]byte
		rand.Read(b[:])
		secrets = [][]byte{b[:]}
	} else {
		var err error
		if a.minter, err = token.NewMinter(secrets); err != nil {
			return err
		}
	}
	a.first = secrets[0]
	for _, s := range secrets {
		key, err := hkdf.Key(sha256.New, s, nil, formLabel, sha256.Size)
		if err != nil {
			return fmt.Errorf("derive the key for form tokens: %w", err)
		}
		a.formKeys = append(a.formKeys, key)
		if len(a.opt.Secrets) == 0 {
			continue
		}
		if key, err = hkdf.Key(sha256.New, s, nil, adoptLabel, sha256.Size); err != nil {
			return fmt.Errorf("derive the key for adopted sessions: %w", err)
		}
		a.adoptKeys = append(a.adoptKeys, key)
	}
	return nil
}

// DeriveKey derives a 32-byte key from the first of Options.Secrets by HKDF-SHA256 (RFC 5869), one per label. Every
// process with that secret derives the same one. Without secrets it lasts as long as this Auth.
func (a *Auth) DeriveKey(label string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, a.first, nil, label, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return key, nil
}

// settle agrees with the other processes on this database.
func (a *Auth) settle(ctx context.Context) error {
	want := Settings{Lease: a.opt.Lease}
	for _, s := range a.opt.Secrets {
		f, err := hkdf.Key(sha256.New, s, nil, fingerprintLabel, 8)
		if err != nil {
			return fmt.Errorf("derive a fingerprint: %w", err)
		}
		want.Secrets = append(want.Secrets, hex.EncodeToString(f))
	}
	got, err := a.store.Settle(ctx, want)
	if errors.Is(err, ErrConflict) {
		return errors.New("handstamp: this database is used with other secrets: give this process at least one of the secrets the others have")
	}
	if err != nil {
		return fmt.Errorf("handstamp: agree on the settings of this database: %w", err)
	}
	if got.Lease != a.opt.Lease {
		return otherLease(got.Lease, a.opt.Lease)
	}
	a.settled = got
	return a.checkDurability(got.Durability)
}

func otherLease(there, here time.Duration) error {
	return fmt.Errorf("%w: the database's is %v, and %v here, but it is one value for all processes", ErrLease, there, here)
}

// checkDurability refuses to offer value tokens on a store that may forget a revocation, unless somebody said so.
func (a *Auth) checkDurability(d Durability) error {
	accepted := a.opt.AcceptLoss == Volatile || a.opt.AcceptLoss == Window && d.Class == Window
	if d.Class == Durable || d.Named || accepted {
		return nil
	}
	for _, m := range a.opt.Modes {
		if m != ModeSession {
			return fmt.Errorf("handstamp: the store may lose acknowledged writes (%s), so the mode %s is refused; offer only %s, or accept the loss explicitly (Options.AcceptLoss, accept_loss in a configuration)", d.Class, m, ModeSession)
		}
	}
	return nil
}

// learn applies what this process itself has just ended, ahead of the log's turn.
func (a *Auth) learn(events []revoke.Event) {
	if len(events) == 0 {
		return
	}
	a.log.Learn(events...)
	a.onEvents(events)
}

// onEvents is told of every event: connections end, and roles and keys are read again in the background.
func (a *Auth) onEvents(events []revoke.Event) {
	a.happened(events)
	for _, e := range events {
		if e.Kind == revoke.KindRole || e.Kind == revoke.KindKey {
			a.wake()
			return
		}
	}
}

func (a *Auth) wake() {
	select {
	case a.reload <- struct{}{}:
	default: // one is waiting already
	}
}

// How often the background looks.
const (
	flushEvery    = time.Second
	maintainEvery = 30 * time.Second
	sweepLimit    = 1000
	taskTimeout   = 10 * time.Second
)

// background does everything that does not belong on the path of a request. A step that fails is logged and done again
// at its next turn.
func (a *Auth) background(ctx context.Context) {
	flush, maintain := time.NewTicker(flushEvery), time.NewTicker(maintainEvery)
	defer flush.Stop()
	defer maintain.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-flush.C:
			a.task(ctx, "write last-seen", func(ctx context.Context) error { return a.seen.flush(ctx, a.store.Sessions()) })
		case <-a.reload:
			a.task(ctx, "read roles and keys", a.reread)
		case <-maintain.C:
			a.task(ctx, "maintain", a.maintain)
		}
	}
}

func (a *Auth) task(ctx context.Context, what string, fn func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, taskTimeout)
	defer cancel()
	if err := fn(ctx); err != nil && ctx.Err() == nil {
		a.opt.Logger.ErrorContext(ctx, "background task failed; it is done again later", "task", what, "error", err)
	}
}

func (a *Auth) reread(ctx context.Context) error {
	err := a.roles.load(ctx, a.store, a.log)
	if a.opt.Keys != nil {
		err = errors.Join(err, a.opt.Keys.Reload(ctx), a.opt.Keys.Maintain(ctx))
	}
	return err
}

// maintain keeps the copies young, rotates keys, and sweeps what is over in small steps.
func (a *Auth) maintain(ctx context.Context) error {
	now := a.now()
	err := a.reread(ctx)
	for _, sweep := range []func() (int, error){
		func() (int, error) { return a.store.Sessions().Sweep(ctx, now, sweepLimit) },
		func() (int, error) { return a.store.Log().Forget(ctx, now, sweepLimit) },
		func() (int, error) { return a.store.Audit().Sweep(ctx, now.Add(-a.opt.AuditRetention), sweepLimit) },
	} {
		for {
			n, sweepErr := sweep()
			err = errors.Join(err, sweepErr)
			if n < sweepLimit || sweepErr != nil {
				break
			}
		}
	}
	return err
}

// entry completes an entry of the audit log.
func (a *Auth) entry(c Client, e audit.Event, now time.Time) audit.Event {
	e.ID, e.At = id.NewAudit(now), now
	if e.Actor == "" {
		e.Actor = c.Actor
	}
	e.IP, e.UserAgent, e.RequestID = c.IP, cut(c.UserAgent, maxUserAgentBytes), cut(c.RequestID, 128)
	return e
}

// AuditEntry completes an entry for a unit of work of another package: id, time and client.
func (a *Auth) AuditEntry(c Client, e audit.Event) audit.Event { return a.entry(c, e, a.now()) }

// RecordAudit writes an entry of the application's own to the audit log.
func (a *Auth) RecordAudit(ctx context.Context, e audit.Event) error {
	if e.ID == "" {
		now := a.now()
		e.ID, e.At = id.NewAudit(now), now
	}
	err := a.store.Work().Do(ctx, func(tx Tx) error { return tx.Record(ctx, e) })
	if err != nil {
		return fmt.Errorf("write the audit entry: %w", err)
	}
	return nil
}

// Now is the time that this Auth decides by.
func (a *Auth) Now() time.Time { return a.now() }

// Event makes an event for a unit of work of another package: "role" with "change" after a role's definition changed,
// "user" with "end" after a credential changed.
func (a *Auth) Event(k revoke.Kind, of string, effect revoke.Effect, reason string) revoke.Event {
	return a.event(k, of, effect, reason, a.now())
}

// AnswerRenewal answers another verifier's renewal of its lease from this process's memory. Every error means that it could
// not be found out, revoke.ErrNoLease among them: this process holds no lease itself.
func (a *Auth) AnswerRenewal(r revoke.Renewal) (revoke.Answer, error) { return a.log.Answer(r) }

// Revocations returns the events after a number as this process knows them, at most limit (1 to 10,000), oldest first. They
// inform; they are no lease.
func (a *Auth) Revocations(after uint64, limit int) revoke.Answer { return a.log.Since(after, limit) }

// AwaitRevocation returns when this process knows of events after a number, or follows another log than the one named; with
// the context's error when ctx ends first.
func (a *Auth) AwaitRevocation(ctx context.Context, after uint64, log string) error {
	return a.log.Await(ctx, after, log)
}
