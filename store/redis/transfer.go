package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/transfer"
)

// Transfer is sessions and their values in Redis as a move sees them; see package transfer. It knows no other tables. A
// closed place is one that every script of a server fails at, with an error that says "don't know".
//
// Redis has no triggers, so there are no changes to read; and where a database is fenced, refreshes and activity still
// reach Redis until it is closed.
type Transfer struct {
	c    *Client
	base transfer.Reader
	over *Store // nil for a target, and for a source whose database is closed
}

var (
	_ transfer.Reader = (*Transfer)(nil)
	_ transfer.Target = (*Transfer)(nil)
)

// ErrForeign: the prefix holds sessions over another database.
var ErrForeign = errors.New("redis: there are sessions of another database under this prefix: name another prefix")

// errBase says that a source cannot be closed without the store over it.
var errBase = errors.New("redis: sessions can only be closed with the store over their database")

// NewTransfer makes a transfer of the sessions over a database, of which base is the transfer. over is the store of both,
// as a server has it: before a source is closed, the records must have heard of all that the database's log says of them.
func NewTransfer(c *Client, base transfer.Reader, over *Store) *Transfer {
	return &Transfer{c: c, base: base, over: over}
}

// Mark implements transfer.Reader.
func (t *Transfer) Mark(ctx context.Context) (transfer.Mark, error) {
	ctx, cancel := context.WithTimeout(ctx, t.c.timeout)
	defer cancel()
	is, err := t.c.conn.Do(ctx, t.c.conn.B().Hgetall().Key(t.c.root+"move").Build()).AsStrMap()
	if err != nil {
		return transfer.Mark{}, t.c.explain("read the mark of a move", err)
	}
	m := transfer.Mark{Phase: transfer.Phase(is["phase"]), Log: is["log"], Peer: is["peer"], Run: is["run"]}
	if at, err := parseInt(is["at"]); err == nil {
		m.At = transfer.TimeOf(at)
	}
	return m, nil
}

// Fits says whether an open place can be filled from a log: nil, or the error that Set to Filling would answer for what is
// in it. It changes nothing.
func (t *Transfer) Fits(ctx context.Context, log string) error {
	asking, cancel := context.WithTimeout(ctx, t.c.timeout)
	defer cancel()
	mark, err := t.Mark(ctx)
	if err != nil || mark.Phase != transfer.Open {
		return err
	}
	at, err := t.c.conn.Do(asking, t.c.conn.B().Hgetall().Key(t.c.place[0]).Build()).AsStrMap()
	switch {
	case err != nil:
		return t.c.explain("read the place of the sessions", err)
	case at["e"] == "":
		return nil
	case at["l"] != log || t.base == nil:
		return ErrForeign
	}
	rows, err := t.base.Page(ctx, transfer.Log(), nil, 1)
	if err != nil {
		return err
	}
	for i, c := range transfer.Log().Columns {
		if c.Name != "head" || len(rows) != 1 {
			continue
		}
		if head, ok := rows[0][i].(int64); !ok || at["s"] != decimal(head) {
			return transfer.ErrChanges
		}
	}
	return nil
}

// maxCloses bounds how often a source is brought along before it is closed: under a fence once is enough.
const maxCloses = 20

// Set implements transfer.Reader, for the phases Open, Moved and Filling.
func (t *Transfer) Set(ctx context.Context, from, to transfer.Mark) error {
	for try := range maxCloses {
		if from.Phase == transfer.Open && to.Phase == transfer.Moved {
			if t.over == nil {
				return errBase
			}
			if err := t.over.catchUp(ctx, 0); err != nil {
				return fmt.Errorf("bring the sessions to the head of the log: %w", err)
			}
		}
		said, err := t.set(ctx, from, to)
		switch {
		case err != nil:
			return fmt.Errorf("set the mark of a move: %w", err)
		case said == "ok":
			return nil
		case said == "taken":
			return transfer.ErrTaken
		case said == "full":
			return ErrForeign
		case said != "behind":
			return errAnswer
		case to.Phase == transfer.Filling: // somebody has used them, so that the records lag behind the log or are beyond it
			return transfer.ErrChanges
		}
		if err := pause(ctx, pauses(try)); err != nil {
			return err
		}
	}
	return errMoving
}

func (t *Transfer) set(ctx context.Context, from, to transfer.Mark) (string, error) {
	var log, tag string
	var head int64
	rows, err := t.base.Page(ctx, transfer.Log(), nil, 1)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 {
		return "", errRecord
	}
	for i, c := range transfer.Log().Columns {
		switch c.Name {
		case "log":
			log, _ = rows[0][i].(string)
		case "head":
			head, _ = rows[0][i].(int64)
		case "tag":
			tag, _ = rows[0][i].(string)
		}
	}
	if from.Phase == transfer.Filling && to.Phase == transfer.Open && log != from.Log || head >= maxNumber {
		return "", errRecord // a place in another log would drop every session
	}
	a, err := t.c.run(ctx, "transferset", string(from.Phase), from.Log, from.Run, string(to.Phase), to.Log, to.Peer, to.Run,
		decimal(transfer.Micros(to.At)), decimal(head), tag, rand.Text())
	if err != nil || len(a) != 1 {
		return "", errors.Join(err, emptyAnswer(a))
	}
	return a[0].text, nil
}

