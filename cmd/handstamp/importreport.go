package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/account/importer"
)

const (
	maxReported = 1000 // problems in the JSON report; standard error has all of them
	maxNamed    = 1000 // roles that are remembered
)

// importReport is what became of a file, for programs.
type importReport struct {
	Format    importer.Format `json:"format"`
	DryRun    bool            `json:"dry_run"`
	Complete  bool            `json:"complete"` // the file was read to its end
	Lines     int             `json:"lines"`
	Created   int             `json:"created"`
	Same      int             `json:"same"`
	Refused   int             `json:"refused"`
	Conflicts int             `json:"conflicts"`
	Problems  []importProblem `json:"problems"`
	Omitted   int             `json:"problems_omitted"`
	Undefined []string        `json:"undefined_roles"`
	Error     string          `json:"error,omitempty"`
}

type importProblem struct {
	Line     int    `json:"line"`
	Field    string `json:"field,omitempty"`
	Problem  string `json:"problem"`
	Conflict bool   `json:"conflict"`
}

// report turns what package importer says into what is printed.
func (c *userImportCmd) report(format importer.Format, r importer.Report) importReport {
	out := importReport{
		Format: format, DryRun: c.DryRun, Complete: true, Lines: r.Lines, Created: r.Created, Same: r.Same, Refused: r.Broken,
		Conflicts: r.Conflicts, Problems: []importProblem{}, Omitted: r.Broken + r.Conflicts - len(r.Problems), Undefined: []string{},
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, importProblem{p.Line, p.Field, p.Text, p.Conflict})
	}
	return out
}

// print writes the report. What is wrong with single lines was said on standard error when it was found.
func (c *userImportCmd) print(a *app, r importReport) error {
	for _, role := range r.Undefined {
		a.note("The role %s is not defined, so it grants nothing yet: handstamp role set %s PERMISSION...", role, role)
	}
	if c.JSON {
		return a.printJSON(r)
	}
	if !r.Complete && r.Lines == 0 {
		return nil // the error says all there is to say
	}
	verb, end := "made", ""
	if r.DryRun {
		verb, end = "would be made", "; nothing was written"
	}
	return a.say("%s: %s %s, %d there already, %d refused, %s%s", count(r.Lines, false, "line", "lines"),
		count(r.Created, false, "user", "users"), verb, r.Same, r.Refused, count(r.Conflicts, false, "conflict", "conflicts"), end)
}

// bad says what is wrong with a file that was read to its end.
func bad(r importer.Report) string {
	refused, conflicts := count(r.Broken, false, "line was refused", "lines were refused"), count(r.Conflicts, false, "is in conflict", "are in conflict")
	switch {
	case r.Conflicts == 0:
		return refused
	case r.Broken == 0:
		return count(r.Conflicts, false, "line is in conflict", "lines are in conflict")
	default:
		return refused + ", and " + conflicts
	}
}

// roleSink remembers which roles the accounts of a file have.
type roleSink struct {
	importer.Sink
	seen map[string]bool
}

// Compare implements importer.Sink.
func (s *roleSink) Compare(ctx context.Context, i account.Imported) (account.Outcome, error) {
	s.see(i)
	return s.Sink.Compare(ctx, i)
}

// Adopt implements importer.Sink.
func (s *roleSink) Adopt(ctx context.Context, batch []account.Imported, by handstamp.Client) ([]account.Outcome, error) {
	for _, i := range batch {
		s.see(i)
	}
	return s.Sink.Adopt(ctx, batch, by)
}

func (s *roleSink) see(i account.Imported) {
	for _, r := range i.Roles {
		if len(s.seen) < maxNamed {
			s.seen[r] = true
		}
	}
}

// undefined are the roles that nobody has defined, in order.
func (s *roleSink) undefined(ctx context.Context, t *tool) ([]string, error) {
	if len(s.seen) == 0 {
		return []string{}, nil
	}
	table, _, err := t.store.Roles(ctx)
	if err != nil {
		return []string{}, fmt.Errorf("read the roles: %w", err)
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.seen)), func(r string) bool { _, ok := table[r]; return ok }), nil
}
