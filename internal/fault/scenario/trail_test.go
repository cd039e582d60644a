package scenario

import (
	"context"
	"net/http"
	"net/url"

	"github.com/handstamp/handstamp/internal/fault"
)

// The audit entries that operations leave.
const (
	loginOK         = "login.ok"
	sessionEnded    = "session.ended"
	userEnded       = "user.sessions_ended"
	userCreated     = "user.created"
	userDisabled    = "user.disabled"
	userEnabled     = "user.enabled"
	passwordChanged = "password.changed"
)

// pages reads a list of the administration to its end.
func (f *fleet) pages(path string, each func(body []byte)) {
	f.t.Helper()
	for cursor := ""; ; {
		a := f.nodes[0].call(context.Background(), http.MethodGet, path+"?limit=500&cursor="+url.QueryEscape(cursor), f.key, nil)
		page := struct{ Next *string }{}
		if a.status != http.StatusOK || decode(a.body, &page) != nil {
			f.t.Fatalf("read %s: %d %s", path, a.status, a.body)
		}
		each(a.body)
		if page.Next == nil {
			return
		}
		cursor = *page.Next
	}
}

// trail reads what the fleet wrote down about everything that happened.
func (f *fleet) trail() fault.Trail {
	f.t.Helper()
	trail := fault.Trail{Separate: f.setup.store == onRedis}
	f.pages("/v1/admin/audit", func(body []byte) {
		page := struct{ Events []fault.Entry }{}
		if err := decode(body, &page); err != nil {
			f.t.Fatal(err)
		}
		for _, e := range page.Events {
			if f.told[e.ID] {
				continue
			}
			if e.Kind == userCreated {
				e.Session, e.Target = e.Target, "" // what a fault.Create makes
			}
			trail.Log = append(trail.Log, e)
		}
	})
	f.pages("/v1/admin/sessions", func(body []byte) {
		page := struct{ Sessions []struct{ ID, User string } }{}
		if err := decode(body, &page); err != nil {
			f.t.Fatal(err)
		}
		for _, s := range page.Sessions {
			trail.Live = append(trail.Live, fault.Live{Session: s.ID, User: s.User})
		}
	})
	return trail
}

// settle ends what may still be under way in the database: what a broken path held back may be done when it is whole
// again. After it an operation without an answer has happened or never will.
func (f *fleet) settle() {
	f.t.Helper()
	if f.pg != nil {
		f.pg.Disconnect(f.t, f.db)
	}
	f.recovered()
	f.resolve()
}

// judgeTrail holds everything against what the fleet wrote down, and returns that.
func (f *fleet) judgeTrail() fault.Trail {
	f.t.Helper()
	trail := f.trail()
	f.JudgeTrail(f.t, trail)
	for _, e := range trail.Log {
		if e.Kind == "refresh.reused" || e.Kind == "password.unusable" {
			f.t.Errorf("an alarm that nobody gave reason for: %+v", e)
		}
	}
	f.t.Logf("%d audit entries, %d live sessions", len(trail.Log), len(trail.Live))
	return trail
}

// forget judges what happened so far, all of which is over, and forgets it.
func (f *fleet) forget(r fault.Rules) {
	f.t.Helper()
	f.Judge(f.t, r)
	for _, e := range f.judgeTrail().Log {
		f.told[e.ID] = true
	}
	f.Forget()
	f.created.Clear()
}
