package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/handstamp/handstamp/internal/config"
)

// configError is everything that is wrong with a configuration, a line for each.
type configError struct{ lines []string }

// Error joins the lines.
func (e *configError) Error() string { return strings.Join(e.lines, "\n") }

// settings reads the configuration, and refuses what this build does not have.
func (a *app) settings() (*config.Config, []config.Warning, error) {
	cfg, warnings, err := config.Load(config.Sources{Flags: a.flags, Environ: configEnviron(a.environ), File: a.file})
	if err == nil {
		return cfg, warnings, nil
	}
	list, ok := errors.AsType[*config.MistakesError](err)
	if !ok {
		return nil, nil, fmt.Errorf("read the configuration: %w", err)
	}
	lines := make([]string, len(list.Mistakes))
	for i, m := range list.Mistakes {
		lines[i] = oneLine(m.String())
	}
	return nil, nil, &configError{lines}
}

// logger writes to standard error: text for people at a terminal, JSON for programs.
func (a *app) logger(cfg *config.Config) *slog.Logger {
	opt := &slog.HandlerOptions{Level: cfg.Log.Level, ReplaceAttr: redact}
	if cfg.Log.Format == config.LogText || cfg.Log.Format == config.LogAuto && isTerminal(a.stderr) {
		return slog.New(slog.NewTextHandler(a.stderr, opt))
	}
	return slog.New(slog.NewJSONHandler(plainJSON{a.stderr}, opt))
}

// redact is the last line of defence of the log. Secrets have types that hide themselves; this is for a text that holds
// one all the same, such as an address that somebody asked for.
func redact(_ []string, at slog.Attr) slog.Attr {
	switch name := strings.ToLower(at.Key); {
	case strings.Contains(name, "password"), strings.Contains(name, "secret"), strings.Contains(name, "cookie"), name == "authorization":
		return slog.String(at.Key, "REDACTED")
	}
	var text string
	switch v := at.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	default:
		return at
	}
	if strings.Contains(text, "hs_") || strings.Contains(text, "eyJ") {
		return slog.String(at.Key, credentialPattern().ReplaceAllString(text, "REDACTED"))
	}
	return at
}

// isTerminal reports whether a person reads what is written to w, or types what is read from it.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
