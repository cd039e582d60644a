package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
)

const revocationsPath = "/v1/revocations"

// streamText is what the document says about the stream.
const streamText = "Server-sent events, for as long as the caller's credential is good, this server runs, and 15 minutes at most: connect again. " +
	"event: revocation has one event as its data and its number as its id. event: heartbeat comes when there was nothing else for half a " +
	"second, and at once where there is nothing to tell; its data are log, head and low, its id is the number up to which everything was told. event: reset, with the data of a " +
	"reset of a lease, says that events were missed or that this is another log: drop every copy; its id is low, and what the log still " +
	"knows follows. A stream wakes and informs; it renews no lease."

// What a stream may cost.
const (
	// maxStreams bounds how many there are at a time in this process, each with a connection and a goroutine.
	maxStreams = 1000
	// beatEvery is how long a stream is silent at most.
	beatEvery = 500 * time.Millisecond
	// writePatience is how long a reader may take for what was written. Who takes longer is dropped.
	writePatience = 5 * time.Second
	// streamLife ends streams now and then: they spread over the nodes again, and a reader that is gone without a word, whose
	// connection swallows all that is written, is rid of.
	streamLife = 15 * time.Minute
	// streamPage is how many events are written at a time.
	streamPage = 500
	// streamRetry is when who found no place is told to come again.
	streamRetry = 5 * time.Second
)

// streams are the event streams of one server.
type streams struct {
	beat, patience, life time.Duration

	mu    sync.Mutex
	limit int
	over  bool
	next  uint64
	ends  map[uint64]context.CancelCauseFunc
}

func newStreams() *streams {
	return &streams{
		beat: beatEvery, patience: writePatience, life: streamLife, limit: maxStreams,
		ends: map[uint64]context.CancelCauseFunc{},
	}
}

// errStopped is why streams end when the server does.
var errStopped = errors.New("the server is stopping")

// enter takes a place. The context ends with the stream's time, and when all streams are ended; leave gives the place back.
func (s *streams) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return nil, nil, soon(streamRetry, "This node is stopping. Connect to another one.", errStopped)
	case len(s.ends) >= s.limit:
		return nil, nil, soon(streamRetry, "This node has as many event streams as it can have. Connect to another one, or later.", nil)
	}
	ctx, end := context.WithCancelCause(ctx)
	ctx, expire := context.WithTimeout(ctx, s.life)
	s.next++
	n := s.next
	s.ends[n] = end
	return ctx, func() {
		expire()
		end(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.ends, n)
	}, nil
}

// end ends all streams, and lets none begin any more.
func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for _, end := range s.ends {
		end(errStopped)
	}
}

func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ends)
}

// EndStreams ends all event streams and refuses new ones with 503. http.Server.Shutdown waits for streams, which have no
// end of their own: give this to http.Server.RegisterOnShutdown.
func (s *Server) EndStreams() { s.streams.end() }

// Streams reports whether a request is for an event stream: a deadline for answers must not be put on it. It says nothing
// about whether there will be one.
func (s *Server) Streams(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.EscapedPath() == s.prefix+revocationsPath && wantsStream(r)
}

// place is where a stream stands.
type place struct {
	seq   uint64 // everything up to here was told
	given bool   // the client said where to begin
	log   string // the log that seq is of; empty before anything was told
	told  uint64 // the largest number that this stream was told of the log
}

// stream writes revocations as server-sent events until the client goes, its credential ends, or the server stops.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, at place) error {
	ctx, leave, err := s.streams.enter(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	ctx, free := s.auth.Guard(ctx, who(r))
	defer free()
	if rec, ok := w.(*recorder); ok {
		rec.stream = true
	}
	out := &eventStream{to: w, control: http.NewResponseController(w), patience: s.streams.patience}
	if err := out.open(); err != nil {
		return err
	}
	err = s.tell(ctx, r, out, at)
	if out.err == nil {
		out.deadline(time.Now().Add(out.patience)) // for the end of the answer
	}
	s.opt.Logger.DebugContext(r.Context(), "an event stream ended", "request_id", r.Header.Get("Request-Id"),
		"error", err, "cause", context.Cause(ctx))
	return nil // the status is out
}

