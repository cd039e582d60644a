package handstamp_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
)

type cart struct {
	Items []string
	Total int
}

// TestData: a value is there until it is deleted, with each codec, in every mode, on every store.
func TestData(t *testing.T) {
	for _, b := range backends() {
		for _, mode := range modes() {
			t.Run(b.name+"/"+string(mode), func(t *testing.T) {
				e := setup{store: b.open(t)}.open(t)
				g := e.start(t, "ada", mode)
				for name, d := range map[string]*handstamp.Data[cart]{
					"json": handstamp.NewData[cart](e.Auth, "json"),
					"gob":  handstamp.NewData[cart](e.Auth, "gob", handstamp.Gob()),
				} {
					if v, ok, err := d.Get(t.Context(), g.Session.ID); ok || err != nil || v.Total != 0 {
						t.Errorf("%s: before: %v %v %v", name, v, ok, err)
					}
					if err := d.Set(t.Context(), g.Session.ID, cart{Items: []string{name}, Total: 3}); err != nil {
						t.Fatal(err)
					}
					if mode == handstamp.ModeHybrid {
						e.clock.Advance(time.Minute)
						g = must[handstamp.Grant](t)(e.refresh(g))
					}
					if mode != handstamp.ModeToken {
						g = must[handstamp.Grant](t)(e.Renew(t.Context(), g.Session.ID, e.prove(t, "ada", mode)))
					}
					if v, ok, err := d.Get(t.Context(), g.Session.ID); !ok || err != nil || v.Total != 3 || v.Items[0] != name {
						t.Errorf("%s: after new secrets: %v %v %v", name, v, ok, err)
					}
					if v, ok, err := d.Pop(t.Context(), g.Session.ID); !ok || err != nil || v.Total != 3 {
						t.Errorf("%s: Pop = %v %v %v", name, v, ok, err)
					}
					if v, ok, err := d.Pop(t.Context(), g.Session.ID); ok || err != nil || v.Total != 0 {
						t.Errorf("%s: Pop once more = %v %v %v", name, v, ok, err)
					}
					if err := d.Delete(t.Context(), g.Session.ID); err != nil {
						t.Errorf("%s: Delete of nothing: %v", name, err)
					}
				}
			})
		}
	}
}

// TestDataOfTheDead: a session that is over has no data, whatever ended it, and nothing can be written to it.
func TestDataOfTheDead(t *testing.T) {
	for _, b := range backends() {
		for name, end := range map[string]func(e *engine, s handstamp.SessionID) error{
			"session": func(e *engine, s handstamp.SessionID) error {
				_, err := e.EndSession(context.Background(), s, handstamp.EndOptions{})
				return err
			},
			"user": func(e *engine, _ handstamp.SessionID) error {
				_, err := e.EndUser(context.Background(), "ada", handstamp.EndOptions{})
				return err
			},
			"all": func(e *engine, _ handstamp.SessionID) error {
				_, err := e.EndAll(context.Background(), handstamp.EndOptions{})
				return err
			},
			"idle":     func(e *engine, _ handstamp.SessionID) error { e.clock.Advance(25 * time.Hour); return nil },
			"absolute": func(e *engine, _ handstamp.SessionID) error { e.clock.Advance(721 * time.Hour); return nil },
		} {
			t.Run(b.name+"/"+name, func(t *testing.T) {
				e := setup{store: b.open(t)}.open(t)
				g := e.start(t, "ada", handstamp.ModeSession)
				d := handstamp.NewData[int](e.Auth, "n")
				if err := d.Set(t.Context(), g.Session.ID, 1); err != nil {
					t.Fatal(err)
				}
				if err := end(e, g.Session.ID); err != nil {
					t.Fatal(err)
				}
				called := false
				_, _, get := d.Get(t.Context(), g.Session.ID)
				_, _, pop := d.Pop(t.Context(), g.Session.ID)
				for what, err := range map[string]error{
					"Get": get, "Pop": pop, "Set": d.Set(t.Context(), g.Session.ID, 2), "Delete": d.Delete(t.Context(), g.Session.ID),
					"Update": d.Update(t.Context(), g.Session.ID, func(n int) (int, error) { called = true; return n, nil }),
				} {
					if !errors.Is(err, handstamp.ErrUnauthenticated) {
						t.Errorf("%s = %v", what, err)
					}
				}
				if called {
					t.Error("Update showed the data of a dead session")
				}
			})
		}
	}
	e := newEngine(t, nil)
	_, _, err := handstamp.NewData[int](e.Auth, "n").Get(t.Context(), id.NewSession(time.Now()))
	wantReason(t, err, handstamp.ReasonInvalid)
}

