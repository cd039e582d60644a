package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/handstamp/handstamp/move"
)

// moveBar shows a person at a terminal where a move is, in one line that is drawn over itself. Elsewhere it shows
// nothing.
type moveBar struct {
	w     io.Writer // nil where nobody looks
	width int
	now   func() time.Time

	step         move.Step
	began, drawn time.Time
	shown        bool
}

func newMoveBar(w io.Writer, now func() time.Time) *moveBar {
	if !isTerminal(w) {
		return &moveBar{}
	}
	b := &moveBar{w: w, width: lineWidth, now: now}
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 1 {
			b.width = min(lineWidth, columns-1) // a line that wraps cannot be drawn over
		}
	}
	return b
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
	b.drawn, b.shown = now, true
	_, _ = fmt.Fprintf(b.w, "\r%-*.*s", b.width, b.width, moveText(p, now.Sub(b.began)))
}

// hide clears the line, so that something else can be written there.
func (b *moveBar) hide() {
	if b.w == nil || !b.shown {
		return
	}
	b.shown = false
	_, _ = fmt.Fprintf(b.w, "\r%s\r", strings.Repeat(" ", b.width))
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
