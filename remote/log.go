package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/id"
	"github.com/handstamp/handstamp/revoke"
)

// log is the server's log of revocations, as one of its nodes tells it. The node acknowledges for whom it answers, so there
// is no row to register, to remove or to look for. When the node changes, the numbers go on: a node that knows less than
// this verifier refuses to answer until it has read the log.
type log struct {
	client *client
	keys   *keys

	opened  atomic.Bool   // something was answered by a node that holds a lease
	lease   atomic.Int64  // the fleet's, as the last answer had it; 0 before the first
	applied atomic.Uint64 // where the stream of events goes on
}

const (
	leasePath   = "/v1/revocations/lease"
	permRevoked = "handstamp.revocations"
)

// shortestLease is the shortest that a fleet can have. It stands for the fleet's until an answer named it: nothing is
// granted before that, and renewals are only made sooner than they must be.
const shortestLease = 500 * time.Millisecond

// A node that cannot say at this moment, because it has a commit of its own to read back or was started a moment ago, can
// say soon. It is asked again after these pauses; while the Verifier is opened, for as long as there is time.
const (
	firstPause = 25 * time.Millisecond
	lastPause  = 400 * time.Millisecond
	tries      = 3
)

// Register implements [revoke.Log]: a renewal of a log that does not exist grants nothing and is answered by where the log
// begins. What is read there was committed before whatever this verifier hears next.
func (l *log) Register(ctx context.Context, r revoke.Registration) (revoke.Head, error) {
	a, err := l.post(ctx, renewalOut{Verifier: r.Verifier})
	if err != nil {
		return revoke.Head{}, err
	}
	if !a.Reset {
		return revoke.Head{}, &handstamp.UnavailableError{Err: fmt.Errorf("%w: a log without a name was renewed", errAnswer)}
	}
	l.keys.doubt() // what happened to keys before this log's beginning is not told
	return a.Head, nil
}

// Renew implements [revoke.Log]. The lease that the caller makes of the answer is counted from before the request was
// sent, less what the answer says of its own age, so asking again and slow networks only make it shorter.
func (l *log) Renew(ctx context.Context, r revoke.Renewal) (revoke.Answer, error) {
	a, err := l.post(ctx, renewalOut{Verifier: r.Verifier, Log: r.Log, Applied: r.Applied, Tag: r.Tag})
	if err != nil {
		return revoke.Answer{}, err
	}
	l.opened.Store(true)
	l.applied.Store(a.Head.Low)
	if !a.Reset {
		l.applied.Store(max(r.Applied, a.Head.Low))
	}
	for _, e := range a.Events {
		l.applied.Store(e.Seq)
		if e.Kind == revoke.KindKey {
			l.keys.doubt()
		}
	}
	return a, nil
}

// post sends a renewal until it is answered.
func (l *log) post(ctx context.Context, out renewalOut) (revoke.Answer, error) {
	body, err := json.Marshal(out)
	if err != nil {
		return revoke.Answer{}, fmt.Errorf("renew at the server: %w", err)
	}
	wait := firstPause
	for try := 1; ; try++ {
		a, again, err := l.exchange(ctx, body)
		if err == nil || !again || try >= tries && l.opened.Load() || pause(ctx, wait) != nil {
			return a, err
		}
		wait = min(2*wait, lastPause)
	}
}

// exchange makes one request. again says that it is worth to be repeated at once.
func (l *log) exchange(ctx context.Context, body []byte) (a revoke.Answer, again bool, err error) {
	said, err := l.client.send(ctx, call{
		pool: l.client.log, path: leasePath, body: body, secret: true, limit: maxRenewalBytes, media: []string{"application/json"},
	})
	if err != nil {
		return revoke.Answer{}, len(l.client.nodes) > 1, fmt.Errorf("renew at the server: %w", err)
	}
	if said.status != http.StatusOK {
		return revoke.Answer{}, said.status == http.StatusServiceUnavailable, fmt.Errorf("renew at the server: %w", said.refusal(leasePath, permRevoked))
	}
	a, err = parseRenewal(said.body)
	if err != nil {
		l.client.leave(said.node)
		return revoke.Answer{}, false, fmt.Errorf("renew at the server: %w", &handstamp.UnavailableError{Err: err})
	}
	if a.Reset { // names no lease
		a.Head.Lease = max(shortestLease, time.Duration(l.lease.Load()))
		return a, false, nil
	}
	l.lease.Store(int64(a.Head.Lease))
	return a, false, nil
}

// Registered implements [revoke.Log]: a node knows whom it answers, nobody else does.
func (l *log) Registered(context.Context) ([]revoke.Registration, error) { return nil, nil }

// Remove implements [revoke.Log]. It is called when the Verifier closes, and ends the connections.
func (l *log) Remove(context.Context, uint64, ...id.Verifier) error {
	l.client.close()
	return nil
}

// Forget implements [revoke.Log]: the log is the server's to forget.
func (l *log) Forget(context.Context, time.Time, int) (int, error) {
	return 0, errors.New("remote: only the server forgets events")
}
