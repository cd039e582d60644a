package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp/jwt"
)

var (
	t0      = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	secretA = []byte("secret A, long enough for the ring")
	secretB = []byte("secret B, long enough for the ring")
)

// shelf is a store in memory. before and after run around every write and
// may fail it.
type shelf struct {
	mu      sync.Mutex
	records map[string]Record
	reads   int
	writes  int
	fail    func(write int, done bool) error // done: after the effect
	noRead  error
}

func newShelf() *shelf { return &shelf{records: map[string]Record{}} }

func (s *shelf) Keys(context.Context) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.noRead != nil {
		return nil, s.noRead
	}
	var out []Record
	for _, r := range s.records {
		r.Sealed = bytes.Clone(r.Sealed)
		out = append(out, r)
	}
	return out, nil
}

func (s *shelf) write(effect func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.fail != nil {
		if err := s.fail(s.writes, false); err != nil {
			return err
		}
	}
	if err := effect(); err != nil {
		return err
	}
	if s.fail != nil {
		return s.fail(s.writes, true)
	}
	return nil
}

func (s *shelf) PutKey(_ context.Context, r Record) error {
	return s.write(func() error {
		old, ok := s.records[r.ID]
		if r.Version == 0 {
			for _, o := range s.records {
				if ok || o.Use == r.Use && o.Serial == r.Serial {
					return ErrConflict
				}
			}
		} else if !ok || old.Version != r.Version {
			return ErrConflict
		}
		r.Version++
		r.Sealed = bytes.Clone(r.Sealed)
		s.records[r.ID] = r
		return nil
	})
}

func (s *shelf) DeleteKey(_ context.Context, kid string) error {
	return s.write(func() error { delete(s.records, kid); return nil })
}

// revoke marks a record as the fleet's log would.
func (s *shelf) revoke(kid string, at time.Time, by uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[kid]
	if !ok {
		panic("no key " + kid)
	}
	r.RevokedAt, r.RevokedBy, r.Reason = at, by, "stolen"
	r.Version++
	s.records[kid] = r
}

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time      { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.t = c.t.Add(d) }
func newClock() *clock               { return &clock{t: t0} }
func options(c *clock) Options {
	return Options{Secrets: [][]byte{secretA}, Now: c.now, TokenLife: 15 * time.Minute}
}
func bg() context.Context { return context.Background() }

