package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/handstamp/handstamp"
)

func valueIndependent(t *testing.T, s SessionStore) {
	const writers = 200
	r := begin(t, s, ada, 0)
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			if err := tryPut(t, s, write(r, fmt.Sprint("name", n), fmt.Sprint("value ", n), 0, uint64(n+1))); err != nil {
				t.Errorf("writer %d = %v, want no error: nobody else writes this name", n, err)
			}
		})
	}
	all.Wait()
	for n := range writers {
		holds(t, s, r, fmt.Sprint("name", n), fmt.Sprint("value ", n), uint64(n+1))
	}
}

func valueOnce(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	set(t, s, r, "cart", "before", 0, 1)
	won := race(t, func(n int) error { return tryPut(t, s, write(r, "cart", fmt.Sprint("racer ", n), 1, uint64(n+2))) })
	if len(won) != 1 {
		t.Fatalf("%d writers of one version won, want 1", len(won))
	}
	holds(t, s, r, "cart", fmt.Sprint("racer ", won[0]), uint64(won[0]+2))
}

// counters count in one value of a session. Its versions are given out by next, so that none comes twice.
type counters struct {
	t    testing.TB
	at   func(n int) SessionStore // the store that a counter uses
	r    handstamp.Session
	next atomic.Uint64
}

// try adds one to the value as it is. A conflict means that somebody else was faster, or that the session is over.
func (c *counters) try(n int) error {
	values := valuesOf(c.t, c.at(n))
	d, _, err := values.Get(c.t.Context(), c.r.ID, "counter")
	if err != nil {
		return err
	}
	count := 0
	if d.Version != 0 {
		if count, err = strconv.Atoi(string(d.Data)); err != nil {
			return err
		}
	}
	return values.Put(c.t.Context(), write(c.r, "counter", strconv.Itoa(count+1), d.Version, c.next.Add(1)))
}

// count has every one of fifty count to n.
func (c *counters) count(n int) {
	for _, err := range raceErrors(func(racer int) error {
		for done := 0; done < n; {
			switch err := c.try(racer); {
			case err == nil:
				done++
			case !errors.Is(err, handstamp.ErrConflict):
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			c.t.Errorf("a counter = %v, want only conflicts", err)
		}
	}
	if got := string(get(c.t, c.at(0), c.r, "counter").Data); got != strconv.Itoa(racers*n) {
		c.t.Errorf("%d who counted to %d together counted to %s", racers, n, got)
	}
}

func valueCounter(t *testing.T, s SessionStore) {
	c := &counters{t: t, at: func(int) SessionStore { return s }, r: begin(t, s, ada, 0)}
	c.count(5)
}

// valueEnded ends a session while fifty count in it. Each goes on until it has tried once after the end was committed.
func valueEnded(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	c := &counters{t: t, at: func(int) SessionStore { return s }, r: r}
	endsWhile(t, c, func() { add(t, s, endSession(r, 1)) })
}

func endsWhile(t testing.TB, c *counters, end func()) {
	t.Helper()
	var done atomic.Int64
	var ended atomic.Bool
	enough := make(chan struct{})
	failed := make(chan []error, 1)
	go func() {
		failed <- raceErrors(func(n int) error {
			for {
				after := ended.Load()
				err := c.try(n)
				switch {
				case err != nil && !errors.Is(err, handstamp.ErrConflict):
					return err
				case after && err == nil:
					return errors.New("a write went through that began after the end was committed")
				case after:
					return nil
				case err == nil && done.Add(1) == 2*racers:
					close(enough)
				}
			}
		})
	}()
	<-enough
	end()
	ended.Store(true)
	before := get(t, c.at(0), c.r, "counter")
	for _, err := range <-failed {
		if err != nil {
			t.Errorf("a counter = %v", err)
		}
	}
	same(t, "the value long after the end", get(t, c.at(0), c.r, "counter"), before)
}

// valueSnapshot reads while somebody spares the session again and again; see oneSnapshot.
func valueSnapshot(t *testing.T, s SessionStore) {
	r := begin(t, s, ada, 0)
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() {
		for range 50 {
			err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				_, err := addIn(t.Context(), tx, sparing(endUser(ada, 1), r))
				return err
			})
			if err != nil {
				t.Errorf("Do = %v", err)
				return
			}
		}
	})
	for range 200 {
		_, f, err := valuesOf(t, s).Get(t.Context(), r.ID, "cart")
		if err != nil || f.Session.Stamp != f.Subject.Ended || f.Subject.Head < f.Subject.Ended {
			t.Errorf("stamp %d, ended %d, head %d (%v): not from one snapshot", f.Session.Stamp, f.Subject.Ended, f.Subject.Head, err)
			return
		}
	}
}
