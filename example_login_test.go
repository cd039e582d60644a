package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/permission"
	"github.com/handstamp/handstamp/store/memory"
)

func Example() {
	ctx := context.Background()
	auth, err := handstamp.Open(ctx, memory.New(), handstamp.Options{PublicURL: "http://localhost:8080"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()

	login := func(w http.ResponseWriter, r *http.Request) {
		proof, err := auth.Prove(r.Context(), "ada") // before the password is checked
		if err == nil {
			_, err = auth.Login(w, r, proof) // after: a session, and its cookie
		}
		if err != nil {
			auth.Deny(w, r, err)
		}
	}
	me := auth.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := handstamp.FromContext(r.Context())
		fmt.Fprint(w, "you are ", p.User)
	}))

	w := httptest.NewRecorder()
	login(w, browse("POST", "/login"))
	fmt.Println(ask(me, browse("GET", "/me", w)))

	_, err = auth.EndUser(ctx, "ada", handstamp.EndOptions{}) // log out everywhere
	fmt.Println(err)
	fmt.Println(ask(me, browse("GET", "/me", w)))
	// Output:
	// 200 you are ada
	// <nil>
	// 401 revoked
}

func ExampleAuth_Prove() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()

	proof, err := auth.Prove(ctx, "ada") // first
	fatal(err)
	passwordIsRight := true // then check the password, which takes a while

	// Meanwhile somebody changes the password and ends all sessions.
	_, err = auth.EndUser(ctx, "ada", handstamp.EndOptions{Reason: "password changed"})
	fatal(err)

	if passwordIsRight { // the old one
		_, err = auth.Start(ctx, proof)
		fmt.Println(errors.Is(err, handstamp.ErrProofOutdated))
	}
	// Output: true
}

// What a login knows goes into the Proof: how the user proved it, and what the user may do.
func ExampleProof() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{Roles: permission.Table{"editor": permission.NewSet("posts:*")}})
	defer auth.Close()

	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	proof.Methods = []string{"pwd", "otp"}
	proof.Grants = &handstamp.Grants{Roles: []string{"editor"}, Permissions: []string{"reports:read"}}
	grant, err := auth.Start(ctx, proof)
	fatal(err)

	p := grant.Principal
	fmt.Println(proof.User(), p.Methods(), p.Roles(), p.Permissions())
	// Output: ada [pwd otp] [editor] [posts:* reports:read]
}

func ExampleAuth_Login() {
	auth := openAuth(memory.New(), handstamp.Options{PublicURL: "https://app.example.com"})
	defer auth.Close()
	login := func(w http.ResponseWriter, r *http.Request) {
		proof, err := auth.Prove(r.Context(), "ada")
		// … the password is checked here …
		if err == nil {
			_, err = auth.Login(w, r, proof)
		}
		if err != nil {
			auth.Deny(w, r, err)
		}
	}
	w := httptest.NewRecorder()
	login(w, browse("POST", "/login"))
	c := w.Result().Cookies()[0]
	fmt.Println(c.Name, c.HttpOnly, c.Secure, c.SameSite == http.SameSiteStrictMode)
	// Output: __Host-handstamp true true true
}

// A login of another kind runs between the origin rules before it and the cookies after it.
func ExampleAuth_LoginWith() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	proof, err := auth.Prove(context.Background(), "ada")
	fatal(err)
	r := browse("POST", "/login")
	r.Header.Set("User-Agent", "Ada's browser")
	w := httptest.NewRecorder()
	_, err = auth.LoginWith(w, r, handstamp.StartOptions{BrowserSession: true}, func(o handstamp.StartOptions) (handstamp.Grant, error) {
		proof.StartOptions = o // completed by the request
		fmt.Println(o.Client.UserAgent)
		return auth.Start(r.Context(), proof)
	})
	fmt.Println(len(w.Result().Cookies()), err)
	// Output:
	// Ada's browser
	// 1 <nil>
}

// A client that is no browser gets its tokens in the answer's body.
func ExampleAuth_Start() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{Keys: openKeys(store, time.Now), Secrets: [][]byte{testSecret()}})
	defer auth.Close()

	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	proof.Mode = handstamp.ModeHybrid
	grant, err := auth.Start(ctx, proof)
	fatal(err)

	fmt.Println(grant.Session.Mode, grant.Session.Transport == handstamp.TransportBearer)
	fmt.Println(grant.AccessToken, grant.RefreshToken) // secrets do not print themselves
	access := grant.AccessToken.Reveal()
	fmt.Println(strings.Count(access, "."), grant.RefreshExpiresAt.After(grant.AccessExpiresAt))
	// Output:
	// hybrid true
	// REDACTED REDACTED
	// 2 true
}

func ExampleMode() {
	store := memory.New()
	auth := openAuth(store, handstamp.Options{
		Keys:  openKeys(store, time.Now),
		Modes: []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken},
	})
	defer auth.Close()
	proof, err := auth.Prove(context.Background(), "ada")
	fatal(err)
	for _, mode := range []handstamp.Mode{handstamp.ModeSession, handstamp.ModeToken, handstamp.ModeHybrid} {
		proof.Mode = mode
		grant, err := auth.Start(context.Background(), proof)
		if errors.Is(err, handstamp.ErrMode) {
			fmt.Println(mode, "is not offered here")
			continue
		}
		fmt.Println(mode, grant.Session.Transport, grant.Principal.Form == handstamp.Value)
	}
	// Output:
	// session cookie false
	// token bearer true
	// hybrid is not offered here
}

