package redis

import (
	"context"
	"strconv"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

// write is one call of the script that changes records: all of its operations or none.
type write struct {
	c    *Client
	head []string // age, place, claimer, mode
	ops  []string

	passed []string // with each: ids whose records had moved on
}

// status is how a write ended. The zero value is none.
type status uint8

const (
	done  status = iota + 1
	moved        // a record, the place or the age is not as it was read: read again
	busy         // somebody else has claimed one of the sessions
)

func (c *Client) write(age string) *write {
	return &write{c: c, head: []string{age, "", "", ""}}
}

// only writes only while the place is at a number.
func (w *write) only(seq uint64) { w.head[1] = decimal(seq) }

// claimed gives the claims of a unit back with what it writes.
func (w *write) claimed(by string) { w.head[2] = by }

// guarded keeps away from sessions that a unit has claimed.
func (w *write) guarded() { w.head[3] = "guard" }

// each passes over records that have moved on.
func (w *write) each() { w.head[3] = "each" }

// put writes a record over the one that was read.
func (w *write) put(was record, s handstamp.Session) {
	w.ops = append(w.ops, "P", string(s.ID), was.mark, pack(newMark(), &s), decimal(broom(s).Milliseconds()),
		hashed(was.Key), hashed(s.Key), string(s.User), set(s), decimal(sweptAt(s)))
}

func (w *write) delete(r record) {
	w.ops = append(w.ops, "D", string(r.ID), r.mark, hashed(r.Key), string(r.User), set(r.Session))
}

// require needs a record to be as it was read.
func (w *write) require(r record) { w.ops = append(w.ops, "R", string(r.ID), r.mark) }

func (w *write) carry(c handstamp.Carrying) {
	w.ops = append(w.ops, "C", string(c.From), string(c.To), decimal(c.Limit), decimal(len(c.Names)))
	w.ops = append(w.ops, c.Names...)
}

// events says that what these events do to records is written. log is empty for those that this process appended.
func (w *write) events(events []revoke.Event, log string) {
	if len(events) == 0 {
		return
	}
	w.ops = append(w.ops, "E", log, decimal(len(events)))
	for _, e := range events {
		w.ops = append(w.ops, decimal(e.Seq), string(e.Tag))
	}
}

// run does it.
func (w *write) run(ctx context.Context) (status, error) {
	if len(w.ops) == 0 {
		return done, nil
	}
	a, err := w.c.run(ctx, "write", append(w.head, w.ops...)...)
	if err != nil {
		return 0, err
	}
	if len(a) == 0 {
		return 0, errAnswer
	}
	switch a[0].text {
	case "ok":
		for _, p := range a[min(5, len(a)):] {
			w.passed = append(w.passed, p.text)
		}
		return done, nil
	case "age", "place", "moved", "blank":
		return moved, nil
	case "busy":
		return busy, nil
	default:
		return 0, errAnswer
	}
}

func parseInt(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) }
