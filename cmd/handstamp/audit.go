package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/id"
)

// auditCmd is "handstamp audit".
type auditCmd struct {
	List auditListCmd `cmd:"" help:"List entries, newest first."`
}

type auditListCmd struct {
	User string `placeholder:"USER" help:"Only what this user did or what was done to them: an address or any user id."`
	Kind string `placeholder:"KIND" help:"Only this kind, such as login.failed."`
	paging
}

// auditView is an entry in JSON, as the administration API writes one.
type auditView struct {
	ID        id.Audit            `json:"id"`
	At        stamp               `json:"at"`
	Kind      audit.Kind          `json:"kind"`
	Actor     string              `json:"actor"`
	Target    string              `json:"target"`
	Session   handstamp.SessionID `json:"session"`
	IP        string              `json:"ip"`
	UserAgent string              `json:"user_agent"`
	RequestID string              `json:"request_id"`
	Detail    map[string]string   `json:"detail"`
}

func viewAudit(e audit.Event) auditView {
	detail := e.Detail
	if detail == nil {
		detail = map[string]string{}
	}
	return auditView{e.ID, stamp(e.At), e.Kind, e.Actor, e.Target, e.Session, e.IP, e.UserAgent, e.RequestID, detail}
}

// Run lists entries of the audit log.
func (c *auditListCmd) Run(ctx context.Context, a *app) error {
	if err := c.check("an entry", "evt_"); err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	var user handstamp.UserID
	if c.User != "" {
		// Entries outlive the account they speak of, so any id will do.
		if user, err = t.anyUser(ctx, c.User); err != nil {
			return err
		}
	}
	return listing[audit.Event, auditView]{
		name: "events",
		fetch: func(after string, limit int) ([]audit.Event, error) {
			return t.store.Audit().List(ctx, audit.Filter{Kind: audit.Kind(c.Kind), User: user, Before: id.Audit(after), Limit: limit})
		},
		id: func(e audit.Event) string { return string(e.ID) }, view: viewAudit,
		head: []string{"AT", "KIND", "BY", "TO", "SESSION", "FROM", "DETAIL"},
		row: func(e audit.Event) []string {
			return []string{when(e.At, a.now()), string(e.Kind), e.Actor, e.Target, string(e.Session), e.IP, detailOf(e)}
		},
	}.print(a, c.paging)
}

func detailOf(e audit.Event) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
		parts = append(parts, fmt.Sprintf("%s=%s", k, e.Detail[k]))
	}
	return strings.Join(parts, " ")
}