func ExampleTransport() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	proof, err := auth.Prove(context.Background(), "ada")
	fatal(err)
	for _, t := range []handstamp.Transport{handstamp.TransportCookie, handstamp.TransportBearer} {
		proof.Transport = t
		w := httptest.NewRecorder()
		_, err := auth.Login(w, browse("POST", "/login"), proof)
		fmt.Println(t, len(w.Result().Cookies()), err)
	}
	// Output:
	// cookie 1 <nil>
	// bearer 0 <nil>
}

// Refreshing is safe to repeat: who lost the answer asks again and gets the same next token.
func ExampleAuth_Refresh() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{
		Keys: openKeys(store, time.Now), Secrets: [][]byte{testSecret()},
		Token:   handstamp.TokenOptions{AccessTTL: 5 * time.Minute},
		Refresh: handstamp.RefreshOptions{IdleTimeout: 30 * 24 * time.Hour},
	})
	defer auth.Close()
	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	proof.Mode = handstamp.ModeHybrid
	grant, err := auth.Start(ctx, proof)
	fatal(err)

	ask := handstamp.RefreshRequest{Token: grant.RefreshToken, IdempotencyKey: "kept by the client before it sends"}
	first, err := auth.Refresh(ctx, ask)
	fatal(err)
	again, err := auth.Refresh(ctx, ask)
	fatal(err)
	fmt.Println(first.RefreshToken.Reveal() == again.RefreshToken.Reveal(), first.RefreshToken.Reveal() == grant.RefreshToken.Reveal())
	// Output: true false
}

// An old refresh token that comes back was stolen or copied: the session ends.
func ExampleAuth_Refresh_reused() {
	ctx := context.Background()
	store, clock := memory.New(), newClock()
	auth := openAuth(store, handstamp.Options{Keys: openKeys(store, clock.Now), Secrets: [][]byte{testSecret()}, Now: clock.Now})
	defer auth.Close()
	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	proof.Mode = handstamp.ModeHybrid
	grant, err := auth.Start(ctx, proof)
	fatal(err)
	_, err = auth.Refresh(ctx, handstamp.RefreshRequest{Token: grant.RefreshToken})
	fatal(err)

	clock.Advance(time.Minute) // past the grace for lost answers
	_, err = auth.Refresh(ctx, handstamp.RefreshRequest{Token: grant.RefreshToken})
	reason, _ := handstamp.ReasonOf(err)
	fmt.Println(reason == handstamp.ReasonReused)
	// Output: true
}

// After a step-up the session has new secrets, and its login is recent.
func ExampleAuth_Renew() {
	ctx := context.Background()
	clock := newClock()
	auth := openAuth(memory.New(), handstamp.Options{Now: clock.Now})
	defer auth.Close()
	deleteAccount := auth.Require(handstamp.MaxAuthAge(5 * time.Minute))(hello)
	w := logIn(auth, "ada")
	clock.Advance(time.Hour)
	r := browse("POST", "/delete", w)
	fmt.Println(ask(deleteAccount, r))

	p, err := auth.Verify(r)
	fatal(err)
	proof, err := auth.Prove(ctx, p.User)
	fatal(err)
	// … the password is checked once more …
	grant, err := auth.Renew(ctx, p.Session, proof)
	fatal(err)
	w = httptest.NewRecorder()
	auth.Deliver(w, grant)
	fmt.Println(ask(deleteAccount, browse("POST", "/delete", w)))
	fmt.Println(ask(deleteAccount, r)) // the old cookie
	// Output:
	// 403 step_up_required
	// 200 hello, ada
	// 401 invalid_token
}

// A session can begin in the transaction of something else, such as a sign-up.
func ExampleStarting() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()

	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	starting, err := auth.Prepare(ctx, proof)
	fatal(err)
	_, err = handstamp.Do(ctx, auth, store.Work(), func(tx handstamp.Tx) (handstamp.Appended, error) {
		// … what else belongs to it …
		return starting.In(ctx, tx) // last
	})
	fatal(err)
	grant, err := starting.Grant(ctx)
	fmt.Println(grant.Principal.User, err)
	// Output: ada <nil>
}

// A new password renews the session that changed it and ends all others, in one transaction.
func ExampleRenewing() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()
	laptop, phone := logIn(auth, "ada"), logIn(auth, "ada")
	p, err := auth.Verify(browse("GET", "/", laptop))
	fatal(err)

	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	// … the old password is checked …
	var renewing *handstamp.Renewing
	renewing, err = auth.PrepareRenew(ctx, p.Session, proof)
	fatal(err)
	renewing.EndOthers = "password changed"
	done, err := handstamp.Do(ctx, auth, store.Work(), func(tx handstamp.Tx) (handstamp.Appended, error) {
		// … the new password is written …
		return renewing.In(ctx, tx)
	})
	fatal(err)
	grant, err := renewing.Grant(ctx)
	fatal(err)
	fmt.Println(done.Sessions, grant.Session.ID == p.Session)
	fmt.Println(ask(auth.Require()(hello), browse("GET", "/", phone)))
	// Output:
	// 1 true
	// 401 revoked
}

func ExampleGrants() {
	auth := openAuth(memory.New(), handstamp.Options{Roles: permission.Table{"editor": permission.NewSet("posts:*")}})
	defer auth.Close()
	proof, err := auth.Prove(context.Background(), "ada")
	fatal(err)
	proof.Grants = &handstamp.Grants{Roles: []string{"editor"}}
	grant, err := auth.Start(context.Background(), proof)
	fatal(err)
	fmt.Println(grant.Principal.May("posts:write"), grant.Principal.May("users:write"))
	// Output: true false
}
