package handstamp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/keyring"
)

// What the examples share, so that each shows one thing only.

// openAuth is handstamp.Open without the error.
func openAuth(store handstamp.Store, opt handstamp.Options) *handstamp.Auth {
	if opt.PublicURL == "" {
		opt.PublicURL = "https://app.example.com"
	}
	opt.Logger = slog.New(slog.DiscardHandler)
	auth, err := handstamp.Open(context.Background(), store, opt)
	fatal(err)
	return auth
}

// openKeys makes signing keys for value tokens.
func openKeys(store fullStore, now func() time.Time) *keyring.Ring {
	keys, err := keyring.Open(context.Background(), store.Keys(), keyring.Options{Secrets: [][]byte{testSecret()}, Now: now})
	fatal(err)
	return keys
}

func fatal(err error) {
	if err != nil {
		log.Panic(err)
	}
}

// logIn answers a login form: it proves that the browser is the user's, and gives it a session.
func logIn(auth *handstamp.Auth, user handstamp.UserID, permissions ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	proof, err := auth.Prove(context.Background(), user)
	fatal(err)
	proof.Methods, proof.Grants = []string{"pwd"}, &handstamp.Grants{Permissions: permissions}
	_, err = auth.Login(w, browse("POST", "/login"), proof)
	fatal(err)
	return w
}

// browse is the next request of the browser that got these answers.
func browse(method, target string, answers ...*httptest.ResponseRecorder) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, w := range answers {
		for _, c := range w.Result().Cookies() {
			if c.MaxAge >= 0 {
				r.AddCookie(c)
			}
		}
	}
	return r
}

// ask sends a request to a handler and returns the status and the body, or the code of a refusal.
func ask(handler http.Handler, r *http.Request) string {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	var p handstamp.Problem
	if json.Unmarshal(w.Body.Bytes(), &p) == nil && p.Code != "" {
		return fmt.Sprint(w.Code, " ", p.Code)
	}
	return strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Body))
}

// hello is an application's handler.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if p, ok := handstamp.FromContext(r.Context()); ok {
		fmt.Fprintf(w, "hello, %s", p.User)
		return
	}
	fmt.Fprint(w, "hello, visitor")
})
