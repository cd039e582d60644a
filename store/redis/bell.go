package redis

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/handstamp/handstamp/revoke"
)

// channel is where appends are told of. A message says nothing: it wakes only.
func (c *Client) channel() string { return c.root + "wake" }

// listenAgain is how long after a broken connection listening is tried again.
const listenAgain = time.Second

// listen calls wake whenever somebody says that something was appended, until ctx ends. A connection that breaks is made
// again, and wake is called then for what was missed.
func (c *Client) listen(ctx context.Context, wake func()) {
	for ctx.Err() == nil {
		_ = c.conn.Receive(ctx, c.conn.B().Subscribe().Channel(c.channel()).Build(), func(rueidis.PubSubMessage) { wake() })
		if pause(ctx, listenAgain) == nil {
			wake()
		}
	}
}

// watch runs a log's own alarm and Redis' side by side. wake is called by one at a time.
func watch(ctx context.Context, log revoke.Log, c *Client, wake func()) error {
	var mu sync.Mutex
	ring := func() {
		mu.Lock()
		defer mu.Unlock()
		wake()
	}
	ctx, cancel := context.WithCancel(ctx)
	var listening sync.WaitGroup
	listening.Go(func() { c.listen(ctx, ring) })
	defer listening.Wait()
	defer cancel()
	err := log.Watch(ctx, ring)
	if err == nil {
		<-ctx.Done() // a log without an alarm of its own
		return ctx.Err()
	}
	return err
}
