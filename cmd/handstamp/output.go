package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// printJSON writes one document for programs. People look at it in a terminal as well: see plainJSON.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(plainJSON{a.stdout})
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// plainJSON is a writer of whole JSON documents, each in one Write as encoding/json and slog make them. JSON need not
// escape DEL, the C1 controls (U+009B is ESC [ in one character) and the formats that turn the direction of a line
// around, so what a client sent could steer the terminal it is shown in. Here they are escaped; the value stays the same.
type plainJSON struct{ w io.Writer }

// Write implements io.Writer. What needs no escape goes on as it is.
func (p plainJSON) Write(b []byte) (int, error) {
	if _, err := p.w.Write(escapeJSON(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// escapeJSON escapes what steers a terminal. In valid JSON such characters are within a text only.
func escapeJSON(b []byte) []byte {
	if !slices.ContainsFunc(b, func(c byte) bool { return c >= 0x7f }) { // most lines of a log
		return b
	}
	out := make([]byte, 0, len(b)+64)
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case !steers(r):
			out = append(out, b[i:i+n]...)
		case r > 0xffff: // RFC 8259 section 7: a pair of surrogates
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += n
	}
	return out
}

// steers reports whether a character above ASCII's own controls changes how a terminal shows what stands around it: DEL,
// the C1 controls, the separators of lines and paragraphs, and the formats (category Cf), which turn directions or hide.
func steers(r rune) bool {
	return r >= 0x7f && (r < 0xa0 || r == 0x2028 || r == 0x2029 || r > 0xa0 && unicode.Is(unicode.Cf, r))
}

// printTable writes rows for people, in columns.
func (a *app) printTable(head []string, rows [][]string) error {
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = oneLine(cell); cells[i] == "" {
				cells[i] = "-"
			}
		}
		if _, err := fmt.Fprintln(t, strings.Join(cells, "\t")); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// say writes one line of answer.
func (a *app) say(format string, args ...any) error {
	if _, err := fmt.Fprintln(a.stdout, oneLine(fmt.Sprintf(format, args...))); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// note tells a person something that is not the answer.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintln(a.stderr, oneLine(fmt.Sprintf(format, args...)))
}

// when writes a time for people: UTC, and how far from now.
func when(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC (" + distance(t.Sub(now)) + ")"
}

// distance writes how far a moment is from now in its largest whole unit.
func distance(d time.Duration) string {
	form := "in %s"
	if d < 0 {
		form, d = "%s ago", -d
	}
	for _, u := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if n := int64(d / u.length); n == 1 {
			return fmt.Sprintf(form, "1 "+u.name)
		} else if n > 1 {
			return fmt.Sprintf(form, fmt.Sprint(n)+" "+u.name+"s")
		}
	}
	return "now"
}

// stamp is a time in JSON: RFC 3339 in UTC, or null.
type stamp time.Time

// MarshalJSON writes null for the zero time.
func (s stamp) MarshalJSON() ([]byte, error) {
	t := time.Time(s)
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.UTC())
}

// orEmpty is a list in JSON: never null.
func orEmpty[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}
