package remote

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

// What the server says is read strictly: valid UTF-8, no name twice, names exactly as they are, the right types, nothing
// behind the object, and every member that matters there and not null: a null that is read as 0 would be an age of nothing.
// Members that are not known are passed over, so that a newer server can say more.

var errAnswer = errors.New("the server's answer is not what the protocol says")

// renewalOut is the body of a renewal.
type renewalOut struct {
	Verifier id.Verifier `json:"verifier"`
	Log      string      `json:"log"`
	Applied  uint64      `json:"applied"`
	Tag      revoke.Tag  `json:"tag"`
}

// renewalIn is the answer to it.
type renewalIn struct {
	Reset *bool       `json:"reset"`
	Log   *string     `json:"log"`
	Head  *uint64     `json:"head"`
	Tag   *revoke.Tag `json:"tag"` // the head's, or with a reset low's
	Low   *uint64     `json:"low"`

	Now     *time.Time `json:"now"`
	AgeMS   *uint64    `json:"age_ms"`
	LeaseMS *uint64    `json:"lease_ms"`
	More    *bool      `json:"more"`
	Events  *[]eventIn `json:"events"`
}

type eventIn struct {
	Seq    *uint64        `json:"seq"`
	Tag    *revoke.Tag    `json:"tag"`
	Kind   *revoke.Kind   `json:"kind"`
	ID     *string        `json:"id"`
	Effect *revoke.Effect `json:"effect"`
	Except id.Session     `json:"except"`
	Until  time.Time      `json:"until"`
}

const (
	// maxLease is the longest lease that a fleet can have. More than that is nobody's.
	maxLease = 30 * time.Second
	// maxAge keeps sums of durations far from where they overflow. No lease is as long.
	maxAge = time.Hour
	// maxEvents is how many events one answer may hold.
	maxEvents = 10_000
	// maxRenewalBytes is a little more than as many of the longest events take.
	maxRenewalBytes = 16 << 20
)

// parseRenewal reads the answer to a renewal. A reset names no lease; the caller knows the last one.
func parseRenewal(body []byte) (revoke.Answer, error) {
	var in renewalIn
	if err := json.Unmarshal(body, &in); err != nil {
		return revoke.Answer{}, errAnswer
	}
	if in.Log == nil || *in.Log == "" || in.Head == nil || in.Tag == nil || in.Low == nil || *in.Low > *in.Head {
		return revoke.Answer{}, fmt.Errorf("%w: log, head, tag and low", errAnswer)
	}
	h := revoke.Head{Log: *in.Log, Seq: *in.Head, Low: *in.Low}
	if in.Reset != nil && *in.Reset {
		h.LowTag = *in.Tag
		return revoke.Answer{Head: h, Reset: true}, nil
	}
	if in.Now == nil || in.Now.IsZero() || in.AgeMS == nil || in.LeaseMS == nil || in.Events == nil || len(*in.Events) > maxEvents {
		return revoke.Answer{}, fmt.Errorf("%w: now, age_ms, lease_ms and events", errAnswer)
	}
	if *in.LeaseMS == 0 || *in.LeaseMS > uint64(maxLease/time.Millisecond) {
		return revoke.Answer{}, fmt.Errorf("%w: lease_ms", errAnswer)
	}
	h.Tag, h.Now, h.Lease = *in.Tag, *in.Now, time.Duration(*in.LeaseMS)*time.Millisecond
	a := revoke.Answer{Head: h, Age: age(*in.AgeMS), More: in.More != nil && *in.More}
	a.Events = make([]revoke.Event, len(*in.Events))
	for i, e := range *in.Events {
		if e.Seq == nil || e.Tag == nil || e.Kind == nil || e.ID == nil || e.Effect == nil {
			return revoke.Answer{}, fmt.Errorf("%w: an event", errAnswer)
		}
		a.Events[i] = revoke.Event{Seq: *e.Seq, Tag: *e.Tag, Kind: *e.Kind, ID: *e.ID, Effect: *e.Effect, Except: e.Except, Until: e.Until}
	}
	return a, nil
}

// age is how old the server's knowledge is, at least: whole milliseconds may have been cut off, and an age that is too
// small would be a lease that is too long.
func age(ms uint64) time.Duration {
	return time.Duration(min(ms, uint64(maxAge/time.Millisecond)))*time.Millisecond + time.Millisecond
}

// introspectionOut is the body of a question about a credential.
type introspectionOut struct {
	Token string `json:"token"`
}

// introspectionIn is the answer to it (RFC 7662 section 2.2).
type introspectionIn struct {
	Active   *bool    `json:"active"`
	Subject  string   `json:"sub"`
	Session  string   `json:"sid"`
	Expires  *int64   `json:"exp"`
	AuthTime *int64   `json:"auth_time"`
	Methods  []string `json:"amr"`
	Roles    []string `json:"roles"`
	Scope    string   `json:"scope"`
	AsOf     *uint64  `json:"ep"`
}

// maxIntrospectionBytes is far more than roles and permissions take that fit a token.
const maxIntrospectionBytes = 256 << 10

// parseIntrospection reads the answer about a credential.
func parseIntrospection(body []byte) (handstamp.Introspected, error) {
	var in introspectionIn
	if err := json.Unmarshal(body, &in); err != nil || in.Active == nil {
		return handstamp.Introspected{}, errAnswer
	}
	if !*in.Active {
		return handstamp.Introspected{}, nil
	}
	user, err := id.ParseUser(in.Subject)
	if err != nil {
		return handstamp.Introspected{}, fmt.Errorf("%w: sub", errAnswer)
	}
	out := handstamp.Introspected{
		Active: true, User: user, Methods: in.Methods, Roles: in.Roles, Permissions: words(in.Scope),
	}
	if in.Session != "" {
		if out.Session, err = id.ParseSession(in.Session); err != nil {
			return handstamp.Introspected{}, fmt.Errorf("%w: sid", errAnswer)
		}
		if in.Expires == nil || in.AsOf == nil { // every session has both
			return handstamp.Introspected{}, fmt.Errorf("%w: exp and ep", errAnswer)
		}
	} else if _, err := id.ParseServiceKey(in.Subject); err != nil { // only a program has no session
		return handstamp.Introspected{}, fmt.Errorf("%w: sid", errAnswer)
	}
	if in.AsOf != nil {
		out.AsOf = *in.AsOf
	}
	if out.ExpiresAt, err = date(in.Expires); err != nil {
		return handstamp.Introspected{}, fmt.Errorf("%w: exp", errAnswer)
	}
	if out.AuthTime, err = date(in.AuthTime); err != nil {
		return handstamp.Introspected{}, fmt.Errorf("%w: auth_time", errAnswer)
	}
	return out, nil
}

// maxDate is the year 9999: later ones cannot be written as RFC 3339 has it.
const maxDate = 253402300799

func date(seconds *int64) (time.Time, error) {
	switch {
	case seconds == nil:
		return time.Time{}, nil
	case *seconds <= 0 || *seconds > maxDate:
		return time.Time{}, errAnswer
	}
	return time.Unix(*seconds, 0).UTC(), nil
}
