package sqlite

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/token"
)

// noContext is for code that runs outside a test.
func noContext() context.Context { return context.Background() }

// two stores on one file share nothing but the file, as two processes do.
func two(t *testing.T) (a, b *Store) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "handstamp.db")
	return openTest(t, path), openTest(t, path)
}

// Many refreshes of one token in two processes at once: exactly one moves the family on.
func TestOneRotationWins(t *testing.T) {
	a, b := two(t)
	rec := put(t, a, "ada")
	for gen := uint32(1); gen <= 5; gen++ {
		var won, lost atomic.Int32
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				s := a
				if i%2 == 1 {
					s = b
				}
				next := handstamp.Family{Generation: gen + 1, Nonce: rec.Refresh.Nonce, RotatedAt: begun}
				switch _, err := s.Sessions().Rotate(t.Context(), rec.ID, gen, handstamp.Rotation{At: begun, Family: next}); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, handstamp.ErrConflict):
					lost.Add(1)
				default:
					t.Errorf("Rotate() = %v", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != 19 {
			t.Fatalf("generation %d: %d refreshes won and %d lost, want 1 and 19", gen, won.Load(), lost.Load())
		}
	}
}

// Numbers are given in the order of the commits, without gaps, whichever process appends.
func TestNumbersOfTwoProcesses(t *testing.T) {
	a, b := two(t)
	var wg sync.WaitGroup
	for _, s := range []*Store{a, b, a, b} {
		wg.Go(func() {
			for range 25 {
				ended(t, s, endOfUser("ada"))
			}
		})
	}
	wg.Wait()
	numbersAreWhole(t, a)
}

// An event that another process appended wakes a watcher, and the renewal after that has it.
func TestWatchSeesAnotherProcess(t *testing.T) {
	a, b := two(t)
	ctx, cancel := context.WithCancel(t.Context())
	reg := registration("vrf_a")
	h, err := a.Log().Register(t.Context(), reg)
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan struct{}, 100)
	watching := make(chan error, 1)
	go func() { watching <- a.Log().Watch(ctx, func() { woken <- struct{}{} }) }()
	<-woken // at the beginning
	for n := uint64(1); n <= 3; n++ {
		ended(t, b, endOfUser("ada"))
		<-woken
		got, err := a.Log().Renew(t.Context(), revoke.Renewal{Verifier: reg.Verifier, Log: h.Log, Applied: h.Seq, Tag: h.Tag, Limit: 10})
		if err != nil || got.Head.Seq != n || len(got.Events) != 1 {
			t.Fatalf("Renew() after event %d of another process = %+v, %v", n, got, err)
		}
		h = got.Head
	}
	// A write that appends nothing wakes nobody.
	put(t, b, "ada")
	put(t, a, "ada")
	l, err := a.readers.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	cancel()
	if err := <-watching; !errors.Is(err, context.Canceled) || len(woken) != 0 {
		t.Errorf("Watch() = %v after %d needless wakes, want %v and none", err, len(woken), context.Canceled)
	}
}

// A commit of this process wakes before the next look at the file.
func TestOwnCommitWakesAtOnce(t *testing.T) {
	s := newTest(t)
	signal, stop := s.signals.subscribe()
	defer stop()
	put(t, s, "ada")
	if len(signal) != 0 {
		t.Error("a write that appends nothing wakes")
	}
	ended(t, s, endOfUser("ada"))
	if len(signal) != 1 {
		t.Error("an appended event does not wake")
	}
	if _, err := s.Restored(t.Context(), true, begun); err != nil {
		t.Fatal(err)
	}
	<-signal
	if len(signal) != 0 {
		t.Error("one wake too many")
	}
}

// A renewal that has nothing new to acknowledge writes nothing, so an idle server does not sync its disk.
func TestIdleRenewalWritesNothing(t *testing.T) {
	s := newTest(t)
	ended(t, s, endOfUser("ada"))
	h, err := s.Log().Register(t.Context(), registration("vrf_a"))
	if err != nil {
		t.Fatal(err)
	}
	renewal := revoke.Renewal{Verifier: "vrf_a", Log: h.Log, Applied: h.Seq, Tag: h.Tag, Limit: 10}
	if _, err := s.Log().Renew(t.Context(), renewal); err != nil { // acknowledges what Register was told 0 of
		t.Fatal(err)
	}
	err = s.Work().Do(t.Context(), func(handstamp.Tx) error { // whoever needs the writer now waits for ever
		_, err := s.Log().Renew(t.Context(), renewal)
		return err
	})
	if err != nil {
		t.Errorf("Renew() with nothing new = %v", err)
	}
}

