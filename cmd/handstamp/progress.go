package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/handstamp/handstamp/account/importer"
)

const (
	barWidth    = 24
	redrawAfter = 100 * time.Millisecond
)

// progressBar shows a person at a terminal how far an import is, in one line that is drawn over itself. Elsewhere it
// shows nothing.
type progressBar struct {
	statusLine
	total int64 // bytes; 0 for not known
	now   func() time.Time

	began, drawn time.Time
}

func newProgressBar(w io.Writer, total int64, now func() time.Time) *progressBar {
	return &progressBar{statusLine: newStatusLine(w), total: total, now: now, began: now()}
}

// update draws the line, ten times in a second at most.
func (b *progressBar) update(p importer.Progress) {
	if b.w == nil || b.shown && b.now().Sub(b.drawn) < redrawAfter {
		return
	}
	b.drawn = b.now()
	b.draw(progressText(p, b.total, b.drawn.Sub(b.began)))
}

// progressText says how far an import is after some time.
func progressText(p importer.Progress, total int64, took time.Duration) string {
	rate := ""
	if took >= time.Millisecond {
		rate = fmt.Sprintf("  %.0f lines/s", float64(p.Lines)/took.Seconds())
	}
	done := min(p.Bytes, total)
	if total <= 0 {
		return fmt.Sprintf("%s  %d lines%s", size(p.Bytes), p.Lines, rate)
	}
	full := int(done * barWidth / total)
	return fmt.Sprintf("[%s%s] %3d %%  %s of %s%s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full),
		done*100/total, size(done), size(total), rate)
}

// size writes a number of bytes.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	default:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	}
}
