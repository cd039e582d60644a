package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/login/password"
)

// benchReport is what was measured, and where.
type benchReport struct {
	facts benchFacts
	store *benchStore // nil where only hashes were measured
	hash  *hashing    // nil where they were not
	steps []*measured
	notes []string
}

// benchFacts are what a measurement is worth nothing without.
type benchFacts struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Cores   int    `json:"cores"`
	ForUS   int64  `json:"for_us"` // length of a measurement
}

// benchStore says what the sessions were in.
type benchStore struct {
	Place      string `json:"place"`
	Durability string `json:"durability"`
	ThrownAway bool   `json:"thrown_away"`
}

// note adds what a reader should know.
func (r *benchReport) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// head fills in where it is measured.
func (r *benchReport) head(b *bench) {
	r.facts = benchFacts{
		Version: version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.GOMAXPROCS(0), ForUS: b.opt.For.Microseconds(),
	}
	if b.rig == nil {
		return
	}
	d := b.rig.auth.Durability()
	r.store = &benchStore{Place: b.rig.place, Durability: string(d.Class), ThrownAway: b.rig.thrownAway}
	r.note("the store is %s (%s)%s", b.rig.place, durability(d), map[bool]string{true: ", which is removed at the end"}[b.rig.thrownAway])
	r.note("client and server share this machine: HTTP is plain, over loopback, with connections that stay open")
	if b.cfg.NearCache.Memory == 0 {
		r.note("near_cache.memory is 0: checks of the form session ask the store each time, and those of the others check the signature")
	}
	if b.opt.Stores && b.cfg.Database.Kind != config.KindMemory {
		r.note("what stays in %s: ended sessions, the ids of the deleted users, counters of logins, entries of the audit log; drop it when you are done", b.rig.place)
	}
}

// top is printed before anything is measured.
func (r *benchReport) top(a *app) error {
	err := a.say("Handstamp %s on %s/%s, %s, %s", r.facts.Version, r.facts.OS, r.facts.Arch, r.facts.Go, count(r.facts.Cores, false, "core", "cores"))
	for _, n := range r.notes {
		err = errors.Join(err, a.say("%s", n))
	}
	return err
}

// failed is nil if no call failed.
func (r *benchReport) failed() error {
	all := slices.Clone(r.steps)
	if r.hash != nil {
		all = append(all, r.hash.configured)
	}
	failed, first := 0, error(nil)
	for _, m := range all {
		if err := m.failed(); err != nil {
			if failed++; first == nil {
				first = err
			}
		}
	}
	switch failed {
	case 0:
		return nil
	case 1:
		return first
	default:
		return fmt.Errorf("calls failed in %d measurements: %w", failed, first)
	}
}

// title begins a part of the answer.
func title(a *app, format string, args ...any) error {
	return errors.Join(a.say(""), a.say(format, args...))
}

// numbers are the cells of a measurement that every table has.
func (m *measured) numbers() []string {
	cells := []string{threeDigits(m.rate())}
	for _, share := range []float64{0.5, 0.9, 0.99} {
		cells = append(cells, took(m.times.percentile(share)))
	}
	return append(cells, took(m.times.most))
}

func numberHeads() []string { return []string{"PER SECOND", "P50", "P90", "P99", "MAX"} }

// printSteps prints the measurements of check, login or refresh.
func (r *benchReport) printSteps(a *app, name string) error {
	head := append([]string{"FORM", "ASKED"}, numberHeads()...)
	if name == "check" {
		head = slices.Insert(head, 2, "FROM")
	}
	var rows [][]string
	var first []*measured // of each name
	for _, m := range r.steps {
		if m.step.name != name && (name != "login" || m.step.name != loginHash) {
			continue
		}
		if len(first) == 0 || first[len(first)-1].step.name != m.step.name {
			first = append(first, m)
		}
		row := []string{m.step.form, asked(m.step)}
		if name == "check" {
			row = append(row, strings.Replace(m.step.from, fromStore, "look-up", 1))
		}
		rows = append(rows, append(append(row, m.numbers()...), fmt.Sprint(m.errors)))
	}
	if err := title(a, "%s, %d at once", name, first[0].step.atOnce); err != nil {
		return err
	}
	if err := a.printTable(append(head, "ERRORS"), rows); err != nil || name != "login" {
		return err
	}
	if alone, login := first[0], first[1]; alone.times.count > 0 && login.times.count > 0 {
		return a.say("%s", hashShare(alone.times.percentile(0.5), login.times.percentile(0.5)))
	}
	return nil
}

