package storetest

import (
	"errors"
	"fmt"
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

// counters count in one value of a session. Its versions are given out by next, so that none comes twice, and the value
// says beside the count in which version it was written.
type counters struct {
	t    testing.TB
	s    SessionStore
	r    handstamp.Session
	next atomic.Uint64
}

// try adds one to the value as it is. A conflict means that somebody else was faster, or that the session is over.
func (c *counters) try() error {
	values := valuesOf(c.t, c.s)
	d, _, err := values.Get(c.t.Context(), c.r.ID, "counter")
	if err != nil {
		return err
	}
	count := 0
	if d.Version != 0 {
		if count, err = counted(d); err != nil {
			return err
		}
	}
	to := c.next.Add(1)
	return values.Put(c.t.Context(), write(c.r, "counter", fmt.Sprint(count+1, to), d.Version, to))
}

// count has every one of fifty count to n.
func (c *counters) count(n int) {
	for _, err := range raceErrors(func(int) error {
		for done := 0; done < n; {
			switch err := c.try(); {
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
	got, err := counted(get(c.t, c.s, c.r, "counter"))
	if err != nil || got != racers*n {
		c.t.Errorf("%d who counted to %d together counted to %d (%v)", racers, n, got, err)
	}
}

func counted(d handstamp.Datum) (count int, err error) {
	count, version := 0, uint64(0)
	_, err = fmt.Sscan(string(d.Data), &count, &version)
	return count, err
}

func valueCounter(t *testing.T, s SessionStore) {
	c := &counters{t: t, s: s, r: begin(t, s, ada, 0)}
	c.count(5)
}

// valueEnded ends a session while fifty count in it. Each goes on until it has tried once after the end was committed. The
// unit that ends the session also copies the value: that is how it was when the end happened, and so it must stay.
func valueEnded(t *testing.T, s SessionStore) {
	r, witness := begin(t, s, ada, 0), begin(t, s, ada, 1)
	c := &counters{t: t, s: s, r: r}
	var tries atomic.Int64
	var ended atomic.Bool
	enough, failed := make(chan struct{}), make(chan []error, 1)
	go func() {
		failed <- raceErrors(func(int) error {
			for {
				after := ended.Load()
				err := c.try()
				if tries.Add(1) == 5*racers { // not at a success: just then all the others are about to fail
					close(enough)
				}
				switch {
				case err != nil && !errors.Is(err, handstamp.ErrConflict):
					return err
				case after && err == nil:
					return errors.New("a write went through that began after the end was committed")
				case after:
					return nil
				}
			}
		})
	}()
	<-enough
	unit(t, s, func(tx handstamp.Tx) error {
		if err := putIn(t.Context(), tx, r); err != nil { // which locks the record
			return err
		}
		if err := carryIn(t.Context(), tx, r.ID, witness.ID, "counter"); err != nil {
			return err
		}
		_, err := addIn(t.Context(), tx, endSession(r, 1))
		return err
	})
	ended.Store(true)
	for _, err := range <-failed {
		if err != nil {
			t.Errorf("a counter = %v", err)
		}
	}
	if got, want := get(t, s, r, "counter").Data, get(t, s, witness, "counter").Data; string(got) != string(want) {
		t.Errorf("the value is %s, and was %s when the session ended", got, want)
	}
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
