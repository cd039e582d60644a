package handstamp_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/bubbletest"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
)

// BenchmarkVerify is a check by form and store: asked of the store or checked by its signature, and remembered.
func BenchmarkVerify(b *testing.B) {
	for _, s := range backends() {
		for _, mode := range modes() {
			for _, a := range algorithms() {
				if mode == handstamp.ModeSession && a != jwt.ES256 {
					continue
				}
				name := s.name + "/" + string(mode)
				if mode != handstamp.ModeSession {
					name += "/" + string(a)
				}
				for how, bytes := range map[string]int64{"asked": -1, "remembered": 1 << 20} {
					b.Run(name+"/"+how, func(b *testing.B) { benchmarkVerify(b, s, mode, a, bytes) })
				}
			}
		}
	}
}

func benchmarkVerify(b *testing.B, s backing, mode handstamp.Mode, a jwt.Algorithm, bytes int64) {
	e := setup{
		store: s.open(b), keys: func(o *keyring.Options) { o.Algorithm = a },
		change: func(o *handstamp.Options) { o.CacheBytes = bytes },
	}.open(b)
	text := e.start(b, "ada", mode).AccessToken.Reveal()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.VerifyToken(b.Context(), text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefresh(b *testing.B) {
	for _, s := range backends() {
		b.Run(s.name, func(b *testing.B) {
			e := setup{store: s.open(b)}.open(b)
			g := e.start(b, "ada", handstamp.ModeHybrid)
			b.ReportAllocs()
			for b.Loop() {
				next, err := e.refresh(g)
				if err != nil {
					b.Fatal(err)
				}
				g = next
			}
		})
	}
}

func BenchmarkStart(b *testing.B) {
	for _, s := range backends() {
		for _, mode := range modes() {
			b.Run(s.name+"/"+string(mode), func(b *testing.B) {
				e := setup{store: s.open(b)}.open(b)
				b.ReportAllocs()
				for b.Loop() {
					e.start(b, "ada", mode)
				}
			})
		}
	}
}

// TestHotPathAllocations keeps an eye on what a check allocates. The numbers are what it takes, with a little room.
func TestHotPathAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	bubbletest.Test(t, func(t *testing.T) {
		for mode, limit := range map[handstamp.Mode]float64{handstamp.ModeSession: 20, handstamp.ModeToken: 60, handstamp.ModeHybrid: 60} {
			e := setup{now: time.Now}.open(t)
			text := e.start(t, "ada", mode).AccessToken.Reveal()
			n := testing.AllocsPerRun(200, func() {
				if _, err := e.VerifyToken(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			})
			if n > limit {
				t.Errorf("%s: %v allocations, at most %v", mode, n, limit)
			}
			t.Logf("%s: %v allocations", mode, n)
		}
	})
}

// BenchmarkEndBesideConnections is what ending a session costs while others are connected.
func BenchmarkEndBesideConnections(b *testing.B) {
	for _, connections := range []int{0, 10_000, 100_000} {
		b.Run(strconv.Itoa(connections), func(b *testing.B) {
			e := newEngine(b, nil)
			p, err := e.verify(e.start(b, "ada", handstamp.ModeSession))
			if err != nil {
				b.Fatal(err)
			}
			for range connections {
				_, cancel := e.Guard(b.Context(), p)
				defer cancel()
			}
			for b.Loop() {
				b.StopTimer()
				g := e.start(b, "bob", handstamp.ModeSession)
				b.StartTimer()
				if _, err := e.EndSession(b.Context(), g.Session.ID, handstamp.EndOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
