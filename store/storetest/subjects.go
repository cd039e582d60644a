package storetest

import (
	"context"
	"sync"
	"testing"

	"github.com/handstamp/handstamp"
)

// together is what a store offers besides that sessions elsewhere may be over.
type together interface {
	Subjects(ctx context.Context, users []handstamp.UserID) ([]handstamp.Subject, error)
}

func subjectRules() []rule[Backend] {
	return []rule[Backend]{
		{"together", "the rows of several users are those that are read one by one, in the order that was asked for", subjectsTogether},
		{"one_snapshot", "rows that are read together are of one moment: who judges by them sees a unit as a whole or not at all", subjectsAtOnce},
	}
}

// over is the store as a base; the test ends here for one that nothing is put over.
func over(t *testing.T, b Backend) together {
	t.Helper()
	base, ok := b.(together)
	if !ok {
		t.Skip("no sessions are put over this store: it keeps them elsewhere itself")
	}
	return base
}

func subjectsTogether(t *testing.T, b Backend) {
	base := over(t, b)
	none, err := base.Subjects(t.Context(), nil)
	if err != nil || len(none) != 0 {
		t.Errorf("Subjects of nobody = %v, %v", none, err)
	}
	begin(t, b, ada, 0)
	begin(t, b, bob, 1)
	unit(t, b, func(tx handstamp.Tx) error {
		return tx.PutSubject(t.Context(), handstamp.Subject{User: bob, Disabled: true, Email: "bob@example.com", EmailVerified: true,
			Grants: handstamp.Grants{Roles: []string{"member", "editor"}, Permissions: []string{"posts:*"}}})
	})
	add(t, b, endUser(ada, 2), changeUser(bob, 3))
	users := []handstamp.UserID{bob, "nobody yet", ada, "", bob, "usr_' OR 1=1 --"}
	got, err := base.Subjects(t.Context(), users)
	if err != nil || len(got) != len(users) {
		t.Fatalf("Subjects = %v, %v, want %d rows", got, err, len(users))
	}
	for i, u := range users {
		same(t, "the row of "+string(u), got[i], subject(t, b, u))
	}
	got[0].Grants.Roles[0] = "admin"
	if again, err := base.Subjects(t.Context(), users[:1]); err != nil || again[0].Grants.Roles[0] != "member" {
		t.Errorf("what a caller writes into an answer is in the store: %v, %v", again, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := base.Subjects(ctx, users); err == nil {
		t.Errorf("Subjects of a caller who is gone = %v", got)
	}
}

func subjectsAtOnce(t *testing.T, b Backend) {
	base := over(t, b)
	begin(t, b, ada, 0)
	begin(t, b, bob, 1)
	var writer sync.WaitGroup
	defer writer.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	writer.Go(func() {
		for ctx.Err() == nil {
			err := b.Work().Do(t.Context(), func(tx handstamp.Tx) error {
				_, err := addIn(t.Context(), tx, endUser(ada, 2), endUser(bob, 2))
				return err
			})
			if err != nil {
				t.Errorf("Do = %v", err)
				return
			}
		}
	})
	for seen := uint64(0); seen < 40 && !t.Failed(); {
		got, err := base.Subjects(t.Context(), []handstamp.UserID{bob, ada})
		if err != nil {
			t.Errorf("Subjects = %v", err)
			return
		}
		if bob, ada := got[0], got[1]; bob.Head != ada.Head || bob.Ended != ada.Ended+min(1, bob.Ended) || bob.Ended != bob.Head {
			t.Errorf("a row of number %d ended by %d, and one of %d by %d: they are not of one moment", ada.Head, ada.Ended, bob.Head, bob.Ended)
			return
		}
		seen = got[0].Head
	}
}
