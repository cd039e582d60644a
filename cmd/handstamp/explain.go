package main

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/store/sqlite"
)

// explain writes an error as one line that says what to do.
func explain(err error) string {
	switch text := plain(err.Error()); {
	case errors.Is(err, handstamp.ErrTaken):
		return "another user has this address: see handstamp user list"
	case errors.Is(err, context.Canceled):
		return "it was interrupted"
	default:
		return advised(err, text)
	}
}

// plain takes out of an error's text what is only for programmers: which package said it.
func plain(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		parts := strings.Split(line, ": ")
		lines[i] = strings.Join(slices.DeleteFunc(parts, func(part string) bool { return slices.Contains(packages(), part) }), ": ")
	}
	return strings.Join(lines, "; ")
}

// packages are the names that the errors of our packages begin with, and of those that we pass on.
func packages() []string {
	return []string{"handstamp", "account", "audit", "config", "id", "jwt", "keyring", "login", "memory", "move", "password", "permission", "postgres", "redis", "remote", "revoke", "sqlite", "tiered", "time", "token", "transfer"}
}

// advised adds to a text what to do, where that is known.
func advised(err error, text string) string {
	for _, e := range []struct {
		is   error
		hint string
	}{
		{sqlite.ErrNewer, "run the version of Handstamp that made it, or a newer one; nothing was changed"},
		{sqlite.ErrOlder, "run handstamp migrate"},
		{sqlite.ErrDamaged, "restore a backup, then run handstamp restored; nothing was changed"},
		{sqlite.ErrForeign, "name another file by database; nothing was changed"},
		{sqlite.ErrReadOnly, "give this user write access to the file and its directory, or name another file by database"},
		{syscall.EADDRINUSE, "stop the program that uses the address, or choose another one"},
		{syscall.EADDRNOTAVAIL, "choose an address of this machine"},
		{syscall.ENOSPC, "make room on the disk"},
		{fs.ErrPermission, "give this user access, or choose another place"},
		{handstamp.ErrLease, "set revocation.lease to the database's, or stop every server and run handstamp migrate --set-lease"},
		{fs.ErrNotExist, "look whether the path is right"},
		{syscall.ENOTDIR, "look whether the path is right"},
	} {
		if errors.Is(err, e.is) {
			return text + ": " + e.hint
		}
	}
	switch primaryCode(err) {
	case codeReadOnly:
		return text + ": give this user write access to the database file and its directory"
	case codeFull:
		return text + ": make room on the disk"
	}
	if input, ok := errors.AsType[*login.InputError](err); ok {
		return input.Message
	}
	for _, rule := range []error{account.ErrInput, permission.ErrInvalid, id.ErrInvalid} {
		if errors.Is(err, rule) {
			text = strings.TrimPrefix(text, plain(rule.Error())+": ")
		}
	}
	return text
}

// refused reports whether an error is about what was typed, and not about what came of it: a command that says the same
// again fails again.
func refused(err error) bool {
	if _, ok := errors.AsType[*usageError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*login.InputError](err); ok {
		return true
	}
	return errors.Is(err, account.ErrInput) || errors.Is(err, permission.ErrInvalid) || errors.Is(err, id.ErrInvalid)
}

// rule is the sentence of an error about something that was typed.
func rule(err error) string { return advised(err, plain(err.Error())) }

// checkRoles names the first of the roles that is none.
func checkRoles(roles []string) error {
	for _, r := range roles {
		if err := permission.CheckRole(r); err != nil {
			return usage("%q is no name of a role: %s", short(r), rule(err))
		}
	}
	return nil
}

// checkPermissions names the first of the permissions that is none.
func checkPermissions(permissions []string) error {
	for _, p := range permissions {
		if err := permission.Check(p); err != nil {
			return usage("%q is no permission: %s", short(p), rule(err))
		}
	}
	return nil
}

// Primary result codes of SQLite (https://www.sqlite.org/rescode.html) that an operator can do something about.
const (
	codeReadOnly = 8
	codeFull     = 13
)

func primaryCode(err error) int {
	var coded interface {
		error
		Code() int
	}
	if errors.As(err, &coded) {
		return coded.Code() & 0xff
	}
	return 0
}
