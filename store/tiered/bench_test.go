package tiered_test

import (
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
)

// BenchmarkCopy is a look-up that the tier answers, with Redis on the same machine.
func BenchmarkCopy(b *testing.B) {
	s := open(b, fault.SharedRedis(b))
	follow(b, s)
	r := begin(b, s)
	copyOf(b, s, r)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := s.Sessions().Find(b.Context(), handstamp.Lookup{Key: r.Key, Copy: true}); err != nil {
				b.Error(err)
			}
		}
	})
}
