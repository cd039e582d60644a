package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/store/memory"
)

func ExampleVerifier() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	// What only checks is given the part of Auth that can do nothing else.
	var verifier *handstamp.Verifier = auth.Verifier
	p, err := verifier.Verify(browse("GET", "/", logIn(auth, "ada")))
	fmt.Println(p.User, err)
	// Output: ada <nil>
}

func ExampleVerifier_Require() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	handler := auth.Require(handstamp.Permission("posts:write"))(hello)
	fmt.Println(ask(handler, browse("POST", "/posts", logIn(auth, "ada", "posts:*"))))
	fmt.Println(ask(handler, browse("POST", "/posts", logIn(auth, "bob", "posts:read"))))
	fmt.Println(ask(handler, browse("POST", "/posts")))
	// Output:
	// 200 hello, ada
	// 403 forbidden
	// 401 missing_credential
}

func ExampleVerifier_Optional() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	home := auth.Optional()(hello)
	fmt.Println(ask(home, browse("GET", "/")))
	fmt.Println(ask(home, browse("GET", "/", logIn(auth, "ada"))))
	// Output:
	// 200 hello, visitor
	// 200 hello, ada
}

// Inside a handler, where a rule depends on what is asked for.
func ExampleVerifier_Check() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	r := browse("GET", "/posts/7", logIn(auth, "ada", "posts:read"))
	_, err := auth.Check(r, handstamp.Permission("posts:read"))
	fmt.Println(err)
	_, err = auth.Check(r, handstamp.Permission("drafts:read"))
	fmt.Println(err, errors.Is(err, handstamp.ErrForbidden))
	// Output:
	// <nil>
	// handstamp: forbidden: needs drafts:read true
}

// Three answers: yes, no and "could not find out".
func ExampleVerifier_Verify() {
	store := newHooked(memory.New())
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()
	say := func(p handstamp.Principal, err error) {
		switch {
		case err == nil:
			fmt.Println("yes:", p.User)
		case errors.Is(err, handstamp.ErrUnauthenticated):
			fmt.Println("no")
		default:
			fmt.Println("could not find out")
		}
	}
	r := browse("GET", "/", logIn(auth, "ada"))
	say(auth.Verify(r))
	say(auth.Verify(browse("GET", "/")))
	store.set(func(string, func() error) error { return io.ErrUnexpectedEOF }) // the database is gone
	say(auth.Check(r, handstamp.Fresh()))
	store.set(nil)
	// Output:
	// yes: ada
	// no
	// could not find out
}

// gRPC, command lines and workers have a token and no request.
func ExampleVerifier_VerifyToken() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{Keys: openKeys(store, time.Now)})
	defer auth.Close()
	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	proof.Mode = handstamp.ModeToken
	grant, err := auth.Start(ctx, proof)
	fatal(err)

	p, err := auth.VerifyToken(ctx, grant.AccessToken.Reveal())
	fmt.Println(p.User, p.Form == handstamp.Value, err)
	_, err = auth.VerifyToken(ctx, "made up")
	fmt.Println(err)
	// Output:
	// ada true <nil>
	// handstamp: invalid_token (form)
}

func ExampleVerifier_CheckToken() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	proof.Transport = handstamp.TransportBearer
	grant, err := auth.Start(ctx, proof)
	fatal(err)
	_, err = auth.CheckToken(ctx, grant.AccessToken.Reveal(), handstamp.Permission("jobs:run"))
	fmt.Println(err)
	// Output: handstamp: forbidden: needs jobs:run
}

func ExamplePrincipal() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	p, err := auth.Verify(browse("GET", "/", logIn(auth, "ada", "posts:*")))
	fatal(err)
	fmt.Println(p.User, p.Methods(), p.Permissions(), p.Roles())
	fmt.Println(p.May("posts:write"), p.May("users:write"))
	_, verified := p.Email() // only package account knows addresses
	fmt.Println(verified, p.AsOf() > 0)
	// Output:
	// ada [pwd] [posts:*] []
	// true false
	// false true
}

// The zero Principal is nobody and may nothing.
func ExamplePrincipal_IsZero() {
	var nobody handstamp.Principal
	fmt.Println(nobody.IsZero(), nobody.May("posts:read"))
	// Output: true false
}

func ExampleFromContext() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	handler := auth.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := handstamp.FromContext(r.Context())
		fmt.Fprint(w, p.User, " ", ok)
	}))
	fmt.Println(ask(handler, browse("GET", "/", logIn(auth, "ada"))))
	// Output: 200 ada true
}

// A middleware of one's own hands on what it found out.
func ExampleNewContext() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	middleware := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := auth.Verify(r)
			if err != nil {
				auth.Deny(w, r, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(handstamp.NewContext(r.Context(), p)))
		})
	}
	fmt.Println(ask(middleware(hello), browse("GET", "/", logIn(auth, "ada"))))
	// Output: 200 hello, ada
}

func ExampleRule() {
	clock := newClock()
	auth := openAuth(memory.New(), handstamp.Options{Now: clock.Now})
	defer auth.Close()
	dangerous := []handstamp.Rule{
		handstamp.Permission("accounts:delete"),
		handstamp.MaxAuthAge(10 * time.Minute),
		handstamp.Fresh(),
	}
	handler := auth.Require(dangerous...)(hello)
	w := logIn(auth, "ada", "accounts:delete")
	fmt.Println(ask(handler, browse("POST", "/", w)))
	clock.Advance(10 * time.Minute)
	fmt.Println(ask(handler, browse("POST", "/", w)))
	// Output:
	// 200 hello, ada
	// 403 step_up_required
}

