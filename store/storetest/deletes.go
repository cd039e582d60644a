package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
)

// deleteRules are those of the audit log when an account is deleted.
func deleteRules() []rule[Backend] {
	return []rule[Backend]{
		{"delete_audit", "a deleted account leaves no address in its entries of the audit log, which stay; what others did is theirs", accountDeleteAudit},
		{"delete_audit_later", "no entry that is written after a deletion tells an address of who is gone, the deletion's own least of all", accountDeleteLater},
		{"delete_audit_many", "a deletion keeps nobody waiting however long the log is: the sweep does the rest, and deletes nothing for it", accountDeleteMany},
	}
}

// told is an entry with everything that tells where somebody was, and with what.
func told(minute int, actor, target string) audit.Event {
	return audit.Event{
		ID: id.NewAudit(at(minute)), At: at(minute), Kind: audit.LoginOK, Actor: actor, Target: target, Session: "ses_x",
		IP: "192.0.2.7", UserAgent: "Agent/1", RequestID: fmt.Sprint(minute), Detail: map[string]string{"mode": "hybrid"},
	}
}

// forgot is an entry without that.
func forgot(e audit.Event) audit.Event {
	e.IP, e.UserAgent = "", ""
	return e
}

// remove deletes an account as its owner does: the subject's row stays, and the entry follows.
func remove(t testing.TB, b Backend, u handstamp.UserID, fail error, then ...audit.Event) error {
	t.Helper()
	return b.AccountWork().Do(t.Context(), func(tx account.Tx) error {
		if err := tx.DeleteUser(t.Context(), u); err != nil {
			return err
		}
		if err := tx.PutSubject(t.Context(), handstamp.Subject{User: u, Deleted: true}); err != nil {
			return err
		}
		for _, e := range then {
			if err := tx.Record(t.Context(), e); err != nil {
				return err
			}
		}
		if _, err := tx.Append(t.Context(), endUser(u, 1)); err != nil {
			return err
		}
		return fail
	})
}

// sweepAudit runs sweeps that find nothing old enough to delete.
func sweepAudit(t testing.TB, b Backend) {
	t.Helper()
	for range 3 {
		n, err := b.Audit().Sweep(t.Context(), at(-1), 10)
		must(t, err)
		if n != 0 {
			t.Errorf("Sweep = %d, want 0: nothing is old", n)
		}
	}
}

func accountDeleteAudit(t *testing.T, b Backend) {
	u := signUp(t, b, user(1))
	who := string(u.ID)
	all := []audit.Event{
		told(9, who, who),           // logged in
		told(8, who, "member"),      // did something as an administrator
		told(7, "", who),            // somebody tried
		told(6, string(bob), who),   // an administrator did something to them
		told(5, "cli", who),         // an operator did
		told(4, "", string(bob)),    // not about them
		told(3, string(bob), "usr"), // a name that theirs begins with
		told(2, "", who+"x"),
		told(1, "", ""),
	}
	record(t, b, all...)
	fails(t, "the unit", remove(t, b, u.ID, errRollback), errRollback)
	same(t, "the log after a rollback", entries(t, b, audit.Filter{Limit: 100}), all)
	must(t, remove(t, b, u.ID, nil))
	for i := range 3 {
		all[i] = forgot(all[i])
	}
	same(t, "the log", entries(t, b, audit.Filter{Limit: 100}), all)
	same(t, "the log of that user", entries(t, b, audit.Filter{User: id.User(who), Limit: 100}), all[:5])
	sweepAudit(t, b)
	same(t, "the log after a sweep", entries(t, b, audit.Filter{Limit: 100}), all)
}

func accountDeleteLater(t *testing.T, b Backend) {
	self, other := signUp(t, b, user(1)), signUp(t, b, user(2))
	own, admins := told(3, string(self.ID), string(self.ID)), told(4, string(bob), string(other.ID))
	must(t, remove(t, b, self.ID, nil, own))
	must(t, remove(t, b, other.ID, nil, admins))
	tried, used, undone, by := told(5, "", string(self.ID)), told(6, string(self.ID), "x"), told(7, string(bob), string(self.ID)), told(8, "", string(bob))
	record(t, b, tried, used, undone, by)
	same(t, "the log", entries(t, b, audit.Filter{Limit: 100}), []audit.Event{by, undone, forgot(used), forgot(tried), admins, forgot(own)})
}

// many is more entries than a unit could go through while others wait for it.
const many = 2_300

// recordMany writes entries of a user, and as many of others among them; it returns what stays as it is.
func recordMany(t testing.TB, b Backend, u handstamp.UserID) int {
	t.Helper()
	var all []audit.Event
	for i := range many {
		e := told(0, "", string(u))
		if i%2 == 1 {
			e.Actor, e.Target = string(u), "x"
		}
		kept := told(0, "", string(bob))
		if i%2 == 1 {
			kept.Actor, kept.Target = string(bob), string(u)
		}
		for _, e := range []audit.Event{e, kept} {
			e.At = at(0).Add(time.Duration(i) * time.Millisecond)
			e.ID = id.NewAudit(e.At)
			all = append(all, e)
		}
	}
	record(t, b, all...)
	return many
}

// addresses counts the entries that tell an address: a user's, and those of others.
func addresses(t testing.TB, b Backend, u handstamp.UserID) (theirs, others int) {
	t.Helper()
	f := audit.Filter{Limit: 1000}
	for range 1 + 2*many/f.Limit {
		page := entries(t, b, f)
		for _, e := range page {
			switch {
			case e.IP == "" && e.UserAgent == "":
			case e.Whose() == string(u):
				theirs++
			default:
				others++
			}
		}
		if len(page) == 0 {
			break
		}
		f.Before = page[len(page)-1].ID
	}
	return theirs, others
}

func accountDeleteMany(t *testing.T, b Backend) {
	u := signUp(t, b, user(1))
	kept := recordMany(t, b, u.ID)
	must(t, remove(t, b, u.ID, nil))
	sweepAudit(t, b)
	if theirs, others := addresses(t, b, u.ID); theirs != 0 || others != kept {
		t.Errorf("after a sweep %d entries of the deleted user and %d others have an address, want 0 and %d", theirs, others, kept)
	}
	sweepAudit(t, b)
}

// reopensDeleting: what a deletion left to the sweep is done although the process ended.
func reopensDeleting(t *testing.T, r reopened) {
	u := signUp(t, r.store, user(1))
	kept := recordMany(t, r.store, u.ID)
	must(t, remove(t, r.store, u.ID, nil))
	b := r.again(r.store)
	sweepAudit(t, b)
	if theirs, others := addresses(t, b, u.ID); theirs != 0 || others != kept {
		t.Errorf("%d entries of the deleted user and %d others have an address, want 0 and %d", theirs, others, kept)
	}
}