// TestDataUnwrittenActivity: activity that is not written yet keeps the data readable and writable, as it keeps the session.
func TestDataUnwrittenActivity(t *testing.T) {
	e := newEngine(t, nil)
	e.store.set(func(op string, call func() error) error {
		if op == "Touch" {
			return errDown
		}
		return call()
	})
	g := e.start(t, "ada", handstamp.ModeSession)
	d := handstamp.NewData[int](e.Auth, "n")
	e.clock.Advance(23 * time.Hour)
	must[handstamp.Principal](t)(e.verify(g))
	e.clock.Advance(23 * time.Hour)
	if err := d.Set(t.Context(), g.Session.ID, 7); err != nil {
		t.Error(err)
	}
	if n, ok, err := d.Get(t.Context(), g.Session.ID); n != 7 || !ok || err != nil {
		t.Errorf("%d %v %v", n, ok, err)
	}
}

// TestDataAtOnce: two hundred requests that each change another name, and fifty that change the same one: nothing is lost.
func TestDataAtOnce(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t)}.open(t)
			g := e.start(t, "ada", handstamp.ModeSession)
			var all sync.WaitGroup
			for i := range 200 {
				all.Go(func() {
					d := handstamp.NewData[int](e.Auth, fmt.Sprintf("n%d", i))
					if err := d.Update(t.Context(), g.Session.ID, func(n int) (int, error) { return n + i, nil }); err != nil {
						t.Error(err)
					}
				})
			}
			one := handstamp.NewData[[]int](e.Auth, "one")
			for i := range 50 {
				all.Go(func() {
					if err := one.Update(t.Context(), g.Session.ID, func(n []int) ([]int, error) { return append(n, i), nil }); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			for i := range 200 {
				if n, ok, err := handstamp.NewData[int](e.Auth, fmt.Sprintf("n%d", i)).Get(t.Context(), g.Session.ID); n != i || !ok || err != nil {
					t.Errorf("n%d = %d %v %v", i, n, ok, err)
				}
			}
			if list, _, err := one.Get(t.Context(), g.Session.ID); len(list) != 50 || err != nil {
				t.Errorf("%d of 50 changes of one name are there: %v", len(list), err)
			}
			// Fifty pops of one message: one gets it.
			flash := handstamp.NewData[string](e.Auth, "flash")
			if err := flash.Set(t.Context(), g.Session.ID, "saved"); err != nil {
				t.Fatal(err)
			}
			var got atomic.Int32
			for range 50 {
				all.Go(func() {
					if _, ok, err := flash.Pop(t.Context(), g.Session.ID); err != nil {
						t.Error(err)
					} else if ok {
						got.Add(1)
					}
				})
			}
			all.Wait()
			if got.Load() != 1 {
				t.Errorf("the message was shown %d times", got.Load())
			}
		})
	}
}

// TestDataEndsMidway: once an end is acknowledged, nothing more is written, by however many writers.
func TestDataEndsMidway(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t)}.open(t)
			g := e.start(t, "ada", handstamp.ModeSession)
			var all sync.WaitGroup
			var ended atomic.Bool
			var writes atomic.Int32
			enough := make(chan struct{})
			for i := range 50 {
				all.Go(func() {
					d := handstamp.NewData[int](e.Auth, fmt.Sprintf("n%d", i%10))
					for {
						late := ended.Load()
						err := d.Update(t.Context(), g.Session.ID, func(n int) (int, error) { return n + 1, nil })
						if err != nil {
							if !errors.Is(err, handstamp.ErrUnauthenticated) {
								t.Error(err)
							}
							return
						}
						if writes.Add(1) == 20 {
							close(enough)
						}
						if late {
							t.Error("a change that began after the end was written")
							return
						}
					}
				})
			}
			all.Go(func() {
				<-enough
				must[handstamp.Ended](t)(e.EndSession(t.Context(), g.Session.ID, handstamp.EndOptions{}))
				ended.Store(true)
			})
			all.Wait()
		})
	}
}

