package redis

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
)

// looked is a record, perhaps with a value of its session, and its subject, as they were at one number of the log.
type looked struct {
	record record
	at     place
	sub    handstamp.Subject
	value  string
	valued bool // there is such a value
}

// look returns the record that the script "find" finds for args, and its subject. It answers handstamp.ErrNotFound if there
// is no record.
//
// The record is read first and the subject second. The answer is good if the place of the records was at the subject's head
// or beyond, since then the record had heard of everything up to there, and if nothing in the record is newer than the
// head: then it is as it was at the head.
func (s *Store) look(ctx context.Context, args ...string) (looked, error) {
	var l looked
	var user handstamp.UserID
	for try := range maxTries {
		if err := s.find(ctx, &l, args); err != nil {
			return looked{}, err
		}
		if try == 0 || user != l.record.User || newest(l.record.Session) > l.sub.Head {
			sub, err := s.base.Sessions().Subject(ctx, l.record.User)
			if err != nil {
				return looked{}, fmt.Errorf("read the subject of a session: %w", err)
			}
			l.sub, user = sub, l.record.User
			if l.at.seq > sub.Head {
				// The subject was read after the place: a log that has lost its end.
				if err := s.catchUp(ctx, 0); err != nil {
					return looked{}, err
				}
				continue
			}
		}
		if l.at.seq >= l.sub.Head && newest(l.record.Session) <= l.sub.Head {
			return l, nil
		}
		if l.at.seq < l.sub.Head {
			if err := s.await(ctx, l.sub.Head, try); err != nil {
				return looked{}, err
			}
		}
	}
	return looked{}, errMoving
}

// find reads a record and the place of all of them.
func (s *Store) find(ctx context.Context, l *looked, args []string) error {
	a, err := s.c.run(ctx, "find", args...)
	if err != nil {
		return fmt.Errorf("find a session: %w", err)
	}
	if l.at, err = placeOf(a); err != nil {
		return err
	}
	if len(a) < 5 || !a[4].there {
		return handstamp.ErrNotFound
	}
	if l.record, err = read(a[4].text); err != nil {
		return err
	}
	l.value, l.valued = "", false
	if len(a) > 5 && a[5].there {
		l.value, l.valued = a[5].text, true
	}
	return nil
}

// found completes an answer. Roles and the key's state are read after the head, and so are no older than it says.
func (s *Store) found(ctx context.Context, l looked, signingKey string) (handstamp.Found, error) {
	f := handstamp.Found{Session: l.record.Session, Subject: l.sub, Roles: permission.Table{}}
	if len(l.sub.Grants.Roles) > 0 {
		table, _, err := s.base.Roles(ctx)
		if err != nil {
			return handstamp.Found{}, fmt.Errorf("read roles: %w", err)
		}
		for _, name := range l.sub.Grants.Roles {
			if granted, ok := table[name]; ok {
				f.Roles[name] = granted
			}
		}
	}
	if signingKey == "" {
		return f, nil
	}
	all, err := s.base.Keys().Keys(ctx)
	if err != nil {
		return handstamp.Found{}, fmt.Errorf("read the state of a signing key: %w", err)
	}
	for _, k := range all {
		if k.ID == signingKey {
			f.SigningKeyEnded = k.RevokedBy
		}
	}
	return f, nil
}

// batch is records with their subjects: each user's is read once, and all of them in one statement.
type batch struct {
	listing
	subjects map[handstamp.UserID]handstamp.Subject
}

// batchTries is how often a batch is read again because the log moved on between the records and the subjects: until the
// reader itself has brought the records there, and once more. Then they are looked up one by one.
const batchTries = maxPauses + 2

// batch returns the records that the script "many" finds for args.
func (s *Store) batch(ctx context.Context, args ...string) (batch, error) {
	for try := 0; ; try++ {
		l, err := s.many(ctx, args...)
		if err != nil {
			return batch{}, err
		}
		b, head, err := s.withSubjects(ctx, l)
		if err != nil || head <= l.at.seq || try == batchTries {
			return b, err
		}
		if err := s.await(ctx, head, try); err != nil {
			return batch{}, err
		}
	}
}

// withSubjects reads the subjects of records, and says at which number of the log that was; 0 for none.
func (s *Store) withSubjects(ctx context.Context, l listing) (b batch, head uint64, err error) {
	b = batch{l, make(map[handstamp.UserID]handstamp.Subject)}
	if err := s.know(ctx, b.subjects, l.found); err != nil {
		return batch{}, 0, err
	}
	for _, sub := range b.subjects {
		head = sub.Head // of all, since they were read together
	}
	return b, head, nil
}

// know reads the subjects of records that are not known yet, all together.
func (s *Store) know(ctx context.Context, subjects map[handstamp.UserID]handstamp.Subject, records []record) error {
	unknown := make(map[handstamp.UserID]bool)
	for _, r := range records {
		if _, known := subjects[r.User]; !known {
			unknown[r.User] = true
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	all, err := s.base.Subjects(ctx, slices.Collect(maps.Keys(unknown)))
	if err != nil {
		return fmt.Errorf("read the subjects of sessions: %w", err)
	}
	for _, sub := range all {
		subjects[sub.User] = sub
	}
	return nil
}

// judge returns the subject of a record of the batch. It reports false if the record must be looked up by itself, since the
// log moved on meanwhile.
func (b *batch) judge(r record) (handstamp.Subject, bool) {
	sub := b.subjects[r.User]
	return sub, b.at.seq == sub.Head && newest(r.Session) <= sub.Head
}
