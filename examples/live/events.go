package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/handstamp/handstamp"
)

const heartbeat = 15 * time.Second

// events is the same room as server-sent events. The last one, "end", says why the stream ends: a browser opens a stream
// that ends without a word again, and again.
func (a *app) events(w http.ResponseWriter, r *http.Request) {
	p, _ := handstamp.FromContext(r.Context())
	m, err := a.room.join(p.User)
	if err != nil {
		http.Error(w, "too many connections", http.StatusTooManyRequests)
		return
	}
	defer a.room.leave(m)
	ctx, cancel := a.auth.Guard(r.Context(), p)
	defer cancel()

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	s := &stream{w: w, out: http.NewResponseController(w), guarded: ctx, grace: a.grace}
	_ = s.out.SetReadDeadline(time.Time{}) // the server's is for requests, and would end the stream
	defer s.hurryAtTheEnd()()
	if s.send("", "") != nil {
		return
	}
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for err == nil {
		select {
		case <-ctx.Done():
			s.end(endingOf(ctx))
			return
		case b, ok := <-m.out:
			switch {
			case ctx.Err() != nil: // the next turn ends it
			case !ok:
				s.end(ending{websocket.StatusPolicyViolation, "too slow"})
				return
			default:
				err = s.send("room", string(b))
			}
		case <-ticker.C:
			err = s.send("", "")
		}
	}
}

// stream is an event stream that is open.
type stream struct {
	w       http.ResponseWriter
	out     *http.ResponseController
	guarded context.Context
	grace   time.Duration
}

// end says why there will be no more events.
func (s *stream) end(e ending) {
	_ = s.send("end", fmt.Sprintf(`{"code":%d,"text":%q}`, e.code, e.text))
}

// send writes one event, or a comment that only keeps the connection open. data is one line.
func (s *stream) send(event, data string) error {
	_ = s.out.SetWriteDeadline(time.Now().Add(writeTimeout))
	if s.guarded.Err() != nil {
		_ = s.out.SetWriteDeadline(time.Now().Add(s.grace))
	}
	text := ":\n\n"
	if event != "" {
		text = "event: " + event + "\ndata: " + data + "\n\n"
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.out.Flush()
}

// hurryAtTheEnd lets a write that is under way, to somebody who does not read, end soon after the session.
func (s *stream) hurryAtTheEnd() (done func()) {
	ran := make(chan struct{})
	stop := context.AfterFunc(s.guarded, func() {
		defer close(ran)
		_ = s.out.SetWriteDeadline(time.Now().Add(s.grace))
	})
	return func() {
		if !stop() {
			<-ran // the connection is the next request's after this
		}
		_ = s.out.SetWriteDeadline(time.Time{})
	}
}
