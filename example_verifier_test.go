package handstamp_test

import (
	"context"
	"fmt"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
)

// Another service has no store. It follows the log, knows the public keys, and asks whoever has the store. (Package remote
// is this over HTTP.)
func ExampleOpenVerifier() {
	ctx := context.Background()
	store := memory.New()
	keys := openKeys(store, time.Now)
	auth := openAuth(store, handstamp.Options{Keys: keys})
	defer auth.Close()

	var authority handstamp.Authority = auth // over HTTP: POST /v1/introspect
	var known handstamp.VerifyKeys = keys
	service, err := handstamp.OpenVerifier(ctx,
		handstamp.Source{Log: store.Log(), Authority: authority, Keys: known},
		handstamp.Options{PublicURL: "https://app.example.com"})
	fatal(err)
	defer service.Close()

	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	var nobody handstamp.Introspected
	nobody, err = auth.Introspect(ctx, "made up")
	fmt.Println(nobody.Active, err)
	for _, mode := range []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken} {
		proof.Mode = mode
		grant, err := auth.Start(ctx, proof)
		fatal(err)
		p, err := service.VerifyToken(ctx, grant.AccessToken.Reveal())
		fmt.Println(mode, p.User, err)
		_, err = auth.EndSession(ctx, grant.Session.ID, handstamp.EndOptions{WaitFleet: true})
		fatal(err)
		_, err = service.VerifyToken(ctx, grant.AccessToken.Reveal())
		fmt.Println(err)
	}
	// Output:
	// false <nil>
	// session ada <nil>
	// handstamp: invalid_token (introspection)
	// token ada <nil>
	// handstamp: revoked (event)
}

// What a Verifier counted, for metrics.
func ExampleVerifier_Stats() {
	auth := openAuth(memory.New(), handstamp.Options{CacheBytes: 1 << 20})
	defer auth.Close()
	r := browse("GET", "/", logIn(auth, "ada"))
	for range 3 {
		_, err := auth.Verify(r)
		fatal(err)
	}
	var stats handstamp.Stats = auth.Stats()
	var copies handstamp.CacheStats = stats.Cache
	var ages handstamp.Distribution = copies.Age
	fmt.Println(copies.Hits, "from memory,", copies.Misses, "from the store; ages of", len(ages.Counts), "sizes;", stats.Waiters, "waiting")
	// Output: 2 from memory, 1 from the store; ages of 8 sizes; 0 waiting
}

// A server answers verifiers that have no store, and wakes them up. (Package server does it over HTTP.)
func ExampleAuth_AnswerRenewal() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	log := auth.Health().Log
	_, err := auth.EndUser(ctx, "ada", handstamp.EndOptions{WaitFleet: true})
	fatal(err)
	fatal(auth.AwaitRevocation(ctx, 0, log))
	for _, e := range auth.Revocations(0, 100).Events {
		fmt.Println(e.Seq, e.Kind, e.ID, e.Effect)
	}
	answer, err := auth.AnswerRenewal(revoke.Renewal{Verifier: id.NewVerifier(time.Now()), Log: log, Limit: 100})
	fmt.Println(len(answer.Events), answer.Head.Seq, answer.Head.Lease, err)
	// Output:
	// 1 user ada end
	// 1 1 2s <nil>
}
