package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/handstamp/handstamp/account/importer"
	"github.com/handstamp/handstamp/login/password"
)

type userImportCmd struct {
	File                  string `arg:"" help:"The file, or - for standard input."`
	Format                string `placeholder:"FORMAT" help:"jsonl or csv; default by the name of the file."`
	DryRun                bool   `help:"Say what would become of each line, and write nothing."`
	JSON                  bool   `name:"json" help:"Print the report as JSON."`
	FirebaseSignerKeyFile string `placeholder:"PATH" help:"For hashes of Firebase: file with the project's base64_signer_key, or - for standard input."`
	FirebaseSaltSeparator string `placeholder:"TEXT" help:"For hashes of Firebase: base64_salt_separator."`
	FirebaseRounds        int    `default:"8" placeholder:"N" help:"For hashes of Firebase: rounds; default 8."`
	FirebaseMemCost       int    `default:"14" placeholder:"N" help:"For hashes of Firebase: mem_cost; default 14."`
}

// Help explains the file. It is shown below the flags.
func (userImportCmd) Help() string {
	return `Makes users of those of another system, with their ids, roles and password hashes. It works beside a running server, and whoever is imported can log in at once with the password of there.

A line that cannot be used is named on standard error, and all others are imported. Users that are there already are left alone: run the same command again after mending the file or after an interruption.

The file has one JSON object in each line (.jsonl, .ndjson), or comma-separated values below a line that names the columns (.csv). The fields are, each with an example:

    email           must be there
                    {"email": "ada@example.com"}
    id              kept as it is: 1 to 128 bytes; without it a new one is made
                    {"email": "ada@example.com", "id": "4711"}
    email_verified  true or false; without it false
                    {"email": "ada@example.com", "email_verified": true}
    password_hash   argon2i, argon2id, bcrypt, scrypt or PBKDF2 as PHP, Laravel, Django, passlib, ASP.NET Core or
                    Supabase store them; without it the user has no password yet
                    {"email": "ada@example.com", "password_hash": "$2y$10$..."}
    password_salt   beside the hash in Firebase's export, with the --firebase flags
                    {"email": "ada@example.com", "password_hash": "lSrf...", "password_salt": "42xE..."}
    roles           names; in CSV with spaces between; without it member
                    {"email": "ada@example.com", "roles": ["member", "editor"]}
    disabled        true or false; without it false
                    {"email": "ada@example.com", "disabled": true}
    created_at      a time with its zone; without it now
                    {"email": "ada@example.com", "created_at": "2021-04-05T06:07:08Z"}

The same as CSV:

    email,id,email_verified,roles
    ada@example.com,4711,true,member editor

Exit codes: 0 every line is a user now (with --dry-run: would be), 1 some lines were refused or are in conflict with users that are there, or it was interrupted, 2 wrong use or a file that cannot be read.`
}

// Run imports users.
func (c *userImportCmd) Run(ctx context.Context, a *app) error {
	opt, err := c.options(ctx, a)
	if err != nil {
		return err
	}
	in, size, err := c.open(a)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	t, err := a.openTool(ctx, need{create: !c.DryRun})
	if err != nil {
		return err
	}
	defer t.end()
	// The first signal ends the import after its batch, the next one the program.
	defer context.AfterFunc(ctx, a.release)()
	text := interruptible(ctx, in)
	defer func() { _ = text.Close() }()
	bar := newProgressBar(a.stderr, size, a.now)
	opt.Progress = bar.update
	opt.OnProblem = func(p importer.Problem) {
		bar.hide()
		a.note("%s", p.Error())
	}
	sink := &roleSink{Sink: t.accounts, seen: map[string]bool{}}
	done, err := importer.Import(ctx, text, opt, sink)
	bar.hide()
	report := c.report(opt.Format, done)
	if err != nil {
		err = c.failed(ctx, done, err)
		report.Complete, report.Error = false, explain(err)
	} else if !done.OK() {
		err = errors.New(bad(done) + ": correct the file and import it again; users that are in stay as they are")
	}
	undefined, unread := sink.undefined(context.WithoutCancel(ctx), t)
	report.Undefined = undefined
	if unwritten := c.print(a, report); unwritten != nil {
		return unwritten
	}
	if err == nil {
		err = unread
	}
	return err
}

