package forwardauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/forwardauth"
	"github.com/handstamp/handstamp/store/memory"
)

// An application that has its own log-in lets a proxy ask about requests for other programs behind the same proxy.
func Example() {
	ctx := context.Background()
	auth, err := handstamp.Open(ctx, memory.New(), handstamp.Options{PublicURL: "http://localhost:8080"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()

	check, err := forwardauth.New(auth, forwardauth.Options{
		LoginURL: "http://localhost:8080/login",
		Headers:  map[string]string{"Handstamp-User": "Remote-User"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/check", check)

	// Somebody logged in a moment ago.
	proof, err := auth.Prove(ctx, "ada")
	if err != nil {
		fmt.Println(err)
		return
	}
	proof.Transport = handstamp.TransportBearer
	grant, err := auth.Start(ctx, proof)
	if err != nil {
		fmt.Println(err)
		return
	}

	// This is what the proxy sends for a request of theirs, and for one of nobody.
	ask := httptest.NewRequest("GET", "/check", nil)
	ask.Header.Set("Authorization", "Bearer "+grant.AccessToken.Reveal())
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, ask)
	fmt.Println(answer.Code, answer.Header().Get("Remote-User"))

	answer = httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest("GET", "/check", nil))
	fmt.Println(answer.Code)
	// Output:
	// 200 ada
	// 401
}
