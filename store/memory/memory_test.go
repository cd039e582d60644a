package memory_test

import (
	"testing"

	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/storetest"
)

func open(t testing.TB) storetest.Backend {
	s := memory.New()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Maker{
		Open: open,
		// In one process a second handle is the store itself.
		Again: func(_ testing.TB, b storetest.Backend) storetest.Backend { return b },
	})
}
