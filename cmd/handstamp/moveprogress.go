package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/handstamp/handstamp/move"
)

// moveBar shows a person at a terminal where a move is, in one line that is drawn over itself. Elsewhere it shows
// nothing.
type moveBar struct {
	statusLine
	now func() time.Time

	step         move.Step
	began, drawn time.Time
}

func newMoveBar(w io.Writer, now func() time.Time) *moveBar {
	return &moveBar{statusLine: newStatusLine(w), now: now}
}

// update draws the line: at every new step, and ten times in a second at most.
func (b *moveBar) update(p move.Progress) {
	if b.w == nil {
		return
	}
	now := b.now()
	if b.step != p.Step {
		b.step, b.began, b.shown = p.Step, now, false
	}
	if b.shown && now.Sub(b.drawn) < redrawAfter {
		return
	}
	b.drawn = now
	b.draw(moveText(p, now.Sub(b.began)))
}

// moveText says where a move is, after some time in its step.
func moveText(p move.Progress, took time.Duration) string {
	var b strings.Builder
	b.WriteString(string(p.Step))
	if p.Table != "" {
		fmt.Fprintf(&b, " %s: %d rows", p.Table, p.Rows)
		if p.Wrote != p.Rows && p.Wrote > 0 {
			fmt.Fprintf(&b, ", %d written", p.Wrote)
		}
		if took >= time.Millisecond {
			fmt.Fprintf(&b, "  %.0f rows/s", float64(p.Rows)/took.Seconds())
		}
	}
	return b.String()
}
