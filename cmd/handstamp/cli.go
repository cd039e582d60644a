package main

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"github.com/handstamp/handstamp/internal/config"
)

// cli is the command line. Every key of the configuration is a flag of every command besides: see configFlags.
type cli struct {
	File string `name:"config" placeholder:"PATH" help:"Configuration file; default HANDSTAMP_CONFIG, else ./handstamp.toml if there is one."`

	Serve      serveCmd      `cmd:"" help:"Run the server."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database to this version."`
	User       userCmd       `cmd:"" help:"Users: add, list, show, disable, enable, delete, roles, password, import."`
	Role       roleCmd       `cmd:"" help:"Roles and what they grant: list, set, delete."`
	Session    sessionCmd    `cmd:"" help:"Sessions: list, revoke."`
	Key        keyCmd        `cmd:"" help:"Signing keys: list, rotate, revoke."`
	ServiceKey serviceKeyCmd `cmd:"" name:"service-key" help:"Credentials for programs: add, list, delete."`
	Inspect    inspectCmd    `cmd:"" help:"Explain a credential: what it is, whether it is accepted now, and if not why and since when."`
	Restored   restoredCmd   `cmd:"" help:"Run after restoring a backup or a lossy failover, before serve."`
	Move       moveCmd       `cmd:"" help:"Move everything to another database while servers go on; nobody is logged out."`
	Doctor     doctorCmd     `cmd:"" help:"Look for what is unsafe or fragile: in the configuration, its files, the database and a running server."`
	Bench      benchCmd      `cmd:"" help:"Measure this machine: hashes, checks, logins and refreshes in a second; propose costs of argon2id."`
	Audit      auditCmd      `cmd:"" help:"The audit log: list."`
	Show       configCmd     `cmd:"" name:"config" help:"Print the effective configuration and where each value came from."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Completion completionCmd `cmd:"" help:"Print a completion script for bash, zsh or fish."`
	Complete   completeCmd   `cmd:"" name:"__complete" hidden:"" passthrough:""`

	kong.Plugins
}

const about = "Handstamp knows who sent a request, and can end that at any moment, everywhere.\n\n" +
	"Every key of the configuration is a flag as well (session.idle_timeout is --session-idle-timeout): see handstamp help config."

// newParser makes the parser of c. The flags of the configuration are made from its table of keys, so that there is one
// list of them.
func newParser(c *cli, a *app) (*kong.Kong, error) {
	c.Plugins = kong.Plugins{configFlags()}
	return kong.New(c,
		kong.Name("handstamp"), kong.Description(about), kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(code int) { panic(exitNow(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Help(help),
	)
}

// keyFlag takes the value of one key as it was written. What is wrong with it is said by package config, together with
// everything else that is wrong.
type keyFlag struct {
	text  string
	given bool
}

// Decode implements kong.MapperValue.
func (f *keyFlag) Decode(ctx *kong.DecodeContext) error {
	var text string
	if err := ctx.Scan.PopValueInto("value", &text); err != nil {
		return err
	}
	f.text, f.given = text, true
	return nil
}

// switchFlag is a keyFlag of a key that is true or false: without a value it means true.
type switchFlag struct{ keyFlag }

// IsBool implements kong.BoolMapperValue.
func (f *switchFlag) IsBool() bool { return true }

// Decode implements kong.MapperValue.
func (f *switchFlag) Decode(ctx *kong.DecodeContext) error { //nolint:unparam // the shape is kong's
	f.text, f.given = "true", true
	if t := ctx.Scan.Peek(); t.Type == kong.FlagValueToken {
		ctx.Scan.Pop()
		f.text = fmt.Sprint(t.Value)
	}
	return nil
}

// configFlags makes a struct with a flag for each key, as Kong reads it.
func configFlags() any {
	var fields []reflect.StructField
	for i, k := range config.Keys() {
		kind := reflect.TypeFor[keyFlag]()
		if k.Kind == "bool" {
			kind = reflect.TypeFor[switchFlag]()
		}
		tag := fmt.Sprintf(`name:%s help:%s hidden:""`, strconv.Quote(k.Flag), strconv.Quote(k.Help))
		fields = append(fields, reflect.StructField{Name: "Key" + strconv.Itoa(i), Type: kind, Tag: reflect.StructTag(tag)})
	}
	return reflect.New(reflect.StructOf(fields)).Interface()
}

// flags returns the keys that were given on the command line.
func (c *cli) flags() map[string]string {
	given := map[string]string{}
	v := reflect.ValueOf(c.Plugins[0]).Elem()
	for i, k := range config.Keys() {
		var f keyFlag
		switch field := v.Field(i).Interface().(type) {
		case keyFlag:
			f = field
		case switchFlag:
			f = field.keyFlag
		}
		if f.given {
			given[k.Flag] = f.text
		}
	}
	return given
}

// help is Kong's help, and for the commands that are about the configuration the keys.
func help(o kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
		return err
	}
	if n := ctx.Selected(); n != nil && (n.Name == "serve" || n.Name == "config") {
		return printKeys(ctx.Stdout)
	}
	return nil
}

func printKeys(w io.Writer) error {
	if _, err := fmt.Fprintln(w, "\nKeys of the configuration, as flags (environment: HANDSTAMP_SESSION_IDLE_TIMEOUT; file: [session] idle_timeout):"); err != nil {
		return fmt.Errorf("print help: %w", err)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, k := range config.Keys() {
		_, _ = fmt.Fprintf(t, "  --%s\t%s\t%s\n", k.Flag, k.Default, strings.TrimSuffix(k.Help+"; "+k.Limits, "; "))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print help: %w", err)
	}
	return nil
}

// credentialPattern finds what may be a credential of ours in a text: an opaque token by its prefix, or something in
// three or five parts that begins like a token's header.
func credentialPattern() *regexp.Regexp {
	return regexp.MustCompile(`hs_[a-z]_[0-9A-Za-z]+|eyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]+`)
}

// hideTokens takes credentials out of a message about a command line: people paste them into the wrong place, and
// standard error is kept in logs.
func hideTokens(text string, args []string) string {
	for _, arg := range args {
		if len(arg) > 80 {
			text = strings.ReplaceAll(text, arg, "REDACTED")
		}
	}
	return credentialPattern().ReplaceAllString(text, "REDACTED")
}
