package handstamp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/revoke"
)

// newVerifier makes what every Verifier has, with a store or without.
func newVerifier(opt Options) *Verifier {
	return &Verifier{
		renewed: &cooldown{}, roles: newRoleTable(opt.Roles), seen: newLastSeen(), guards: newGuards(), refuse: opt.RefuseStale,
		running: &sync.WaitGroup{}, near: newNear(opt.CacheBytes), lag: newLag(), cookies: newCookies(opt),
		rules:   jwt.Rules{Issuer: opt.Token.Issuer, Audience: opt.Token.Audience},
		answers: answers{loginURL: opt.LoginURL, onDenied: opt.OnDenied, logger: opt.Logger},
	}
}

// followHooks are told what the log says, after checks obey it.
type followHooks struct {
	events func([]revoke.Event)
	reset  func()
}

// follow registers the Verifier and reads the log from its beginning.
func (v *Verifier) follow(ctx context.Context, log revoke.Log, opt Options, hooks followHooks) error {
	start := opt.Now()
	opened := make(chan struct{}) // the follower's goroutine runs before it is known here
	f, err := revoke.Follow(ctx, log, revoke.FollowOptions{
		Clock: func() revoke.Instant {
			now := opt.Now()
			return revoke.Instant{Mono: now.Sub(start), Wall: now.Round(0).UTC()}
		},
		Name: processName(opt), Logger: opt.Logger,
		OnEvents: func(events []revoke.Event) {
			select {
			case <-opened:
				v.measureLag(events)
			default:
			}
			hooks.events(events)
		},
		OnReset: hooks.reset,
	})
	if err != nil {
		return fmt.Errorf("handstamp: follow the log of revocations: %w", err)
	}
	v.log = f
	close(opened)
	return nil
}

func processName(opt Options) string {
	if opt.Name != "" {
		return opt.Name
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// measureLag notes how long events took to get here. What is heard without a lease was not missed by any check: memory did
// not answer.
func (v *Verifier) measureLag(events []revoke.Event) {
	if v.log.View().LeaseLeft == 0 {
		return
	}
	now := v.now()
	for _, e := range events {
		if !e.At.IsZero() {
			v.lag.add(now.Sub(e.At))
		}
	}
}

// happened ends the connections that events hit.
func (v *Verifier) happened(events []revoke.Event) { v.guards.happened(events) }

// now is the fleet's time, in microseconds. Where it is not known well enough to issue anything, since somebody has set the
// wall clock, it is the store's clock as the monotonic one carries it on: to go by the wall clock until the next renewal would
// call sessions over that live. Before the store was heard of it is this machine's: something that ends must never be dated in
// the year 1, since the log would forget it at once.
func (v *Verifier) now() time.Time {
	t, _ := v.log.FleetNow()
	if t.IsZero() {
		t = v.log.Now().Wall
	}
	return t.UTC().Truncate(time.Microsecond)
}

// issueTime is now, for those who write it into something that lives: a process that cannot place its clock within 5 s
// does not issue.
func (v *Verifier) issueTime() (time.Time, error) {
	t, ok := v.log.FleetNow()
	if !ok {
		return time.Time{}, &UnavailableError{Err: errors.New("this process does not know the time well enough to issue credentials")}
	}
	return t.UTC().Truncate(time.Microsecond), nil
}
