package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/token"
)

// counted is a store that counts how often a credential is looked up.
type counted struct {
	handstamp.Store
	lookups *atomic.Int64
}

func (c counted) Sessions() handstamp.Sessions { return countedSessions{c.Store.Sessions(), c.lookups} }

type countedSessions struct {
	handstamp.Sessions
	lookups *atomic.Int64
}

func (s countedSessions) Find(ctx context.Context, l handstamp.Lookup) (handstamp.Found, error) {
	s.lookups.Add(1)
	return s.Sessions.Find(ctx, l)
}

// A store is an interface: here one that counts look-ups. A check of a session makes one.
func ExampleStore() {
	lookups := &atomic.Int64{}
	auth := openAuth(counted{memory.New(), lookups}, handstamp.Options{})
	defer auth.Close()
	r := browse("GET", "/", logIn(auth, "ada"))
	lookups.Store(0)
	_, err := auth.Verify(r)
	fmt.Println(lookups.Load(), err)
	// Output: 1 <nil>
}

// What decides about a credential is read in one snapshot.
func ExampleSessions() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()
	p, err := auth.Verify(browse("GET", "/", logIn(auth, "ada")))
	fatal(err)

	var sessions handstamp.Sessions = store.Sessions()
	var found handstamp.Found
	found, err = sessions.Find(ctx, handstamp.Lookup{Session: p.Session})
	fmt.Println(found.Session.User, found.Subject.User, err)
	_, err = sessions.Find(ctx, handstamp.Lookup{Session: "ses_unknown"})
	fmt.Println(errors.Is(err, handstamp.ErrNotFound))
	// Output:
	// ada ada <nil>
	// true
}

// A store of one's own decides by this rule whether a session is alive, in a statement or by calling it.
func ExampleLive() {
	now := time.Date(2027, 1, 2, 12, 0, 0, 0, time.UTC)
	s := handstamp.Session{Stamp: 7, SeenAt: now.Add(-2 * time.Hour), IdleTimeout: time.Hour, ExpiresAt: now.Add(time.Hour)}
	fmt.Println(handstamp.Live(s, handstamp.Subject{}, now)) // idle for too long
	s.SeenAt = now
	fmt.Println(handstamp.Live(s, handstamp.Subject{}, now))
	fmt.Println(handstamp.Live(s, handstamp.Subject{Ended: 8}, now)) // its user was logged out after it began
	// Output:
	// false
	// true
	// false
}

// Standing leaves the idle end out: activity that is not written yet may have moved it.
func ExampleStanding() {
	now := time.Date(2027, 1, 2, 12, 0, 0, 0, time.UTC)
	s := handstamp.Session{SeenAt: now.Add(-2 * time.Hour), IdleTimeout: time.Hour, ExpiresAt: now.Add(time.Hour)}
	fmt.Println(handstamp.Live(s, handstamp.Subject{}, now), handstamp.Standing(s, handstamp.Subject{}, now))
	// Output: false true
}

// A store that decides in Go asks Moves; one that decides in a statement says the same there. Unread adds the conditions
// of a refresh whose session nobody has read.
func ExampleRotation_Moves() {
	now := time.Date(2027, 1, 2, 12, 0, 0, 0, time.UTC)
	nonce := token.NewNonce().Hash()
	found := handstamp.Found{
		Session: handstamp.Session{ExpiresAt: now.Add(time.Hour), Refresh: handstamp.Family{Generation: 3, Nonce: nonce, RotatedAt: now}},
		Subject: handstamp.Subject{Grants: handstamp.Grants{Permissions: []string{"notes:read"}}},
	}
	next := handstamp.Rotation{At: now, Family: handstamp.Family{Generation: 4, Nonce: nonce}}
	fmt.Println(next.Moves(found, 3), next.Moves(found, 2))
	next.Unread = &handstamp.Unread{RotatedBy: now.Add(-20 * time.Second), Weight: 512}
	fmt.Println(next.Moves(found, 3)) // refreshed a moment ago: read it first
	next.Unread.RotatedBy = now
	fmt.Println(next.Moves(found, 3), found.Weight())
	// Output:
	// true false
	// false
	// true 13
}

