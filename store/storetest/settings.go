package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

func settleRules() []rule[Backend] {
	return []rule[Backend]{
		{"lease_first_wins", "the first lease is the fleet's; later ones are told what it is and change nothing", settleLease},
		{"lease_race", "of fifty that settle at once all are told one lease", settleRace},
		{"secrets_share", "a list that shares a secret with the one before replaces it, so that secrets can be rotated", settleSecrets},
		{"secrets_foreign", "a list that shares none is a conflict and changes nothing, the lease neither", settleForeign},
		{"secrets_none", "a command without secrets is always welcome and leaves the list", settleNone},
		{"durability", "the store says itself what it promises, whatever it was asked with", settleDurability},
	}
}

func settle(t testing.TB, b Backend, lease time.Duration, secrets ...string) handstamp.Settings {
	t.Helper()
	got, err := b.Settle(t.Context(), handstamp.Settings{Lease: lease, Secrets: secrets})
	if err != nil {
		t.Fatalf("Settle(%v, %q) = %v, want no error", lease, secrets, err)
	}
	return got
}

func settleLease(t *testing.T, b Backend) {
	for _, asked := range []time.Duration{2 * time.Second, 5 * time.Second, 2 * time.Second} {
		if got := settle(t, b, asked, "a").Lease; got != 2*time.Second {
			t.Errorf("Settle(%v) = %v, want the first lease", asked, got)
		}
	}
	h, err := b.Log().Register(t.Context(), revoke.Registration{Verifier: id.NewVerifier(at(0)), RegisteredAt: at(0)})
	must(t, err)
	if h.Lease != 2*time.Second {
		t.Errorf("the head's lease = %v, want 2s", h.Lease)
	}
}

func settleRace(t *testing.T, b Backend) {
	got := make([]time.Duration, racers)
	won := race(t, func(n int) error {
		s, err := b.Settle(t.Context(), handstamp.Settings{Lease: time.Duration(n+1) * time.Second, Secrets: []string{"a"}})
		got[n] = s.Lease
		return err
	})
	if len(won) != racers || len(slices.Compact(got)) != 1 || got[0] == 0 {
		t.Errorf("%d settled, on the leases %v; want all, on one", len(won), slices.Compact(got))
	}
}

func settleSecrets(t *testing.T, b Backend) {
	settle(t, b, time.Second, "a")
	settle(t, b, time.Second, "b", "a")
	settle(t, b, time.Second, "b")
	_, err := b.Settle(t.Context(), handstamp.Settings{Lease: time.Second, Secrets: []string{"a"}})
	fails(t, "Settle(a secret that was rotated out)", err, handstamp.ErrConflict)
	settle(t, b, time.Second, "c", "b")
}

func settleForeign(t *testing.T, b Backend) {
	settle(t, b, 0, "a", "b")
	_, err := b.Settle(t.Context(), handstamp.Settings{Lease: 7 * time.Second, Secrets: []string{"x", "y"}})
	fails(t, "Settle(foreign secrets)", err, handstamp.ErrConflict)
	settle(t, b, 0, "b")
	_, err = b.Settle(t.Context(), handstamp.Settings{Secrets: []string{"x"}})
	fails(t, "Settle(foreign secrets, again)", err, handstamp.ErrConflict)
	if got := settle(t, b, 3*time.Second, "b").Lease; got != 3*time.Second {
		t.Errorf("Settle = a lease of %v, want 3s: a conflict left its own, or no lease settled one", got)
	}
}

func settleNone(t *testing.T, b Backend) {
	settle(t, b, 0)
	settle(t, b, time.Second, "a")
	settle(t, b, 0)
	if got := settle(t, b, 0).Lease; got != time.Second {
		t.Errorf("Settle without a lease = %v, want 1s", got)
	}
	_, err := b.Settle(t.Context(), handstamp.Settings{Lease: time.Second, Secrets: []string{"x"}})
	fails(t, "Settle(foreign secrets)", err, handstamp.ErrConflict)
}

func settleDurability(t *testing.T, b Backend) {
	lie := handstamp.Durability{Class: "eternal", Window: time.Hour}
	got, err := b.Settle(t.Context(), handstamp.Settings{Lease: time.Second, Secrets: []string{"a"}, Durability: lie})
	must(t, err)
	switch got.Durability.Class {
	case handstamp.Durable, handstamp.Window, handstamp.Volatile:
	default:
		t.Errorf("Durability = %+v, want one of the three classes", got.Durability)
	}
	if (got.Durability.Class == handstamp.Window) != (got.Durability.Window > 0) {
		t.Errorf("Durability = %+v: a window belongs to the class window", got.Durability)
	}
}
