package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

// maxCounted is up to where ended sessions are counted exactly.
const maxCounted = 10_000

// How many records are looked at to count them, and what append_1 adds to their number where there are more.
const (
	maxLooked = 2*maxCounted + 1
	moreEnded = 1 << 40
)

const appendEvents = `SELECT a.o_first, a.o_ended, a.o_spared
	FROM @append_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS a`

var (
	errNoLog = errors.New("the log's row is missing")
	errEvent = errors.New("there is no such event")
)

// Append implements handstamp.Tx. All of it, and what was kept back, is one round trip. What an event changes raises the
// record's version, so that a record which was read before and is written after conflicts instead of undoing it.
func (u *unit) Append(ctx context.Context, events ...revoke.Event) (handstamp.Appended, error) {
	if err := u.ready(ctx); err != nil || len(events) == 0 {
		return handstamp.Appended{}, err
	}
	done := handstamp.Appended{Events: make([]revoke.Event, len(events))}
	copy(done.Events, events)
	args, err := u.eventArgs(done.Events)
	if err != nil {
		return handstamp.Appended{}, u.fail(err)
	}
	var first, ended int64
	var spared []string
	err = u.run(ctx, statement{query: appendEvents, args: args, scan: func(r pgx.Rows) error {
		return r.Scan(asNumber(&first), asNumber(&ended), asList(&spared))
	}})
	if err == nil && len(spared) != len(events) {
		err = errColumn
	}
	if err != nil {
		return handstamp.Appended{}, u.fail(fmt.Errorf("append events: %w", err)) // half an Append is never committed
	}
	for i := range done.Events {
		done.Events[i].Seq = uint64(first) + uint64(i)
		done.Events[i].Except = handstamp.SessionID(spared[i])
	}
	all := ended % moreEnded
	done.Sessions, done.More = int(min(all, maxCounted)), all > maxCounted || ended >= moreEnded
	return done, nil
}

// eventArgs gives each event a tag, and makes an array of each of their fields.
func (u *unit) eventArgs(events []revoke.Event) ([]any, error) {
	n := len(events)
	text := func() []string { return make([]string, n) }
	kinds, targets, effects, spared, reasons, tags := text(), text(), text(), text(), text(), text()
	untils, times := make([]int64, n), make([]int64, n)
	for i := range events {
		e := &events[i]
		if !known(*e) {
			return nil, errEvent
		}
		e.Tag = revoke.NewTag()
		kinds[i], targets[i], effects[i], spared[i] = string(e.Kind), e.ID, string(e.Effect), string(e.Except)
		untils[i], times[i], reasons[i], tags[i] = micros(e.Until), micros(e.At), said(e.Reason), string(e.Tag)
	}
	enabled, disabled := u.turned()
	return []any{
		kinds, targets, effects, spared, untils, times, reasons, tags, enabled, disabled, int64(maxLooked), u.s.opt.channel(),
	}, nil
}

// turned are the users whose rows this unit read or wrote, as they were before: those who were enabled and the others.
func (u *unit) turned() (enabled, disabled []string) {
	enabled, disabled = []string{}, []string{}
	for user, was := range u.before {
		if was {
			enabled = append(enabled, string(user))
		} else {
			disabled = append(disabled, string(user))
		}
	}
	return enabled, disabled
}

// known reports whether there is such an event.
func known(e revoke.Event) bool {
	switch string(e.Kind) + "/" + string(e.Effect) {
	case "session/end", "session/change", "user/end", "user/change", "key/end", "service_key/end", "all/end", "role/change":
		return true
	default:
		return false
	}
}
