package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/handstamp/handstamp/internal/config"
)

const day = 24 * time.Hour

// offers reports whether clients may ask for a mode.
func offers(c *config.Config, modes ...config.Mode) bool {
	return slices.ContainsFunc(modes, func(m config.Mode) bool { return slices.Contains(c.Modes, m) })
}

func lifeChecks() []configCheck {
	return []configCheck{
		{ailment{"algorithm-hs256", medium, "token.algorithm", "one key signs and verifies: it never leaves the fleet, so services verify nothing themselves and must ask for every token; the key set is empty",
			"use ES256"}, false,
			func(c *config.Config) string {
				return sentence(c.Token.Algorithm == config.HS256 && offers(c, config.ModeToken, config.ModeHybrid), "value tokens are signed with a shared key")
			}},
		{ailment{"access-ttl-long", low, "token.access_ttl", "a service that reads the key set only, and does not follow the log, accepts a token of an ended session for so long",
			"set 15m or less; a client refreshes by itself"}, false,
			func(c *config.Config) string {
				return sentence(c.Token.AccessTTL > 15*time.Minute && offers(c, config.ModeHybrid), fmt.Sprintf("a value token lives for %v", c.Token.AccessTTL))
			}},
		{ailment{"stateless-ttl-long", low, "token.stateless_ttl", "a service that reads the key set only, and does not follow the log, accepts a token of an ended session for so long",
			"set 15m or less, or use the mode hybrid for what has to last"}, false,
			func(c *config.Config) string {
				return sentence(c.Token.StatelessTTL > 15*time.Minute && offers(c, config.ModeToken), fmt.Sprintf("a value token of mode token lives for %v", c.Token.StatelessTTL))
			}},
		{ailment{"session-endless", low, "session.absolute_timeout", "a stolen credential that is used now and then works for so long",
			"end sessions after 90 days or less (2160h)"}, false,
			func(c *config.Config) string {
				return sentence(c.Session.AbsoluteTimeout > 90*day, fmt.Sprintf("a session lasts up to %v", c.Session.AbsoluteTimeout))
			}},
		{ailment{"refresh-endless", low, "refresh.absolute_timeout", "a stolen refresh token that is used now and then works for so long",
			"end sessions of mode hybrid after 90 days or less (2160h)"}, false,
			func(c *config.Config) string {
				return sentence(c.Refresh.AbsoluteTimeout > 90*day && offers(c, config.ModeHybrid), fmt.Sprintf("a session of mode hybrid lasts up to %v", c.Refresh.AbsoluteTimeout))
			}},
		{ailment{"idle-endless", low, "session.idle_timeout", "a session that was left open on a shared machine is still open weeks later",
			"set a day, or a few"}, false,
			func(c *config.Config) string {
				return sentence(c.Session.IdleTimeout > 30*day, fmt.Sprintf("a session without activity lasts %v", c.Session.IdleTimeout))
			}},
		{ailment{"refresh-grace-long", low, "refresh.grace", "a thief who copied a refresh token has so long to use it beside its owner before anybody can notice",
			"set 20s: it covers tabs, retries and lost answers"}, false,
			func(c *config.Config) string {
				return sentence(c.Refresh.Grace > 30*time.Second && offers(c, config.ModeHybrid), fmt.Sprintf("the token before the last is good for %v", c.Refresh.Grace))
			}},
		{ailment{"refresh-grace-zero", low, "refresh.grace", "a client whose answer got lost, or that refreshes in two tabs at once, is taken for a thief and logged out, unless it sends Idempotency-Key",
			"set 20s; or, if you want it so (nobody can then follow a session unnoticed), accept this finding"}, false,
			func(c *config.Config) string {
				return sentence(c.Refresh.Grace == 0 && offers(c, config.ModeHybrid), "a refresh token is good for one use, whatever happens to the answer")
			}},
		{ailment{"after-restore-forward", low, "refresh.after_restore", "for an hour after each restore a refresh token from before it is believed although the database has never heard of it",
			"set it for that hour only, if at all"}, false,
			func(c *config.Config) string {
				return sentence(c.Refresh.AfterRestore == config.RestoreForward, "refresh tokens that are newer than the database are answered after a restore")
			}},
		{ailment{"lease-long", low, "revocation.lease", "a node that is cut off from the database accepts ended sessions for so long, and wait=fleet waits for it",
			"set 2s (while every server is stopped: handstamp migrate --set-lease)"}, false,
			func(c *config.Config) string {
				return sentence(c.Revocation.Lease > 5*time.Second, fmt.Sprintf("a verifier answers from memory for %v without news", c.Revocation.Lease))
			}},
		{ailment{"key-rotation-slow", low, "key.rotate_every", "a signing key that leaked without anybody noticing forges tokens for so long",
			"set 720h"}, false,
			func(c *config.Config) string {
				return sentence(c.Key.RotateEvery > 180*day && offers(c, config.ModeToken, config.ModeHybrid), fmt.Sprintf("a signing key is used for %v", c.Key.RotateEvery))
			}},
	}
}

