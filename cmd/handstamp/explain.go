package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/store/sqlite"
)

// explain writes an error as one line that says what to do.
func explain(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
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
		{handstamp.ErrTaken, "another user has this address: see handstamp user list"},
		{context.Canceled, "it was interrupted"},
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
	if errors.Is(err, account.ErrInput) {
		return strings.TrimPrefix(text, account.ErrInput.Error()+": ")
	}
	return text
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
