package revoke

import (
	"time"

	"github.com/handstamp/handstamp/id"
)

// reaper finds registrations of verifiers that are dead. One that still says less than a number which was committed 1.12
// leases ago holds no lease: every lease that it could have had was given without that number.
type reaper struct {
	mark uint64        // a committed number; 0 is none
	at   time.Duration // monotonic: when this process learned of it, so at the earliest its commit
	done uint64        // up to here the list was looked through
}

// learn notes that events up to n are committed.
func (r *reaper) learn(now Instant, n uint64) {
	if r.mark == 0 && n > r.done {
		r.mark, r.at = n, now.Mono
	}
}

// due reports whether it is time to look through the registrations, for those below the number returned.
func (r *reaper) due(now Instant, period time.Duration) (below uint64, ok bool) {
	if r.mark == 0 || period <= 0 || now.Mono-r.at < margin(period) {
		return 0, false
	}
	return r.mark, true
}

// looked ends the round that due began.
func (r *reaper) looked() { *r = reaper{done: r.mark} }

// reset forgets the numbers of a log that is gone.
func (r *reaper) reset() { *r = reaper{} }

// dead lists the registrations below the number, but for the caller's own. A list without the caller proves nothing: the
// caller was removed, or the log was restored since it learned the number, and the list is of another log.
func dead(list []Registration, below uint64, self id.Verifier) []id.Verifier {
	var ids []id.Verifier
	listed := false
	for _, r := range list {
		switch {
		case r.Verifier == self:
			listed = true
		case r.Applied < below:
			ids = append(ids, r.Verifier)
		}
	}
	if !listed {
		return nil
	}
	return ids
}
