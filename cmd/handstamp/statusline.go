package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// lineWidth is that of the widest line that is drawn.
const lineWidth = 79

// statusLine is one line at a terminal that is drawn over itself. Elsewhere it shows nothing.
type statusLine struct {
	w     io.Writer // nil where nobody looks
	width int
	shown bool
}

func newStatusLine(w io.Writer) statusLine {
	if !isTerminal(w) {
		return statusLine{}
	}
	l := statusLine{w: w, width: lineWidth}
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 1 {
			l.width = min(lineWidth, columns-1) // a line that wraps cannot be drawn over
		}
	}
	return l
}

// draw shows a text, cut to the width.
func (l *statusLine) draw(text string) {
	if l.w == nil {
		return
	}
	l.shown = true
	_, _ = fmt.Fprintf(l.w, "\r%-*.*s", l.width, l.width, text)
}

// hide clears the line, so that something else can be written there.
func (l *statusLine) hide() {
	if l.w == nil || !l.shown {
		return
	}
	l.shown = false
	_, _ = fmt.Fprintf(l.w, "\r%s\r", strings.Repeat(" ", l.width))
}
