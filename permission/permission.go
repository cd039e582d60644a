// Package permission gives roles, permissions and the rule by which one permission covers another. It is pure: it
// never asks a store, and a Set never changes once it is made.
package permission

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Everything is the permission that covers every other one.
const Everything = "*"

// maxBytes bounds a permission's and a role's name.
const maxBytes = 128

// ErrInvalid is what the parsers of this package return, wrapped with the rule that was broken.
var ErrInvalid = errors.New("permission: invalid")

// Check accepts what may be granted: resource:action (posts:write), a dotted name (handstamp.admin), the pattern
// resource:* for every action of one resource, or * for everything. Nothing else is a pattern: p*:x, *:read and po:wr*
// are refused, since what looks like a pattern and is none would grant nothing, silently.
func Check(p string) error {
	if p == Everything {
		return nil
	}
	resource, action, two := strings.Cut(p, ":")
	if two && action == Everything && name(resource) && len(p) <= maxBytes {
		return nil
	}
	return CheckAsked(p)
}

// CheckAsked accepts what may be asked for: like Check, but without patterns. Nobody needs "everything"; who asks for
// posts:* has mistaken a grant for a question.
func CheckAsked(p string) error {
	resource, action, two := strings.Cut(p, ":")
	if len(p) > maxBytes || !name(resource) || two && !name(action) {
		return fmt.Errorf("%w: want resource:action or a dotted name of letters, digits, '.', '_' and '-', at most %d bytes", ErrInvalid, maxBytes)
	}
	return nil
}

// CheckRole accepts the name of a role: 1 to 128 letters, digits, '.', '_' and '-'.
func CheckRole(role string) error {
	if len(role) > maxBytes || !name(role) {
		return fmt.Errorf("%w: want a role of letters, digits, '.', '_' and '-', at most %d bytes", ErrInvalid, maxBytes)
	}
	return nil
}

func name(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return false
		}
	}
	return true
}

// Set is an immutable set of granted permissions, patterns among them. The zero value grants nothing. It is safe for
// concurrent use.
type Set struct {
	sorted []string
}

// NewSet returns the set of what is granted, without repetitions. Entries that [Check] refuses are left out: what
// cannot be granted grants nothing.
func NewSet(granted ...string) Set {
	kept := make([]string, 0, len(granted))
	for _, p := range granted {
		if Check(p) == nil {
			kept = append(kept, p)
		}
	}
	slices.Sort(kept)
	return Set{sorted: slices.Compact(kept)}
}

// Union returns what either set grants.
func (s Set) Union(t Set) Set {
	switch {
	case len(t.sorted) == 0:
		return s
	case len(s.sorted) == 0:
		return t
	}
	all := slices.Concat(s.sorted, t.sorted)
	slices.Sort(all)
	return Set{sorted: slices.Compact(all)}
}

// Has reports whether the set covers the permission that is asked for. It does not allocate.
func (s Set) Has(asked string) bool {
	if len(s.sorted) == 0 || CheckAsked(asked) != nil {
		return false
	}
	if s.sorted[0] == Everything || s.holds(asked) {
		return true
	}
	colon := strings.IndexByte(asked, ':')
	if colon < 0 {
		return false
	}
	_, found := slices.BinarySearchFunc(s.sorted, asked[:colon+1], comparePattern)
	return found
}

func (s Set) holds(asked string) bool {
	_, found := slices.BinarySearch(s.sorted, asked)
	return found
}

// comparePattern orders have against the pattern resource + ":*" without building that string.
func comparePattern(have, resourceColon string) int {
	n := min(len(have), len(resourceColon))
	if c := strings.Compare(have[:n], resourceColon[:n]); c != 0 {
		return c
	}
	return strings.Compare(have[n:], Everything)
}

// List returns what the set holds, sorted; the caller owns the slice.
func (s Set) List() []string {
	if len(s.sorted) == 0 {
		return []string{}
	}
	return slices.Clone(s.sorted)
}

// Empty reports whether the set grants nothing.
func (s Set) Empty() bool { return len(s.sorted) == 0 }

// Table is what each role grants, by the role's name. A role that the table does not know grants nothing. Treat a
// Table as immutable once it is shared.
type Table map[string]Set

// Grants returns what the roles grant together.
func (t Table) Grants(roles []string) Set {
	var all Set
	for _, r := range roles {
		all = all.Union(t[r])
	}
	return all
}
