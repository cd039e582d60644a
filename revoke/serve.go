package revoke

import "context"

// Answer answers the renewal of another verifier from this one's memory. It answers an error, which means "don't know",
// unless this verifier holds a lease itself.
func (f *Follower) Answer(r Renewal) (Answer, error) {
	f.mu.Lock()
	before := f.member.haste
	a, err := f.member.answer(f.clock(), r)
	urgent := f.member.haste > before
	f.mu.Unlock()
	if urgent {
		f.hurry()
	}
	return a, err
}

// Since returns the events after a number that this verifier applied, oldest first, at most limit (1 to 10,000), for whoever
// wants to read along. A number that the log has forgotten is answered from where it begins (Head.Low), one that is ahead of
// it by nothing. The answer grants no lease.
func (f *Follower) Since(after uint64, limit int) Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := &f.member.journal
	a := Answer{Head: Head{Log: j.log, Seq: j.applied(), Low: j.low, LowTag: j.lowTag, Lease: f.member.period}}
	a.Head.Tag, _ = j.tag(a.Head.Seq)
	from := max(after, j.low)
	if tag, ok := j.tag(from); ok {
		a.Events, a.More, _ = j.after(from, tag, min(max(limit, 1), pageLimit))
	}
	return a
}

// Await returns nil when this verifier has applied more than the number given, or follows another log by now; otherwise the
// context's error when ctx ends.
func (f *Follower) Await(ctx context.Context, after uint64, log string) error {
	for {
		f.mu.Lock()
		moved, j := f.moved, &f.member.journal
		news := j.applied() > after || j.log != log
		f.mu.Unlock()
		if news {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// Waiters is how many waits for the fleet are under way in this process.
func (f *Follower) Waiters() int { return int(f.waiters.Load()) }
