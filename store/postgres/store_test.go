package postgres_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/store/postgres"
	"github.com/handstamp/handstamp/store/storetest"
)

// handle is a store and what it was opened with, for those who open it again.
type handle struct {
	*postgres.Store
	dsn string
	opt postgres.Options
}

func openWith(t testing.TB, dsn string, opt postgres.Options) handle {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn, postgres.Patient(opt))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return handle{s, dsn, opt}
}

// contract runs the contract of stores on schemas of one database.
func contract(t *testing.T, dsn string, opt postgres.Options) {
	var next atomic.Int64
	storetest.Run(t, storetest.Maker{
		Open: func(t testing.TB) storetest.Backend {
			opt := opt
			opt.Schema = fmt.Sprintf("rule_%d", next.Add(1))
			return openWith(t, dsn, opt)
		},
		Again: func(t testing.TB, b storetest.Backend) storetest.Backend {
			return openWith(t, b.(handle).dsn, b.(handle).opt)
		},
		Reopen: func(t testing.TB, b storetest.Backend) storetest.Backend {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			return openWith(t, b.(handle).dsn, b.(handle).opt)
		},
	})
}

func TestStore(t *testing.T) {
	server := fault.SharedPostgres(t)
	contract(t, server.DSN(server.CreateDB(t)), postgres.Options{})
}

// TestStoreBehindPgBouncer is the same where each transaction may be on another connection to the server.
func TestStoreBehindPgBouncer(t *testing.T) {
	server := fault.SharedPostgres(t)
	pooler := fault.StartPgBouncer(t, server, fault.PgBouncerOptions{})
	contract(t, pooler.DSN(server.CreateDB(t)), postgres.Options{Pooler: postgres.Transaction})
}
