package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// place is up to where all records together have followed the base's log. The zero value is a Redis without any records:
// new, or one that lost its data.
type place struct {
	age string // a random name: records of another age are gone
	seq uint64
	tag revoke.Tag
	log string
}

func (p place) blank() bool { return p.age == "" }

// maxNumber is the largest number of the log that scripts can count with: they have 53 bits. The numbers of a log reach it
// after two million restores.
const maxNumber = 1 << 53

// placeOf reads the place at the beginning of an answer.
func placeOf(a []answer) (place, error) {
	if len(a) == 0 {
		return place{}, nil
	}
	if len(a) < 4 || !a[0].there || !a[1].there || !a[3].there {
		return place{}, errAnswer
	}
	seq, err := strconv.ParseUint(a[1].text, 10, 64)
	if err != nil || seq >= maxNumber {
		return place{}, errAnswer
	}
	return place{age: a[0].text, seq: seq, tag: revoke.Tag(a[2].text), log: a[3].text}, nil
}

func decimal[T ~uint64 | ~int64 | ~int](n T) string { return fmt.Sprintf("%d", n) }

// placeNow reads the place alone.
func (s *Store) placeNow(ctx context.Context) (place, error) {
	a, err := s.c.run(ctx, "many", "ids")
	if err != nil {
		return place{}, err
	}
	return placeOf(a)
}

// followed keeps those who follow the log off a Redis that does not answer, and from writing what is written.
type followed struct {
	mu    sync.Mutex
	at    place
	until time.Time // not before then again
}

// due says whether there is something to write.
func (f *followed) due(log string, seq uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return (f.at.log != log || f.at.seq < seq) && !time.Now().Before(f.until)
}

func (f *followed) note(at place, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.until = time.Now().Add(bringPause)
		return
	}
	f.at, f.until = at, time.Time{}
}

// pauses are how long a reader waits, each time it finds the place behind, for the process that has committed to write
// what it did. Then it takes it from the log.
func pauses(try int) time.Duration { return time.Millisecond << min(try, 4) }

const maxPauses = 5

// errMoving says that other processes append faster than they can be followed: it is not known what the answer is.
var errMoving = errors.New("redis: the log moves faster than it can be followed")

