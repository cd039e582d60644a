package sqlite

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

// filled is a store with n live sessions of n/10 users, all of them members.
func filled(b testing.TB, n int) (*Store, []handstamp.Session) {
	b.Helper()
	s := newTest(b)
	all := make([]handstamp.Session, n)
	for at := 0; at < n; at += 500 {
		err := s.Work().Do(b.Context(), func(tx handstamp.Tx) error {
			for i := at; i < min(at+500, n); i++ {
				all[i] = session(handstamp.UserID(fmt.Sprintf("user-%06d", i/10)))
				if err := tx.PutSession(b.Context(), all[i]); err != nil {
					return err
				}
				if i%10 == 0 {
					sub := handstamp.Subject{User: all[i].User, Grants: handstamp.Grants{Roles: []string{"member"}}}
					if err := tx.PutSubject(b.Context(), sub); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return s, all
}

func BenchmarkFind(b *testing.B) {
	s, all := filled(b, 20_000)
	for _, parallel := range []bool{false, true} {
		b.Run(fmt.Sprintf("parallel=%t", parallel), func(b *testing.B) {
			b.ReportAllocs()
			find := func(i int) {
				if _, err := s.Sessions().Find(b.Context(), handstamp.Lookup{Key: all[i*7919%len(all)].Key}); err != nil {
					b.Error(err)
				}
			}
			if !parallel {
				for i := 0; b.Loop(); i++ {
					find(i)
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					find(i)
				}
			})
		})
	}
}

func BenchmarkRotate(b *testing.B) {
	s, all := filled(b, 20_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		rec := all[i*7919%len(all)]
		gen := uint32(1 + i/len(all))
		next := handstamp.Family{Generation: gen + 1, Nonce: rec.Refresh.Nonce, RotatedAt: begun}
		if _, err := s.Sessions().Rotate(b.Context(), rec.ID, gen, handstamp.Rotation{At: begun, Family: next, SeenAt: begun}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s, all := filled(b, 20_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := endOf(all[i%len(all)])
		err := s.Work().Do(b.Context(), func(tx handstamp.Tx) error {
			_, err := tx.Append(b.Context(), e)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Ending a user with many sessions, or everybody, writes one row; only the count looks at sessions, up to 10,001.
func BenchmarkAppendAll(b *testing.B) {
	s, _ := filled(b, 20_000)
	b.ReportAllocs()
	for b.Loop() {
		all := revoke.Event{Kind: revoke.KindAll, Effect: revoke.End, At: begun, Until: begun.Add(time.Hour)}
		err := s.Work().Do(b.Context(), func(tx handstamp.Tx) error {
			_, err := tx.Append(b.Context(), all)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRenewIdle(b *testing.B) {
	s := newTest(b)
	h, err := s.Log().Register(b.Context(), registration("vrf_a"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Log().Renew(b.Context(), revoke.Renewal{Verifier: "vrf_a", Log: h.Log, Limit: 100}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			s, _ := filled(b, n)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				again, err := Open(b.Context(), s.path, Options{})
				if err != nil {
					b.Fatal(err)
				}
				if err := again.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// withValues gives every session two values.
func withValues(b *testing.B, s *Store, all []handstamp.Session) {
	b.Helper()
	data := bytes.Repeat([]byte("x"), 300)
	err := s.do(b.Context(), func(u *unit) error {
		for _, rec := range all {
			for _, name := range []string{"cart", "flash"} {
				if _, err := u.exec(putValue, string(rec.ID), name, data, 1); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

func BenchmarkGetValue(b *testing.B) {
	s, all := filled(b, 20_000)
	withValues(b, s, all)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, _, err := s.Values().Get(b.Context(), all[i*7919%len(all)].ID, "cart"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutValue(b *testing.B) {
	s, all := filled(b, 20_000)
	withValues(b, s, all)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		round := uint64(i / len(all))
		w := valueOf(all[i*7919%len(all)], "cart", strings.Repeat("y", 300), round+1, round+2)
		if err := s.Values().Put(b.Context(), w); err != nil {
			b.Fatal(err)
		}
	}
}

// A sweep that finds nothing looks at up to 10,000 sessions that have values, and stops nobody meanwhile.
func BenchmarkSweepValues(b *testing.B) {
	for _, n := range []int{0, 5_000, 20_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			s, all := filled(b, n)
			withValues(b, s, all)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.sweepData(b.Context(), begun, 1000, sweepOwners); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
