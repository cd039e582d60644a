package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
)

// plans collects how the server ran each statement, those inside functions too.
type plans struct {
	mu  sync.Mutex
	all []string
}

func (p *plans) add(_ *pgconn.PgConn, n *pgconn.Notice) {
	if !strings.Contains(n.Message, "plan:") {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, n.Message)
}

func (p *plans) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.all
	p.all = nil
	return out
}

// planned is a store on a pool whose server tells how it runs things, and reads no whole table where there is another way.
func planned(t *testing.T) (*Store, *plans) {
	t.Helper()
	server := fault.SharedPostgres(t)
	config, err := pgxpool.ParseConfig(server.DSN(server.CreateDB(t)))
	if err != nil {
		t.Fatal(err)
	}
	got := &plans{}
	config.MaxConns = 4
	config.ConnConfig.OnNotice = got.add
	config.ConnConfig.AfterConnect = func(ctx context.Context, c *pgconn.PgConn) error {
		return c.Exec(ctx, `LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
			SET auto_explain.log_level = 'notice'; SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan`).Close()
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := New(t.Context(), pool, patient())
	if err != nil {
		t.Fatal(err)
	}
	return s, got
}

// fill gives the tables rows enough that the server's choices are those of a busy one, and lets it count them.
func fill(t *testing.T, s *Store) {
	t.Helper()
	for _, st := range []string{
		`INSERT INTO @subjects (user_id) SELECT 'usr_' || n FROM generate_series(1, 2000) AS n`,
		`INSERT INTO @sessions SELECT 'ses_' || n, 'usr_' || n % 2000, sha256(n::text::bytea), 'hybrid', 'cookie', false, '{}', NULL,
			n, n, n, 1000000000, $1::bigint + 3600000000 * (n % 24), 0, 0, 1, NULL, 0, NULL, '', '', '', '', CASE WHEN n % 10 = 0 THEN 1 ELSE 0 END, 0, '', 1, 0
			FROM generate_series(1, 20000) AS n`,
		`INSERT INTO @audit SELECT 'evt_' || n, n, 'kind' || n % 10, 'usr_' || n % 2000, 'usr_' || n % 1000, '', '', '', '', '{}' FROM generate_series(1, 20000) AS n`,
		`INSERT INTO @users SELECT 'usr_' || n, n || '@example.com', true, 0, 1 FROM generate_series(1, 2000) AS n`,
		`INSERT INTO @data SELECT 'ses_' || n, 'cart', 'x', 1 FROM generate_series(1, 2000) AS n`,
	} {
		args := []any{}
		if strings.Contains(st, "$1") {
			args = append(args, micros(begun))
		}
		if _, err := s.pool.Exec(t.Context(), s.sql(st), args...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.pool.Exec(t.Context(), "ANALYZE"); err != nil {
		t.Fatal(err)
	}
}

// growing are the tables that have no end.
var growing = regexp.MustCompile(`Seq Scan on (sessions|subjects|events|data|audit|users|credentials|counters|one_times|key_ends)\b[^\n]*`)

// Each statement on the way of a request, a revocation or a renewal enters the tables that grow by an index. One that
// reads a whole table is fast in tests and stops a server after a year.
func TestPlansUseIndexes(t *testing.T) {
	s, got := planned(t)
	ctx := t.Context()
	one, two, guest := session("usr_ada"), session("usr_ada"), session("\x1fanonymous/x")
	guest.Mode = handstamp.ModeAnonymous
	putAll(t, s, one, two, guest)
	fill(t, s)
	h, err := s.Log().Register(ctx, registration("vrf_1"))
	if err != nil {
		t.Fatal(err)
	}
	unit := func(fn func(tx login.Tx) error) func() error {
		return func() error { return s.LoginWork().Do(ctx, fn) }
	}
	find := func(l handstamp.Lookup) func() error {
		return func() error { _, err := s.Sessions().Find(ctx, l); return notAbsent(err) }
	}
	event := func(k revoke.Kind, what string, e revoke.Effect) func() error {
		return unit(func(tx login.Tx) error {
			ev := endOf(one)
			ev.Kind, ev.ID, ev.Effect, ev.Except = k, what, e, two.ID
			_, err := tx.Append(ctx, ev)
			return err
		})
	}
	got.take()
	for what, call := range map[string]func() error{
		"Find by id":         find(handstamp.Lookup{Session: one.ID, SigningKey: "kid"}),
		"Find by key":        find(handstamp.Lookup{Key: one.Key, SigningKey: "kid"}),
		"Find a service key": find(handstamp.Lookup{ServiceKey: one.Key}),
		"Subject":            func() error { _, err := s.Sessions().Subject(ctx, "usr_ada"); return err },
		"Subjects":           func() error { _, err := s.Subjects(ctx, []handstamp.UserID{"usr_ada", "usr_bob"}); return err },
		"Rotate":             func() error { _, err := s.Sessions().Rotate(ctx, one.ID, 1, rotation(one, 2)); return notAbsent(err) },
		"Touch": func() error {
			return s.Sessions().Touch(ctx, map[handstamp.SessionID]time.Time{one.ID: begun.Add(time.Minute), two.ID: begun.Add(time.Minute)})
		},
		"List": func() error {
			_, err := s.Sessions().List(ctx, handstamp.SessionFilter{Limit: 10, Now: begun})
			return err
		},
		"List of a user": func() error {
			_, err := s.Sessions().List(ctx, handstamp.SessionFilter{User: "usr_ada", Limit: 10, Now: begun, After: two.ID})
			return err
		},
		"Sweep":          func() error { _, err := s.Sessions().Sweep(ctx, begun.Add(time.Minute), 10); return err },
		"Sweep of audit": func() error { _, err := s.Audit().Sweep(ctx, begun, 10); return err },
		"Sweep of addresses": func() error {
			_, err := s.pool.Exec(ctx, s.sql(`INSERT INTO @one_times (hash, kind, data, expires_at) VALUES ('x', $1, 'usr_7', 1)`), forgetKind)
			return errors.Join(err, s.forgetRest(ctx))
		},
		"Forget": func() error { _, err := s.Log().Forget(ctx, begun.Add(100*time.Hour), 10); return err },
		"Get":    func() error { _, _, err := s.Values().Get(ctx, one.ID, "cart"); return err },
		"Renew":  func() error { _, err := s.Log().Renew(ctx, place("vrf_1", h)); return err },
		"Renew, behind": func() error {
			r := place("vrf_1", h)
			r.Applied, r.Tag = 1, "x"
			_, err := s.Log().Renew(ctx, r)
			return err
		},
		"Roles":           func() error { _, _, err := s.Roles(ctx); return err },
		"ByID":            func() error { _, err := s.Users().ByID(ctx, "u"); return notAbsent(err) },
		"ByEmail":         func() error { _, err := s.Users().ByEmail(ctx, "u@example.com"); return notAbsent(err) },
		"List of users":   func() error { _, err := s.Users().List(ctx, account.UserFilter{Limit: 10}); return err },
		"Credential":      func() error { _, err := s.Users().Credential(ctx, "u", "password"); return notAbsent(err) },
		"Audit":           func() error { _, err := s.Audit().List(ctx, audit.Filter{Limit: 10}); return err },
		"Audit of a user": func() error { _, err := s.Audit().List(ctx, audit.Filter{User: "usr_ada", Limit: 10}); return err },
		"Audit of a kind": func() error { _, err := s.Audit().List(ctx, audit.Filter{Kind: "k", Limit: 10}); return err },
		"Put": func() error {
			return notAbsent(s.Values().Put(ctx, handstamp.DatumWrite{Session: two.ID, Limit: 100, Now: begun, Value: handstamp.Datum{Name: "cart", Data: []byte("x"), Version: 1}}))
		},
		"a unit": unit(func(tx login.Tx) error {
			sub, err := tx.Subject(ctx, "usr_ada")
			if err != nil {
				return err
			}
			rec := session("usr_ada")
			if err := tx.PutSubject(ctx, sub); err != nil {
				return err
			}
			if err := tx.PutSession(ctx, rec); err != nil {
				return err
			}
			rec.Version = 1
			if err := tx.PutSession(ctx, rec); err != nil {
				return err
			}
			if _, err := tx.Oldest(ctx, "usr_ada", begun, 1); err != nil {
				return err
			}
			if err := tx.Carry(ctx, handstamp.Carrying{From: one.ID, To: rec.ID, Names: []string{"cart"}, Limit: 100, Now: begun}); err != nil {
				return err
			}
			c, err := tx.Counter(ctx, login.BudgetKey{1})
			if err != nil {
				return err
			}
			if err := tx.PutCounter(ctx, c); err != nil {
				return err
			}
			return tx.Record(ctx, audit.Event{ID: id.NewAudit(begun), At: begun, Kind: "k"})
		}),
		"a unit on accounts": unit(func(tx login.Tx) error {
			u := account.User{ID: "usr_new", Email: "a@example.com", CreatedAt: begun}
			if err := tx.PutUser(ctx, u); err != nil {
				return err
			}
			u.Version = 1
			if err := tx.PutUser(ctx, u); err != nil {
				return err
			}
			c := account.Credential{User: u.ID, Method: "password", Data: "x"}
			if err := tx.PutCredential(ctx, c); err != nil {
				return err
			}
			c.Version = 1
			if err := tx.PutCredential(ctx, c); err != nil {
				return err
			}
			if err := tx.PutOneTime(ctx, login.OneTime{Kind: "k"}); err != nil {
				return err
			}
			if _, err := tx.TakeOneTime(ctx, "k", one.Key); notAbsent(err) != nil {
				return err
			}
			if err := tx.DropOneTimes(ctx, "k"); err != nil {
				return err
			}
			return tx.DeleteUser(ctx, u.ID)
		}),
		"session/end":     event(revoke.KindSession, string(one.ID), revoke.End),
		"session/change":  event(revoke.KindSession, string(one.ID), revoke.Change),
		"user/end":        event(revoke.KindUser, "usr_ada", revoke.End),
		"user/change":     event(revoke.KindUser, "usr_ada", revoke.Change),
		"key/end":         event(revoke.KindKey, "kid", revoke.End),
		"service_key/end": event(revoke.KindServiceKey, "key_1", revoke.End),
		"all/end":         event(revoke.KindAll, "", revoke.End),
	} {
		if err := call(); err != nil {
			t.Errorf("%s = %v", what, err)
		}
		seen := got.take()
		if len(seen) == 0 {
			t.Errorf("%s: the server told no plan", what)
		}
		for _, p := range seen {
			if scan := growing.FindString(p); scan != "" {
				t.Errorf("%s reads a whole table (%s):\n%s", what, scan, p)
			}
			if what == "Audit of a kind" && !strings.Contains(p, "audit_kind") {
				t.Errorf("%s goes through the entries of all kinds:\n%s", what, p)
			}
			if strings.HasPrefix(what, "List") || strings.HasPrefix(what, "Audit") && what != "Audit of a user" {
				if strings.Contains(p, "Sort") {
					t.Errorf("%s sorts:\n%s", what, p)
				}
			}
		}
	}
}

// notAbsent is an error, unless it says that there is nothing, or nothing alive any more.
func notAbsent(err error) error {
	if errors.Is(err, handstamp.ErrNotFound) || errors.Is(err, handstamp.ErrConflict) {
		return nil
	}
	return err
}

// TestEndsLookAtFew: how many sessions an event ends is counted while the counter is held, so dead records of a user, or of
// all, are not all looked at; where that leaves some out the answer says so.
func TestEndsLookAtFew(t *testing.T) {
	for _, dead := range []int{100, maxLooked + 1000} {
		s, server, db := newTest(t)
		server.ExecIn(t, db, fmt.Sprintf(`INSERT INTO handstamp.sessions SELECT 'ses_' || lpad(n::text, 26, '0'), 'usr_ada', NULL, 'session', 'cookie',
			false, '{}', NULL, 1, 1, 1, 1, %d, 0, 0, 1, NULL, 0, NULL, '', '', '', '', 0, 0, '', 1, 0 FROM generate_series(1, %d) AS n`,
			micros(begun.Add(time.Hour)), dead))
		for _, e := range []revoke.Event{endOfUser("usr_ada"), {Kind: revoke.KindAll, Effect: revoke.End, At: begun, Until: begun.Add(time.Hour)}} {
			put(t, s, "usr_ada")
			put(t, s, "usr_bob")
			want := 1
			if e.Kind == revoke.KindAll {
				want = 2 // those of bob; the event before has ended what is of ada
			}
			done, err := appended(t, s, e)
			if err != nil || done.More != (dead > maxLooked) || done.Sessions != want && !done.More {
				t.Errorf("%d dead, %s: %d sessions, more %v, %v; want %d, and more only where not all were looked at", dead, e.Kind, done.Sessions, done.More, err, want)
			}
		}
	}
}
