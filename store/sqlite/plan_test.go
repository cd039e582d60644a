package sqlite

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

func openTest(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newTest(t testing.TB) *Store {
	t.Helper()
	return openTest(t, filepath.Join(t.TempDir(), "handstamp.db"))
}

// plan is how the engine would run a statement. The values of its parameters do not matter.
func plan(t *testing.T, l *link, query string) string {
	t.Helper()
	rows, err := l.conn.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, 30)...)
	if err != nil {
		t.Fatalf("EXPLAIN %s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		out = append(out, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

// Each statement on the way of a request, a revocation or a renewal enters the tables that grow by an index. One that
// reads a whole table is fast in tests and stops a server after a year.
func TestPlansUseIndexes(t *testing.T) {
	s := newTest(t)
	l, err := s.writer.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.writer.give(l, true)
	queries := map[string]string{
		"findBySession": findBySession, "findByKey": findByKey, "findServiceKey": findServiceKey, "readSubject": readSubject,
		"rotate": rotate, "touch": touch, "listUser": listUser, "oldest": oldest, "insertSession": insertSession, "updateSession": updateSession,
		"putSubject": putSubject, "readHead": readHead, "putEvent": putEvent, "moveHead": moveHead, "endAll": endAll,
		"spared": spared, "countOne": countOne, "countUser": countUser, "countAll": countAll, "endOne": endOne,
		"changeOne": changeOne, "stampOne": stampOne, "endUser": endUser, "changeUser": changeUser,
		"endKey": endKey, "endKeyRecord": endKeyRecord, "endServiceKey": endServiceKey,
		"selectHead": selectHead, "readStanding": readStanding, "acknowledge": acknowledge, "eventsAfter": eventsAfter, "forgettable": forgettable,
		"readValue": readValue, "judgeValue": judgeValue, "putValue": putValue, "dropValue": dropValue, "carryValue": carryValue,
		"readSwept": readSwept, "writeSwept": writeSwept, "owners": owners, "sweepValues": sweepValues,
		"sweepSessions": sweepSessions, "sweepCounters": sweepCounters, "sweepOneTimes": sweepOneTimes, "sweepAudit": sweepAudit,
		"userByID": selectUser + "a.id = ?1", "userByEmail": selectUser + "a.email = ?1", "listUsers": listUsers,
		"selectCredential": selectCredential, "clearAddresses": clearAddresses, "auditKind": auditKind, "auditUser": auditUser, "record": record,
		"forgetUntil": forgetUntil, "forgetEntries": forgetEntries, "listForgetNotes": listForgetNotes, "dropForgetNote": dropForgetNote,
	}
	// What may be scanned: one constant row, lists in a parameter, what a subquery has already limited, and the queue of a
	// recursive query; j is one row.
	harmless := regexp.MustCompile(`(?s)CO-ROUTINE s\n.*SCAN s\n|SCAN (CONSTANT ROW|json_each VIRTUAL TABLE.*|\(subquery-\d+\)|\w+_subquery_\d+|queue\b|j\b)`)
	for name, query := range queries {
		got := plan(t, l, query)
		if strings.Contains(harmless.ReplaceAllString(got, ""), "SCAN") {
			t.Errorf("%s reads a whole table:\n%s", name, got)
		}
	}
	// Lists of everything walk the primary key from its end and stop at the limit; they sort nothing.
	for name, query := range map[string]string{"listAll": listAll, "auditAll": auditAll, "listUser": listUser, "auditKind": auditKind, "listUsers": listUsers} {
		if got := plan(t, l, query); strings.Contains(got, "TEMP B-TREE") {
			t.Errorf("%s sorts:\n%s", name, got)
		}
	}
}

// TestEndsLookAtFew: how many sessions an event ends is counted while the only writer is held, so dead records of a user, or
// of all, are not all looked at; where that leaves some out the answer says so.
func TestEndsLookAtFew(t *testing.T) {
	for _, dead := range []int{100, maxLooked + 1000} {
		s := newTest(t)
		fill := fmt.Sprintf(`WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < %d)
			INSERT INTO handstamp_sessions SELECT printf('ses_%%026d', n), 'usr_ada', NULL, 'session', 'cookie', 0, '[]', NULL,
			1, 1, 1, 1, %d, 0, 0, 1, NULL, 0, NULL, '', '', '', '', 0, 0, '', 1 FROM g`, dead, micros(begun.Add(time.Hour)))
		if err := s.do(t.Context(), func(u *unit) error { _, err := u.exec(fill); return err }); err != nil {
			t.Fatal(err)
		}
		for _, e := range []revoke.Event{endOfUser("usr_ada"), {Kind: revoke.KindAll, Effect: revoke.End, At: begun, Until: begun.Add(time.Hour)}} {
			put(t, s, "usr_ada")
			put(t, s, "usr_bob")
			want := 1
			if e.Kind == revoke.KindAll {
				want = 2 // those of bob; the event before has ended what is of ada
			}
			var done handstamp.Appended
			err := s.Work().Do(t.Context(), func(tx handstamp.Tx) (err error) { done, err = tx.Append(t.Context(), e); return err })
			if err != nil || done.More != (dead > maxLooked) || done.Sessions != want && !done.More {
				t.Errorf("%d dead, %s: %d sessions, more %v, %v; want %d, and more only where not all were looked at", dead, e.Kind, done.Sessions, done.More, err, want)
			}
		}
	}
}