// tell writes what happens from a place on. It returns why it ended: the context, the connection, or that the caller may
// not read this any more.
func (s *Server) tell(ctx context.Context, r *http.Request, out *eventStream, at place) error {
	for quiet := true; ; {
		a := s.auth.Revocations(at.seq, streamPage)
		if at.lost(a.Head) {
			out.event("reset", a.Head.Low, renewalResetOut{
				Reset: true, Log: a.Head.Log, Low: a.Head.Low, Tag: string(a.Head.LowTag), Head: a.Head.Seq,
			})
			at = place{seq: a.Head.Low, given: true, log: a.Head.Log, told: a.Head.Low}
			continue
		}
		ask := false
		for _, e := range a.Events {
			out.event("revocation", e.Seq, revocationOf(e))
			at.seq, at.told = e.Seq, e.Seq
			ask = ask || concerns(e, who(r))
		}
		if len(a.Events) == 0 && quiet {
			out.event("heartbeat", at.seq, heartbeatOut{Log: a.Head.Log, Head: a.Head.Seq, Low: a.Head.Low})
		}
		if err := out.flush(); err != nil {
			return err
		}
		if ask {
			if _, err := s.auth.Check(r, may(permRevocations).rules...); err != nil {
				return fmt.Errorf("the caller may not read on: %w", err)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if a.More {
			continue
		}
		wait, cancel := context.WithTimeout(ctx, s.streams.beat)
		quiet = s.auth.AwaitRevocation(wait, at.seq, at.log) != nil
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// lost reports whether events between this place and what the log still knows were missed, or the numbers are of another
// log by now; otherwise it takes the log for the place's own. A client that has come further than this node, as one that
// comes from another node may have, lost nothing: the node will get there.
func (p *place) lost(h revoke.Head) bool {
	if p.log == "" {
		p.log = h.Log
		if !p.given {
			p.seq = max(p.seq, h.Low)
		}
	}
	return p.log != h.Log || h.Seq < p.told || p.seq < h.Low
}

// concerns reports whether an event may have changed what a caller may do. Guard ends the stream when the caller's
// credential ends, and does not look at permissions.
func concerns(e revoke.Event, p handstamp.Principal) bool {
	if e.Effect != revoke.Change || p.Session == "" {
		return false // a program's permissions never change
	}
	return e.Kind == revoke.KindRole || e.Kind == revoke.KindUser && e.ID == string(p.User)
}

// heartbeatOut says where the log stands.
type heartbeatOut struct {
	Log  string `json:"log"`
	Head uint64 `json:"head"`
	Low  uint64 `json:"low"`
}

// eventStream writes server-sent events. The first error stays.
type eventStream struct {
	to       http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	pending  []byte
	err      error
}

// open writes the headers. An error says that nothing was written.
func (e *eventStream) open() error {
	e.deadline(time.Now().Add(e.patience))
	h := e.to.Header()
	h.Set("Content-Type", streamType)
	h.Set("X-Accel-Buffering", "no") // nginx collects answers otherwise
	if err := e.control.Flush(); errors.Is(err, http.ErrNotSupported) {
		h.Del("X-Accel-Buffering")
		return fmt.Errorf("begin an event stream: %w", err)
	} else if err != nil {
		e.err = err
	}
	e.pending = append(e.pending, "retry: 1000\n\n"...)
	return nil
}

// event adds one event.
func (e *eventStream) event(name string, id uint64, data any) {
	text, err := json.Marshal(data)
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("write an event: %w", err)
	}
	e.pending = fmt.Appendf(e.pending, "id: %d\nevent: %s\ndata: %s\n\n", id, name, text)
}

// flush sends what was added. It waits for the reader as long as a stream's patience, and not for the rest of the server's.
func (e *eventStream) flush() error {
	if e.err != nil || len(e.pending) == 0 {
		return e.err
	}
	e.deadline(time.Now().Add(e.patience))
	if _, e.err = e.to.Write(e.pending); e.err == nil {
		e.err = e.control.Flush()
	}
	if e.err == nil {
		e.deadline(time.Time{}) // in HTTP/2 it would end the stream while nothing is written, too
	}
	e.pending = e.pending[:0]
	return e.err
}

// deadline is of the next write alone. A writer that has no deadlines is left to whoever put it there.
func (e *eventStream) deadline(t time.Time) { _ = e.control.SetWriteDeadline(t) }