// What was given out cannot be found in the database, nor in the log of commits beside it.
func TestS2_StoreHoldsNoTokens(t *testing.T) {
	s := newTest(t)
	rec := session("ada")
	var secrets []string
	keep := func(x token.Secret) token.Hash {
		secrets = append(secrets, x.Reveal())
		return token.HashOf(x)
	}
	rec.Key = keep(token.Generate(token.Reference))
	nonce := token.NewNonce()
	rec.Refresh.Nonce = nonce.Hash()
	minter, err := token.NewMinter([][]byte{[]byte("a secret of thirty-two bytes or so")})
	if err != nil {
		t.Fatal(err)
	}
	sid, err := id.SessionBytes(rec.ID)
	if err != nil {
		t.Fatal(err)
	}
	refresh, err := minter.Mint(token.RefreshToken{Session: sid, Generation: 1, Nonce: nonce})
	if err != nil {
		t.Fatal(err)
	}
	keep(refresh)
	err = s.LoginWork().Do(t.Context(), func(tx login.Tx) error {
		return errors.Join(tx.PutSession(t.Context(), rec),
			tx.PutServiceKey(t.Context(), handstamp.ServiceKey{ID: id.NewServiceKey(begun), Hash: keep(token.Generate(token.ServiceKey))}),
			tx.PutOneTime(t.Context(), login.OneTime{Hash: keep(token.Generate(token.Setup)), Kind: "setup"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: rec.Key}); err != nil {
		t.Fatal(err)
	}
	var dump strings.Builder
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(s.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		dump.Write(b)
	}
	if !strings.Contains(dump.String(), string(rec.ID)) {
		t.Fatal("the dump does not hold the session at all")
	}
	for _, secret := range secrets {
		// The prefix names the kind, and is in none of them by itself.
		for _, part := range []string{secret, secret[5:25], secret[len(secret)-20:]} {
			if strings.Contains(dump.String(), part) {
				t.Errorf("the database holds a part of a %s", secret[:5])
			}
		}
	}
}

// A database with flipped bits is refused, or answers with an error, or with the truth; it never gives one user the
// session of another.
func TestDamageNeverSwapsUsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handstamp.db")
	s := openTest(t, path)
	owners := make(map[token.Hash]handstamp.UserID)
	for i := range 60 {
		u := handstamp.UserID("user" + string(rune('a'+i%26)) + strings.Repeat("x", i))
		owners[put(t, s, u).Key] = u
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good := contents(t, path)
	random := rand.New(rand.NewPCG(3, 4))
	refused := 0
	for range 60 {
		bad := append([]byte(nil), good...)
		at := random.IntN(len(bad))
		for i := range 1 + random.IntN(64) {
			bad[(at+i)%len(bad)] ^= byte(1 + random.IntN(255))
		}
		spoilt := filepath.Join(t.TempDir(), "spoilt.db")
		write(t, spoilt, bad)
		s, err := Open(t.Context(), spoilt, Options{})
		if err != nil {
			refused++
			continue
		}
		for key, u := range owners {
			found, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Key: key})
			if err == nil && (found.Session.Key != key || found.Session.User != u) {
				t.Errorf("the key of %s finds a session of %s", u, found.Session.User)
			}
		}
		_ = s.Close()
	}
	if refused == 0 {
		t.Error("no damage was noticed")
	}
}

func TestRestoredIsRecorded(t *testing.T) {
	s := newTest(t)
	rec := put(t, s, "ada")
	before := ended(t, s, endOfUser("bob")).Last()
	h, err := s.Restored(t.Context(), false, begun.Add(time.Hour))
	if err != nil || h.Low != before+jump || h.Seq != h.Low+1 {
		t.Fatalf("Restored() = %+v, %v, want numbers that begin at %d", h, err, before+jump)
	}
	found, err := s.Sessions().Find(t.Context(), handstamp.Lookup{Session: rec.ID})
	if err != nil || handstamp.Live(found.Session, found.Subject, begun) || !found.Subject.RestoredAt.Equal(begun.Add(time.Hour)) {
		t.Errorf("a session after Restored: %+v, %v, want it over", found.Subject, err)
	}
	entries, err := s.Audit().List(t.Context(), auditOf("log.restored"))
	if err != nil || len(entries) != 1 || entries[0].Detail["keep_sessions"] != "false" {
		t.Errorf("audit entries of Restored = %v, %v", entries, err)
	}
}
