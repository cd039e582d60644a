package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/memory"
)

// A WebSocket, an event stream or a long job ends with the session that it belongs to.
func ExampleVerifier_Guard() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	p, err := auth.Verify(browse("GET", "/chat", logIn(auth, "ada")))
	fatal(err)

	connection, cancel := auth.Guard(ctx, p)
	defer cancel()
	fmt.Println(connection.Err())
	_, err = auth.EndUser(ctx, "ada", handstamp.EndOptions{})
	fatal(err)
	<-connection.Done()
	reason, _ := handstamp.ReasonOf(context.Cause(connection))
	fmt.Println(reason == handstamp.ReasonRevoked)
	// Output:
	// <nil>
	// true
}

// A worker that acts for somebody an hour later asks whether it still may.
func ExampleVerifier_Alive() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	p, err := auth.Verify(browse("POST", "/exports", logIn(auth, "ada", "reports:read")))
	fatal(err)
	job := p.Session // what the queue keeps: an id, no secret

	p, err = auth.Alive(ctx, job)
	fmt.Println(p.User, p.May("reports:read"), err)
	_, err = auth.EndSession(ctx, job, handstamp.EndOptions{})
	fatal(err)
	_, err = auth.Alive(ctx, job)
	fmt.Println(errors.Is(err, handstamp.ErrUnauthenticated))
	// Output:
	// ada true <nil>
	// true
}

// An open connection is no activity; a message on it is.
func ExampleVerifier_Active() {
	ctx := context.Background()
	clock := newClock()
	auth := openAuth(memory.New(), handstamp.Options{Now: clock.Now, Session: handstamp.SessionOptions{IdleTimeout: time.Hour}})
	defer auth.Close()
	p, err := auth.Verify(browse("GET", "/chat", logIn(auth, "ada")))
	fatal(err)
	_, cancel := auth.Guard(ctx, p)
	defer cancel()

	clock.Advance(50 * time.Minute)
	auth.Active(p) // for each message
	clock.Advance(50 * time.Minute)
	_, err = auth.Alive(ctx, p.Session)
	fmt.Println(err)
	// Output: <nil>
}
