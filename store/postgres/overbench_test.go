package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/store/memory"
	"github.com/handstamp/handstamp/store/postgres"
	"github.com/handstamp/handstamp/store/redis"
	"github.com/handstamp/handstamp/token"
)

// BenchmarkActivity notes the activity of a thousand sessions, each of another user, where the sessions are in memory or in
// Redis and their users in a database.
func BenchmarkActivity(b *testing.B) {
	const users = 1000
	r := fault.SharedRedis(b)
	server := fault.SharedPostgres(b)
	dsn := server.DSN(server.CreateDB(b))
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	begun := time.Now().UTC().Truncate(time.Second)
	for name, over := range map[string]func(*postgres.Store) handstamp.Store{
		"memory": func(s *postgres.Store) handstamp.Store { return memory.Over(s) },
		"redis": func(s *postgres.Store) handstamp.Store {
			c, err := redis.Dial(b.Context(), r.URLAt(r.Addr(), r.NextDB()), redis.Options{})
			must(err)
			all, err := redis.Over(s, c)
			must(err)
			return all
		},
	} {
		b.Run(name, func(b *testing.B) {
			base, err := postgres.Open(b.Context(), dsn, postgres.Options{Schema: name})
			must(err)
			s := over(base)
			ids := make([]handstamp.SessionID, users)
			must(s.Work().Do(b.Context(), func(tx handstamp.Tx) error {
				for i := range ids {
					u := handstamp.UserID(fmt.Sprint("usr_", i))
					sub, err := tx.Subject(b.Context(), u)
					if err != nil {
						return err
					}
					if err := tx.PutSubject(b.Context(), sub); err != nil {
						return err
					}
					ids[i] = id.NewSession(begun)
					err = tx.PutSession(b.Context(), handstamp.Session{
						ID: ids[i], User: u, Key: token.HashOf(token.Generate(token.Reference)), Mode: handstamp.ModeSession,
						CreatedAt: begun, SeenAt: begun, ExpiresAt: begun.Add(1000 * time.Hour),
					})
					if err != nil {
						return err
					}
				}
				return nil
			}))
			at := begun
			for b.Loop() {
				at = at.Add(time.Microsecond)
				seen := make(map[handstamp.SessionID]time.Time, users)
				for _, sid := range ids {
					seen[sid] = at
				}
				must(s.Sessions().Touch(b.Context(), seen))
			}
		})
	}
}
