package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	streamPath = "/v1/revocations"
	streamType = "text/event-stream"
)

const (
	// silence is how long a stream may say nothing, not even that it lives, before it counts as dead. The server sends a
	// heartbeat every 500 ms.
	silence = 2 * time.Second
	// How long to wait before a stream that broke is opened again, at first and at most. A proxy that holds streams back
	// until they end breaks each of them.
	firstBackOff = 100 * time.Millisecond
	lastBackOff  = 30 * time.Second
	// maxLineBytes bounds one line of a stream. An event has about 300 bytes.
	maxLineBytes = 16 << 10
)

// Watch implements [revoke.Log]. It listens to the server's stream of events and calls wake at each; it renews nothing and
// believes nothing of what it hears, since what arrives may have waited in a buffer. Without the stream renewals go on at
// their own pace, which is enough for the bound.
func (l *log) Watch(ctx context.Context, wake func()) error {
	wait := firstBackOff
	for {
		heard, _ := l.listen(ctx, wake) // why it broke does not matter: nothing depends on it
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if heard {
			wait = firstBackOff
			wake() // something may have happened while the stream was dying
		}
		// Half of it by chance, so that the verifiers of a fleet do not come back in step.
		if err := pause(ctx, wait/2+rand.N(wait/2+1)); err != nil { //nolint:gosec // nothing depends on it
			return err
		}
		wait = min(2*wait, lastBackOff)
	}
}

// listen reads one stream to its end, and reports whether an event or a heartbeat was heard on it.
func (l *log) listen(ctx context.Context, wake func()) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Everything up to the first byte has as long as the bytes after it.
	dog := time.AfterFunc(silence, cancel)
	defer dog.Stop()
	resp, err := l.open(ctx)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close() //nolint:errcheck // it broke
	hunt := &chase{log: l, wake: wake}
	defer hunt.running.Wait()
	defer cancel()
	lines := bufio.NewReaderSize(&alive{resp.Body, dog}, maxLineBytes)
	number := uint64(0)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return heard, err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			number, _ = strconv.ParseUint(string(value), 10, 64)
		case "event":
			heard = true
			if string(value) != "heartbeat" { // a name that a later version invents may matter
				hunt.begin(ctx, number)
			}
		}
	}
}

// A renewal that follows an event may be answered by another node than the stream, which does not know of it for another
// moment. It is repeated in this rhythm until it brought the event, and then it is left to the pace of renewals.
const (
	chaseEvery = 30 * time.Millisecond
	chaseTries = 20
)

// chase wakes until an event that a stream spoke of has been applied.
type chase struct {
	log     *log
	wake    func()
	running sync.WaitGroup
	busy    atomic.Bool
	number  atomic.Uint64
}

func (c *chase) begin(ctx context.Context, number uint64) {
	c.number.Store(number)
	c.wake()
	if !c.busy.CompareAndSwap(false, true) {
		return
	}
	c.running.Go(func() {
		defer c.busy.Store(false)
		for range chaseTries {
			if pause(ctx, chaseEvery) != nil || c.log.applied.Load() >= c.number.Load() {
				return
			}
			c.wake()
		}
	})
}

func (l *log) open(ctx context.Context) (*http.Response, error) {
	at := l.client.at.Load()
	q := call{path: streamPath, media: []string{streamType}, secret: true}
	req, err := l.client.request(ctx, l.client.nodes[at%uint32(len(l.client.nodes))], q)
	if err != nil {
		return nil, err
	}
	if n := l.applied.Load(); n > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatUint(n, 10))
	}
	resp, err := l.client.log.Do(req)
	if err != nil {
		return nil, err
	}
	a := answer{status: resp.StatusCode, header: resp.Header}
	if err = a.check(q); err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("listen to the server: %w", a.refusal(streamPath, permRevoked))
	}
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp, nil
}

// alive keeps the dog quiet as long as bytes arrive.
type alive struct {
	io.Reader
	dog *time.Timer
}

// Read implements io.Reader.
func (a *alive) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if n > 0 {
		a.dog.Reset(silence)
	}
	return n, err
}
