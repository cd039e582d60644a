package config

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// problems are sentences about one value, each to be read after the name of its
// key. They never quote the value.
type problems []string

// Mistake is one thing that is wrong with a configuration.
type Mistake struct {
	Key   string // path of the key, such as session.idle_timeout; empty for a whole file
	Where string // place of the value, such as "handstamp.toml line 4" or "environment HANDSTAMP_ADDR"
	Text  string // what is wrong and what to do; never the value itself
}

// String returns the mistake as one line.
func (m Mistake) String() string {
	switch {
	case m.Key == "":
		return m.Where + ": " + m.Text
	case m.Where == "":
		return m.Key + ": " + m.Text
	}
	return m.Key + " (" + m.Where + "): " + m.Text
}

// MistakesError is every mistake of a configuration: file first, then
// environment, flags and the rules that join keys.
type MistakesError struct {
	Mistakes []Mistake // never empty
}

// Error returns one line for each mistake.
func (e *MistakesError) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// Warning is something that works but that the operator should know.
type Warning struct {
	Key  string // path of the key
	Text string // what was done or should be looked at; never a secret
}

// String returns the warning as one line.
func (w Warning) String() string { return w.Key + ": " + w.Text }

// nearest returns the known name that is most like name, or "" if none is close
// enough to be a slip of the hand.
func nearest(name string, known []string) string {
	best, bestDistance := "", len(name)/3+1
	for _, k := range known {
		if d := distance(name, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is the number of letters to add, remove or change (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Entry is one effective value.
type Entry struct {
	Key    string `json:"key"`
	Value  string `json:"value"` // as it would be written in the environment; secrets are REDACTED
	Origin Origin `json:"origin"`
	Secret bool   `json:"secret"`
}

// Origin returns where the value of key came from: "default", "file PATH",
// "environment NAME" or "flag --name"; "" if there is no such key. A secret that
// was read from a file has the origin of the key that names the file.
func (c *Config) Origin(key string) Origin { return c.origins[key] }

// File returns the path of the configuration file that was read, however it was
// named; "" if there is none.
func (c *Config) File() string { return c.file }

// FileHoldsSecret reports whether a secret that is in force is written into the
// configuration file itself, which makes that file one. A secret in a file of
// its own, which the configuration file names, is not.
func (c *Config) FileHoldsSecret() bool {
	return slices.ContainsFunc(c.Entries(), func(e Entry) bool {
		return e.Secret && strings.HasPrefix(string(e.Origin), "file ") && c.files[e.Key] == "" && strings.Contains(e.Value, redacted)
	})
}

// Entries returns every key with its effective value, in the order of [Keys].
func (c *Config) Entries() []Entry {
	all := specs()
	entries := make([]Entry, 0, len(all))
	for _, s := range all {
		e := Entry{Key: s.name, Value: s.kind.show(c), Origin: c.origins[s.name], Secret: s.secret}
		if e.Value == "" && e.Origin == OriginDefault && s.name == "secret" {
			e.Value = s.derived
		}
		entries = append(entries, e)
	}
	return entries
}

// Print writes one line for each key: name, effective value, origin.
func (c *Config) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range c.Entries() {
		value := e.Value
		if value == "" {
			value = "-"
		}
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\n", e.Key, value, e.Origin); err != nil {
			return fmt.Errorf("print configuration: %w", err)
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}

// PrintJSON writes {"settings": [...]} with the same content as Print.
func (c *Config) PrintJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(map[string][]Entry{"settings": c.Entries()}); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}

// String returns no values, so that a Config that ends up in a log says nothing.
// Use Print.
func (c *Config) String() string { return "config.Config" }
