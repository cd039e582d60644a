package main

import (
	"fmt"
	"io"
	"time"
)

// benchBar shows a person at a terminal what is measured at the moment, in one line that is drawn over itself. Elsewhere it
// shows nothing.
type benchBar struct{ statusLine }

func newBenchBar(w io.Writer) *benchBar {
	return &benchBar{newStatusLine(w)}
}

// show says what is measured, and how long that takes. It is drawn once: a line that is drawn while something is measured
// would be measured, too.
func (b *benchBar) show(what string, length time.Duration) {
	b.draw(fmt.Sprintf("%s: %v", what, (length + length/5).Round(100*time.Millisecond)))
}
