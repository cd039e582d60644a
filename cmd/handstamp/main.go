// Command handstamp is the server and its command line: one static binary that needs nothing else.
//
// It gives "serve" and the commands that work on the same database, beside a server that runs or without one. What a
// command ends or changes is an event in the database's log, so every server on it follows within a second at most.
//
// It never decides anything about an identity itself: it turns configuration into the packages that do (wire.go is the
// only list of stores and login methods), and never prints a secret but the two that are made to be printed once: the
// link for the first administrator and a new service key.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes: a script can tell a command that it wrote wrongly, which the same words never mend (an unknown flag, no
// address, a weak password, a bad configuration), from one that failed (an unknown user, a taken address, no database).
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	os.Exit(run(os.Args[1:], &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(),
	}))
}

// run is the program: everything it touches comes in by its arguments, but for the file system and the signals.
func run(args []string, a *app) (code int) {
	bare := len(args) == 0
	if bare || args[0] == "help" { // people try it before --help
		args = append(args[min(1, len(args)):len(args):len(args)], "--help")
	}
	defer func() {
		// Kong ends the program after --help by a call of its own.
		if r := recover(); r != nil {
			exit, ok := r.(exitNow)
			if !ok {
				panic(r)
			}
			if code = int(exit); bare {
				code = exitUsage
			}
		}
	}()
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	a.release = release
	var c cli
	parser, err := newParser(&c, a)
	if err != nil {
		return a.fail(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return a.fail(usage("%s: see handstamp --help", hideTokens(err.Error(), args)))
	}
	a.flags, a.file, a.model = c.flags(), c.File, parser.Model
	parsed.BindTo(ctx, (*context.Context)(nil))
	return a.fail(parsed.Run(a))
}

// exitNow is how Kong's own exits travel to run.
type exitNow int

// app is what a command needs of the outside world, and what was said on its command line besides its own flags.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string

	flags   map[string]string // keys of the configuration that were given as flags
	file    string            // --config
	model   *kong.Application
	release func() // gives signals back their usual effect: the next one ends the program
}

// usageError is a command that was written wrongly.
type usageError struct{ text string }

// Error says what was wrong and what to do.
func (e *usageError) Error() string { return e.text }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// fail prints an error as one line and says which exit code it means.
func (a *app) fail(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitFailure
	if refused(err) {
		code = exitUsage
	}
	if list, ok := errors.AsType[*configError](err); ok {
		for _, line := range list.lines {
			_, _ = fmt.Fprintln(a.stderr, "handstamp: configuration: "+line)
		}
		return exitUsage
	}
	_, _ = fmt.Fprintln(a.stderr, "handstamp: "+oneLine(explain(err)))
	return code
}

// oneLine keeps what an error quotes from forging a second line or steering a terminal.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || steers(r) {
			return ' '
		}
		return r
	}, s))
}

// version is what the build says of itself: the module's version where it was built from one, else the revision.
func version() string {
	if stamped != "" {
		return stamped
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

// stamped is the version of a release. The linker sets it (scripts/release); the program never does.
//
//nolint:gochecknoglobals // it is the one way in for the linker
var stamped string