func accountChecks() []configCheck {
	return []configCheck{
		{ailment{"password-short", low, "password.min_length", "the password is the only factor there is: one of 8 characters that is on no list is found by guessing offline once the hashes leak",
			"set 15 (NIST SP 800-63B-4 section 3.1.1.2)"}, false,
			func(c *config.Config) string {
				return sentence(c.Password.MinLength < 15, fmt.Sprintf("passwords of %d characters are taken", c.Password.MinLength))
			}},
		{ailment{"password-hash-cheap", high, "password.memory_kib", "who gets a copy of the database tries passwords many times faster",
			"set 19456 with password.iterations = 2 (OWASP Password Storage Cheat Sheet); hashes are made anew at each user's next login"}, true,
			func(c *config.Config) string {
				cost := uint64(c.Password.MemoryKiB) * uint64(c.Password.Iterations)
				return sentence(c.Password.MemoryKiB < 7168 || cost < 7168*5, fmt.Sprintf("argon2id runs with %d KiB and %d iterations", c.Password.MemoryKiB, c.Password.Iterations))
			}},
		{ailment{"password-hashing-greedy", medium, "password.max_concurrent", "a crowd of logins takes every core: checks of people who are logged in wait behind them",
			"leave it out: one core less than there are"}, false,
			func(c *config.Config) string {
				return sentence(c.Password.MaxConcurrent > runtime.NumCPU(), fmt.Sprintf("%d hashes may run at once on %d cores", c.Password.MaxConcurrent, runtime.NumCPU()))
			}},
		{ailment{"login-failures-many", high, "login.max_failures", "so many passwords can be tried on an account before any delay; the most common ones are among the first hundred",
			"set 10; at most 100 (NIST SP 800-63B-4 section 3.2.2)"}, false,
			func(c *config.Config) string {
				return sentence(c.Login.MaxFailures > 100, fmt.Sprintf("%d failed tries are free", c.Login.MaxFailures))
			}},
		{ailment{"signup-undecided", low, "signup", "anybody makes an account, and can find out which addresses have one; the administration API is at the same address",
			"write signup = \"closed\", or signup = \"open\" if that is meant"}, false,
			func(c *config.Config) string {
				return sentence(c.Signup == config.SignupOpen && c.Origin("signup") == config.OriginDefault, "sign-up is open because nobody said otherwise")
			}},
		{ailment{"unverified-email", high, "check.unverified_email", "anybody signs up with anybody's address, and the applications behind the proxy are told that address as if it were his",
			"remove it, or close sign-up"}, false,
			func(c *config.Config) string {
				return sentence(c.Check.UnverifiedEmail && c.Signup == config.SignupOpen, "Handstamp-Email names addresses that nobody verified, and sign-up is open")
			}},
		{ailment{"admin-auth-age-long", medium, "admin.max_auth_age", "whoever finds an administrator's browser open, or steals the cookie, changes users and roles for so long without the password",
			"set 10m"}, false,
			func(c *config.Config) string {
				return sentence(c.Admin.MaxAuthAge > time.Hour, fmt.Sprintf("an administrator's login counts for %v", c.Admin.MaxAuthAge))
			}},
		{ailment{"audit-short", medium, "audit.retention", "a break-in is noticed after weeks, and by then nobody can say what was done, by whom, from where",
			"set at least 2160h (90 days)"}, false,
			func(c *config.Config) string {
				return sentence(c.Audit.Retention < 30*day, fmt.Sprintf("audit records are deleted after %v", c.Audit.Retention))
			}},
		{ailment{"traces-in-the-clear", medium, "otel.endpoint", "who is on the way sees when which route was called, and which requests failed",
			"give the receiver https, or a collector on this machine"}, false,
			func(c *config.Config) string {
				e := c.OTel.Endpoint
				return sentence(e != nil && e.Scheme == "http" && !loopbackHost(e.Hostname()) && !privateHost(e.Hostname()), "traces go over plain http to another machine")
			}},
	}
}
