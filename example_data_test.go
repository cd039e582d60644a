package handstamp_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/store/memory"
)

func ExampleData() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	cart := handstamp.NewData[[]string](auth, "cart") // once, beside the handlers

	p, err := auth.Verify(browse("POST", "/cart", logIn(auth, "ada")))
	fatal(err)
	fatal(cart.Set(ctx, p.Session, []string{"tea"}))
	items, ok, err := cart.Get(ctx, p.Session)
	fmt.Println(items, ok, err)

	fatal(cart.Delete(ctx, p.Session))
	_, ok, err = cart.Get(ctx, p.Session)
	fmt.Println(ok, err)

	_, err = auth.EndSession(ctx, p.Session, handstamp.EndOptions{})
	fatal(err)
	_, _, err = cart.Get(ctx, p.Session)
	fmt.Println(errors.Is(err, handstamp.ErrUnauthenticated))
	// Output:
	// [tea] true <nil>
	// false <nil>
	// true
}

// Requests that change the same value at the same moment lose nothing.
func ExampleData_Update() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	visits := handstamp.NewData[int](auth, "visits")
	p, err := auth.Verify(browse("GET", "/", logIn(auth, "ada")))
	fatal(err)

	done := make(chan error)
	for range 10 {
		go func() {
			done <- visits.Update(ctx, p.Session, func(n int) (int, error) { return n + 1, nil })
		}()
	}
	for range 10 {
		fatal(<-done)
	}
	n, _, err := visits.Get(ctx, p.Session)
	fmt.Println(n, err)
	// Output: 10 <nil>
}

// A message that is shown once.
func ExampleData_Pop() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	flash := handstamp.NewData[string](auth, "flash")
	p, err := auth.Verify(browse("GET", "/", logIn(auth, "ada")))
	fatal(err)
	fatal(flash.Set(ctx, p.Session, "saved"))
	message, ok, _ := flash.Pop(ctx, p.Session)
	fmt.Printf("%q %v\n", message, ok)
	message, ok, _ = flash.Pop(ctx, p.Session)
	fmt.Printf("%q %v\n", message, ok)
	// Output:
	// "saved" true
	// "" false
}

// All names and values of one session are 16 KiB at most.
func ExampleNewData() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	note := handstamp.NewData[string](auth, "note")
	p, err := auth.Verify(browse("GET", "/", logIn(auth, "ada")))
	fatal(err)
	err = note.Set(context.Background(), p.Session, strings.Repeat("x", 20_000))
	fmt.Println(errors.Is(err, handstamp.ErrDataTooLarge))
	fmt.Println(err)
	// Output:
	// true
	// handstamp: the session's data is too large: with "note" (20002 bytes) it would be more than 16384 bytes
}

// JSON has no map with structs as keys; gob has.
func ExampleGob() {
	type place struct{ Row, Column int }
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	board := handstamp.NewData[map[place]string](auth, "board", handstamp.Gob())
	p, err := auth.Verify(browse("GET", "/", logIn(auth, "ada")))
	fatal(err)
	fatal(board.Set(ctx, p.Session, map[place]string{{1, 2}: "queen"}))
	b, _, err := board.Get(ctx, p.Session)
	fmt.Println(b[place{1, 2}], err)
	// Output: queen <nil>
}

func ExampleCodec() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	size := handstamp.NewData[int](auth, "size", handstamp.Codec{Marshal: xml.Marshal, Unmarshal: xml.Unmarshal})
	p, err := auth.Verify(browse("GET", "/", logIn(auth, "ada")))
	fatal(err)
	fatal(size.Set(ctx, p.Session, 42))
	n, _, err := size.Get(ctx, p.Session)
	fmt.Println(n, err)
	// Output: 42 <nil>
}

// A visitor's cart comes along when the visitor logs in.
func ExampleAuth_Anonymous() {
	ctx := context.Background()
	auth := openAuth(memory.New(), handstamp.Options{Carry: []string{"cart"}})
	defer auth.Close()
	cart := handstamp.NewData[[]string](auth, "cart")

	visit := httptest.NewRecorder()
	session, err := auth.Anonymous(visit, browse("POST", "/cart"))
	fatal(err)
	fatal(cart.Set(ctx, session, []string{"tea"}))

	login := httptest.NewRecorder()
	proof, err := auth.Prove(ctx, "ada")
	fatal(err)
	grant, err := auth.Login(login, browse("POST", "/login", visit), proof)
	fatal(err)
	items, _, err := cart.Get(ctx, grant.Session.ID)
	fmt.Println(items, grant.Session.ID == session, err)
	// Output: [tea] false <nil>
}

// A page that shows what a visitor has begins no session for who has nothing.
func ExampleAuth_Visitor() {
	auth := openAuth(memory.New(), handstamp.Options{})
	defer auth.Close()
	_, ok, err := auth.Visitor(browse("GET", "/"))
	fmt.Println(ok, err)
	visit := httptest.NewRecorder()
	began, err := auth.Anonymous(visit, browse("POST", "/cart"))
	fatal(err)
	session, ok, err := auth.Visitor(browse("GET", "/", visit))
	fmt.Println(session == began, ok, err)
	// Output:
	// false <nil>
	// true true <nil>
}

// A session without a user logs nobody in, and a network may have only so many.
func ExampleAnonymousOptions() {
	auth := openAuth(memory.New(), handstamp.Options{
		Anonymous: handstamp.AnonymousOptions{IdleTimeout: 30 * time.Minute, MaxPerNetwork: 1},
	})
	defer auth.Close()
	visit := httptest.NewRecorder()
	session, err := auth.Anonymous(visit, browse("POST", "/cart"))
	fatal(err)
	fmt.Println(ask(auth.Require()(hello), browse("GET", "/", visit)))

	_, err = auth.Anonymous(httptest.NewRecorder(), browse("POST", "/cart")) // another browser, the same address
	fmt.Println(errors.Is(err, handstamp.ErrTooMany))

	s, err := auth.Session(context.Background(), session)
	fmt.Println(s.Mode == handstamp.ModeAnonymous, s.IdleTimeout, err)
	// Output:
	// 401 missing_credential
	// true
	// true 30m0s <nil>
}