// await gives the place time to reach a number, and then brings it there.
func (s *Store) await(ctx context.Context, want uint64, try int) error {
	if try >= maxPauses {
		return s.catchUp(ctx, want)
	}
	return pause(ctx, pauses(try))
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// maxEvents is how many events are read, and written, at a time.
const maxEvents = 1000

// catchUp brings the records to the head of the log, unless they are at the number that is wanted by the time it is this
// caller's turn; with 0 they are brought to the head in any case. To be told events a reader must
// be registered; it is for the moment only, and acknowledges nothing beyond the place that it comes from.
func (s *Store) catchUp(ctx context.Context, want uint64) (err error) {
	select {
	case s.following <- struct{}{}:
		defer func() { <-s.following }()
	case <-ctx.Done():
		return ctx.Err()
	}
	at, err := s.placeNow(ctx)
	if err != nil || want > 0 && !at.blank() && at.seq >= want {
		return err
	}
	log, now := s.base.Log(), time.Now()
	me := revoke.Registration{
		Verifier: id.NewVerifier(now), Applied: at.seq, RegisteredAt: now.UTC().Truncate(time.Microsecond), Name: "sessions in Redis",
	}
	head, err := log.Register(ctx, me)
	if err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	defer func() {
		// A registration that stays would make waiters wait for it, so it goes also when the caller has given up, who is
		// not kept waiting for that.
		removed := make(chan error, 1)
		go func() { removed <- log.Remove(context.WithoutCancel(ctx), math.MaxInt64, me.Verifier) }()
		select {
		case gone := <-removed:
			if err == nil && gone != nil {
				err = fmt.Errorf("follow the log: %w", gone)
			}
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
		}
	}()
	if at.blank() {
		return s.begin(ctx, at, head)
	}
	for {
		a, err := log.Renew(ctx, revoke.Renewal{Verifier: me.Verifier, Log: at.log, Applied: at.seq, Tag: at.tag, Limit: maxEvents})
		if err != nil {
			return fmt.Errorf("follow the log: %w", err)
		}
		if a.Reset {
			return s.begin(ctx, at, a.Head)
		}
		if len(a.Events) == 0 {
			return nil
		}
		if err := s.apply(ctx, a.Events, at.log); err != nil {
			return err
		}
		last := a.Events[len(a.Events)-1]
		at.seq, at.tag = last.Seq, last.Tag
		if !a.More {
			return nil
		}
	}
}

// begin begins an age at a head, without any records. Whoever begins it also clears what is left of the one before.
func (s *Store) begin(ctx context.Context, before place, h revoke.Head) error {
	if h.Seq >= maxNumber {
		return errors.New("redis: the log's numbers are too large")
	}
	a, err := s.c.run(ctx, "begin", before.age, rand.Text(), decimal(h.Seq), string(h.Tag), h.Log)
	if err != nil {
		return fmt.Errorf("begin without sessions: %w", err)
	}
	if len(a) != 1 || a[0].number == 0 || before.blank() {
		return nil
	}
	for range 1 << 20 {
		left, err := s.c.run(ctx, "purge", before.age, "500")
		if err != nil || len(left) != 1 || left[0].number == 0 {
			return nil // what stays is found by nobody, and goes by its own time
		}
	}
	return nil
}

// apply writes what events say of sessions, and moves the place along. Several processes may do so at once.
func (s *Store) apply(ctx context.Context, events []revoke.Event, log string) error {
	for range maxTries {
		ids := named(events)
		all, err := s.records(ctx, ids)
		if err != nil {
			return err
		}
		if all.at.blank() {
			return nil
		}
		w := s.c.write(all.at.age)
		for _, r := range all.found {
			if after, changed := r.after(events); changed {
				w.put(r, withoutSecrets(r.Session, after))
			}
		}
		w.events(events, log)
		status, err := w.run(ctx)
		if err != nil {
			return fmt.Errorf("write what events say of sessions: %w", err)
		}
		if status == done {
			return nil
		}
	}
	return errMoving
}

// maxTries bounds how often something is done over because somebody else was faster. Each time somebody made progress.
const maxTries = 200

// named are the sessions that events change the records of.
func named(events []revoke.Event) []handstamp.SessionID {
	var ids []handstamp.SessionID
	for _, e := range events {
		switch {
		case e.Kind == revoke.KindUser && e.Effect == revoke.End && e.Except != "":
			ids = append(ids, e.Except)
		case e.Kind == revoke.KindSession:
			ids = append(ids, handstamp.SessionID(e.ID))
		}
	}
	return ids
}

// withoutSecrets takes the secrets out of a record that hears from the log that its session was given new ones. Who gave
// them writes them here next, and has a claim. If that never comes, because they died in between or their write was lost
// with what Redis lost, the new ones are nowhere, and the old ones must not live on: somebody changed a password to be rid
// of who has them. The session's user logs in again.
func withoutSecrets(was, s handstamp.Session) handstamp.Session {
	if s.Changed > was.Changed {
		s.Key, s.Refresh.Nonce = token.Hash{}, token.Hash{}
	}
	return s
}

// after is what events make of a session's record. In whatever order they come, and however often, it ends the same.
func after(s handstamp.Session, events []revoke.Event) (handstamp.Session, bool) {
	changed := false
	for _, e := range events {
		mine := e.Kind == revoke.KindSession && handstamp.SessionID(e.ID) == s.ID
		spared := e.Kind == revoke.KindUser && e.Effect == revoke.End && e.Except == s.ID && handstamp.UserID(e.ID) == s.User
		switch {
		case mine && e.Effect == revoke.End && (s.EndedBy == 0 || e.Seq < s.EndedBy):
			s.EndedBy, s.EndedAt, s.EndReason = e.Seq, e.At, e.Reason
		case mine && e.Effect == revoke.Change && s.Changed < e.Seq:
			s.Changed = e.Seq
		case spared && s.Stamp < e.Seq:
			s.Stamp = e.Seq
		default:
			continue
		}
		s.Version++
		changed = true
	}
	return s, changed
}