// asked says how a step asks, for people.
func asked(s trial) string {
	switch {
	case s.name == loginHash:
		return "only the hash"
	case s.over == overHTTP:
		return "over HTTP"
	default:
		return "in the process"
	}
}

// hashShare says how much of a login the hash is.
func hashShare(hash, login time.Duration) string {
	const text = "half of the hashes alone, with the wait for their turn (password.max_concurrent), took up to %s, and half of the logins %s: "
	if hash >= login {
		return fmt.Sprintf(text+"the rest of a login is too little to be seen", took(hash), took(login))
	}
	return fmt.Sprintf(text+"the hash is about %d %% of a login", took(hash), took(login), 100*hash/login)
}

// printHash prints what bench hash found.
func (r *benchReport) printHash(a *app, opt benchCmd) error {
	h := r.hash
	row := func(p password.Params, m *measured, what string) []string {
		cells := []string{fmt.Sprint(p.MemoryKiB), fmt.Sprint(p.Iterations), fmt.Sprint(p.Parallelism)}
		return append(append(cells, m.numbers()...), size(h.inAll(p)<<10), what)
	}
	rows := [][]string{row(h.current, h.configured, "configured")}
	for i, m := range h.tried {
		switch is := h.costs[i]; {
		case is == h.proposal.costs && is == h.current:
			rows[0] = row(is, m, "configured, proposed")
		case is == h.proposal.costs:
			rows = append(rows, row(is, m, "proposed"))
		case is != h.current:
			rows = append(rows, row(is, m, ""))
		}
	}
	head := append([]string{"MEMORY_KIB", "ITERATIONS", "PARALLELISM"}, numberHeads()...)
	if err := errors.Join(title(a, "hash, %d at once (password.max_concurrent)", h.atOnce), a.printTable(append(head, "AT ONCE", "WHICH"), rows)); err != nil {
		return err
	}
	for _, line := range h.proposed(opt) {
		if err := a.say("%s", line); err != nil {
			return err
		}
	}
	return nil
}

// proposed says the proposal, with the lines to copy.
func (h *hashing) proposed(opt benchCmd) []string {
	p := h.proposal
	why := fmt.Sprintf("the strongest whose median is at most %v (--target)", opt.Target)
	if !p.within {
		why = fmt.Sprintf("none is done in %v (--target), and nothing weaker than these is safe: this is the fastest", opt.Target)
	}
	lines := []string{
		"", "Proposal: " + why, "", "[password]",
		fmt.Sprintf("memory_kib = %d", p.costs.MemoryKiB), fmt.Sprintf("iterations = %d", p.costs.Iterations), fmt.Sprintf("parallelism = %d", p.costs.Parallelism), "",
	}
	if h.left {
		lines = append(lines, "Stronger ones were left out: with password.max_concurrent at once they take more memory than --max-memory.")
	}
	if p.costs == h.current {
		return append(lines, "It is what is configured.")
	}
	lines = append(lines, "Hashes that are there are checked at the cost they were made with, and replaced at their owner's next login.")
	if effort(p.costs) < effort(h.current) {
		lines = append(lines, "It costs less than what is configured. Take that back only if logins wait: until they are replaced, dearer hashes show by their time which accounts exist.")
	}
	return lines
}

// effort is the memory that one hash fills, over all passes.
func effort(p password.Params) uint64 { return uint64(p.MemoryKiB) * uint64(p.Iterations) }

// took writes a time of three digits in the unit that fits.
func took(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < time.Millisecond:
		return threeDigits(float64(d)/1e3) + " µs"
	case d < time.Second:
		return threeDigits(float64(d)/1e6) + " ms"
	default:
		return threeDigits(float64(d)/1e9) + " s"
	}
}

// threeDigits writes a number with three digits, or more before the point.
func threeDigits(f float64) string {
	switch {
	case f < 9.995:
		return fmt.Sprintf("%.2f", f)
	case f < 99.95:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.0f", f)
	}
}