// What processes have in common is set by the first; secrets change by lists that overlap.
func ExampleSettings_Agree() {
	var none handstamp.Settings
	first, changed, err := none.Agree(handstamp.Settings{Lease: 2 * time.Second, Secrets: []string{"a"}})
	fmt.Println(first.Lease, first.Secrets, changed, err)
	next, changed, err := first.Agree(handstamp.Settings{Lease: 2 * time.Second, Secrets: []string{"b", "a"}})
	fmt.Println(next.Secrets, changed, err)
	_, _, err = next.Agree(handstamp.Settings{Secrets: []string{"c"}})
	fmt.Println(errors.Is(err, handstamp.ErrConflict))
	// Output:
	// 2s [a] true <nil>
	// [b a] true <nil>
	// true
}

// A refresh moves a family on if it is where the engine saw it, and nowhere else.
func ExampleRotation() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{Keys: openKeys(store, time.Now), Secrets: [][]byte{testSecret()}})
	defer auth.Close()
	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	proof.Mode = handstamp.ModeHybrid
	grant, err := auth.Start(ctx, proof)
	fatal(err)

	s := grant.Session
	next := handstamp.Rotation{At: auth.Now(), Family: handstamp.Family{Generation: s.Refresh.Generation + 1, Nonce: s.Refresh.Nonce}}
	_, err = store.Sessions().Rotate(ctx, s.ID, s.Refresh.Generation, next)
	fmt.Println(err)
	_, err = store.Sessions().Rotate(ctx, s.ID, s.Refresh.Generation, next)
	fmt.Println(errors.Is(err, handstamp.ErrConflict))
	// Output:
	// <nil>
	// true
}

// Either everything in a unit happens or nothing.
func ExampleUnitOfWork() {
	ctx := context.Background()
	store := memory.New()
	var units handstamp.UnitOfWork[handstamp.Tx] = store.Work()
	changedMyMind := errors.New("changed my mind")
	err := units.Do(ctx, func(tx handstamp.Tx) error {
		if err := tx.PutSubject(ctx, handstamp.Subject{User: "ada", Disabled: true}); err != nil {
			return err
		}
		return changedMyMind
	})
	sub, readErr := store.Sessions().Subject(ctx, "ada")
	fmt.Println(errors.Is(err, changedMyMind), sub.Disabled, readErr)
	// Output: true false <nil>
}

// Taken is what a store says of an address that another account has.
func ExampleTx() {
	ctx := context.Background()
	store := memory.New()
	for range 2 {
		err := store.AccountWork().Do(ctx, func(tx account.Tx) error { // a handstamp.Tx, and accounts
			return tx.PutUser(ctx, account.User{ID: id.NewUser(time.Now()), Email: "ada@example.com"})
		})
		fmt.Println(errors.Is(err, handstamp.ErrTaken))
	}
	// Output:
	// false
	// true
}

// Session data is compared and swapped: a writer who did not see the last value is refused.
func ExampleValues() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()
	p, err := auth.Verify(browse("GET", "/", logIn(auth, "ada")))
	fatal(err)

	var values handstamp.Values = store.Values()
	write := handstamp.DatumWrite{
		Session: p.Session, Value: handstamp.Datum{Name: "cart", Data: []byte(`["tea"]`), Version: 1},
		From: 0, Limit: 1000, Now: auth.Now(),
	}
	fmt.Println(values.Put(ctx, write))
	fmt.Println(errors.Is(values.Put(ctx, write), handstamp.ErrConflict)) // there is one already
	datum, _, err := values.Get(ctx, p.Session, "cart")
	fmt.Println(string(datum.Data), datum.Version, err)
	// Output:
	// <nil>
	// true
	// ["tea"] 1 <nil>
}