// TestDataBadInput: what cannot be is named, and nothing is half-written.
func TestDataBadInput(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			e := setup{store: b.open(t)}.open(t)
			s := e.start(t, "ada", handstamp.ModeSession).Session.ID
			for _, name := range []string{"", "a b", "ä", "a\x00", strings.Repeat("n", 65)} {
				d := handstamp.NewData[int](e.Auth, name)
				_, _, get := d.Get(t.Context(), s)
				for _, err := range []error{get, d.Set(t.Context(), s, 1), d.Delete(t.Context(), s)} {
					if err == nil || errors.Is(err, handstamp.ErrUnauthenticated) {
						t.Errorf("the name %q: %v", name, err)
					}
				}
			}
			text := handstamp.NewData[string](e.Auth, "text")
			if err := text.Set(t.Context(), s, "before"); err != nil {
				t.Fatal(err)
			}
			fits := 16<<10 - len("text") - 2 // quotes
			if err := text.Set(t.Context(), s, strings.Repeat("x", fits)); err != nil {
				t.Errorf("exactly 16 KiB: %v", err)
			}
			err := text.Set(t.Context(), s, strings.Repeat("x", fits+1))
			if !errors.Is(err, handstamp.ErrDataTooLarge) || !strings.Contains(err.Error(), `"text"`) {
				t.Errorf("one byte more: %v", err)
			}
			if err := handstamp.NewData[int](e.Auth, "n").Set(t.Context(), s, 1); !errors.Is(err, handstamp.ErrDataTooLarge) {
				t.Errorf("another name beside it: %v", err)
			}
			if v, _, _ := text.Get(t.Context(), s); len(v) != fits {
				t.Errorf("%d bytes are there", len(v))
			}
			if err := handstamp.NewData[float64](e.Auth, "nan").Set(t.Context(), s, math.NaN()); err == nil || !strings.Contains(err.Error(), `"nan"`) {
				t.Errorf("a codec that fails: %v", err)
			}
			number := handstamp.NewData[int](e.Auth, "text")
			if _, _, err := number.Get(t.Context(), s); err == nil || !strings.Contains(err.Error(), `"text"`) || errors.Is(err, handstamp.ErrUnauthenticated) {
				t.Errorf("another type: %v", err)
			}
			if _, _, err := number.Pop(t.Context(), s); err == nil {
				t.Error("Pop of another type says nothing")
			}
			if v, ok, _ := text.Get(t.Context(), s); !ok || len(v) != fits {
				t.Error("a Pop that failed took the value away")
			}
			mine := errors.New("mine")
			if err := text.Update(t.Context(), s, func(string) (string, error) { return "", mine }); !errors.Is(err, mine) {
				t.Errorf("Update = %v", err)
			}
			none := handstamp.Codec{Marshal: func(any) ([]byte, error) { return nil, nil }}
			if err := handstamp.NewData[int](e.Auth, "none", none).Set(t.Context(), s, 1); err == nil {
				t.Error("a codec that writes nothing is taken")
			}
			e.store.set(func(string, func() error) error { return errDown })
			_, _, err = text.Get(t.Context(), s)
			wantVerdict(t, err, "don't know")
			puts := 0
			e.store.set(func(op string, call func() error) error {
				if op == "Put" {
					puts++
					return errDown
				}
				return call()
			})
			wantVerdict(t, text.Set(t.Context(), s, "x"), "don't know")
			if puts != 1 {
				t.Errorf("a write that failed was tried %d times: it may have happened", puts)
			}
		})
	}
}
