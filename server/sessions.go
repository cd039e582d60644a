package server

import (
	"errors"
	"net/http"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/login"
)

// session: GET /v1/session.
func (s *Server) session(w http.ResponseWriter, r *http.Request) error {
	p := who(r)
	user, err := s.userOf(r.Context(), p)
	if err != nil {
		return err
	}
	out := meOut{User: user, Permissions: p.Permissions()}
	if p.Session != "" {
		record, err := s.auth.Session(r.Context(), p.Session)
		if err != nil {
			return unlessGone(err)
		}
		view := sessionOf(record)
		out.Session = &view
	}
	return answer(w, http.StatusOK, out)
}

// unlessGone keeps "not found" from being said of a record that a good credential speaks for.
func unlessGone(err error) error {
	if errors.Is(err, handstamp.ErrNotFound) {
		return errors.New("the record of a good session is not there")
	}
	return err
}

// sessions: GET /v1/sessions.
func (s *Server) sessions(w http.ResponseWriter, r *http.Request) error {
	q, err := queryOf(r)
	if err != nil {
		return err
	}
	p := who(r)
	page := s.pageOf(q, "sessions", string(p.User))
	if err := q.err(); err != nil {
		return err
	}
	out, err := s.devices(r, page, handstamp.SessionFilter{User: p.User})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, out)
}

// devices is one page of live sessions.
func (s *Server) devices(r *http.Request, page page, f handstamp.SessionFilter) (sessionsOut, error) {
	f.After, f.Limit = handstamp.SessionID(page.after), page.ask()
	list, err := s.auth.Sessions(r.Context(), f)
	if err != nil {
		return sessionsOut{}, err
	}
	out := sessionsOut{Sessions: []deviceOut{}}
	list, out.Next = turn(s, page, list, func(d handstamp.Session) string { return string(d.ID) })
	for _, d := range list {
		out.Sessions = append(out.Sessions, deviceOf(d, who(r).Session))
	}
	return out, nil
}

// endSession: DELETE /v1/sessions/{id}. Another user's session is as absent as one that never was; an own one that ended
// already answers as the first time.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	opt, err := s.endCall(r, "ended by its user")
	if err != nil {
		return err
	}
	sid, err := id.ParseSession(r.PathValue("id"))
	if err != nil {
		return handstamp.ErrNotFound
	}
	record, err := s.auth.Session(r.Context(), sid)
	if err != nil {
		return err
	}
	if record.User != who(r).User {
		return handstamp.ErrNotFound
	}
	ended, err := s.auth.EndSession(r.Context(), sid, opt)
	if err != nil {
		return err
	}
	return done(w, ended, opt)
}

// endSessions: DELETE /v1/sessions.
func (s *Server) endSessions(w http.ResponseWriter, r *http.Request) error {
	opt, err := s.endCall(r, "ended by their user")
	if err != nil {
		return err
	}
	q, err := queryOf(r)
	if err != nil {
		return err
	}
	p := who(r)
	if q.choice("keep", "current") {
		opt.Except = p.Session
	}
	if err := q.err(); err != nil {
		return err
	}
	// Each call is an event that every process remembers for an hour, also when there is nothing left to end: it must still
	// beat a login that is under way.
	if wait := s.endings.Allow(string(p.User), s.opt.Now()); wait > 0 {
		return &login.TooManyError{RetryAfter: wait}
	}
	ended, err := s.auth.EndUser(r.Context(), p.User, opt)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, revokedOut{Revoked: ended.Sessions, More: ended.More, appliedOut: applied(ended, opt)})
}
