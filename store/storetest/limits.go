package storetest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

func limitRules() []rule[Backend] {
	return []rule[Backend]{
		{"texts", "a text is data: quotes, wild cards and other alphabets come back byte by byte and match only themselves", texts},
		{"lengths", "the longest ids, claims and details that are allowed come back whole", lengths},
		{"case_and_width", "ids that differ in case, accents or a space at the end are different users", lookalikes},
	}
}

// awkward are texts that have broken stores.
func awkward() []string {
	return []string{
		"o'brien", `a"b`, "x'; DROP TABLE subjects; --", "100%", "a_b", "a*b", `back\slash`, "$1", "?", ":name", "@p1", "{}", "[]",
		"naïve", "日本語", "👩‍👩‍👧‍👦", "Ω≈ç√", "e\u0301", "\u202eright to left", "NULL", "null", "true", "0", "00", "1e3", "0x10", "a b", "a,b", "a;b",
		"a/b?c#d", "\ufeffbom", strings.Repeat("é", 64), "a\u00a0b",
	}
}

func texts(t *testing.T, b Backend) {
	type kept struct {
		s handstamp.Session
		e audit.Event
	}
	var all []kept
	for n, text := range awkward() {
		u := handstamp.UserID(text)
		s := session(u, n)
		s.UserAgent, s.IP, s.Methods, s.Claims = text, text, []string{text, ""}, fmt.Appendf(nil, "{%q:1}", text)
		s.Refresh.UserAgent = text
		e := audit.Event{
			ID: id.NewAudit(at(n)), At: at(n), Kind: audit.Kind(text), Actor: text, Target: "x" + text, UserAgent: text,
			RequestID: text, Detail: map[string]string{text: text},
		}
		grants := handstamp.Grants{Roles: []string{text, "b,c"}, Permissions: []string{text}}
		unit(t, b, func(tx handstamp.Tx) error {
			if err := tx.PutSubject(t.Context(), handstamp.Subject{User: u, Grants: grants, Email: text}); err != nil {
				return err
			}
			if err := tx.PutSession(t.Context(), s); err != nil {
				return err
			}
			return tx.Record(t.Context(), e)
		})
		s.Version = 1
		all = append(all, kept{s, e})
	}
	for _, k := range all {
		f := find(t, b, k.s.ID)
		same(t, "the session", f.Session, k.s)
		text := string(k.s.User)
		same(t, "the grants", f.Subject.Grants, handstamp.Grants{Roles: []string{text, "b,c"}, Permissions: []string{text}})
		same(t, "the user's sessions", list(t, b, handstamp.SessionFilter{User: k.s.User, Limit: 10, Now: k.s.CreatedAt}), []handstamp.Session{k.s})
		same(t, "the user's entries", entries(t, b, audit.Filter{User: k.s.User, Limit: 10}), []audit.Event{k.e})
		same(t, "the kind's entries", entries(t, b, audit.Filter{Kind: k.e.Kind, Limit: 10}), []audit.Event{k.e})
	}
	for _, k := range all {
		e := endUser(k.s.User, 0)
		e.Reason = string(k.s.User)
		a := add(t, b, e)
		if a.Sessions != 1 {
			t.Errorf("user/end of %q = %d sessions, want 1", k.s.User, a.Sessions)
		}
		if sub := subject(t, b, k.s.User); sub.EndReason != e.Reason {
			t.Errorf("EndReason = %q, want %q", sub.EndReason, e.Reason)
		}
	}
	f := follow(t, b)
	for n, e := range f.renew(t).Events {
		if want := string(all[n].s.User); e.ID != want || e.Reason != want {
			t.Errorf("event %d = %q for %q, want %q", e.Seq, e.ID, e.Reason, want)
		}
	}
}

func lengths(t *testing.T, b Backend) {
	long := handstamp.UserID(strings.Repeat("x", 128))
	s := session(long, 0)
	s.Claims = append(append([]byte(`{"a":"`), bytes.Repeat([]byte("c"), 64<<10)...), `"}`...)
	s.UserAgent = strings.Repeat("u", 512)
	for n := range 50 {
		s.Methods = append(s.Methods, fmt.Sprint("method", n))
	}
	got := put(t, b, s)
	s.Version = 1
	same(t, "the session", got, s)
	sub := handstamp.Subject{User: long, Email: strings.Repeat("e", 254)}
	for n := range 200 {
		sub.Grants.Roles = append(sub.Grants.Roles, fmt.Sprintf("%0128d", n))
		sub.Grants.Permissions = append(sub.Grants.Permissions, fmt.Sprintf("%064d:%063d", n, n))
	}
	unit(t, b, func(tx handstamp.Tx) error { return tx.PutSubject(t.Context(), sub) })
	same(t, "the subject", subject(t, b, long), sub)
	e := audit.Event{ID: id.NewAudit(at(1)), At: at(1), Kind: audit.LoginOK, Detail: map[string]string{"x": strings.Repeat("d", 16<<10)}}
	record(t, b, e)
	same(t, "the entry", entries(t, b, audit.Filter{Limit: 1}), []audit.Event{e})
	u := user(1)
	u.ID = long
	u.Email = account.Address(strings.Repeat("l", 64) + "@" + strings.Repeat("d", 185) + ".com")
	signUp(t, b, u)
	ends := endUser(long, 1)
	ends.Reason = strings.Repeat("r", 1000)
	add(t, b, ends, event(revoke.KindRole, strings.Repeat("r", 128), revoke.Change, 1))
	if got := subject(t, b, long).EndReason; got != ends.Reason {
		t.Errorf("EndReason has %d bytes, want %d", len(got), len(ends.Reason))
	}
}

func lookalikes(t *testing.T, b Backend) {
	same := []handstamp.UserID{"ada", "Ada", "ADA", "ada ", " ada", "ädä", "a\u0308da\u0308", "ａｄａ", "ad", "ada0"}
	for n, u := range same {
		begin(t, b, u, n)
	}
	for _, u := range same {
		if a := add(t, b, endUser(u, 20)); a.Sessions != 1 {
			t.Errorf("user/end of %q = %d sessions, want 1", u, a.Sessions)
		}
		if got := list(t, b, handstamp.SessionFilter{User: u, Limit: 10, Now: at(20)}); len(got) != 0 {
			t.Errorf("%q has %d sessions after the end", u, len(got))
		}
	}
}
