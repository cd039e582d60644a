package redis

import (
	"context"
	"fmt"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/transfer"
)

// writesAt is how many rows one script writes: more would keep the server from others for too long.
const writesAt = 200

// Write implements transfer.Target, in more than one step: what was written of a page that failed is written again. A
// value whose session is not here is left out; it comes with the session.
func (t *Transfer) Write(ctx context.Context, m transfer.Mark, table transfer.Table, put, drop []transfer.Row) error {
	if m.Phase != transfer.Filling {
		return transfer.ErrTaken
	}
	if table.Name != transfer.TableSessions && table.Name != transfer.TableData {
		return fmt.Errorf("write rows of %s: %w", table.Name, errRecord)
	}
	w := transferWrite{t: t, mark: m}
	before, err := t.before(ctx, table, put, drop)
	if err != nil {
		return err
	}
	for _, k := range drop {
		w.drop(table, k, before)
		if err := w.flush(ctx, writesAt); err != nil {
			return err
		}
	}
	for _, r := range put {
		if err := w.put(table, r, before); err != nil {
			return fmt.Errorf("write rows of %s: %w", table.Name, err)
		}
		if err := w.flush(ctx, writesAt); err != nil {
			return err
		}
	}
	return w.flush(ctx, 1)
}

// before reads the sessions that are about to be written over or deleted, since their indexes are to be taken away. Only
// a move writes here, and only the one whose mark it is.
func (t *Transfer) before(ctx context.Context, table transfer.Table, put, drop []transfer.Row) (map[string]handstamp.Session, error) {
	found := map[string]handstamp.Session{}
	if table.Name != transfer.TableSessions || len(put)+len(drop) == 0 {
		return found, nil
	}
	args := []string{"i"}
	for _, r := range put {
		args = append(args, first(r))
	}
	for _, k := range drop {
		args = append(args, first(k))
	}
	a, err := t.c.run(ctx, "transferpage", args...)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(a); i += 2 {
		if !a[i+1].there {
			continue
		}
		r, err := read(a[i+1].text)
		if err != nil {
			return nil, err
		}
		found[a[i].text] = r.Session
	}
	return found, nil
}

// transferWrite collects operations of the script "transferwrite".
type transferWrite struct {
	t    *Transfer
	mark transfer.Mark
	ops  []string
	n    int
}

func (w *transferWrite) put(table transfer.Table, r transfer.Row, before map[string]handstamp.Session) error {
	w.n++
	if table.Name == transfer.TableData {
		sid, d, err := transfer.DatumOf(r)
		w.ops = append(w.ops, "V", string(sid), d.Name, decimal(d.Version)+":"+string(d.Data))
		return err
	}
	s, err := transfer.SessionOf(r)
	if err != nil {
		return err
	}
	var oldKey, oldUser, oldSet string
	if was, there := before[string(s.ID)]; there {
		oldKey, oldUser, oldSet = hashed(was.Key), string(was.User), set(was)
	}
	w.ops = append(w.ops, "P", string(s.ID), pack(newMark(), &s), decimal(broom(s).Milliseconds()), oldKey, hashed(s.Key),
		string(s.User), set(s), decimal(sweptAt(s)), oldUser, oldSet)
	return nil
}

func (w *transferWrite) drop(table transfer.Table, key transfer.Row, before map[string]handstamp.Session) {
	if table.Name == transfer.TableData {
		name, _ := key[1].(string)
		w.n++
		w.ops = append(w.ops, "X", first(key), name)
		return
	}
	if was, there := before[first(key)]; there {
		w.n++
		w.ops = append(w.ops, "D", string(was.ID), hashed(was.Key), string(was.User), set(was))
	}
}

// flush writes if there are as many operations.
func (w *transferWrite) flush(ctx context.Context, least int) error {
	if w.n < least {
		return nil
	}
	a, err := w.t.c.run(ctx, "transferwrite", append([]string{w.mark.Log, w.mark.Run}, w.ops...)...)
	switch {
	case err != nil:
		return err
	case len(a) == 1 && a[0].text == "taken":
		return transfer.ErrTaken
	case len(a) != 1 || a[0].text != "ok":
		return errAnswer
	}
	w.ops, w.n = nil, 0
	return nil
}
