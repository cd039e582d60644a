package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/handstamp/handstamp/internal/config"
)

// doctorCmd is "handstamp doctor": it looks for what is wrong, says why that matters and which setting mends it, and
// changes nothing. It registers no verifier, makes no database and no secret, and asks a server only what anybody may.
type doctorCmd struct {
	URL    string        `name:"url" placeholder:"URL" help:"Look at the server that clients reach there, and at its ops_addr, too."`
	Ready  bool          `help:"Only ask, as probes do, whether the server at ops_addr is ready: exit 0 or 1."`
	Accept []string      `placeholder:"ID" help:"A finding that is known and wanted: it is still shown, and does not count. Repeatable."`
	Wait   time.Duration `default:"5s" help:"How long each answer of a server or a database is waited for."`
	JSON   bool          `name:"json" help:"Print JSON."`
}

// severity orders findings. The zero value is none.
type severity string

// The severities.
const (
	high   severity = "high"   // somebody can use it today, or an outage or a loss is certain
	medium severity = "medium" // one more thing must go wrong
	low    severity = "low"    // it weakens, or surprises
)

func (s severity) rank() int { return slices.Index([]severity{high, medium, low}, s) }

// ailment is something that can be wrong: all that is known about it before it is found.
type ailment struct {
	id       string
	severity severity
	setting  string // key of the configuration, or what else is to be set
	why      string // what an attacker or an outage does with it
	fix      string
}

// finding is an ailment that was found.
type finding struct {
	ID       string   `json:"id"`
	Severity severity `json:"severity"`
	Setting  string   `json:"setting"`
	Finding  string   `json:"finding"` // what is the case here; never a secret
	Why      string   `json:"why"`
	Fix      string   `json:"fix"`
	Accepted bool     `json:"accepted"`
}

// skipped is a part that was not looked at.
type skipped struct {
	Part   string `json:"part"`
	Reason string `json:"reason"`
}

// examination is one run of the doctor.
type examination struct {
	cfg    *config.Config
	now    time.Time
	accept []string
	wait   time.Duration
	net    network
	adrift bool // the sessions are in a Redis that cannot be used

	findings []finding
	looked   []string
	skipped  []skipped
}

// network is how servers are reached. The zero value is as every program does.
type network struct {
	roots *x509.CertPool // whose certificates are believed; nil: the system's
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
}

// find notes a finding. A text from outside is kept to one line and without credentials.
func (x *examination) find(a ailment, format string, args ...any) {
	text := hideTokens(oneLine(fmt.Sprintf(format, args...)), nil)
	x.findings = append(x.findings, finding{
		ID: a.id, Severity: a.severity, Setting: a.setting, Finding: text, Why: a.why, Fix: a.fix,
		Accepted: slices.Contains(x.accept, a.id),
	})
}

// findAt is find for an ailment that more than one setting can have.
func (x *examination) findAt(setting string, a ailment, format string, args ...any) {
	a.setting = setting
	x.find(a, format, args...)
}

func (x *examination) look(part string) { x.looked = append(x.looked, part) }

func (x *examination) skip(part, format string, args ...any) {
	x.skipped = append(x.skipped, skipped{part, hideTokens(oneLine(fmt.Sprintf(format, args...)), nil)})
}

// ailments is everything the doctor knows.
func ailments() []ailment {
	var all []ailment
	for _, c := range configChecks() {
		all = append(all, c.ailment)
	}
	return slices.Concat(all, fileAilments(), tlsAilments(), databaseAilments(), serverAilments(), reachAilments())
}

// ailmentNamed finds one by its id. A name that is not in the list is a slip of who wrote the check, and a test finds it.
func ailmentNamed(id string) ailment {
	for _, a := range ailments() {
		if a.id == id {
			return a
		}
	}
	return ailment{id: id, severity: high}
}

// Run examines, prints, and fails if something was found that was not accepted.
func (c *doctorCmd) Run(ctx context.Context, a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	cfg, warnings, err := a.settings()
	if err != nil {
		return err
	}
	if c.Ready {
		return c.ready(ctx, cfg)
	}
	x := &examination{cfg: cfg, now: a.now(), accept: c.Accept, wait: c.Wait}
	x.configuration(warnings)
	x.files()
	x.certificate()
	x.tiers(ctx)
	x.database(ctx, a)
	x.server(ctx, c.URL)
	if err := ctx.Err(); err != nil {
		return err // what was interrupted found nothing to be sure of
	}
	slices.SortStableFunc(x.findings, func(f, g finding) int { return f.Severity.rank() - g.Severity.rank() })
	if c.JSON {
		err = a.printJSON(map[string]any{
			"findings": orEmpty(x.findings), "looked_at": orEmpty(x.looked), "not_looked_at": orEmpty(x.skipped),
		})
	} else {
		err = x.print(a)
	}
	if err != nil {
		return err
	}
	return x.verdict()
}

// check refuses what was written wrongly.
func (c *doctorCmd) check() error {
	for _, id := range c.Accept {
		if !slices.ContainsFunc(ailments(), func(a ailment) bool { return a.id == id }) {
			return usage("--accept: %q is no finding: take the name that handstamp doctor prints", short(id))
		}
	}
	if c.Ready && (c.URL != "" || c.JSON || len(c.Accept) > 0) {
		return usage("--ready goes with no other flag of doctor's but --wait")
	}
	if c.Wait <= 0 {
		return usage("--wait: want a duration such as 5s")
	}
	if c.URL == "" {
		return nil
	}
	u, err := url.Parse(c.URL) // the error would quote what may be a password
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return usage("--url: want the URL that clients use, such as https://id.example.com, without user name and query")
	}
	return nil
}

// verdict is the error that makes the exit code.
func (x *examination) verdict() error {
	n := map[severity]int{}
	total := 0
	for _, f := range x.findings {
		if !f.Accepted {
			n[f.Severity]++
			total++
		}
	}
	if total == 0 {
		return nil
	}
	return fmt.Errorf("%s (%d high, %d medium, %d low)", count(total, false, "finding", "findings"), n[high], n[medium], n[low])
}

// print writes the findings for people.
func (x *examination) print(a *app) error {
	var b strings.Builder
	for _, f := range x.findings {
		mark := strings.ToUpper(string(f.Severity))
		if f.Accepted {
			mark = "accepted"
		}
		fmt.Fprintf(&b, "%s  %s  (%s)\n  found  %s\n  why    %s\n  fix    %s\n\n", mark, f.ID, oneLine(f.Setting), f.Finding, f.Why, f.Fix)
	}
	if len(x.findings) == 0 {
		b.WriteString("Nothing was found.\n")
	}
	fmt.Fprintf(&b, "Looked at: %s.\n", strings.Join(x.looked, ", "))
	for _, s := range x.skipped {
		fmt.Fprintf(&b, "Not looked at: %s: %s.\n", s.Part, strings.TrimSuffix(s.Reason, "."))
	}
	if _, err := a.stdout.Write([]byte(b.String())); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
