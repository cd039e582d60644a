package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/handstamp/handstamp"
)

// values is the view for values. A session's values are one hash: under each name its version, a colon, and its bytes.
type values struct{ s *Store }

// Get takes record and value in one look, and the rest second; see [Store.look].
func (v values) Get(
	ctx context.Context, sid handstamp.SessionID, name string,
) (handstamp.Datum, handstamp.Found, error) {
	l, err := v.s.look(ctx, "s", string(sid), name)
	if err != nil {
		return handstamp.Datum{}, handstamp.Found{}, err
	}
	d := handstamp.Datum{Name: name}
	if l.valued {
		version, data, ok := strings.Cut(l.value, ":")
		if d.Version, err = strconv.ParseUint(version, 10, 64); err != nil || !ok {
			return handstamp.Datum{}, handstamp.Found{}, errRecord
		}
		d.Data = []byte(data)
	}
	f, err := v.s.found(ctx, l, "")
	return d, f, err
}

// errValue says that the caller is wrong: no codec writes nothing, and no version is that large.
var errValue = errors.New("redis: a value needs data, and a version below 2^63")

// Put judges record and subject at one number of the log, and writes only if neither has moved since.
func (v values) Put(ctx context.Context, w handstamp.DatumWrite) error {
	d := w.Value
	if d.Version > math.MaxInt64 || d.Version != 0 && len(d.Data) == 0 {
		return errValue
	}
	for range maxTries {
		l, err := v.s.look(ctx, "s", string(w.Session))
		if errors.Is(err, handstamp.ErrNotFound) {
			return handstamp.ErrConflict
		}
		if err != nil {
			return fmt.Errorf("write a value: %w", err)
		}
		active := l.record.Session
		active.SeenAt = later(active.SeenAt, w.SeenAt)
		if !handstamp.Live(active, l.sub, w.Now) {
			return handstamp.ErrConflict
		}
		a, err := v.s.c.run(ctx, "value", l.at.age, decimal(l.at.seq), string(w.Session), l.record.mark, d.Name,
			decimal(w.From), decimal(d.Version), string(d.Data), decimal(w.Limit))
		if err != nil {
			return fmt.Errorf("write a value: %w", err)
		}
		switch {
		case len(a) == 1 && a[0].text == "ok":
			return nil
		case len(a) == 1 && a[0].text == "conflict":
			return handstamp.ErrConflict
		case len(a) == 1 && a[0].text == "large":
			return handstamp.ErrDataTooLarge
		case len(a) != 1 || a[0].text != "moved":
			return errAnswer
		}
	}
	return errMoving
}

// maxOwners bounds how many sessions one sweep looks at for values: each may cost a look at its subject.
const maxOwners = 500

// sweepValues drops values of sessions that do not stand. Each sweep goes on where the one before stopped, so that many
// sessions that stand do not keep it from the rest.
func (s *Store) sweepValues(ctx context.Context, now time.Time, limit int) (int, error) {
	n, wrapped := 0, false
	for left := maxOwners; left > 0 && n < limit; {
		l, err := s.batch(ctx, "data", s.swept.load(), decimal(min(left, pageSize)))
		if err != nil {
			return n, err
		}
		if l.ids == 0 {
			if wrapped || s.swept.load() == "" {
				return n, nil
			}
			s.swept.store("")
			wrapped = true
			continue
		}
		left -= l.ids
		s.prune(ctx, l.listing, "v", "")
		for _, r := range l.found {
			if n >= limit {
				return n, nil // the next sweep begins with this one
			}
			gone, err := s.dropValues(ctx, &l, r, now, limit-n)
			if err != nil {
				return n, err
			}
			if n += gone; n >= limit {
				return n, nil
			}
			s.swept.store(string(r.ID))
		}
		if len(l.found) == 0 {
			s.swept.store(l.gone[len(l.gone)-1])
		}
	}
	return n, nil
}

// dropValues deletes values of a session if it does not stand.
func (s *Store) dropValues(ctx context.Context, b *batch, r record, now time.Time, limit int) (int, error) {
	if sub, good := b.judge(r); good && handstamp.Standing(r.Session, sub, now) {
		return 0, nil
	}
	for range maxTries {
		l, err := s.look(ctx, "s", string(r.ID))
		if errors.Is(err, handstamp.ErrNotFound) {
			return 0, nil
		}
		if err != nil || handstamp.Standing(l.record.Session, l.sub, now) { // it may have been spared or enabled since
			return 0, err
		}
		a, err := s.c.run(ctx, "drop", l.at.age, decimal(l.at.seq), string(r.ID), l.record.mark, decimal(limit))
		if err != nil {
			return 0, err
		}
		if len(a) == 1 && a[0].number >= 0 {
			return int(a[0].number), nil
		}
	}
	return 0, errMoving
}

// cursor is where a sweep goes on. It is this process's: another one begins at its own.
type cursor struct {
	mu sync.Mutex
	at string
}

func (c *cursor) load() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *cursor) store(at string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}
