package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/jwt"
)

// publisher is a server of key sets without sockets, whose answers a test chooses.
type publisher struct {
	mu     sync.Mutex
	asked  int
	set    jwt.PublicSet
	answer func(w http.ResponseWriter, r *http.Request) // instead of the set
}

func (p *publisher) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.asked++
	answer, set := p.answer, p.set
	p.mu.Unlock()
	w := &answerWriter{header: http.Header{}}
	if answer != nil {
		answer(w, r)
	} else {
		w.header.Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(set)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.response(r), nil
}

func (p *publisher) count() int { p.mu.Lock(); defer p.mu.Unlock(); return p.asked }

func (p *publisher) say(answer func(w http.ResponseWriter, r *http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *publisher) publish(keys ...jwt.PublicKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set = jwt.NewPublicSet(keys...)
}

func newPublicKey(t testing.TB) jwt.PublicKey {
	t.Helper()
	k, err := jwt.Generate(jwt.ES256)
	if err != nil {
		t.Fatal(err)
	}
	public, ok := k.Public()
	if !ok {
		t.Fatal("no public key")
	}
	return public
}

func ringOf(p *publisher) *keys {
	key, err := newSecret(exampleKey)
	if err != nil {
		panic(err)
	}
	return newKeys(newClient([]string{"https://auth.test"}, key, p), time.Now)
}

// TestF42_UnknownKeyIDs: ten thousand made-up key ids cause a handful of reads, and then one every 30 s; nothing grows
// with them, and a key that is really new is found.
func TestF42_UnknownKeyIDs(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		first, next := newPublicKey(t), newPublicKey(t)
		p := &publisher{}
		p.publish(first)
		k := ringOf(p)
		if err := k.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 10_000 {
			if _, ok := k.Issued(fmt.Sprintf("made-up-%d", i)); ok {
				t.Fatal("a made-up key is known")
			}
			if err := k.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := p.count(); n > 1+spareFirst {
			t.Errorf("%d reads for 10,000 made-up ids at once, want %d", n, 1+spareFirst)
		}
		before := p.count()
		for i := range 600 { // ten minutes
			_, _ = k.Issued(fmt.Sprintf("later-%d", i))
			_ = k.Reload(t.Context())
			time.Sleep(time.Second)
		}
		// One every 30 s; those that are due anyway are among them or beside them.
		if n := p.count() - before; n > 10*60/30+10*60/150+1 {
			t.Errorf("%d reads in ten minutes of made-up ids", n)
		}
		k.mu.Lock()
		if len(k.wanted) > maxStrangers || len(k.strangers) > maxStrangers {
			t.Errorf("%d ids wanted, %d remembered", len(k.wanted), len(k.strangers))
		}
		k.mu.Unlock()
		p.publish(first, next)
		began := time.Now()
		for i := 0; ; i++ {
			_, _ = k.Issued(fmt.Sprintf("flood-%d", i))
			if _, ok := k.Issued(next.ID()); ok {
				break
			}
			_ = k.Reload(t.Context())
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took > 31*time.Second {
			t.Errorf("the next key was found after %v", took)
		}
	})
}

// TestD32_KnownStranger: an id that was looked for in vain causes no second read, so a client that goes on with a token of
// yesterday uses nothing up.
func TestD32_KnownStranger(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		p := &publisher{}
		p.publish(newPublicKey(t))
		k := ringOf(p)
		_ = k.Reload(t.Context())
		for range 100 {
			_, _ = k.Issued("yesterday")
			if err := k.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := p.count(); n != 2 {
			t.Errorf("%d reads, want 2", n)
		}
	})
}

// TestD32_SingleFlight: however many need the keys at once, they are read once.
func TestD32_SingleFlight(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		p := &publisher{}
		p.publish(newPublicKey(t))
		p.say(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(p.set)
		})
		k := ringOf(p)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if err := k.Reload(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := p.count(); n != 1 {
			t.Errorf("%d reads, want 1", n)
		}
	})
}

