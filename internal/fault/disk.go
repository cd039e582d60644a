package fault

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Disk is a place for the files of nodes that can be full. Where this process may mount one it is a small file system in
// memory. Where it may not (only root may, and not in every container) it is a directory, and the kernel is made to say
// ENOSPC to each write of a node that was started with NodeOptions.Disk. Its methods are for one goroutine at a time.
type Disk struct {
	dir     string
	ballast string   // in a file system of its own: what takes the space
	watcher *watcher // in a directory
}

// TryDisk makes one of so many bytes, if it is a file system, which is gone when the test ends. The error is for a test
// that goes on without one, or is skipped.
func TryDisk(t testing.TB, size int64) (*Disk, error) {
	t.Helper()
	d, err := MountDisk(t, size)
	if err != nil {
		t.Logf("fault: a file system of its own cannot be mounted: %v", err)
		d, err = WatchDisk(t)
	}
	return d, err
}

// MountDisk makes the file system.
func MountDisk(t testing.TB, size int64) (*Disk, error) {
	t.Helper()
	d := &Disk{dir: here.mkdir(t, "disk", account{})}
	d.ballast = filepath.Join(d.dir, "ballast")
	if err := mountMemory(d.dir, "size="+strconv.FormatInt(size, 10)+",mode=0700"); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := unmount(d.dir); err != nil {
			t.Errorf("fault: unmount a disk: %v", err)
		}
	})
	return d, nil
}

// WatchDisk makes the directory.
func WatchDisk(t testing.TB) (*Disk, error) {
	t.Helper()
	w, err := newWatcher(t)
	if err != nil {
		return nil, err
	}
	return &Disk{dir: here.mkdir(t, "disk", account{}), watcher: w}, nil
}

// Dir is where it is.
func (d *Disk) Dir() string { return d.dir }

// Fill takes all the space that is left, to the last byte: whoever writes to a file that has to grow is told that there
// is none.
func (d *Disk) Fill(t testing.TB) {
	t.Helper()
	if d.watcher != nil {
		d.watcher.full.Store(true)
		return
	}
	f, err := os.OpenFile(d.ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatalf("fault: fill a disk: %v", err)
	}
	for piece := make([]byte, 1<<20); len(piece) > 0 && err == nil; piece = piece[:len(piece)/2] {
		for err == nil {
			_, err = f.Write(piece)
		}
		if isFull(err) {
			err = nil
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatalf("fault: fill a disk: %v", err)
	}
}

// Free gives the space back that Fill took.
func (d *Disk) Free(t testing.TB) {
	t.Helper()
	if d.watcher != nil {
		d.watcher.full.Store(false)
		return
	}
	if err := os.Remove(d.ballast); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("fault: free a disk: %v", err)
	}
}
