package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/store/sqlite"
)

// coded is an error of the database engine.
type coded int

func (c coded) Error() string { return "engine says no" }

func (c coded) Code() int { return int(c) }

// Whatever goes wrong, it is one line that says what to do.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{sqlite.ErrNewer, "run the version of Handstamp that made it"},
		{sqlite.ErrOlder, "run handstamp migrate"},
		{sqlite.ErrDamaged, "restore a backup"},
		{sqlite.ErrForeign, "name another file"},
		{sqlite.ErrReadOnly, "write access"},
		{coded(1544), "write access to the database file"},
		{coded(13), "make room on the disk"},
		{syscall.EADDRINUSE, "choose another one"},
		{syscall.ENOSPC, "make room on the disk"},
		{handstamp.ErrTaken, "another user has this address"},
		{&login.InputError{Field: "password", Message: "the password is too short"}, "the password is too short"},
		{fmt.Errorf("%w: a name has 1 to 200 bytes", account.ErrInput), "a name has 1 to 200 bytes"},
	} {
		got := explain(errors.Join(fmt.Errorf("open: %w", c.err), errors.New("close: as well")))
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%v is explained as %q, want %q in it", c.err, got, c.want)
		}
	}
}
