package main

import "context"

// configCmd is "handstamp config".
type configCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run prints the effective configuration. Secrets are REDACTED.
func (c *configCmd) Run(_ context.Context, a *app) error {
	cfg, warnings, err := a.settings()
	if err != nil {
		return err
	}
	for _, w := range warnings {
		a.note("warning: %s", w)
	}
	if c.JSON {
		return cfg.PrintJSON(plainJSON{a.stdout})
	}
	return cfg.Print(a.stdout)
}
