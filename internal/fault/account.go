package fault

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
)

// account is the operating system's user that a server runs as. The zero value is the one that runs the tests.
type account struct {
	other    bool
	uid, gid int
}

// unprivileged is the account for servers that refuse to run as root: whoever runs the tests, or the user postgres that
// Debian's packages bring when the tests run as root.
func unprivileged(t testing.TB) account {
	t.Helper()
	if os.Getuid() != 0 {
		return account{}
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		missing(t, "the user postgres", "postgresql")
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if err := errors.Join(errU, errG); err != nil {
		t.Fatalf("fault: the user postgres: %v", err)
	}
	return account{other: true, uid: uid, gid: gid}
}

// own gives a file or a whole directory to the account.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	return filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(p, a.uid, a.gid)) //nolint:gosec // nobody else writes there
	})
}

// write writes a file that the account owns and nobody else reads.
func (a account) write(t testing.TB, path, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), a.own(path)); err != nil {
		t.Fatalf("fault: %v", err)
	}
}