// TestD32_Refresh: the keys are read again at half of their age, and at once after an event about one.
func TestD32_Refresh(t *testing.T) {
	bubbletest.Test(t, func(t *testing.T) {
		old, next := newPublicKey(t), newPublicKey(t)
		p := &publisher{}
		p.publish(old)
		k := ringOf(p)
		_ = k.Reload(t.Context())
		for range 10 { // every 30 s
			time.Sleep(30 * time.Second)
			_ = k.Reload(t.Context())
		}
		if n := p.count(); n != 3 {
			t.Errorf("%d reads in five minutes, want 3", n)
		}
		p.publish(next)
		_ = k.Reload(t.Context())
		if _, ok := k.Issued(next.ID()); ok {
			t.Error("read though nothing was due")
		}
		k.doubt()
		_ = k.Reload(t.Context())
		if _, ok := k.Issued(next.ID()); !ok {
			t.Error("not read after an event")
		}
		if _, revoked := k.Revoked(next.ID()); revoked {
			t.Error("a key that is published is called revoked")
		}
		if _, ok := k.Issued(old.ID()); !ok {
			t.Error("what the key that is gone signed cannot be recognised")
		}
		if _, revoked := k.Revoked(old.ID()); !revoked {
			t.Error("a key that is gone is not called revoked")
		}
		time.Sleep(goneFor)
		if _, ok := k.Issued(old.ID()); ok {
			t.Error("a key that is gone is remembered for ever")
		}
	})
}

// TestF42_Outage: while no keys can be read, whatever the reason, those at hand go on for a day, the server is asked rarely,
// and a key that is not known is "don't know".
func TestF42_Outage(t *testing.T) {
	big := strings.Repeat(" ", 10<<20)
	text := func(status int, media, body string) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"500":             text(500, "application/json", `{"keys":[]}`),
		"404":             text(404, "text/html", "<html>"),
		"302":             text(302, "text/html", ""),
		"wrong type":      text(200, "text/html", `{"keys":[]}`),
		"10 MB":           text(200, "application/json", `{"keys":[]`+big+`}`),
		"empty":           text(200, "application/json", ``),
		"garbage":         text(200, "application/json", `{"keys":{}}`),
		"no keys":         text(200, "application/json", `{"keys":[]}`),
		"a secret in it":  text(200, "application/json", `{"keys":[{"kty":"oct","k":"AAAA","kid":"x","alg":"HS256"}]}`),
		"never answering": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			bubbletest.Test(t, func(t *testing.T) {
				known := newPublicKey(t)
				p := &publisher{}
				p.publish(known)
				k := ringOf(p)
				if err := k.Reload(t.Context()); err != nil {
					t.Fatal(err)
				}
				p.say(answer)
				time.Sleep(youngFor)
				began := time.Now()
				if err := k.Reload(t.Context()); err == nil {
					t.Fatal("no error")
				}
				if took := time.Since(began); took > keysTimeout {
					t.Errorf("it took %v", took)
				}
				before := p.count()
				for i := range 1000 {
					_, _ = k.Issued(fmt.Sprint(i))
					if err := k.Reload(t.Context()); err == nil {
						t.Fatal("an unknown key is a no while the keys cannot be read")
					}
				}
				if n := p.count() - before; n > spareFirst+1 {
					t.Errorf("%d reads", n)
				}
				time.Sleep(23 * time.Hour)
				if _, ok := k.Issued(known.ID()); !ok {
					t.Error("the key at hand is gone")
				}
				time.Sleep(time.Hour)
				if _, ok := k.Issued(known.ID()); ok {
					t.Error("the key at hand is used for ever")
				}
				p.say(nil)
				time.Sleep(spareEvery)
				if err := k.Reload(t.Context()); err != nil {
					t.Errorf("afterwards: %v", err)
				}
				if _, ok := k.Issued(known.ID()); !ok {
					t.Error("afterwards the key is not known")
				}
			})
		})
	}
}

// TestKeysNeverShowTheServiceKey: the set is public, and who serves it is told nothing.
func TestKeysNeverShowTheServiceKey(t *testing.T) {
	var shown atomic.Bool
	p := &publisher{}
	p.publish(newPublicKey(t))
	p.say(func(w http.ResponseWriter, r *http.Request) {
		shown.Store(r.Header.Get("Authorization") != "")
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_ = json.NewEncoder(w).Encode(p.set)
	})
	if err := ringOf(p).Reload(t.Context()); err != nil || shown.Load() {
		t.Errorf("%v, shown: %v", err, shown.Load())
	}
}

// TestKeysConcurrently is for the race detector.
func TestKeysConcurrently(t *testing.T) {
	p := &publisher{}
	a, b := newPublicKey(t), newPublicKey(t)
	p.publish(a, b)
	k := ringOf(p)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 200 {
				_, _ = k.Issued(fmt.Sprintf("%d-%d", i, j))
				_, _ = k.Issued(a.ID())
				_, _ = k.Revoked(b.ID())
				if j%20 == 0 {
					k.doubt()
					p.publish(a)
				}
				if err := k.Reload(t.Context()); err != nil && !errors.Is(err, t.Context().Err()) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if _, ok := k.Issued(a.ID()); !ok {
		t.Error("the key is not known")
	}
}
