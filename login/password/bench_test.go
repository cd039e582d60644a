package password

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkHash measures one hash at the default cost, alone and with as many at once as there are processors.
func BenchmarkHash(b *testing.B) {
	secret, err := Prepare("correct horse battery")
	if err != nil {
		b.Fatal(err)
	}
	h, err := NewHasher(HasherOptions{})
	if err != nil {
		b.Fatal(err)
	}
	phc, err := h.Hash(context.Background(), secret)
	if err != nil {
		b.Fatal(err)
	}
	b.Run(fmt.Sprintf("hash-m%d-t%d-p%d", DefaultParams().MemoryKiB, DefaultParams().Iterations, DefaultParams().Parallelism), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.Hash(context.Background(), secret); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if v, err := h.Verify(context.Background(), phc, secret); err != nil || !v.OK {
				b.Fatal(v, err)
			}
		}
	})
}