func emptyAnswer(a []answer) error {
	if len(a) == 0 {
		return errAnswer
	}
	return nil
}

// Page implements transfer.Reader. Other tables than the two that are here are empty.
func (t *Transfer) Page(ctx context.Context, table transfer.Table, after transfer.Row, limit int) ([]transfer.Row, error) {
	var rows []transfer.Row
	var err error
	switch table.Name {
	case transfer.TableSessions:
		rows, err = t.sessions(ctx, after, limit)
	case transfer.TableData:
		rows, err = t.values(ctx, after, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("read a page of %s: %w", table.Name, err)
	}
	return rows, nil
}

// sessions reads ids that have no record any more as well; they are in no page.
func (t *Transfer) sessions(ctx context.Context, after transfer.Row, limit int) ([]transfer.Row, error) {
	var rows []transfer.Row
	for last := first(after); len(rows) < limit; {
		want := min(limit-len(rows), pageSize)
		a, err := t.c.run(ctx, "transferpage", "s", last, decimal(want))
		if err != nil {
			return nil, err
		}
		more, err := sessionRows(a)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
		if len(a)/2 < want {
			break
		}
		last = a[len(a)-2].text
	}
	return rows, nil
}

// first is the first column of a key, or of none.
func first(key transfer.Row) string {
	if len(key) == 0 {
		return ""
	}
	s, _ := key[0].(string)
	return s
}

func sessionRows(a []answer) ([]transfer.Row, error) {
	var rows []transfer.Row
	for i := 0; i+1 < len(a); i += 2 {
		if !a[i+1].there {
			continue
		}
		r, err := read(a[i+1].text)
		if err != nil || string(r.ID) != a[i].text {
			return nil, errRecord
		}
		rows = append(rows, transfer.SessionRow(r.Session))
	}
	return rows, nil
}

// ownersAt is of how many sessions the values are read at a time: each has up to 16 KiB.
const ownersAt = 64

func (t *Transfer) values(ctx context.Context, after transfer.Row, limit int) ([]transfer.Row, error) {
	var rows []transfer.Row
	last, again := first(after), "1" // the session of the last value may have more
	for len(rows) < limit {
		a, err := t.c.run(ctx, "transferpage", "d", last, decimal(ownersAt), again)
		if err != nil {
			return nil, err
		}
		owners := 0
		for i := 0; i+1 < len(a); owners++ {
			var one []transfer.Row
			if one, i, err = valueRows(a, i); err != nil {
				return nil, err
			}
			last = a[i].text
			i = next(a, i)
			for _, r := range one {
				if after == nil || transfer.Compare(transfer.Data(), r, after) > 0 {
					rows = append(rows, r)
				}
			}
		}
		if again = ""; owners < ownersAt {
			break
		}
	}
	return rows[:min(len(rows), limit)], nil
}

// next is where the session after the one at i begins.
func next(a []answer, i int) int {
	n, _ := strconv.Atoi(a[i+1].text)
	return i + 2 + 2*n
}

// valueRows reads the values of the session at i, in the order of their names.
func valueRows(a []answer, i int) ([]transfer.Row, int, error) {
	n, err := strconv.Atoi(a[i+1].text)
	if err != nil || n < 0 || i+2+2*n > len(a) {
		return nil, i, errAnswer
	}
	var rows []transfer.Row
	for k := i + 2; k < i+2+2*n; k += 2 {
		number, data, ok := strings.Cut(a[k+1].text, ":")
		version, err := strconv.ParseUint(number, 10, 63)
		if err != nil || !ok {
			return nil, i, errRecord
		}
		d := handstamp.Datum{Name: a[k].text, Data: []byte(data), Version: version}
		rows = append(rows, transfer.DataRow(handstamp.SessionID(a[i].text), d))
	}
	slices.SortFunc(rows, func(a, b transfer.Row) int { return transfer.Compare(transfer.Data(), a, b) })
	return rows, i, nil
}

// Rows implements transfer.Reader.
func (t *Transfer) Rows(ctx context.Context, table transfer.Table, keys []transfer.Row) ([]transfer.Row, error) {
	var rows []transfer.Row
	for _, k := range keys {
		var found []transfer.Row
		var err error
		switch table.Name {
		case transfer.TableSessions:
			var a []answer
			if a, err = t.c.run(ctx, "transferpage", "i", first(k)); err == nil {
				found, err = sessionRows(a)
			}
		case transfer.TableData:
			found, err = t.value(ctx, k)
		}
		if err != nil {
			return nil, fmt.Errorf("read rows of %s: %w", table.Name, err)
		}
		rows = append(rows, found...)
	}
	return rows, nil
}

func (t *Transfer) value(ctx context.Context, key transfer.Row) ([]transfer.Row, error) {
	a, err := t.c.run(ctx, "transferpage", "d", first(key), "1", "1")
	if err != nil || len(a) < 2 || a[0].text != first(key) {
		return nil, err
	}
	all, _, err := valueRows(a, 0)
	return slices.DeleteFunc(all, func(r transfer.Row) bool { return transfer.Compare(transfer.Data(), r, key) != 0 }), err
}