// options reads the flags.
func (c *userImportCmd) options(ctx context.Context, a *app) (importer.Options, error) {
	opt := importer.Options{
		DryRun: c.DryRun, Client: cliClient(), MaxProblems: maxReported,
		CheckHash: func(stored string) error { _, _, err := password.Inspect(stored); return err },
	}
	switch c.Format {
	case string(importer.JSONL), string(importer.CSV):
		opt.Format = importer.Format(c.Format)
	case "":
		if opt.Format = formatOf(c.File); opt.Format == "" {
			return opt, usage("it is not clear how the file is written: add --format jsonl or --format csv")
		}
	default:
		return opt, usage("--format: %q is not known: write jsonl or csv", short(c.Format))
	}
	if c.FirebaseSignerKeyFile == "" {
		if c.FirebaseSaltSeparator != "" || c.FirebaseRounds != firebaseRounds || c.FirebaseMemCost != firebaseMemCost {
			return opt, usage("hashes of Firebase need --firebase-signer-key-file")
		}
		opt.JoinSalt = func(string, string) (string, error) {
			return "", errors.New("a salt beside the hash is known of Firebase only: give --firebase-signer-key-file and the other parameters of the project, or put both into one text")
		}
		return opt, nil
	}
	firebase, err := c.firebase(ctx, a)
	opt.JoinSalt = firebase.Stored
	return opt, err
}

// What the two parameters are that have defaults, as the flags say.
const (
	firebaseRounds  = 8
	firebaseMemCost = 14
)

// maxSignerKey is the longest file with a signer key, in bytes.
const maxSignerKey = 1024

// firebase reads the parameters of the project. The signer key is a secret, and what is on a command line every user of
// the machine can read: it comes from a file.
func (c *userImportCmd) firebase(ctx context.Context, a *app) (password.Firebase, error) {
	f := password.Firebase{SaltSeparator: c.FirebaseSaltSeparator, Rounds: c.FirebaseRounds, MemCost: c.FirebaseMemCost}
	var in io.Reader = a.stdin
	if c.FirebaseSignerKeyFile != "-" {
		file, err := os.Open(c.FirebaseSignerKeyFile)
		if err != nil {
			return f, usage("--firebase-signer-key-file: %s", rule(err))
		}
		defer func() { _ = file.Close() }()
		in = file
	} else if c.File == "-" {
		return f, usage("standard input cannot be the users and the signer key at once: give one of them as a file")
	}
	b, err := readAll(ctx, in, maxSignerKey+1)
	if ctx.Err() != nil {
		return f, context.Cause(ctx)
	}
	if err != nil {
		return f, usage("--firebase-signer-key-file: %s", rule(err))
	}
	f.SignerKey = strings.TrimSpace(string(b))
	// A hash of the key's own length stands for those of the file: what is wrong is said once, and not for each line.
	if _, err := f.Stored(f.SignerKey, "AAAA"); err != nil {
		return f, usage("the parameters of the Firebase project cannot be used: look at the signer key (base64_signer_key), the salt separator, the rounds and mem_cost")
	}
	return f, nil
}

// formatOf guesses the format from a file's name; the zero Format says that it cannot.
func formatOf(name string) importer.Format {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jsonl", ".ndjson":
		return importer.JSONL
	case ".csv":
		return importer.CSV
	}
	return ""
}

// open opens the file. The size is 0 where nobody knows it.
func (c *userImportCmd) open(a *app) (io.ReadCloser, int64, error) {
	if c.File == "-" {
		return io.NopCloser(a.stdin), 0, nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, 0, usage("the file cannot be read: %s", rule(err))
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = usage("the file cannot be read: %s", rule(err))
	case info.IsDir():
		err = usage("%s is a directory: give a file", short(c.File))
	case info.Mode().IsRegular():
		return f, info.Size(), nil
	default:
		return f, 0, nil
	}
	_ = f.Close()
	return nil, 0, err
}

// failed says what to do after an import that did not come to its end.
func (c *userImportCmd) failed(ctx context.Context, done importer.Report, err error) error {
	in := count(done.Created, false, "user is in", "users are in") + ", and the same command goes on from there"
	if c.DryRun {
		in = "nothing was written"
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("it was interrupted: " + in)
	case !errors.Is(err, importer.ErrFile):
		return fmt.Errorf("%w; %s", err, in)
	case done.Created > 0:
		return usage("%s; %s", rule(err), in)
	default:
		return usage("%s", rule(err))
	}
}
