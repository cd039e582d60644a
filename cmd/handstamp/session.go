package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/internal/config"
)

// sessionCmd is "handstamp session".
type sessionCmd struct {
	List   sessionListCmd   `cmd:"" help:"List live sessions, newest first."`
	Revoke sessionRevokeCmd `cmd:"" help:"End sessions: SES..., or --user, or --all."`
}

// sessionView is a session in JSON, as the administration API writes one.
type sessionView struct {
	ID            handstamp.SessionID `json:"id"`
	User          handstamp.UserID    `json:"user"`
	Mode          handstamp.Mode      `json:"mode"`
	Transport     handstamp.Transport `json:"transport"`
	CreatedAt     stamp               `json:"created_at"`
	LastSeenAt    stamp               `json:"last_seen_at"`
	ExpiresAt     stamp               `json:"expires_at"`
	IdleExpiresAt stamp               `json:"idle_expires_at"`
	IP            string              `json:"ip"`
	UserAgent     string              `json:"user_agent"`
}

func viewSession(s handstamp.Session) sessionView {
	v := sessionView{
		ID: s.ID, User: userOf(s), Mode: s.Mode, Transport: s.Transport, CreatedAt: stamp(s.CreatedAt), LastSeenAt: stamp(s.SeenAt),
		ExpiresAt: stamp(s.ExpiresAt), IdleExpiresAt: stamp(s.IdleExpiresAt()), IP: s.IP, UserAgent: s.UserAgent,
	}
	if s.Mode == handstamp.ModeToken {
		v.LastSeenAt = stamp{} // nobody looks when such a session is used
	}
	return v
}

// elsewhere says that the records are where this command cannot see them.
func (t *tool) elsewhere() error {
	if t.cfg.Sessions.Kind == config.KindMemory {
		return errors.New("sessions is memory, so the server alone has them: ask its administration API, or end them by session revoke --user or --all, which it follows")
	}
	return nil
}

type sessionListCmd struct {
	User string `placeholder:"USER" help:"Only this user's: an address or any user id."`
	paging
}

// Run lists sessions.
func (c *sessionListCmd) Run(ctx context.Context, a *app) error {
	if err := c.check("a session", "ses_"); err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	if err := t.elsewhere(); err != nil {
		return err
	}
	var user handstamp.UserID
	if c.User != "" {
		if user, err = t.anyUser(ctx, c.User); err != nil {
			return err
		}
	}
	now := a.now().UTC()
	return listing[handstamp.Session, sessionView]{
		name: "sessions",
		fetch: func(after string, limit int) ([]handstamp.Session, error) {
			return t.store.Sessions().List(ctx, handstamp.SessionFilter{User: user, After: handstamp.SessionID(after), Limit: limit, Now: now})
		},
		id: func(s handstamp.Session) string { return string(s.ID) }, view: viewSession,
		head: []string{"ID", "USER", "MODE", "CREATED", "LAST SEEN", "FROM", "WITH"},
		row: func(s handstamp.Session) []string {
			return []string{string(s.ID), string(s.User), string(s.Mode), when(s.CreatedAt, now), when(s.SeenAt, now), s.IP, s.UserAgent}
		},
	}.print(a, c.paging)
}

type sessionRevokeCmd struct {
	Sessions []string `arg:"" optional:"" name:"session" help:"Ids of sessions (ses_...)."`
	User     string   `placeholder:"USER" help:"All sessions of this user: an address or any user id."`
	All      bool     `help:"Everybody's sessions."`
	Reason   string   `placeholder:"TEXT" help:"Why: lists, the audit log and inspect show it."`
	Wait     bool     `help:"Wait until no server accepts them any more."`
	Yes      bool     `help:"Do not ask."`
	JSON     bool     `name:"json" help:"Print JSON."`
}

// Run ends sessions.
func (c *sessionRevokeCmd) Run(ctx context.Context, a *app) error {
	ids, err := c.check()
	if err != nil {
		return err
	}
	t, err := a.openTool(ctx, need{})
	if err != nil {
		return err
	}
	defer t.end()
	opt := cliEnd(c.Reason)
	var ended []handstamp.Ended
	whose := "ended"
	switch {
	case c.All:
		if err := a.confirm(ctx, c.Yes, "This logs everybody out."); err != nil {
			return err
		}
		whose = "ended: everybody is logged out"
		ended, err = one(t.auth.EndAll(ctx, opt))
	case c.User != "":
		var u handstamp.UserID
		if u, err = t.anyUser(ctx, c.User); err != nil {
			return err
		}
		whose = "of " + string(u) + " ended"
		ended, err = one(t.auth.EndUser(ctx, u, opt))
	default:
		ended, err = t.endSessions(ctx, ids, opt)
	}
	if len(ended) == 0 {
		return err
	}
	// What was ended is waited for and said, whatever became of the rest.
	out, unwaited := t.settle(ctx, c.Wait, ended...)
	if unwaited != nil {
		return errors.Join(err, unwaited)
	}
	if c.JSON {
		return errors.Join(err, a.printJSON(out))
	}
	return errors.Join(err, a.say("%s", out.words(count(out.Revoked, out.More, "session", "sessions")+" "+whose)))
}

func (c *sessionRevokeCmd) check() ([]handstamp.SessionID, error) {
	ways := 0
	for _, given := range []bool{len(c.Sessions) > 0, c.User != "", c.All} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return nil, usage("say what ends: ids of sessions (ses_...), or --user USER, or --all")
	}
	var ids []handstamp.SessionID
	for _, text := range c.Sessions {
		sid, err := id.ParseSession(text)
		if err != nil && credentialPattern().MatchString(text) {
			return nil, usage("this is a credential, not the id of a session (ses_...): handstamp inspect names its session")
		}
		if err != nil {
			return nil, usage("%q is no id of a session (ses_...): see handstamp session list", short(text))
		}
		ids = append(ids, sid)
	}
	return ids, nil
}

func one(e handstamp.Ended, err error) ([]handstamp.Ended, error) {
	if err != nil {
		return nil, err
	}
	return []handstamp.Ended{e}, nil
}

// endSessions ends each of them, and returns what was ended beside an error as well. An id without a record stops it
// only after the others were tried.
func (t *tool) endSessions(ctx context.Context, ids []handstamp.SessionID, opt handstamp.EndOptions) ([]handstamp.Ended, error) {
	if err := t.elsewhere(); err != nil {
		return nil, err
	}
	var ended []handstamp.Ended
	var unknown []string
	others := func() string { return count(len(ended), false, "other", "others") }
	for _, sid := range ids {
		e, err := t.auth.EndSession(ctx, sid, opt)
		switch {
		case errors.Is(err, handstamp.ErrNotFound):
			unknown = append(unknown, string(sid))
		case err != nil:
			return ended, fmt.Errorf("end %s (%s ended): %w", sid, others(), err)
		default:
			ended = append(ended, e)
		}
	}
	if len(unknown) > 0 {
		return ended, fmt.Errorf("there is no session %s (%s ended): see handstamp session list", strings.Join(unknown, ", "), others())
	}
	return ended, nil
}

// userOf is whose session it is; a visitor's is nobody's.
func userOf(s handstamp.Session) handstamp.UserID {
	if s.IsAnonymous() {
		return ""
	}
	return s.User
}
