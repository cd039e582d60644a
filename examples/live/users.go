package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/handstamp/handstamp"
	"golang.org/x/crypto/bcrypt"
)

// users is the application's own table: here in memory, with one password for all.
type users struct {
	of    map[handstamp.UserID]user
	busy  chan struct{} // how many passwords are checked at once: each takes a processor
	dummy string
}

type user struct {
	hash        string
	permissions []string
}

// hash is of "correct horse battery".
const hash = "$2a$10$YMHGrPZrxHdYtZfmCo8hW.aZf.7lmsyN0RPCAncYf.pPP6aNmvzvq"

func newUsers() *users {
	return &users{busy: make(chan struct{}, 2), dummy: hash, of: map[handstamp.UserID]user{
		"ada": {hash: hash, permissions: []string{"chat:admin", "chat:clear"}},
		"bob": {hash: hash},
		"eve": {hash: hash},
	}}
}

var errWrong = errors.New("wrong name or password")

// check answers nil, errWrong, or that it was given up to wait. Somebody who does not exist takes as long as somebody who
// does. An application for the public also limits guesses for each name; package login does that.
func (u *users) check(ctx context.Context, name handstamp.UserID, password string) error {
	select {
	case u.busy <- struct{}{}:
		defer func() { <-u.busy }()
	case <-ctx.Done():
		return fmt.Errorf("wait to check a password: %w", ctx.Err())
	}
	found, ok := u.of[name]
	if !ok {
		found.hash = u.dummy
	}
	if err := bcrypt.CompareHashAndPassword([]byte(found.hash), []byte(password)); err != nil || !ok {
		return errWrong
	}
	return nil
}

// permissions is Options.Permissions.
func (u *users) permissions(_ context.Context, name handstamp.UserID) (handstamp.Grants, error) {
	return handstamp.Grants{Permissions: u.of[name].permissions}, nil
}