// A text that is no permission is found out when the program starts and not by a user who is refused.
func ExamplePermission() {
	defer func() { fmt.Println(recover() != nil) }()
	handstamp.Permission("posts:*") // a pattern is for grants
	// Output: true
}

func ExampleMaxAuthAge() {
	clock := newClock()
	auth := openAuth(memory.New(), handstamp.Options{Now: clock.Now})
	defer auth.Close()
	r := browse("POST", "/", logIn(auth, "ada"))
	clock.Advance(time.Hour)
	_, err := auth.Check(r, handstamp.MaxAuthAge(time.Hour))
	reason, _ := handstamp.ReasonOf(err)
	fmt.Println(reason == handstamp.ReasonStepUp)
	// Output: true
}

// A value token is checked in memory; Fresh asks the store all the same.
func ExampleFresh() {
	ctx := context.Background()
	clock := newClock()
	store := newHooked(memory.New())
	auth := openAuth(store, handstamp.Options{Keys: openKeys(store, clock.Now), Now: clock.Now})
	defer auth.Close()
	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	proof.Mode = handstamp.ModeToken
	grant, err := auth.Start(ctx, proof)
	fatal(err)

	store.set(func(op string, call func() error) error {
		if op == "Find" {
			fmt.Println("the store was asked")
		}
		return call()
	})
	_, err = auth.CheckToken(ctx, grant.AccessToken.Reveal())
	fmt.Println(err)
	_, err = auth.CheckToken(ctx, grant.AccessToken.Reveal(), handstamp.Fresh())
	fmt.Println(err)
	store.set(nil)
	// Output:
	// <nil>
	// the store was asked
	// <nil>
}

func ExampleReasonOf() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	_, err := auth.Verify(browse("GET", "/"))
	switch reason, _ := handstamp.ReasonOf(err); reason {
	case handstamp.ReasonMissing:
		fmt.Println("please log in")
	case handstamp.ReasonExpired, handstamp.ReasonRevoked:
		fmt.Println("please log in again")
	case handstamp.ReasonInvalid, handstamp.ReasonDuplicate, handstamp.ReasonStale:
		fmt.Println("something is wrong with what you sent")
	case handstamp.ReasonForbidden:
		fmt.Println("you may not")
	}
	// Output: please log in
}

// Metrics are keyed by the reason, which is stable.
func ExampleReason() {
	denied := map[handstamp.Reason]int{}
	auth := openAuth(memory.New(), handstamp.Options{
		OnDenied: func(w http.ResponseWriter, r *http.Request, err error) {
			if reason, ok := handstamp.ReasonOf(err); ok {
				denied[reason]++
			}
			handstamp.ProblemOf(err).Write(w)
		},
	})
	defer auth.Close()
	ask(auth.Require()(hello), browse("GET", "/"))
	ask(auth.Require()(hello), browse("GET", "/"))
	fmt.Println(denied)
	// Output: map[missing_credential:2]
}

func ExampleDeniedError() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	_, err := auth.Check(browse("GET", "/", logIn(auth, "ada")), handstamp.Permission("posts:write"))
	if denied, ok := errors.AsType[*handstamp.DeniedError](err); ok {
		fmt.Println(denied.Reason, denied.Permission)
	}
	// Output: forbidden posts:write
}

// "Could not find out" is 503, never 401, and its cause does not reach the client.
func ExampleUnavailableError() {
	err := &handstamp.UnavailableError{RetryAfter: 5 * time.Second, Err: errors.New("db7: connection refused")}
	p := handstamp.ProblemOf(fmt.Errorf("look up the order: %w", err))
	fmt.Println(p.Status, p.RetryAfter, p.Detail)
	// Output: 503 5s It cannot be found out right now whether this may be done, or was done. Try again.
}

// A program's service key is a credential like the others, but nobody's login.
func ExampleForm() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()
	accounts := account.New(auth, store)
	key, secret, err := accounts.AddServiceKey(ctx, account.NewServiceKey{Name: "nightly report", Permissions: []string{"reports:write"}}, handstamp.Client{})
	fatal(err)

	p, err := auth.CheckToken(ctx, secret.Reveal(), handstamp.Permission("reports:write"))
	fatal(err)
	fmt.Println(p.Form == handstamp.Key, p.User == handstamp.UserID(key.ID), p.Session == "")
	p, err = auth.Verify(browse("GET", "/", logIn(auth, "ada")))
	fmt.Println(p.Form == handstamp.Reference, err)
	// Output:
	// true true true
	// true <nil>
}

// What is written when the answer is not yes can be the application's own.
func ExampleVerifier_Deny() {
	auth := openAuth(memory.New(), handstamp.Options{
		OnDenied: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, "computer says no", http.StatusTeapot)
		},
	})
	defer auth.Close()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := auth.Verify(r); err != nil {
			auth.Deny(w, r, err)
		}
	})
	fmt.Println(ask(handler, browse("GET", "/")))
	// Output: 418 computer says no
}
