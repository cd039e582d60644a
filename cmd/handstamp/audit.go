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
	User  string `placeholder:"USER" help:"Only what this user did or what was done to them: an address or any user id."`
	Kind  string `placeholder:"KIND" help:"Only this kind, such as login.failed."`
	After string `placeholder:"ID" help:"Go on after (that is: before in time) this entry."`
	Limit int    `default:"100" help:"At most so many, 1 to 1,000."`
	JSON  bool   `name:"json" help:"Print JSON."`
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

// Run lists entries of the audit log.
func (c *auditListCmd) Run(ctx context.Context, a *app) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	page, next, err := t.auditPage(ctx, c)
	if err != nil {
		return err
	}
	if c.JSON {
		views := make([]auditView, len(page))
		for i, e := range page {
			detail := e.Detail
			if detail == nil {
				detail = map[string]string{}
			}
			views[i] = auditView{e.ID, stamp(e.At), e.Kind, e.Actor, e.Target, e.Session, e.IP, e.UserAgent, e.RequestID, detail}
		}
		return a.printJSON(map[string]any{"events": views, "next": next})
	}
	var rows [][]string
	for _, e := range page {
		rows = append(rows, []string{when(e.At, a.now()), string(e.Kind), e.Actor, e.Target, string(e.Session), e.IP, detailOf(e)})
	}
	a.moreNote(next)
	return a.printTable([]string{"AT", "KIND", "BY", "TO", "SESSION", "FROM", "DETAIL"}, rows)
}

func (t *tool) auditPage(ctx context.Context, c *auditListCmd) ([]audit.Event, *string, error) {
	f := audit.Filter{Kind: audit.Kind(c.Kind), Before: id.Audit(c.After), Limit: c.Limit}
	var err error
	if c.User != "" {
		// Entries outlive the account they speak of, so any id will do.
		if f.User, err = t.anyUser(ctx, c.User); err != nil {
			return nil, nil, err
		}
	}
	log := t.store.Audit()
	all, err := log.List(ctx, f)
	if err != nil || len(all) < c.Limit {
		return all, nil, err
	}
	f.Before, f.Limit = all[len(all)-1].ID, 1
	more, err := log.List(ctx, f)
	if err != nil || len(more) == 0 {
		return all, nil, err
	}
	next := string(f.Before)
	return all, &next, nil
}

func detailOf(e audit.Event) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
		parts = append(parts, fmt.Sprintf("%s=%s", k, e.Detail[k]))
	}
	return strings.Join(parts, " ")
}
