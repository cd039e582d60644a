package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// benchBar shows a person at a terminal what is measured at the moment, in one line that is drawn over itself. Elsewhere it
// shows nothing.
type benchBar struct {
	w     io.Writer // nil where nobody looks
	width int
	shown bool
}

func newBenchBar(w io.Writer) *benchBar {
	if !isTerminal(w) {
		return &benchBar{}
	}
	b := &benchBar{w: w, width: lineWidth}
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 1 {
			b.width = min(lineWidth, columns-1) // a line that wraps cannot be drawn over
		}
	}
	return b
}

// show says what is measured, and how long that takes. It is drawn once: a line that is drawn while something is measured
// would be measured, too.
func (b *benchBar) show(what string, length time.Duration) {
	b.say(fmt.Sprintf("%s: %v", what, (length + length/5).Round(100*time.Millisecond)))
}

// say draws the line.
func (b *benchBar) say(text string) {
	if b.w == nil {
		return
	}
	b.shown = true
	_, _ = fmt.Fprintf(b.w, "\r%-*.*s", b.width, b.width, text)
}

// hide clears the line, so that something else can be written there.
func (b *benchBar) hide() {
	if b.w == nil || !b.shown {
		return
	}
	b.shown = false
	_, _ = fmt.Fprintf(b.w, "\r%s\r", strings.Repeat(" ", b.width))
}
