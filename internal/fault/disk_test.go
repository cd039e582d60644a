package fault

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDiskIsFullAndFreeAgain(t *testing.T) {
	t.Parallel()
	d, err := MountDisk(t, 1<<20)
	if err != nil {
		t.Skipf("a file system cannot be mounted: %v", err)
	}
	path := filepath.Join(d.Dir(), "file")
	if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d.Fill(t)
		d.Fill(t)
		if err := os.WriteFile(path+"2", []byte("x"), 0o600); !isFull(err) {
			t.Errorf("a write on a full disk: %v", err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != "before" {
			t.Errorf("a read on a full disk: %q %v", b, err)
		}
		d.Free(t)
		d.Free(t)
		if err := os.WriteFile(path+"2", []byte(strings.Repeat("x", 1<<19)), 0o600); err != nil {
			t.Errorf("a write after it: %v", err)
		}
		if err := os.Remove(path + "2"); err != nil {
			t.Fatal(err)
		}
	}
}