// fataler is what the helpers need of a test, plain or of rapid.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func open(t fataler, s Store, opt Options) *Ring {
	t.Helper()
	r, err := Open(bg(), s, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func maintained(t fataler, s Store, opt Options) *Ring {
	t.Helper()
	r := open(t, s, opt)
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	return r
}

func signer(t testing.TB, r *Ring, now time.Time) string {
	t.Helper()
	k, err := r.Signer(now)
	if err != nil {
		t.Fatal(err)
	}
	return k.ID()
}

// states is the states of the signing keys by age, in one text.
func states(r *Ring) string { return statesOf(r, Signing) }

func statesOf(r *Ring, u Use) string {
	var out []string
	for _, i := range r.List() {
		if i.Use == u {
			out = append(out, string(i.State))
		}
	}
	return strings.Join(out, " ")
}

func claims(now time.Time, life time.Duration) jwt.Claims {
	return jwt.Claims{Issuer: "i", Subject: "s", Audience: []string{"a"}, ClientID: "a", ID: "j", IssuedAt: now, ExpiresAt: now.Add(life)}
}

func verify(token string, keys jwt.KeySet, now time.Time) error {
	_, err := jwt.Verify(token, keys, jwt.Rules{Issuer: "i", Audience: "a", Now: now})
	return err
}

func TestLifeOfAKey(t *testing.T) {
	c, s := newClock(), newShelf()
	opt := options(c)
	opt.RotateEvery = 24 * time.Hour
	r := open(t, s, opt)
	if _, err := r.Signer(c.now()); !errors.Is(err, ErrNoKey) {
		t.Errorf("Signer before Maintain = %v, want ErrNoKey", err)
	}
	if s.writes != 0 {
		t.Error("Open wrote")
	}
	step := func(d time.Duration, want string) {
		t.Helper()
		c.add(d)
		if err := r.Maintain(bg()); err != nil {
			t.Fatal(err)
		}
		if got := states(r); got != want {
			t.Fatalf("at %v: %q, want %q", c.now().Sub(t0), got, want)
		}
	}
	step(0, "active created")
	first := signer(t, r, c.now())
	step(10*time.Minute-time.Microsecond, "active created")
	step(time.Microsecond, "active published")
	step(23*time.Hour+35*time.Minute-time.Microsecond, "active published")
	step(time.Microsecond, "active published created") // a quarter of an hour before the turn
	step(15*time.Minute-time.Microsecond, "active published published")
	c.add(time.Microsecond)
	second := signer(t, r, c.now())
	if second == first {
		t.Error("the standby does not sign by itself when its time comes")
	}
	step(0, "retiring active published")
	if k, ok := r.Key(first); !ok || k.ID() != first {
		t.Error("a retiring key's tokens are refused")
	}
	step(time.Hour+10*time.Minute-time.Microsecond, "retiring active published")
	step(time.Microsecond, "active published")
	if _, ok := r.Key(first); ok {
		t.Error("a removed key's tokens are good")
	}
	writes := s.writes
	for range 10 {
		step(time.Minute, "active published")
	}
	if s.writes != writes {
		t.Error("Maintain writes although nothing is due")
	}
}

// TestJ7_NewKeys: ES256 unless told otherwise; nothing outside the list; no
// short secret.
func TestJ7_NewKeys(t *testing.T) {
	c := newClock()
	r := maintained(t, newShelf(), options(c))
	if k, _ := r.Signer(c.now()); k.Algorithm() != jwt.ES256 {
		t.Errorf("algorithm %s", k.Algorithm())
	}
	for name, change := range map[string]func(*Options){
		"none": func(o *Options) { o.Algorithm = "none" }, "A256GCM": func(o *Options) { o.Algorithm = jwt.A256GCM },
		"no secret": func(o *Options) { o.Secrets = nil }, "short": func(o *Options) { o.Secrets = [][]byte{secretA, []byte("short")} },
		"long": func(o *Options) { o.Secrets = [][]byte{make([]byte, 1025)} }, "period": func(o *Options) { o.RotateEvery = -1 }, "life": func(o *Options) { o.TokenLife = -1 },
	} {
		opt := options(c)
		change(&opt)
		if _, err := Open(bg(), newShelf(), opt); err == nil {
			t.Errorf("%s: Open succeeded", name)
		}
	}
}

// TestJ8_PublicSet: standby, active and retiring keys, public parameters
// only; nothing with HS256, with encryption, or of a revoked key.
func TestJ8_PublicSet(t *testing.T) {
	ids := func(r *Ring, now time.Time) []string {
		var out []string
		for _, k := range r.Public(now).Keys() {
			out = append(out, k.ID())
		}
		return out
	}
	c, s := newClock(), newShelf()
	r := maintained(t, s, options(c))
	c.add(time.Hour)
	if _, err := r.Rotate(bg(), c.now()); err != nil {
		t.Fatal(err)
	}
	list := r.List()
	if got := states(r); got != "retiring active created" {
		t.Fatal(got)
	}
	if got := ids(r, c.now()); len(got) != 3 || got[0] != list[0].ID || got[2] != list[2].ID {
		t.Errorf("published %v of %v", got, list)
	}
	b, err := json.Marshal(r.Public(c.now()))
	if err != nil || strings.Contains(string(b), `"d"`) || strings.Contains(string(b), `"k"`) {
		t.Errorf("%s, %v", b, err)
	}
	s.revoke(list[0].ID, c.now(), 9)
	s.revoke(list[2].ID, c.now(), 10)
	if err := r.Reload(bg()); err != nil {
		t.Fatal(err)
	}
	if got := ids(r, c.now()); !slices.Equal(got, []string{list[1].ID}) {
		t.Errorf("published %v, want only %s", got, list[1].ID)
	}
	// A key whose time is over is not shown, also before it is removed.
	late := s.records[list[1].ID].ActivateAt.Add(48 * time.Hour)
	rec := s.records[list[1].ID]
	rec.RetireAt, rec.RemoveAt = late.Add(-time.Hour), late
	s.records[rec.ID] = rec
	if err := r.Reload(bg()); err != nil {
		t.Fatal(err)
	}
	if len(ids(r, late.Add(-time.Microsecond))) != 1 || len(ids(r, late)) != 0 {
		t.Error("a key is shown after its RemoveAt, or not before")
	}
	for _, opt := range []Options{{Algorithm: jwt.HS256}, {Encrypt: true}} {
		opt.Secrets, opt.Now = [][]byte{secretA}, c.now
		r := maintained(t, newShelf(), opt)
		if b, _ := json.Marshal(r.Public(c.now())); string(b) != `{"keys":[]}` {
			t.Errorf("%+v publishes %s", opt.Algorithm, b)
		}
	}
}

// TestJ9_PublishedBeforeUse: in planned and asked-for rotation no key signs
// within PublishFor of its creation, but for the very first.
func TestJ9_PublishedBeforeUse(t *testing.T) {
	c, s := newClock(), newShelf()
	opt := options(c)
	opt.RotateEvery = time.Minute // not under PublishFor, whatever is asked
	r := maintained(t, s, opt)
	first := signer(t, r, c.now())
	created := map[string]time.Time{}
	seen := map[string]bool{}
	for range 300 {
		c.add(20 * time.Second)
		if _, err := r.Rotate(bg(), c.now()); err != nil {
			t.Fatal(err)
		}
		for _, i := range r.List() {
			created[i.ID] = i.CreatedAt
		}
		kid := signer(t, r, c.now())
		seen[kid] = true
		if age := c.now().Sub(created[kid]); kid != first && age < PublishFor {
			t.Fatalf("a key signs %v after it was made", age)
		}
	}
	if len(seen) < 9 || len(seen) > 11 {
		t.Errorf("%d keys in 100 minutes", len(seen))
	}
}

func TestRotate(t *testing.T) {
	c, s := newClock(), newShelf()
	r := maintained(t, s, options(c))
	before := signer(t, r, c.now())
	at, err := r.Rotate(bg(), c.now())
	if want := t0.Add(PublishFor); err != nil || !at.Equal(want) {
		t.Fatalf("Rotate of a fresh standby = %v, %v; want %v", at, err, want)
	}
	if signer(t, r, c.now()) != before {
		t.Error("an unpublished key signs")
	}
	c.add(time.Minute)
	if again, err := r.Rotate(bg(), c.now()); err != nil || !again.Equal(at) {
		t.Errorf("asked again = %v, %v; want %v", again, err, at)
	}
	c.add(time.Hour)
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	now := c.now()
	old := signer(t, r, now)
	at, err = r.Rotate(bg(), now)
	if err != nil || !at.Equal(now) || signer(t, r, now) == old {
		t.Errorf("Rotate of a published standby = %v, %v; want at once", at, err)
	}
	if got := states(r); !strings.HasSuffix(got, "retiring active created") {
		t.Errorf("states %q", got)
	}
	// 20 times in a minute: one more rotation is planned, with the standby of
	// the time after it, and nothing else.
	writes := s.writes
	for range 20 {
		c.add(3 * time.Second)
		if at, err := r.Rotate(bg(), c.now()); err != nil || !at.Equal(now.Add(PublishFor)) {
			t.Fatalf("Rotate = %v, %v", at, err)
		}
	}
	if n := len(r.List()); n > 5 {
		t.Errorf("%d keys", n)
	}
	if n := s.writes - writes; n > 2 {
		t.Errorf("%d writes, want 2", n)
	}
}

func TestJ10_KeyIsAMapLookup(t *testing.T) {
	c := newClock()
	s := newShelf()
	r := maintained(t, s, options(c))
	reads := s.reads
	kid := signer(t, r, c.now())
	for _, bad := range []string{"", "../../dev/null", "' OR 1=1", "\x00", strings.Repeat("k", 1<<17)} {
		if _, ok := r.Key(bad); ok {
			t.Errorf("Key(%.20q) found one", bad)
		}
	}
	for i := range 10000 {
		r.Key(fmt.Sprint(i))
	}
	if s.reads != reads {
		t.Error("an unknown kid asks the store")
	}
	now := c.now()
	if n := testing.AllocsPerRun(100, func() { r.Key(kid); _, _ = r.Signer(now); r.Revoked(kid) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestJ9_RevokeSwitchesSigner: the emergency path.
func TestJ9_RevokeSwitchesSigner(t *testing.T) {
	c, s := newClock(), newShelf()
	r := maintained(t, s, options(c))
	c.add(time.Hour)
	if _, err := r.Rotate(bg(), c.now()); err != nil {
		t.Fatal(err)
	}
	c.add(time.Minute)
	list := r.List() // retiring, active, created
	k, _ := r.Signer(c.now())
	token, err := jwt.Sign(k, claims(c.now(), 10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	s.revoke(list[1].ID, c.now(), 42)
	if err := r.Reload(bg()); err != nil {
		t.Fatal(err)
	}
	if got := signer(t, r, c.now()); got != list[2].ID {
		t.Errorf("signer is %s; want the standby at once, never the retiring key", got)
	}
	if err := verify(token, r, c.now()); !errors.Is(err, jwt.ErrSignature) {
		t.Errorf("a token of the revoked key: %v", err)
	}
	if by, ok := r.Revoked(list[1].ID); !ok || by != 42 {
		t.Errorf("Revoked = %d, %v", by, ok)
	}
	if _, ok := r.Revoked(list[2].ID); ok {
		t.Error("the standby is revoked")
	}
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if got := states(r); got != "retiring revoked active created" {
		t.Errorf("states %q", got)
	}
	// The standby is revoked too, and so is its successor: all at once.
	for _, i := range r.List() {
		if i.State != Revoked {
			s.revoke(i.ID, c.now(), 43)
		}
	}
	if err := r.Reload(bg()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Signer(c.now()); !errors.Is(err, ErrNoKey) {
		t.Errorf("with every key revoked Signer = %v", err)
	}
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if got := states(r); got != "revoked revoked revoked revoked active created" {
		t.Errorf("states %q", got)
	}
	// The records go when their tokens would have run out, not before.
	c.add(time.Hour + 9*time.Minute)
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Revoked(list[1].ID); !ok {
		t.Error("the revocation is forgotten too early")
	}
	c.add(2 * time.Minute)
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if got := states(r); got != "active published" {
		t.Errorf("states %q", got)
	}
}

// TestJ9_RevokedStandbyTakesNoTurn: a process that has not seen the standby's
// replacement goes on with the active key when the standby's time comes.
func TestJ9_RevokedStandbyTakesNoTurn(t *testing.T) {
	c, s := newClock(), newShelf()
	r := maintained(t, s, options(c))
	at, err := r.Rotate(bg(), c.now())
	if err != nil {
		t.Fatal(err)
	}
	list := r.List()
	c.add(PublishFor - time.Second)
	s.revoke(list[1].ID, c.now(), 8)
	if err := r.Reload(bg()); err != nil {
		t.Fatal(err)
	}
	for _, now := range []time.Time{c.now(), at, at.Add(time.Minute)} {
		if got := signer(t, r, now); got != list[0].ID {
			t.Errorf("at %v the signer is %s, want %s", now, got, list[0].ID)
		}
	}
	c.add(time.Minute)
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	// The key after it, made when its turn was planned, stands by instead.
	if got := states(r); got != "active revoked published" {
		t.Errorf("states %q", got)
	}
}

// TestJ9_LateReadDoesNotBringBack: a read that began before a revocation and
// ends after a later one changes nothing.
func TestJ9_LateReadDoesNotBringBack(t *testing.T) {
	c, s := newClock(), newShelf()
	slow := &slowStore{Store: s}
	r := maintained(t, slow, options(c))
	kid := signer(t, r, c.now())
	entered, release := make(chan struct{}), make(chan struct{})
	slow.hold(entered, release)
	done := make(chan error)
	go func() { done <- r.Reload(bg()) }()
	<-entered
	s.revoke(kid, c.now(), 7)
	if err := r.Reload(bg()); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Key(kid); ok {
		t.Error("the older read brought a revoked key back")
	}
}

// slowStore holds the next read back after it has read.
type slowStore struct {
	Store
	mu               sync.Mutex
	entered, release chan struct{}
}

func (s *slowStore) hold(entered, release chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entered, s.release = entered, release
}

func (s *slowStore) Keys(ctx context.Context) ([]Record, error) {
	out, err := s.Store.Keys(ctx)
	s.mu.Lock()
	entered, release := s.entered, s.release
	s.entered, s.release = nil, nil
	s.mu.Unlock()
	if entered != nil {
		close(entered)
		<-release
	}
	return out, err
}

func TestSecrets(t *testing.T) {
	c, s := newClock(), newShelf()
	r := maintained(t, s, options(c))
	private, err := mustSigner(t, r, c).MarshalPrivate()
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range s.records {
		if bytes.Contains(rec.Sealed, private[len(private)-32:]) || bytes.Contains(rec.Sealed, []byte("ES256")) {
			t.Error("a key is stored in the clear")
		}
	}
	opt := options(c)
	opt.Secrets = [][]byte{secretB}
	if _, err := Open(bg(), s, opt); !errors.Is(err, ErrSecret) || bytes.Contains([]byte(err.Error()), secretB) {
		t.Errorf("Open with another secret = %v, want ErrSecret", err)
	}
	opt.Secrets = [][]byte{secretB, secretA}
	both := maintained(t, s, opt)
	if signer(t, both, c.now()) != signer(t, r, c.now()) {
		t.Error("another signer")
	}
	opt.Secrets = [][]byte{secretB}
	if _, err := Open(bg(), s, opt); err != nil {
		t.Errorf("after Maintain the new secret alone: %v", err)
	}
	if _, err := Open(bg(), s, options(c)); !errors.Is(err, ErrSecret) {
		t.Errorf("the old secret still opens: %v", err)
	}
}

func mustSigner(t *testing.T, r *Ring, c *clock) jwt.Key {
	t.Helper()
	k, err := r.Signer(c.now())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestTamperedRecords: who can write to the database can stop the service,
// but not choose the keys.
func TestTamperedRecords(t *testing.T) {
	for name, change := range map[string]func(r *Record, other Record){
		"exchanged material": func(r *Record, o Record) { r.Sealed = o.Sealed },
		"other id":           func(r *Record, o Record) { r.ID = "x" },
		"other algorithm":    func(r *Record, o Record) { r.Algorithm = jwt.HS256 },
		"other use":          func(r *Record, o Record) { r.Use = Encryption },
		"unknown use":        func(r *Record, o Record) { r.Use = "x" },
		"plain key": func(r *Record, o Record) {
			k, _ := jwt.Generate(jwt.ES256)
			r.ID = k.ID()
			r.Sealed, _ = k.MarshalPrivate()
		},
		"one bit":       func(r *Record, o Record) { r.Sealed[20] ^= 1 },
		"other version": func(r *Record, o Record) { r.Sealed[0] = 2 },
		"cut":           func(r *Record, o Record) { r.Sealed = r.Sealed[:13] },
		"empty":         func(r *Record, o Record) { r.Sealed = nil },
	} {
		c, s := newClock(), newShelf()
		r := maintained(t, s, options(c))
		list := r.List()
		rec := s.records[list[0].ID]
		rec.Sealed = bytes.Clone(rec.Sealed)
		delete(s.records, rec.ID)
		change(&rec, s.records[list[1].ID])
		s.records[rec.ID] = rec
		if _, err := Open(bg(), s, options(c)); err == nil {
			t.Errorf("%s: Open succeeded", name)
		}
		if err := r.Reload(bg()); err == nil {
			t.Errorf("%s: Reload succeeded", name)
		}
		if _, ok := r.Key(rec.ID); ok {
			t.Errorf("%s: the key is trusted", name)
		}
		if k, err := r.Signer(c.now()); err == nil && rec.Use == Signing && k.ID() != list[1].ID {
			t.Errorf("%s: the key signs", name)
		}
	}
}

// TestRevokedThoughAnotherKeyCannotBeOpened: the two come together when nodes
// have different secrets.
func TestRevokedThoughAnotherKeyCannotBeOpened(t *testing.T) {
	c, s := newClock(), newShelf()
	r := maintained(t, s, options(c))
	list := r.List()
	bad := s.records[list[1].ID]
	bad.Sealed = []byte("sealed by somebody else's secret, one hopes")
	s.records[bad.ID] = bad
	s.revoke(list[0].ID, c.now(), 5)
	if err := r.Reload(bg()); !errors.Is(err, ErrSecret) {
		t.Errorf("Reload = %v, want ErrSecret", err)
	}
	if _, ok := r.Key(list[0].ID); ok {
		t.Error("the revoked key is still trusted")
	}
	if _, err := r.Signer(c.now()); !errors.Is(err, ErrSecret) {
		t.Errorf("Signer = %v, want ErrSecret", err)
	}
	if i := r.List()[1]; !i.Unusable {
		t.Error("the list does not say so")
	}
}

func TestStoreIsDown(t *testing.T) {
	c, s := newClock(), newShelf()
	r := maintained(t, s, options(c))
	kid := signer(t, r, c.now())
	s.noRead = errors.New("down")
	if err := r.Reload(bg()); !errors.Is(err, s.noRead) {
		t.Errorf("Reload = %v", err)
	}
	if err := r.Maintain(bg()); !errors.Is(err, s.noRead) {
		t.Errorf("Maintain = %v", err)
	}
	if _, err := r.Rotate(bg(), c.now()); !errors.Is(err, s.noRead) {
		t.Errorf("Rotate = %v", err)
	}
	if _, err := Open(bg(), s, options(c)); !errors.Is(err, s.noRead) {
		t.Errorf("Open = %v", err)
	}
	if _, ok := r.Key(kid); !ok || signer(t, r, c.now()) != kid {
		t.Error("the keys are lost with the store")
	}
}

func TestAlgorithmChange(t *testing.T) {
	c, s := newClock(), newShelf()
	r := maintained(t, s, options(c))
	c.add(time.Hour)
	token, err := jwt.Sign(mustSigner(t, r, c), claims(c.now(), 15*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	opt := options(c)
	opt.Algorithm = jwt.EdDSA
	r = maintained(t, s, opt)
	if got := states(r); got != "active published created created" {
		t.Errorf("states %q", got)
	}
	c.add(PublishFor)
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if k := mustSigner(t, r, c); k.Algorithm() != jwt.EdDSA {
		t.Errorf("signs with %s", k.Algorithm())
	}
	if got := states(r); got != "retiring retiring active published" {
		t.Errorf("states %q", got)
	}
	if err := verify(token, r, c.now()); err != nil {
		t.Errorf("a token of before: %v", err)
	}
}

// TestMixedSettings: two processes that disagree on the algorithm for a day
// stay bounded, and everything verifies.
func TestMixedSettings(t *testing.T) {
	c, s := newClock(), newShelf()
	a, optB := maintained(t, s, options(c)), options(c)
	optB.Algorithm = jwt.EdDSA
	b := maintained(t, s, optB)
	for range 24 * 60 {
		c.add(time.Minute)
		for _, r := range []*Ring{a, b} {
			if err := r.Maintain(bg()); err != nil {
				t.Fatal(err)
			}
		}
		if signer(t, a, c.now()) != signer(t, b, c.now()) {
			if err := a.Reload(bg()); err != nil || signer(t, a, c.now()) != signer(t, b, c.now()) {
				t.Fatal("two signers")
			}
		}
		if n := len(s.records); n > 36 {
			t.Fatalf("%d keys", n)
		}
	}
}

func TestEncryption(t *testing.T) {
	c, s := newClock(), newShelf()
	opt := options(c)
	plain := maintained(t, s, opt)
	if _, err := plain.EncryptionKey(c.now()); !errors.Is(err, ErrNoKey) {
		t.Errorf("EncryptionKey without Encrypt = %v", err)
	}
	opt.Encrypt = true
	r := maintained(t, s, opt)
	if got := statesOf(r, Encryption); got != "active created" {
		t.Fatalf("states %q", got)
	}
	k, err := r.EncryptionKey(c.now())
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Encrypt(k, claims(c.now(), 15*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	// The count survives reloads: it is what keeps a key below its limit.
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if again, _ := r.EncryptionKey(c.now()); again.Used() != 1 {
		t.Errorf("after a reload the key was used %d times", again.Used())
	}
	c.add(10 * time.Minute)
	at, err := r.Rotate(bg(), c.now())
	if err != nil || !at.Equal(c.now()) {
		t.Fatalf("Rotate = %v, %v", at, err)
	}
	if next, _ := r.EncryptionKey(c.now()); next.ID() == k.ID() {
		t.Error("Rotate did not change the encryption key")
	}
	if err := verify(token, r, c.now()); err != nil {
		t.Errorf("a token of the key before: %v", err)
	}
	if err := plain.Reload(bg()); err != nil {
		t.Fatal(err)
	}
	if err := verify(token, plain, c.now()); err != nil {
		t.Errorf("a process without Encrypt: %v", err)
	}
	s.revoke(k.ID(), c.now(), 3)
	if err := r.Reload(bg()); err != nil {
		t.Fatal(err)
	}
	if err := verify(token, r, c.now()); !errors.Is(err, jwt.ErrSignature) {
		t.Errorf("a token of a revoked encryption key: %v", err)
	}
}

// TestJ15_UsedUp: a key that has encrypted much is replaced before its time,
// and the count survives a change of the secret.
func TestJ15_UsedUp(t *testing.T) {
	c, s := newClock(), newShelf()
	opt := options(c)
	opt.Encrypt = true
	r := maintained(t, s, opt)
	opt.Secrets = [][]byte{secretB, secretA}
	r.vault, _ = newVault(opt.Secrets)
	r.policy.renewAfter = 4
	first, _ := r.EncryptionKey(c.now())
	use := func(n int) {
		t.Helper()
		k, err := r.EncryptionKey(c.now())
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := jwt.Encrypt(k, claims(c.now(), time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range s.records { // as another process does that has only the new secret first
			sealed, err := r.vault.seal(&e, must(t)(r.state.Load().find(e.ID).marshal()))
			if err != nil {
				t.Fatal(err)
			}
			e.Sealed, e.Version = sealed, e.Version+1
			s.records[e.ID] = e
		}
		if err := r.Maintain(bg()); err != nil {
			t.Fatal(err)
		}
	}
	c.add(time.Hour)
	use(3)
	if k, _ := r.EncryptionKey(c.now()); k.ID() != first.ID() || k.Used() != 3 {
		t.Errorf("after 3 tokens: used %d, same key %v", k.Used(), k.ID() == first.ID())
	}
	use(1)
	if k, _ := r.EncryptionKey(c.now()); k.ID() == first.ID() {
		t.Error("the key was not replaced")
	}
	if got := statesOf(r, Encryption); got != "retiring active created" {
		t.Errorf("states %q", got)
	}
}

func must(t *testing.T) func(b []byte, err error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// TestSealedIsBound: sealed bytes open only under their own id and algorithm.
func TestSealedIsBound(t *testing.T) {
	v, err := newVault([][]byte{secretA})
	if err != nil {
		t.Fatal(err)
	}
	rec := Record{ID: "a", Algorithm: jwt.ES256}
	if rec.Sealed, err = v.seal(&rec, []byte("material")); err != nil {
		t.Fatal(err)
	}
	if b, first, err := v.open(&rec); err != nil || !first || string(b) != "material" {
		t.Errorf("open = %q, %v, %v", b, first, err)
	}
	for _, other := range []Record{{ID: "b", Algorithm: jwt.ES256}, {ID: "a", Algorithm: jwt.HS256}, {ID: "a\x00E", Algorithm: "S256"}} {
		other.Sealed = rec.Sealed
		if _, _, err := v.open(&other); !errors.Is(err, ErrSecret) {
			t.Errorf("open as %q %s = %v", other.ID, other.Algorithm, err)
		}
	}
	// Well sealed, but the key's id is another: made by somebody with the
	// secret, by mistake or not. kid would no longer name the key.
	k, err := jwt.Generate(jwt.ES256)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Record{
		{ID: "b", Algorithm: jwt.ES256, Use: Signing}, {ID: k.ID(), Algorithm: jwt.EdDSA, Use: Signing},
		{ID: k.ID(), Algorithm: jwt.ES256, Use: Encryption}, {ID: k.ID(), Algorithm: jwt.ES256},
	} {
		if r.Sealed, err = v.seal(&r, must(t)(k.MarshalPrivate())); err != nil {
			t.Fatal(err)
		}
		if s, err := newSnapshot([]Record{r}, nil, v, t0); err == nil || len(s.verify) != 0 {
			t.Errorf("%+v is trusted", r)
		}
	}
	again, err := v.seal(&rec, []byte("material"))
	if err != nil || bytes.Equal(again, rec.Sealed) {
		t.Error("the same nonce twice")
	}
}

// TestSeal makes a token of the kind that the ring is set to.
func TestSeal(t *testing.T) {
	for _, encrypt := range []bool{false, true} {
		c := newClock()
		opt := options(c)
		opt.Encrypt = encrypt
		s := newShelf()
		if _, err := open(t, s, opt).Seal(claims(c.now(), time.Minute), c.now()); !errors.Is(err, ErrNoKey) {
			t.Errorf("Seal without a key = %v", err)
		}
		r := maintained(t, s, opt)
		token, err := r.Seal(claims(c.now(), time.Minute), c.now())
		if err != nil {
			t.Fatal(err)
		}
		if h, _, err := jwt.InspectUnverified(token); err != nil || h.Encrypted != encrypt {
			t.Errorf("Encrypt %v: %+v, %v", encrypt, h, err)
		}
		if err := verify(token, r, c.now()); err != nil {
			t.Error(err)
		}
	}
}

// TestEncryptionSwitchedOff: keys that nobody has renewed for two periods are
// removed, others are left to whoever uses them.
func TestEncryptionSwitchedOff(t *testing.T) {
	c, s := newClock(), newShelf()
	opt := options(c)
	opt.RotateEvery, opt.Encrypt = 24*time.Hour, true
	maintained(t, s, opt)
	opt.Encrypt = false
	r := maintained(t, s, opt)
	c.add(48 * time.Hour)
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if got := statesOf(r, Encryption); !strings.HasSuffix(got, "active") {
		t.Errorf("after two periods %q", got)
	}
	c.add(time.Second)
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if got := statesOf(r, Encryption); got != "retiring retiring" {
		t.Errorf("after more %q", got)
	}
	c.add(2 * time.Hour)
	if err := r.Maintain(bg()); err != nil {
		t.Fatal(err)
	}
	if got := statesOf(r, Encryption); got != "" {
		t.Errorf("in the end %q", got)
	}
	opt.Encrypt = true
	if r := maintained(t, s, opt); statesOf(r, Encryption) != "active created" {
		t.Errorf("switched on again %q", statesOf(r, Encryption))
	}
}

func TestPrintsNoSecret(t *testing.T) {
	c := newClock()
	r := maintained(t, newShelf(), options(c))
	type wrap struct{ ring *Ring }
	var out strings.Builder
	for _, v := range []any{r, wrap{r}, r.vault, r.List()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	private, _ := mustSigner(t, r, c).MarshalPrivate()
	tail := private[len(private)-16:]
	for _, form := range []string{string(tail), fmt.Sprintf("%x", tail), strings.Trim(fmt.Sprint(tail), "[]"), string(secretA), fmt.Sprintf("%x", secretA), strings.Trim(fmt.Sprint(secretA[:8]), "[]"), "gcm.GCM{"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("printing a ring shows %q", form)
		}
	}
}
