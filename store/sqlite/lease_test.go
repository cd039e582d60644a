package sqlite_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/sqlite"
)

// TestSetLease: the lease changes when nobody runs, also after a process was killed, and never under one that runs.
func TestSetLease(t *testing.T) {
	ctx := t.Context()
	s, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "h.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	settle := func(want time.Duration) time.Duration {
		got, err := s.Settle(ctx, handstamp.Settings{Lease: want})
		if err != nil {
			t.Fatal(err)
		}
		return got.Lease
	}
	settle(500 * time.Millisecond)
	killed := revoke.Registration{Verifier: id.NewVerifier(time.Now()), RegisteredAt: time.Now(), Name: "killed"}
	if _, err := s.Log().Register(ctx, killed); err != nil {
		t.Fatal(err)
	}
	if err := s.SetLease(ctx, time.Second); err != nil {
		t.Fatalf("nobody runs: %v", err)
	}
	if got := settle(500 * time.Millisecond); got != time.Second {
		t.Errorf("the lease is %v, want 1s", got)
	}
	f, err := revoke.Follow(ctx, s.Log(), revoke.FollowOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.SetLease(ctx, 2*time.Second); !errors.Is(err, handstamp.ErrConflict) {
		t.Errorf("a process runs: %v, want ErrConflict", err)
	}
	if got := settle(2 * time.Second); got != time.Second {
		t.Errorf("the lease moved to %v under a process that runs", got)
	}
}
