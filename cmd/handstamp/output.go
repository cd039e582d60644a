package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// printJSON writes one document for programs.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
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

// readLine reads one line of at most limit bytes, without its end.
func readLine(r io.Reader, limit int64) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if int64(len(b)) > limit {
		return "", usage("standard input is longer than %d bytes", limit)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if strings.ContainsAny(line, "\n") {
		return "", usage("standard input holds more than one line: give exactly one")
	}
	return line, nil
}

// confirm asks a person before something that cannot be undone. A program that reads no terminal is not asked.
func (a *app) confirm(yes bool, question string) error {
	if yes || !isTerminal(a.stdin) {
		return nil
	}
	_, _ = fmt.Fprintf(a.stderr, "%s Type yes to go on: ", question)
	var answer string
	_, _ = fmt.Fscanln(a.stdin, &answer)
	if answer != "yes" {
		return fmt.Errorf("nothing was done: the answer was not yes")
	}
	return nil
}
