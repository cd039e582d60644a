package server

import (
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

// maxRevocations is how many events one answer holds.
const maxRevocations = 10_000

type (
	renewalIn struct {
		Verifier *string `json:"verifier,omitempty" doc:"vrf_…: drawn when the process starts, never used by another and never again."`
		Log      *string `json:"log,omitempty" doc:"The log that was followed so far; left out or empty at first."`
		Applied  *uint64 `json:"applied,omitempty" doc:"The last event that was applied, in order: this acknowledges it."`
		Tag      *string `json:"tag,omitempty" doc:"The tag of that event."`
	}
	renewalOut struct {
		Log     string          `json:"log"`
		Head    uint64          `json:"head" doc:"The number of the log's last event."`
		Tag     string          `json:"tag" doc:"Of the head."`
		Low     uint64          `json:"low" doc:"The number of the last event that the log has forgotten."`
		Now     time.Time       `json:"now" doc:"The fleet's time."`
		AgeMS   int64           `json:"age_ms" doc:"How old this answer is already, rounded up: the lease ends at (moment before the request was sent) + lease_ms - 1.12 * age_ms."`
		LeaseMS int64           `json:"lease_ms"`
		More    bool            `json:"more" doc:"true: there are more events. Apply these and renew again; this answer grants no lease."`
		Events  []revocationOut `json:"events" doc:"Those after applied, in order, without gaps."`
	}
	renewalResetOut struct {
		Reset bool   `json:"reset" doc:"true: the place that was named is not in this log. Drop every copy and go on from low."`
		Log   string `json:"log"`
		Low   uint64 `json:"low"`
		Tag   string `json:"tag" doc:"Of low."`
		Head  uint64 `json:"head"`
	}
	revocationOut struct {
		Seq    uint64    `json:"seq"`
		Tag    string    `json:"tag"`
		Kind   string    `json:"kind" enum:"session,user,role,key,service_key,all"`
		ID     string    `json:"id" doc:"Of what the kind names; empty for all."`
		Effect string    `json:"effect" enum:"end,change" doc:"end: it is over. change: what was read before is out of date."`
		Except string    `json:"except,omitempty" doc:"The one session that an event about a user spares."`
		Until  time.Time `json:"until" doc:"The log may forget the event after this."`
	}
	revocationsOut struct {
		Log    string          `json:"log"`
		Head   uint64          `json:"head"`
		Low    uint64          `json:"low"`
		Events []revocationOut `json:"events"`
		More   bool            `json:"more,omitempty" doc:"There are more: ask again after the last one."`
	}
)

// renewLease: POST /v1/revocations/lease. It is renewal and acknowledgement in one, answered from this process's memory:
// nothing is asked and nobody is waited for. A process that holds no lease itself gives none.
func (s *Server) renewLease(w http.ResponseWriter, r *http.Request) error {
	q, err := renewalOf(r)
	if err != nil {
		return err
	}
	a, err := s.auth.AnswerRenewal(q)
	if err == nil && !a.Reset && a.Head.Now.IsZero() {
		err = errors.New("this process does not know the fleet's time")
	}
	if err != nil {
		return soon(time.Second, "This node may not answer for the log right now. Ask again, or ask another one.", err)
	}
	h := a.Head
	if a.Reset {
		return answer(w, http.StatusOK, renewalResetOut{Reset: true, Log: h.Log, Low: h.Low, Tag: string(h.LowTag), Head: h.Seq})
	}
	return answer(w, http.StatusOK, renewalOut{
		Log: h.Log, Head: h.Seq, Tag: string(h.Tag), Low: h.Low, Now: h.Now.UTC(), AgeMS: ceilMS(a.Age),
		LeaseMS: h.Lease.Milliseconds(), More: a.More, Events: revocationsOf(a.Events),
	})
}

// ceilMS rounds up: an age that is too small would be a lease that is too long.
func ceilMS(d time.Duration) int64 {
	return int64(math.Ceil(float64(d) / float64(time.Millisecond)))
}

// renewalOf reads the body of a renewal.
func renewalOf(r *http.Request) (revoke.Renewal, error) {
	var in renewalIn
	if err := decode(r, &in); err != nil {
		return revoke.Renewal{}, err
	}
	var f fields
	q := revoke.Renewal{Limit: maxRevocations, Log: f.mark("log", in.Log), Tag: revoke.Tag(f.mark("tag", in.Tag))}
	if in.Applied != nil {
		q.Applied = *in.Applied
	}
	var err error
	if q.Verifier, err = id.ParseVerifier(f.need("verifier", in.Verifier)); err != nil && in.Verifier != nil {
		f.bad("verifier", "is vrf_ and 26 characters of base32")
	}
	return q, f.err()
}

// maxMarkBytes bounds ids of logs and tags. Ours have 26 and 11 characters.
const maxMarkBytes = 64

// mark reads the id of a log or a tag, which may be empty or left out.
func (f *fields) mark(field string, v *string) string {
	if v == nil {
		return ""
	}
	if len(*v) > maxMarkBytes || !plainText(*v) {
		f.bad(field, fmt.Sprintf("has at most %d bytes and no control characters", maxMarkBytes))
	}
	return *v
}

// revocations: GET /v1/revocations. It wakes and informs; it renews nothing.
func (s *Server) revocations(w http.ResponseWriter, r *http.Request) error {
	w.Header().Add("Vary", "Accept")
	q, err := queryOf(r)
	if err != nil {
		return err
	}
	after, given := q.number("after")
	if wantsStream(r) {
		if text := r.Header.Values(lastEventID); len(text) > 0 && text[0] != "" {
			// The header goes first: a client that comes back has the address it began with, and the number it has come to.
			if after, given = parseNumber(text[0]); !given || len(text) > 1 {
				q.bad(lastEventID, "is a whole number that an event of this stream had as its id")
			}
		}
	}
	if err := q.err(); err != nil {
		return err
	}
	if wantsStream(r) {
		return s.stream(w, r, place{seq: after, given: given})
	}
	a := s.auth.Revocations(after, maxRevocations)
	return answer(w, http.StatusOK, revocationsOut{
		Log: a.Head.Log, Head: a.Head.Seq, Low: a.Head.Low, Events: revocationsOf(a.Events), More: a.More,
	})
}

func revocationsOf(events []revoke.Event) []revocationOut {
	out := make([]revocationOut, len(events))
	for i, e := range events {
		out[i] = revocationOf(e)
	}
	return out
}

func revocationOf(e revoke.Event) revocationOut {
	return revocationOut{
		Seq: e.Seq, Tag: string(e.Tag), Kind: string(e.Kind), ID: e.ID, Effect: string(e.Effect),
		Except: string(e.Except), Until: e.Until.UTC(),
	}
}

// number returns a whole number that may be left out.
func (q *query) number(name string) (n uint64, given bool) {
	v, ok := q.values[name]
	if !ok {
		return 0, false
	}
	n, ok = parseNumber(v[0])
	if !ok {
		q.bad(name, "is a whole number")
	}
	return n, ok
}

// parseNumber reads digits without a sign and without zeros before them.
func parseNumber(text string) (uint64, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == text
}

// streamType is the media type of server-sent events (WHATWG HTML section 9.2).
const streamType = "text/event-stream"

// wantsStream reports whether a request names event streams among what it takes. A client that takes anything gets JSON.
func wantsStream(r *http.Request) bool {
	for _, list := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(list, ",") {
			t, params, err := mime.ParseMediaType(part)
			if err != nil || t != streamType {
				continue
			}
			q, err := strconv.ParseFloat(params["q"], 64)
			return params["q"] == "" || err == nil && q > 0
		}
	}
	return false
}

// soon is "don't know" for reasons that pass, and that are known here: a line in the log for each would be two a second for
// every verifier. cause may be nil.
func soon(again time.Duration, detail string, cause error) error {
	p := handstamp.NewProblem(http.StatusServiceUnavailable, "unavailable", "Temporarily unavailable", detail)
	p.RetryAfter = again
	return &refusal{problem: p, expected: true, cause: cause}
}
