package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/handstamp/handstamp/store/sqlite"
	"github.com/handstamp/handstamp/store/storetest"
)

// handle is a store and the file it has open, for those who open it again.
type handle struct {
	*sqlite.Store
	path string
}

func openAt(t testing.TB, path string) handle {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return handle{s, path}
}

func openNew(t testing.TB) handle {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "handstamp.db"))
}

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Maker{
		Open:  func(t testing.TB) storetest.Backend { return openNew(t) },
		Again: func(t testing.TB, b storetest.Backend) storetest.Backend { return openAt(t, b.(handle).path) },
		Reopen: func(t testing.TB, b storetest.Backend) storetest.Backend {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			return openAt(t, b.(handle).path)
		},
	})
}
