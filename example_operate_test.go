package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
)

// Why is this user logged out?
func ExampleAuth_Inspect() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	credential := auth.Credentials(browse("GET", "/", logIn(auth, "ada")))[0]
	_, err := auth.EndUser(ctx, "ada", handstamp.EndOptions{Reason: "new password"})
	fatal(err)

	var in handstamp.Inspection = auth.Inspect(ctx, credential.Reveal())
	fmt.Println(in.Kind, in.Genuine, in.Session.User)
	fmt.Println(in.Err, in.Subject.EndReason)
	// Output:
	// session token true ada
	// handstamp: revoked (user_ended) new password
}

func ExampleAuth_Health() {
	auth := openAuth(memory.New(), handstamp.Options{Now: newClock().Now})
	defer auth.Close()
	var h handstamp.Health = auth.Health()
	fmt.Println(h.LeaseFresh, h.Err)
	fmt.Println(h.Durability.Class == handstamp.Volatile, auth.Durability() == h.Durability)
	fmt.Println(auth.Ping(context.Background())) // asks the store; Health asks nobody
	// Output:
	// true <nil>
	// true true
	// <nil>
}

// The application's own entries stand beside the engine's.
func ExampleAuth_RecordAudit() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()
	r := browse("POST", "/orders/7/cancel", logIn(auth, "ada"))
	p, err := auth.Verify(r)
	fatal(err)

	client := auth.ClientOf(r.WithContext(handstamp.NewContext(ctx, p)))
	fatal(auth.RecordAudit(ctx, auth.AuditEntry(client, audit.Event{Kind: "shop.order.cancelled", Target: "order 7"})))

	entries, err := store.Audit().List(ctx, audit.Filter{Kind: "shop.order.cancelled", Limit: 10})
	fatal(err)
	for _, e := range entries {
		fmt.Println(e.Kind, e.Actor, e.Target)
	}
	// Output: shop.order.cancelled ada order 7
}

// A key for something of the application's own, from the secret that all processes have.
func ExampleAuth_DeriveKey() {
	auth := openAuth(memory.New(), handstamp.Options{Secrets: [][]byte{testSecret()}})
	defer auth.Close()
	links, err := auth.DeriveKey("shop/v1/unsubscribe-links")
	fatal(err)
	images, err := auth.DeriveKey("shop/v1/image-urls")
	fatal(err)
	fmt.Println(len(links), string(links) == string(images))
	// Output: 32 false
}

func ExampleAuth_Now() {
	clock := newClock()
	auth := openAuth(memory.New(), handstamp.Options{Now: clock.Now})
	defer auth.Close()
	fmt.Println(auth.Now().Format(time.RFC3339), auth.Audience())
	// Output: 2027-01-02T03:04:05Z https://app.example.com
}

// A value token carries the application's claims; one that would not reach the server again is not issued.
func ExampleTokenOptions() {
	store := memory.New()
	auth := openAuth(store, handstamp.Options{
		Keys:  openKeys(store, time.Now),
		Token: handstamp.TokenOptions{StatelessTTL: 5 * time.Minute, Audience: "https://api.example.com"},
		Claims: func(context.Context, handstamp.Session) (map[string]any, error) {
			return map[string]any{"avatar": strings.Repeat("x", 4000)}, nil
		},
	})
	defer auth.Close()
	proof, err := auth.Prove(context.Background(), "ada")
	fatal(err)
	proof.Mode, proof.Transport = handstamp.ModeToken, handstamp.TransportCookie
	_, err = auth.Start(context.Background(), proof)
	fmt.Println(errors.Is(err, handstamp.ErrTooLarge), strings.Contains(err.Error(), `"avatar"`))
	// Output: true true
}

// A unit of work of the application's own ends something and says so to the engine, which knows at once.
func ExampleDo() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()
	w := logIn(auth, "ada")
	done, err := handstamp.Do(ctx, auth, store.Work(), func(tx handstamp.Tx) (handstamp.Appended, error) {
		if _, err := tx.Subject(ctx, "ada"); err != nil { // locks the user
			return handstamp.Appended{}, err
		}
		// … what else must happen with it …
		return tx.Append(ctx, auth.Event(revoke.KindUser, "ada", revoke.End, "address changed"))
	})
	fmt.Println(done.Sessions, done.Last() > 0, err)
	fmt.Println(ask(auth.Require()(hello), browse("GET", "/", w)))
	// Output:
	// 1 true <nil>
	// 401 revoked
}

// All processes on one database have the same lease.
func ExampleSettings() {
	ctx := context.Background()
	store := memory.New()
	first := openAuth(store, handstamp.Options{Lease: 2 * time.Second})
	defer first.Close()
	_, err := handstamp.Open(ctx, store, handstamp.Options{PublicURL: "https://app.example.com", Lease: 5 * time.Second})
	fmt.Println(errors.Is(err, handstamp.ErrLease))

	var agreed handstamp.Settings
	agreed, err = store.Settle(ctx, handstamp.Settings{Lease: 5 * time.Second})
	fmt.Println(agreed.Lease, err)
	// Output:
	// true
	// 2s <nil>
}
