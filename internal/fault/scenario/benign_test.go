package scenario

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/handstamp/handstamp/internal/fault"
)

// refreshes is how many benign refreshes there are in all: HANDSTAMP_TORTURE_REFRESHES, else a million in the long form.
func refreshes(t *testing.T) int64 {
	t.Helper()
	text := os.Getenv("HANDSTAMP_TORTURE_REFRESHES")
	switch {
	case text != "":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			t.Fatalf("HANDSTAMP_TORTURE_REFRESHES=%s is no count", text)
		}
		return n
	case long():
		return 1_000_000
	}
	return 2_000
}

// Whatever honest clients do with refresh tokens is no alarm: many tabs at once, on both nodes, a try again after an answer
// that was lost or that nobody waited for, a late second try on the other node. Each token has one successor, and every
// client gets it.
func TestBenignRefreshes(t *testing.T) {
	stores := []string{onPostgres, onSQLite, onRedis, onTiered}
	total := refreshes(t)
	for i, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			rnd := seeded(t)
			f := newFleet(t, setup{store: store, nodes: 2, shared: true, env: map[string]string{"HANDSTAMP_REFRESH_GRACE": slowGrace.String()}})
			share := total / int64(len(stores))
			if i == 0 {
				share += total % int64(len(stores))
			}
			b := newBenign(f, share)
			for !t.Failed() && b.shown.Load() < share {
				b.batch(rnd)
			}
			b.progress()
			f.finish(fault.Rules{Bound: time.Second, Grace: slowGrace})
			if n := b.shown.Load(); !t.Failed() && n != share {
				t.Errorf("%d refreshes, want %d", n, share)
			}
		})
	}
}

// benign are honest clients.
type benign struct {
	f       *fleet
	deaf    []*fault.Proxy // one for each node, which passes requests on and no answer back
	total   int64
	began   time.Time
	said    time.Time
	started atomic.Int64 // requests that were about to be sent
	shown   atomic.Int64 // requests that were sent
	lost    atomic.Int64 // of them those whose answer nobody got
	unknown atomic.Int64 // and those that were answered 503
}

func newBenign(f *fleet, total int64) *benign {
	b := &benign{f: f, total: total, began: time.Now(), said: time.Now()}
	for _, n := range f.nodes {
		p := fault.NewProxy(f.t, strings.TrimPrefix(n.URL(), "http://"))
		p.Swallow()
		b.deaf = append(b.deaf, p)
	}
	return b
}

// batch runs as many families of tokens as a history can hold, judges them and forgets them.
func (b *benign) batch(rnd *rand.Rand) {
	const size = 20_000
	until := min(b.total, b.shown.Load()+size)
	over := b.f.Fault("answers are lost", loser)
	var all sync.WaitGroup
	for range 8 {
		r := rand.New(rand.NewPCG(rnd.Uint64(), 5))
		all.Go(func() {
			for !b.f.t.Failed() && b.started.Load() < until {
				b.family(r)
			}
		})
	}
	all.Wait()
	over()
	if !b.f.t.Failed() && b.shown.Load() < b.total {
		b.f.forget(fault.Rules{Bound: time.Second, Grace: slowGrace})
	}
	if time.Since(b.said) > 10*time.Second {
		b.progress()
	}
}

func (b *benign) progress() {
	n, took := b.shown.Load(), time.Since(b.began)
	b.said = time.Now()
	b.f.t.Logf("%d of %d benign refreshes in %v (%.0f in a second): %d answers lost, %d were 503",
		n, b.total, took.Round(time.Second), float64(n)/took.Seconds(), b.lost.Load(), b.unknown.Load())
}

// take says whether there is one more to send.
func (b *benign) take() bool {
	if b.started.Add(1) > b.total {
		return false
	}
	b.shown.Add(1)
	return true
}

// family is one session, from its login to its log-out.
func (b *benign) family(r *rand.Rand) {
	n := b.f.nodes[r.IntN(2)]
	c := n.start(b.f.newUser(), "hybrid")
	for tries := 0; c == nil; tries++ {
		if tries > 10 {
			b.f.t.Error("no session")
			return
		}
		breathe()
		c = n.start(b.f.newUser(), "hybrid")
	}
	for range 10 + r.IntN(40) {
		if !b.generation(r, c) {
			break
		}
	}
	op, _ := n.end(c, false)
	for tries := 0; op.Outcome == fault.Unknown && tries < 10; tries++ {
		breathe()
		op, _ = n.end(c, false)
	}
	if op.Outcome != fault.Yes {
		b.f.t.Errorf("an end is answered %d %s", op.Status, op.Code)
	}
}

// generation shows one token until everybody who wants its successor has it. It says whether there is one more to come.
func (b *benign) generation(r *rand.Rand, c *cred) bool {
	_, token := c.now()
	var all sync.WaitGroup
	for range []int{1, 1, 1, 1, 2, 3, 6}[r.IntN(7)] { // tabs
		if !b.take() {
			break
		}
		node, luck, patience := r.IntN(2), r.IntN(20), time.Duration(r.IntN(4000))*time.Microsecond
		all.Go(func() {
			switch luck {
			case 0:
				// It ends when the node has answered: a request that the network keeps until the token's successor was spent
				// is theft by rule.
				b.lose(c, token, "http://"+b.deaf[node].Addr(), 10*time.Second)
			case 1:
				b.lose(c, token, b.f.nodes[node].URL(), patience)
			default:
				b.show(c, token, node)
			}
		})
	}
	all.Wait()
	for tries := 0; ; tries++ { // who got no answer tries again, wherever
		if _, now := c.now(); now != token {
			break
		}
		if tries > 100 {
			b.f.t.Error("no answer in a hundred tries")
			return false
		}
		if !b.take() {
			return false
		}
		b.show(c, token, r.IntN(2))
	}
	if r.IntN(10) == 0 && b.take() { // an old try arrives late
		b.show(c, token, r.IntN(2))
	}
	return !b.f.t.Failed()
}

func (b *benign) show(c *cred, token string, node int) {
	switch op := b.f.nodes[node].refreshWith(c, token); op.Outcome {
	case fault.No:
		b.f.t.Errorf("a benign refresh is answered %d %s", op.Status, op.Code)
	case fault.Unknown:
		b.unknown.Add(1)
	case fault.Yes:
	}
}

// loser is the node that a history names where the answer was to be lost, whichever node it was.
const loser = "a node behind a line that loses answers"

// lose sends a refresh and does not wait for longer than patience.
func (b *benign) lose(c *cred, token, address string, patience time.Duration) {
	b.lost.Add(1)
	op := b.f.Invoke(fault.Op{Kind: fault.Refresh, Node: loser, Session: c.session, User: c.user, Form: c.mode, Token: name(token)})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/v1/refresh", strings.NewReader(`{"refresh_token":"`+token+`"}`))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err == nil { // it was quicker, and nobody reads it
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusUnauthorized {
			b.f.t.Errorf("a benign refresh is answered %d", resp.StatusCode)
		}
	}
	b.f.Done(op, func(*fault.Op) {})
}
