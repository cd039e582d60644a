package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/token"
)

// The log-out button.
func ExampleAuth_LogOutRequest() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	login := logIn(auth, "ada")
	w := httptest.NewRecorder()
	ended, err := auth.LogOutRequest(w, browse("POST", "/logout", login), handstamp.EndOptions{})
	fmt.Println(ended.Sessions, w.Result().Cookies()[0].MaxAge, err)
	fmt.Println(ask(auth.Require()(hello), browse("GET", "/", login)))
	// Output:
	// 1 -1 <nil>
	// 401 revoked
}

// The same for who has the token and no request. A token that nobody knows is no error: there is nothing to end.
func ExampleAuth_LogOut() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	credential := auth.Credentials(browse("GET", "/", logIn(auth, "ada")))[0]
	ended, err := auth.LogOut(ctx, credential, handstamp.EndOptions{})
	fmt.Println(ended.Sessions, err)
	ended, err = auth.LogOut(ctx, token.NewSecret("made up"), handstamp.EndOptions{})
	fmt.Println(ended.Sessions, err)
	// Output:
	// 1 <nil>
	// 0 <nil>
}

// A page of devices, each with a button.
func ExampleAuth_EndSession() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	logIn(auth, "ada")
	logIn(auth, "ada")
	devices, err := auth.Sessions(ctx, handstamp.SessionFilter{User: "ada"})
	fatal(err)

	var device handstamp.SessionID = devices[1].ID
	_, err = auth.EndSession(ctx, device, handstamp.EndOptions{Reason: "lost phone"})
	fatal(err)
	devices, err = auth.Sessions(ctx, handstamp.SessionFilter{User: "ada"})
	fmt.Println(len(devices), err)
	ended, err := auth.Session(ctx, device)
	fmt.Println(ended.EndReason, err)
	_, err = auth.EndSession(ctx, "ses_unknown", handstamp.EndOptions{})
	fmt.Println(errors.Is(err, handstamp.ErrNotFound))
	// Output:
	// 1 <nil>
	// lost phone <nil>
	// true
}

// Log out everywhere but here.
func ExampleAuth_EndUser() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	phone, laptop := logIn(auth, "ada"), logIn(auth, "ada")
	here, err := auth.Verify(browse("GET", "/", laptop))
	fatal(err)

	ended, err := auth.EndUser(ctx, "ada", handstamp.EndOptions{Except: here.Session, Reason: "asked for by the user"})
	fmt.Println(ended.Sessions, err)
	fmt.Println(ask(auth.Require()(hello), browse("GET", "/", phone)))
	fmt.Println(ask(auth.Require()(hello), browse("GET", "/", laptop)))
	// Output:
	// 1 <nil>
	// 401 revoked
	// 200 hello, ada
}

func ExampleAuth_EndAll() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	logIn(auth, "ada")
	logIn(auth, "bob")
	ended, err := auth.EndAll(context.Background(), handstamp.EndOptions{Reason: "the database was stolen"})
	fmt.Println(ended.Sessions, err)
	// Output: 2 <nil>
}

// A signing key that may have leaked: everything it ever signed is over, and the standby key signs from then on.
func ExampleAuth_EndKey() {
	ctx := context.Background()
	store := memory.New()
	keys := openKeys(store, time.Now)
	auth := openAuth(store, handstamp.Options{Keys: keys})
	defer auth.Close()
	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	proof.Mode = handstamp.ModeToken
	grant, err := auth.Start(ctx, proof)
	fatal(err)

	active, err := keys.Signer(time.Now())
	fatal(err)
	_, err = auth.EndKey(ctx, active.ID(), handstamp.EndOptions{})
	fatal(err)
	_, err = auth.VerifyToken(ctx, grant.AccessToken.Reveal())
	fmt.Println(errors.Is(err, handstamp.ErrUnauthenticated))
	_, err = auth.Start(ctx, proof)
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

func ExampleAuth_EndServiceKey() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()
	var key handstamp.ServiceKey
	key, secret, err := account.New(auth, store).AddServiceKey(ctx, account.NewServiceKey{Name: "nightly report"}, handstamp.Client{})
	fatal(err)
	_, err = auth.EndServiceKey(ctx, key.ID, handstamp.EndOptions{Reason: "was in a public repository"})
	fatal(err)
	_, err = auth.VerifyToken(ctx, secret.Reveal())
	fmt.Println(err)
	// Output: handstamp: revoked (service_key)
}

// The application changed in its own table what a user may do.
func ExampleAuth_Changed() {
	ctx := context.Background()
	roles := map[handstamp.UserID][]string{}
	auth := openAuth(memory.New(), handstamp.Options{
		Permissions: func(_ context.Context, u handstamp.UserID) (handstamp.Grants, error) {
			return handstamp.Grants{Permissions: roles[u]}, nil
		},
	})
	defer auth.Close()
	w := logIn(auth, "ada")
	roles["ada"] = []string{"posts:write"}
	_, err := auth.Changed(ctx, "ada", handstamp.EndOptions{})
	fatal(err)
	p, err := auth.Verify(browse("GET", "/", w)) // the session goes on
	fmt.Println(p.May("posts:write"), err)
	// Output: true <nil>
}

