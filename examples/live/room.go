package main

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/handstamp/handstamp"
)

// room passes messages on to everybody who is in it. It never waits for anybody: who reads too slowly is dropped.
type room struct {
	mu      sync.Mutex
	members map[*member]struct{}
	last    [][]byte // the latest messages, for who comes later
}

// member is one connection. A user may have several.
type member struct {
	user handstamp.UserID
	out  chan []byte // JSON of message; closed when the member is dropped
	left bool
}

// message is what goes to clients.
type message struct {
	Kind string             `json:"kind"` // say, clear, here or note
	From handstamp.UserID   `json:"from,omitempty"`
	Text string             `json:"text,omitempty"`
	Here []handstamp.UserID `json:"here,omitempty"`
}

// json of a message cannot fail: it is made of texts.
func (m message) json() []byte {
	b, _ := json.Marshal(m)
	return b
}

const (
	maxLast       = 50
	maxWaiting    = maxLast + 50 // messages that wait for one slow reader
	maxPerUser    = 20           // connections
	maxTextLength = 1000
)

var errTooMany = errors.New("too many connections of this user")

func newRoom() *room { return &room{members: map[*member]struct{}{}} }

// join adds a connection, and tells everybody who is here.
func (r *room) join(user handstamp.UserID) (*member, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for m := range r.members {
		if m.user == user {
			n++
		}
	}
	if n >= maxPerUser {
		return nil, errTooMany
	}
	m := &member{user: user, out: make(chan []byte, maxWaiting)}
	for _, b := range r.last {
		m.out <- b
	}
	r.members[m] = struct{}{}
	r.tellHere()
	return m, nil
}

// leave takes a connection out. It may be called again.
func (r *room) leave(m *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.left {
		return
	}
	m.left = true
	if _, in := r.members[m]; in { // or it was dropped
		r.drop(m)
	}
	r.tellHere()
}

// say passes a message on.
func (r *room) say(from handstamp.UserID, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := message{Kind: "say", From: from, Text: text}.json()
	if len(r.last) == maxLast {
		r.last = slices.Delete(r.last, 0, 1)
	}
	r.last = append(r.last, b)
	r.tell(b)
}

// clear forgets what was said.
func (r *room) clear(by handstamp.UserID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = nil
	r.tell(message{Kind: "clear", From: by}.json())
}

// note tells one connection something.
func (r *room) note(m *member, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, in := r.members[m]; in {
		r.give(m, message{Kind: "note", Text: text}.json())
	}
}

func (r *room) tellHere() {
	here := []handstamp.UserID{}
	for m := range r.members {
		here = append(here, m.user)
	}
	slices.Sort(here)
	r.tell(message{Kind: "here", Here: slices.Compact(here)}.json())
}

func (r *room) tell(b []byte) {
	for m := range r.members {
		r.give(m, b)
	}
}

func (r *room) give(m *member, b []byte) {
	select {
	case m.out <- b:
	default:
		r.drop(m) // the others do not wait for it
	}
}

func (r *room) drop(m *member) {
	delete(r.members, m)
	close(m.out)
}
