package handstamp

import (
	"context"
	"fmt"
	"slices"

	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/revoke"
)

// evict ends the sessions that are too many, and the one whose place this login takes.
func (s *Starting) evict(ctx context.Context, tx Tx) ([]revoke.Event, error) {
	var events []revoke.Event
	end := func(sid SessionID, of UserID, reason string) error {
		events = append(events, s.auth.event(revoke.KindSession, string(sid), revoke.End, reason, s.now))
		return tx.Record(ctx, s.auth.entry(s.proof.Client, audit.Event{
			Kind: audit.SessionEnded, Target: string(of), Session: sid, Detail: map[string]string{"reason": reason},
		}, s.now))
	}
	if limit := s.auth.opt.Session.MaxPerUser; limit > 0 {
		ids, err := s.tooMany(ctx, tx, limit)
		if err != nil {
			return nil, fmt.Errorf("find the oldest sessions: %w", err)
		}
		for _, sid := range ids {
			if err := end(sid, s.proof.user, "limit"); err != nil {
				return nil, err
			}
		}
	}
	if s.proof.replaces != "" {
		if err := end(s.proof.replaces, s.proof.replacing, "replaced"); err != nil {
			return nil, err
		}
	}
	if s.proof.visitor != "" { // nobody's session: there is nobody to tell in the audit log
		if s.proof.left != nil {
			*s.proof.left = true
		}
		events = append(events, s.auth.event(revoke.KindSession, string(s.proof.visitor), revoke.End, "login", s.now))
	}
	return events, nil
}

// tooMany returns the sessions that must end so that no more than limit are live with the new one. The session that is
// replaced ends anyway, and makes room itself.
func (s *Starting) tooMany(ctx context.Context, tx Tx, limit int) ([]SessionID, error) {
	ids, err := tx.Oldest(ctx, s.proof.user, s.now, limit-1)
	if err != nil || len(ids) == 0 || s.proof.replaces == "" {
		return ids, err
	}
	if i := slices.Index(ids, s.proof.replaces); i >= 0 {
		return slices.Delete(ids, i, i+1), nil
	}
	live, err := tx.Oldest(ctx, s.proof.user, s.now, 0)
	if err != nil || !slices.Contains(live, s.proof.replaces) {
		return ids, err
	}
	return ids[:len(ids)-1], nil
}
