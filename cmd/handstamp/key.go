package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/keyring"
)

// keyCmd is "handstamp key": the keys that sign value tokens.
type keyCmd struct {
	List   keyListCmd   `cmd:"" help:"List signing keys."`
	Rotate keyRotateCmd `cmd:"" help:"Bring in the next key before its planned time; tokens of the old one stay good."`
	Revoke keyRevokeCmd `cmd:"" help:"Revoke a key, which ends every token it ever signed."`
}

type keyListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists keys.
func (c *keyListCmd) Run(ctx context.Context, a *app) error {
	t, err := a.openTool(ctx, need{secrets: true})
	if err != nil {
		return err
	}
	defer t.end()
	keys := t.ring.List()
	if c.JSON {
		return a.printJSON(map[string]any{"keys": orEmpty(keys)})
	}
	var rows [][]string
	for _, k := range keys {
		note := k.Reason
		if k.Unusable {
			note = "cannot be opened with these secrets"
		}
		rows = append(rows, []string{k.ID, string(k.Algorithm), string(k.Use), string(k.State), when(k.CreatedAt, a.now()), when(k.ActivateAt, a.now()), note})
	}
	return a.printTable([]string{"ID", "ALGORITHM", "USE", "STATE", "CREATED", "ACTIVE FROM", "NOTE"}, rows)
}

type keyRotateCmd struct{}

// Run rotates the keys.
func (c *keyRotateCmd) Run(ctx context.Context, a *app) error {
	t, err := a.openTool(ctx, need{secrets: true})
	if err != nil {
		return err
	}
	defer t.end()
	// The ring writes its records one by one, each by itself, so the entry cannot be in the transaction of the change. It
	// comes first: an entry about a rotation that failed misleads nobody, a rotation without one would.
	entry := t.auth.AuditEntry(cliClient(), audit.Event{Kind: audit.KeyRotated, Detail: map[string]string{"step": "requested"}})
	if err := t.auth.RecordAudit(ctx, entry); err != nil {
		return fmt.Errorf("the keys were not rotated: %w", err)
	}
	if err := t.ring.Maintain(ctx); err != nil {
		return err
	}
	at, err := t.ring.Rotate(ctx, a.now())
	if err != nil {
		return err
	}
	return a.say("the next key signs from %s; it is published already", when(at, a.now()))
}

type keyRevokeCmd struct {
	ID     string `arg:"" help:"Id of the key: see handstamp key list."`
	Reason string `placeholder:"TEXT" help:"Why, for the audit log."`
	Wait   bool   `help:"Wait until no server accepts its tokens any more."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Run revokes a key.
func (c *keyRevokeCmd) Run(ctx context.Context, a *app) error {
	t, err := a.openTool(ctx, need{secrets: true})
	if err != nil {
		return err
	}
	defer t.end()
	if !slices.ContainsFunc(t.ring.List(), func(k keyring.Info) bool { return k.ID == c.ID }) {
		return fmt.Errorf("there is no key %q: see handstamp key list", short(c.ID))
	}
	ended, err := t.auth.EndKey(ctx, c.ID, cliEnd(c.Reason))
	if err != nil {
		return err
	}
	if c.JSON {
		out, err := t.settle(ctx, c.Wait, ended)
		if err != nil {
			return err
		}
		return a.printJSON(out)
	}
	return t.finish(ctx, a, "the key "+c.ID+" is revoked with every token it signed; the standby key signs from now on", c.Wait, ended)
}
