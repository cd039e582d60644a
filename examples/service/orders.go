package main

import (
	"errors"
	"slices"
	"sync"

	"github.com/handstamp/handstamp"
)

// order is what the service is about.
type order struct {
	ID       int              `json:"id"`
	Of       handstamp.UserID `json:"of"`
	What     string           `json:"what"`
	Refunded bool             `json:"refunded"`
}

// orders are all of them, in memory. They know users by their id, and nothing else of them.
type orders struct {
	mu      sync.Mutex
	all     []order
	changed chan struct{} // closed and replaced at every change
}

const maxOrders = 10_000

var (
	errNoOrder = errors.New("there is no such order")
	errFull    = errors.New("no more orders are taken")
	errWhat    = errors.New("an order is of something, in at most 200 bytes")
)

func newOrders() *orders { return &orders{changed: make(chan struct{})} }

// of lists the orders of one user, and answers a channel that is closed when any has changed.
func (o *orders) of(u handstamp.UserID) ([]order, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := []order{}
	for _, x := range o.all {
		if x.Of == u {
			list = append(list, x)
		}
	}
	return list, o.changed
}

func (o *orders) place(u handstamp.UserID, what string) (order, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case what == "" || len(what) > 200:
		return order{}, errWhat
	case len(o.all) >= maxOrders:
		return order{}, errFull
	}
	x := order{ID: len(o.all) + 1, Of: u, What: what}
	o.all = append(o.all, x)
	o.notify()
	return x, nil
}

func (o *orders) refund(id int) (order, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.all, func(x order) bool { return x.ID == id })
	if i < 0 {
		return order{}, errNoOrder
	}
	o.all[i].Refunded = true
	o.notify()
	return o.all[i], nil
}

func (o *orders) notify() {
	close(o.changed)
	o.changed = make(chan struct{})
}