// Value tokens are only offered on a store that keeps what was ended, unless somebody accepts the loss.
func ExampleDurability() {
	for _, d := range []handstamp.Durability{
		{Class: handstamp.Durable},
		{Class: handstamp.Window, Window: time.Second},
		{Class: handstamp.Volatile},
	} {
		m := memory.New()
		auth, err := handstamp.Open(context.Background(), promising{m, d}, handstamp.Options{
			PublicURL: "https://app.example.com", Keys: openKeys(m, time.Now), AcceptLoss: handstamp.Window, Lease: time.Second,
		})
		if err != nil {
			fmt.Println(d.Class, "is refused")
			continue
		}
		fmt.Println(d.Class, auth.Close())
	}
	// Output:
	// durable <nil>
	// window <nil>
	// volatile is refused
}

// promising is a store with another word about its writes.
type promising struct {
	handstamp.Store
	word handstamp.Durability
}

func (p promising) Settle(ctx context.Context, want handstamp.Settings) (handstamp.Settings, error) {
	got, err := p.Store.Settle(ctx, want)
	got.Durability = p.word
	return got, err
}

func ExampleDurabilityClass() {
	var unknown handstamp.DurabilityClass // promises nothing
	for _, c := range []handstamp.DurabilityClass{handstamp.Durable, handstamp.Window, handstamp.Volatile, unknown} {
		fmt.Printf("%q\n", c)
	}
	// Output:
	// "durable"
	// "window"
	// "volatile"
	// ""
}

// watched are keys that remember for whom they signed.
type watched struct {
	handstamp.Keys
	signedFor *string
}

func (w watched) Seal(c jwt.Claims, now time.Time) (string, error) {
	*w.signedFor = c.Subject
	return w.Keys.Seal(c, now)
}

// Package keyring has the keys; anything else that signs can take its place.
func ExampleKeys() {
	ctx := context.Background()
	store := memory.New()
	signedFor := ""
	auth := openAuth(store, handstamp.Options{
		Keys:  watched{openKeys(store, time.Now), &signedFor},
		Modes: []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken},
	})
	defer auth.Close()
	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	for _, proof.Mode = range auth.Modes() {
		_, err = auth.Start(ctx, proof)
		fmt.Printf("%s %q %v\n", proof.Mode, signedFor, err)
	}
	// Output:
	// session "" <nil>
	// token "ada" <nil>
}

// What a login takes along, as a backend copies it: what is there already stays, and what does not fit is left out.
func ExampleCarrying() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()
	cart := handstamp.NewData[string](auth, "cart")
	begin := func(user handstamp.UserID) handstamp.SessionID {
		p, err := auth.Verify(browse("GET", "/", logIn(auth, user)))
		fatal(err)
		return p.Session
	}
	from, to := begin("ada"), begin("ada")
	fatal(cart.Set(ctx, from, "tea"))
	fatal(store.Work().Do(ctx, func(tx handstamp.Tx) error {
		return tx.Carry(ctx, handstamp.Carrying{From: from, To: to, Names: []string{"cart"}, Limit: 16 << 10, Now: time.Now()})
	}))
	fmt.Println(cart.Get(ctx, to))
	// Output: tea true <nil>
}

// A backend deletes what this rule names: a user's session at its absolute end, a visitor's soon after its idle end.
func ExampleSwept() {
	now := time.Now()
	s := handstamp.Session{SeenAt: now, IdleTimeout: time.Hour, ExpiresAt: now.Add(720 * time.Hour)}
	fmt.Println(handstamp.Swept(s, now.Add(2*time.Hour)), handstamp.Swept(s, now.Add(721*time.Hour)))
	s.Mode = handstamp.ModeAnonymous
	fmt.Println(handstamp.Swept(s, now.Add(2*time.Hour)))
	// Output:
	// false true
	// true
}
