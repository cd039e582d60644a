package server_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/login/password"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/memory"
)

// The API and its pages below /auth of an application that has a router of its own.
func ExampleHandler() {
	const public = "http://localhost:8080"
	store := memory.New()
	auth, err := handstamp.Open(context.Background(), store, handstamp.Options{PublicURL: public, LoginURL: "/auth/login"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()
	passwords, err := password.Open(auth, store, password.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	h, err := server.Handler(auth, passwords.Accounts(), server.Options{
		PublicURL: public, Prefix: "/auth", Passwords: passwords, Audit: store.Audit(), Roles: store.Roles, HomeURL: "/",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", h)
	mux.Handle("/cart", auth.Require()(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := handstamp.FromContext(r.Context())
		fmt.Fprintln(w, "the cart of", p.User)
	})))

	// A browser without a session is sent to the sign-in page.
	r := httptest.NewRequest("GET", "/cart", nil)
	r.Header.Set("Accept", "text/html")
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, r)
	fmt.Println(answer.Code, answer.Header().Get("Location"))

	answer = httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest("GET", "/auth/login?return_to=%2Fcart", nil))
	fmt.Println(answer.Code, answer.Header().Get("Content-Type"))
	// Output:
	// 302 /auth/login?return_to=%2Fcart
	// 200 text/html; charset=utf-8
}
