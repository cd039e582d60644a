package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/handstamp/handstamp"
)

const (
	maxFrameBytes = 4 << 10
	writeTimeout  = 5 * time.Second
	pingInterval  = 30 * time.Second
	// A connection may say so many messages at once, and then one every so often.
	burst      = 10
	sayingRate = 200 * time.Millisecond
)

// socket is one WebSocket, from its handshake to its end.
func (a *app) socket(w http.ResponseWriter, r *http.Request) {
	if err := a.auth.CheckHandshake(r); err != nil { // a GET, but one that any page can make a browser send
		a.auth.Deny(w, r, err)
		return
	}
	p, _ := handstamp.FromContext(r.Context())
	m, err := a.room.join(p.User)
	if err != nil {
		http.Error(w, "too many connections", http.StatusTooManyRequests)
		return
	}
	defer a.room.leave(m)
	a.sockets.Add(1)
	defer a.sockets.Done()
	// The library looks at Origin, too, and compares it with the header Host: a proxy may write that, so the name that
	// browsers know is added.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: []string{a.host}})
	if err != nil {
		return // it has answered
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxFrameBytes)

	ctx, cancel := a.auth.Guard(r.Context(), p)
	defer cancel()
	// A read or write whose context ends closes the connection without a word. So they have one that ends a little later.
	io, hangUp := outlive(ctx, a.grace)
	defer hangUp()
	s := &socket{app: a, conn: conn, member: m, p: p, guarded: ctx, io: io, hangUp: cancel}
	go s.read()
	go s.ping()
	end := s.write()
	a.room.leave(m) // nothing goes out after the end
	_ = conn.Close(end.code, end.text)
}

// outlive returns a context that ends a while after ctx.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	later, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, end)
		context.AfterFunc(later, func() { timer.Stop() })
	})
	return later, func() { stop(); end() }
}

// socket is a WebSocket that is open.
type socket struct {
	*app
	conn    *websocket.Conn
	member  *member
	p       handstamp.Principal
	guarded context.Context    // ends with the session
	io      context.Context    // ends a little later
	hangUp  context.CancelFunc // ends guarded, when the client is gone
}

// write sends what happens in the room, until the end, and says which end it is.
func (s *socket) write() ending {
	for {
		select {
		case <-s.guarded.Done():
			return endingOf(s.guarded)
		case b, ok := <-s.member.out:
			if s.guarded.Err() != nil { // select takes either when both are ready
				return endingOf(s.guarded)
			}
			if !ok {
				return ending{websocket.StatusPolicyViolation, "too slow"}
			}
			ctx, cancel := context.WithTimeout(s.io, writeTimeout)
			err := s.conn.Write(ctx, websocket.MessageText, b)
			cancel()
			if err != nil {
				return ending{websocket.StatusPolicyViolation, "too slow"} // or gone
			}
		}
	}
}

// ping notices clients that are gone without a word, and keeps proxies from closing a quiet connection.
func (s *socket) ping() {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.guarded.Done():
			return
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(s.io, writeTimeout)
		err := s.conn.Ping(ctx)
		cancel()
		if err != nil {
			s.hangUp()
			return
		}
	}
}

// read takes what the client sends, until the end.
func (s *socket) read() {
	defer s.hangUp()
	var sayings allowance
	for {
		kind, b, err := s.conn.Read(s.io)
		// What arrived when the session was over was said by nobody.
		if err != nil || s.guarded.Err() != nil {
			return
		}
		if !sayings.take(time.Now()) {
			s.room.note(s.member, "Too fast. That was not sent.")
			continue
		}
		text := strings.TrimSpace(string(b))
		if kind != websocket.MessageText || !utf8.ValidString(text) || text == "" || utf8.RuneCountInString(text) > maxTextLength {
			s.room.note(s.member, "That is no message.")
			continue
		}
		s.auth.Active(s.p) // the connection by itself is no activity; this is
		if text == "/clear" {
			s.clear()
			continue
		}
		s.room.say(s.p.User, text)
	}
}

// allowance lets burst messages through at once, and then one every sayingRate.
type allowance struct{ full time.Time } // when all of it is there again

func (a *allowance) take(now time.Time) bool {
	if a.full.Before(now) {
		a.full = now
	}
	if a.full.Sub(now) > (burst-1)*sayingRate {
		return false // and costs nothing: who slows down is heard again
	}
	a.full = a.full.Add(sayingRate)
	return true
}

// clear is something that not everybody may do. What the user could do when the connection was opened is hours old, so it
// is asked what they may do now.
func (s *socket) clear() {
	p, err := s.auth.Alive(s.guarded, s.p.Session)
	switch {
	case errors.Is(err, handstamp.ErrUnauthenticated):
		s.hangUp() // Guard is about to say the same
	case err != nil:
		s.room.note(s.member, "It cannot be found out right now whether you may do this. Try again.")
	case !p.May("chat:clear"):
		s.room.note(s.member, "You may not do this.")
	default:
		s.room.clear(p.User)
	}
}
