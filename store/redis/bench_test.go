package redis_test

import (
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
)

// The base is a file here, and Redis is on the same machine: this shows what Redis adds.

func BenchmarkFind(b *testing.B) {
	s := open(b, fault.SharedRedis(b))
	r := begin(b, s, 0)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := s.Sessions().Find(b.Context(), handstamp.Lookup{Key: r.Key}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkRotate(b *testing.B) {
	s := open(b, fault.SharedRedis(b))
	r := begin(b, s, 0)
	f := r.Refresh
	for b.Loop() {
		f.Generation++
		if _, err := s.Sessions().Rotate(b.Context(), r.ID, f.Generation-1, handstamp.Rotation{At: at(1), Family: f}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLogin(b *testing.B) {
	s := open(b, fault.SharedRedis(b))
	for n := 0; b.Loop(); n++ {
		if err := login(b, s, session(ada, n%1000)); err != nil {
			b.Fatal(err)
		}
	}
}
