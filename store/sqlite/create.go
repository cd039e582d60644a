package sqlite

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Modes of what is created. The files beside the database (-wal, -shm) get the database's mode from the engine.
const (
	privateFile = 0o600
	privateDir  = 0o700
)

// create makes an empty private file at name, and its directory. Somebody else may do so at the same moment; whoever is
// first wins, and both use the same file.
//
// The file gets its name when it is complete and closed. Closing it later could drop the locks of another connection of
// this process: POSIX locks belong to the process and the file, not to who took them.
func create(name string) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, privateDir); err != nil {
		return fmt.Errorf("create the database's directory: %w", err)
	}
	temp := filepath.Join(dir, "."+filepath.Base(name)+"-"+rand.Text())
	if err := createPrivate(temp); err != nil {
		return readOnlyPath(fmt.Errorf("create the database: %w", err))
	}
	err := os.Link(temp, name)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = createPrivate(name) // a file system without hard links
	}
	if rm := os.Remove(temp); rm != nil {
		return fmt.Errorf("create the database: %w", rm)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return readOnlyPath(fmt.Errorf("create the database: %w", err))
	}
	return syncDir(dir)
}

// createPrivate creates an empty file with exactly the mode wanted, whatever the process's umask.
func createPrivate(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, privateFile)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(privateFile), f.Close())
}

func readOnlyPath(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (%w)", ErrReadOnly, err)
	}
	return err
}

// syncDir makes the new name survive a power cut. Where directories cannot be synced (Windows), the file system does so
// by itself.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the database's directory: %w", err)
	}
	_ = d.Sync()
	if err := d.Close(); err != nil {
		return fmt.Errorf("close the database's directory: %w", err)
	}
	return nil
}
