// Command migrate runs one shop in two versions, one after the other on the same database: before (scs and golang-jwt)
// and after (Handstamp). Log in on the first, put something into the cart, stop it, start the second: you are still
// logged in, and the cart is still full.
//
//	go run . before
//	go run . after
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/handstamp/handstamp/examples/migrate/after"
	"github.com/handstamp/handstamp/examples/migrate/before"
	"github.com/handstamp/handstamp/examples/migrate/shop"
)

const (
	file      = "shop.db"
	addr      = "localhost:3000"
	publicURL = "http://" + addr
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// app is what both versions are to this program.
type app interface {
	Handler() http.Handler
	io.Closer
}

func run() (err error) {
	if len(os.Args) != 2 || os.Args[1] != "before" && os.Args[1] != "after" {
		return errors.New("say which version to run: before or after")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s, err := shop.Open(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.AddUser(ctx, "ada@example.com", "correct horse battery"); err != nil {
		log.Print("ada@example.com is there already")
	}
	// An example's secrets are in its source. Yours are not: they come from where the rest of your configuration does.
	key, secret := sha256.Sum256([]byte("example: the key of the tokens")), sha256.Sum256([]byte("example: the secret of Handstamp"))
	var a app
	if os.Args[1] == "before" {
		a, err = before.Open(ctx, s, key[:])
	} else {
		a, err = after.Open(ctx, s, file, publicURL, secret[:], key[:])
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	srv := &http.Server{Addr: addr, Handler: a.Handler(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	fmt.Println(publicURL, "- ada@example.com, correct horse battery")
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
