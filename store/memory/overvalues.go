package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/handstamp/handstamp"
)

// overValues is the view for values. They are where the sessions are: in the memory of this process.
type overValues struct{ o *Overlay }

// Values returns the view for the named values of sessions.
func (o *Overlay) Values() handstamp.Values { return overValues{o} }

// Get takes record and value in one look, and the rest second; see [Overlay].
func (v overValues) Get(
	ctx context.Context, sid handstamp.SessionID, name string,
) (handstamp.Datum, handstamp.Found, error) {
	if err := ctx.Err(); err != nil {
		return handstamp.Datum{}, handstamp.Found{}, fmt.Errorf("read a value: %w", err)
	}
	var all []handstamp.Datum
	kept, sub, err := v.o.look(ctx, func() *handstamp.Session {
		all = v.o.kept.values[sid]
		return v.o.kept.sessions[sid]
	})
	if err != nil {
		return handstamp.Datum{}, handstamp.Found{}, err
	}
	f, err := v.o.found(ctx, *kept, sub, "")
	if err != nil {
		return handstamp.Datum{}, handstamp.Found{}, err
	}
	return valueOf(all, name), f, nil
}

// Put decides under the turn, by a subject that is read from the base just before.
func (v overValues) Put(ctx context.Context, w handstamp.DatumWrite) error {
	if err := checkWrite(w); err != nil {
		return err
	}
	if err := v.o.turn.take(ctx); err != nil {
		return fmt.Errorf("write a value: %w", err)
	}
	defer v.o.turn.give()
	kept, sub, err := v.o.fresh(ctx, w.Session)
	if err != nil {
		return err
	}
	if kept == nil {
		return handstamp.ErrConflict
	}
	after, err := written(v.o.kept.values[w.Session], *kept, sub, w)
	if err != nil {
		return err
	}
	v.o.writeValues(map[handstamp.SessionID]change[[]handstamp.Datum]{w.Session: {value: after}})
	return nil
}

// writeValues puts values for who has the turn.
func (o *Overlay) writeValues(changed map[handstamp.SessionID]change[[]handstamp.Datum]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.writeValues(changed)
}

// Carry keeps copies aside until the commit.
func (t *overTx) Carry(ctx context.Context, c handstamp.Carrying) error {
	if err := t.open(ctx); err != nil {
		return fmt.Errorf("carry values: %w", err)
	}
	from, ok := t.sessions.get(c.From)
	if !ok {
		return nil
	}
	sub, err := t.Subject(ctx, from.User)
	if err != nil {
		return fmt.Errorf("carry values: %w", err)
	}
	if handstamp.Standing(*from, sub, c.Now) {
		carry(&t.sessions, &t.values, c)
	}
	return nil
}

// maxSweptOwners bounds for how many sessions one sweep asks the base, since everybody else waits for the turn meanwhile.
const maxSweptOwners = 500

// sweepValues drops values of sessions that do not stand, for who has the turn. Each sweep goes on where the one before
// stopped, so that many sessions that stand do not keep it from the rest.
func (o *Overlay) sweepValues(ctx context.Context, now time.Time, limit int) (int, error) {
	owners, subjects, err := o.freshAll(ctx, o.owners(maxSweptOwners))
	n := 0
	for _, s := range owners {
		if n >= limit {
			return n, nil // the next sweep begins with this one
		}
		if !handstamp.Standing(*s, subjects[s.User], now) {
			all := o.kept.values[s.ID]
			gone := min(len(all), limit-n)
			n += gone
			o.writeValues(map[handstamp.SessionID]change[[]handstamp.Datum]{s.ID: {value: all[gone:]}})
			if gone < len(all) {
				return n, nil
			}
		}
		o.swept = s.ID
	}
	return n, err
}

// owners are the next sessions that have values after the last one that was looked at, and then from the beginning.
func (o *Overlay) owners(limit int) []handstamp.SessionID {
	ids := o.kept.ids
	at, found := slices.BinarySearch(ids, o.swept)
	if found {
		at++
	}
	next := []handstamp.SessionID{}
	for _, part := range [][]handstamp.SessionID{ids[at:], ids[:at]} {
		for _, sid := range part {
			if _, ok := o.kept.values[sid]; ok && len(next) < limit {
				next = append(next, sid)
			}
		}
	}
	return next
}