// Ended is returned once this process knows. WaitFleet waits for all the others, too.
func ExampleAuth_WaitFleet() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	logIn(auth, "ada")
	var ended handstamp.Ended
	ended, err := auth.EndUser(ctx, "ada", handstamp.EndOptions{})
	fatal(err)
	ended, err = auth.WaitFleet(ctx, ended)
	fmt.Println(ended.Sessions, ended.Verifiers, err) // this process is the only one
	// Output: 1 1 <nil>
}

// Who has no time to wait for the others may stop waiting: it is ended all the same.
func ExampleAuth_WaitFleet_notAwaited() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	w := logIn(auth, "ada")
	ended, err := auth.EndUser(ctx, "ada", handstamp.EndOptions{})
	fatal(err)

	hurry, cancel := context.WithCancel(ctx)
	cancel()
	_, err = auth.WaitFleet(hurry, ended)
	fmt.Println(errors.Is(err, handstamp.ErrNotAwaited))
	fmt.Println(ask(auth.Require()(hello), browse("GET", "/", w)))
	// Output:
	// true
	// 401 revoked
}

// A handler that asks several times tells its caller in time that it cannot say.
func ExampleWithBudget() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	logIn(auth, "ada")
	logOutEverywhere := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := handstamp.WithBudget(r.Context(), 2*time.Second)
		defer cancel()
		ended, err := auth.EndUser(ctx, handstamp.UserID(r.FormValue("user")), handstamp.EndOptions{WaitFleet: true})
		if err != nil {
			handstamp.ProblemOf(err).Write(w) // 503 with Retry-After, if the store is away
			return
		}
		fmt.Fprint(w, ended.Sessions)
	})
	fmt.Println(ask(logOutEverywhere, httptest.NewRequest("POST", "/?user=ada", nil)))
	// Output: 200 1
}

// What takes its time although no store is slow does not count.
func ExampleOutsideBudget() {
	ctx, cancel := handstamp.WithBudget(context.Background(), 2*time.Second)
	defer cancel()
	free, back := handstamp.OutsideBudget(ctx)
	select { // asks somebody who thinks
	case <-free.Done():
	case <-time.After(10 * time.Millisecond):
	}
	back()
	fmt.Println(ctx.Err())
	// Output: <nil>
}

func ExampleEndOptions() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	logIn(auth, "ada")
	ended, err := auth.EndUser(context.Background(), "ada", handstamp.EndOptions{
		WaitFleet: true, // no process accepts the sessions any more when EndUser returns
		Reason:    "account taken over",
		Client:    handstamp.Client{Actor: "support/bob"}, // in the audit log
	})
	fmt.Println(ended.Sessions, ended.WaitedOut, err)
	// Output: 1 0 <nil>
}

func ExampleAuth_Sessions() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	for range 3 {
		logIn(auth, "ada")
	}
	filter := handstamp.SessionFilter{User: "ada", Limit: 2}
	for {
		page, err := auth.Sessions(ctx, filter)
		fatal(err)
		if len(page) == 0 {
			break
		}
		fmt.Println(len(page))
		filter.After = page[len(page)-1].ID
	}
	// Output:
	// 2
	// 1
}

func ExampleSession() {
	auth := openAuth(memory.New(), handstamp.Options{Session: handstamp.SessionOptions{IdleTimeout: time.Hour}})
	defer auth.Close()
	p, err := auth.Verify(browse("GET", "/", logIn(auth, "ada")))
	fatal(err)
	var s handstamp.Session
	s, err = auth.Session(context.Background(), p.Session)
	fatal(err)
	fmt.Println(s.User, s.Methods, s.Mode == handstamp.ModeSession)
	fmt.Println(s.IdleExpiresAt().Sub(s.SeenAt), s.IsAnonymous())
	// Output:
	// ada [pwd] true
	// 1h0m0s false
}

// Subject is what the engine knows of a user, whoever keeps the account.
func ExampleSubject() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	logIn(auth, "ada", "posts:write")
	_, err := auth.EndUser(ctx, "ada", handstamp.EndOptions{Reason: "new password"})
	fatal(err)
	var sub handstamp.Subject
	sub, err = auth.Subject(ctx, "ada")
	fmt.Println(sub.Grants.Permissions, sub.EndReason, sub.Ended > 0, err)
	// Output: [posts:write] new password true <nil>
}

// A user who is disabled may not log in; package account disables users.
func ExampleUserID() {
	ctx := context.Background()
	store := memory.New()
	auth := openAuth(store, handstamp.Options{})
	defer auth.Close()
	accounts := account.New(auth, store)
	user, err := accounts.Create(ctx, account.NewUser{Email: "ada@example.com"}, handstamp.Client{})
	fatal(err)
	var ada handstamp.UserID = user.ID // or any string of the application's own
	_, err = accounts.SetDisabled(ctx, ada, true, handstamp.EndOptions{})
	fatal(err)

	proof, err := auth.Prove(ctx, ada)
	fatal(err)
	_, err = auth.Start(ctx, proof)
	fmt.Println(errors.Is(err, handstamp.ErrDisabled))
	// Output: true
}

// A browser may carry the cookies of more than one session.
func ExampleAuth_LogOutEach() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	r := browse("POST", "/logout", logIn(auth, "ada"), logIn(auth, "ada"))
	ended, err := auth.LogOutEach(context.Background(), auth.Credentials(r), handstamp.EndOptions{})
	fmt.Println(ended.Sessions, err)
	// Output: 2 <nil>
}
