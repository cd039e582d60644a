package postgres

import (
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/internal/fault"
)

// What the server does for each request, on this machine and without waiting for the disk.

func benchStore(b *testing.B) *Store {
	b.Helper()
	server := fault.SharedPostgres(b)
	return openTest(b, server.DSN(server.CreateDB(b)), Options{})
}

func BenchmarkFind(b *testing.B) {
	s := benchStore(b)
	rec := put(b, s, "usr_ada")
	for b.Loop() {
		found(b, s, rec.ID)
	}
}

func BenchmarkRotate(b *testing.B) {
	s := benchStore(b)
	rec := put(b, s, "usr_ada")
	n := uint32(1)
	for b.Loop() {
		r := rotation(rec, 2) // at one time: the session must not run out
		r.Family.Generation = n + 1
		if _, err := s.Sessions().Rotate(b.Context(), rec.ID, n, r); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

func BenchmarkRenew(b *testing.B) {
	s := benchStore(b)
	h, err := s.Log().Register(b.Context(), registration("vrf_1"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		renewOK(b, s, place("vrf_1", h))
	}
}

func BenchmarkLogin(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		if err := beginOne(b.Context(), s, session("usr_ada")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnd(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		err := s.Work().Do(b.Context(), func(tx handstamp.Tx) error {
			if _, err := tx.Subject(b.Context(), "usr_ada"); err != nil {
				return err
			}
			_, err := tx.Append(b.Context(), endOfUser("usr_ada"))
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
