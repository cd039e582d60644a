package main

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// connLimit bounds how many connections are open. When all places are taken, the connection that has been idle for
// longest makes room: a crowd that holds connections and asks nothing must not keep out those who ask. The server on it
// has note as its ConnState; without that no connection is known to be idle.
type connLimit struct {
	net.Listener
	places  chan struct{}
	closing sync.Once
	closed  chan struct{}

	mu      sync.Mutex
	idle    *list.List // of net.Conn, the longest idle first
	at      map[net.Conn]*list.Element
	waiting bool // a connection was accepted and has no place
}

func newConnLimit(l net.Listener, limit int) *connLimit {
	return &connLimit{
		Listener: l, places: make(chan struct{}, limit), closed: make(chan struct{}),
		idle: list.New(), at: map[net.Conn]*list.Element{},
	}
}

// Accept implements net.Listener.
func (l *connLimit) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	select {
	case l.places <- struct{}{}:
	default:
		l.evict()
		select {
		case l.places <- struct{}{}:
			l.admitted()
		case <-l.closed:
			_ = c.Close()
			return nil, net.ErrClosed
		}
	}
	return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

// Close implements net.Listener.
func (l *connLimit) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// note is told by net/http what a connection does. One that falls idle while somebody waits goes at once.
func (l *connLimit) note(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	if e, ok := l.at[c]; ok {
		l.idle.Remove(e)
		delete(l.at, c)
	}
	leave := state == http.StateIdle && l.waiting
	if leave {
		l.waiting = false
	} else if state == http.StateIdle {
		l.at[c] = l.idle.PushBack(c)
	}
	l.mu.Unlock()
	if leave {
		drop(c)
	}
}

// evict closes the connection that has been idle for longest; if there is none, the next one that falls idle goes. A
// client that was about to use it sees what it sees at the end of every idle time, and connects again.
func (l *connLimit) evict() {
	l.mu.Lock()
	first := l.idle.Front()
	if first == nil {
		l.waiting = true
		l.mu.Unlock()
		return
	}
	c := l.idle.Remove(first).(net.Conn)
	delete(l.at, c)
	l.mu.Unlock()
	drop(c)
}

// admitted ends the wait of a connection that has its place.
func (l *connLimit) admitted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = false
}

// drop closes a connection without the farewell of TLS, which would wait for the other side.
func drop(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close()
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// mostConnections is how many connections there may be where the system allows that many files.
const mostConnections = 10_000

// connectionsFor leaves files for the database, the listeners and the certificate.
func connectionsFor(files uint64) int {
	const others = 128
	if files <= others+64 {
		return 64
	}
	return int(min(files-others, mostConnections))
}
