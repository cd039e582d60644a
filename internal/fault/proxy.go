package fault

import (
	"context"
	"io"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy passes TCP connections on to a target, and breaks them when it is told to. What it holds back it delivers after
// Heal, in order and complete: as a network does that lost packets, a stream never loses bytes in its middle. All methods
// may be called at any time from any goroutine.
type Proxy struct {
	listener net.Listener
	ctx      context.Context
	end      context.CancelFunc

	mu      sync.Mutex
	target  string
	weather weather
	changed chan struct{} // closed and replaced when the weather changes
	links   map[*link]struct{}

	accepted         atomic.Int64
	bytesUp, bytesDn atomic.Int64
}

// weather is what the network does at the moment. The zero value passes everything on.
type weather struct {
	holdUp, holdDown bool          // what clients send, what the target sends
	refuse           bool          // new connections are reset
	delay            time.Duration // for each direction
	rate             int           // bytes in a second for each connection and direction; 0 is no limit
	muted            bool          // nothing arrives on connections that wait for notifications
	swallow          bool          // the first bytes of an answer end the connection
}

// notified finds the commands after which a server speaks unasked.
var notified = regexp.MustCompile(`(?i)\blisten\s|\bs?p?subscribe\r`)

// link is one connection of a client and the one to the target that belongs to it.
type link struct {
	client net.Conn
	ctx    context.Context
	end    context.CancelFunc
	waits  atomic.Bool // the client asked to be notified

	mu     sync.Mutex
	target net.Conn
}

// NewProxy listens on a loopback port and passes on to the target, host and port. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", Loopback(FreePort(t)))
	if err != nil {
		t.Fatalf("fault: %v", err)
	}
	p := &Proxy{listener: l, target: target, changed: make(chan struct{}), links: map[*link]struct{}{}}
	p.ctx, p.end = context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { p.accept(&all) })
	t.Cleanup(func() {
		p.end()
		_ = l.Close()
		p.Reset()
		all.Wait()
	})
	return p
}

// Addr is where clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetTarget sends new connections elsewhere, as a change of a name's address does. Open ones stay.
func (p *Proxy) SetTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

func (p *Proxy) set(change func(w *weather)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.weather)
	close(p.changed)
	p.changed = make(chan struct{})
}

// Heal ends every fault. What was held back is delivered.
func (p *Proxy) Heal() { p.set(func(w *weather) { *w = weather{} }) }

// Delay holds every byte back for d, in each direction.
func (p *Proxy) Delay(d time.Duration) { p.set(func(w *weather) { w.delay = d }) }

// Bandwidth passes at most so many bytes in a second, for each connection and direction; 0 is no limit.
func (p *Proxy) Bandwidth(bytes int) { p.set(func(w *weather) { w.rate = bytes }) }

// Blackhole accepts connections and passes nothing in either direction.
func (p *Proxy) Blackhole() { p.set(func(w *weather) { w.holdUp, w.holdDown = true, true }) }

// HalfOpen passes requests on and holds the answers back: what the client asked for happens, and it never hears of it.
func (p *Proxy) HalfOpen() { p.set(func(w *weather) { w.holdUp, w.holdDown = false, true }) }

// Swallow passes requests on, and ends the connection when the answer begins to arrive: what the client asked for is done
// by then, and it never hears of it.
func (p *Proxy) Swallow() { p.set(func(w *weather) { w.swallow = true }) }

// Deaf holds requests back and passes answers on, also those that nobody asked for any more.
func (p *Proxy) Deaf() { p.set(func(w *weather) { w.holdUp, w.holdDown = true, false }) }

// Mute holds back what arrives on connections on which the client asked to be notified (LISTEN, SUBSCRIBE). All others
// pass: who only waits to be woken up hears nothing, who asks is answered.
func (p *Proxy) Mute() { p.set(func(w *weather) { w.muted = true }) }

// Cut resets all connections and refuses new ones.
func (p *Proxy) Cut() {
	p.set(func(w *weather) { w.refuse = true })
	p.Reset()
}

// Reset resets the connections that are open now. New ones pass.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// ResetEvery resets all connections again and again until stop is called or the test ends.
func (p *Proxy) ResetEvery(interval time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(p.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.Reset()
			}
		}
	}()
	return func() { cancel(); <-done }
}

// Open is how many connections there are.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Accepted is how many connections there ever were.
func (p *Proxy) Accepted() int64 { return p.accepted.Load() }

// Bytes is how much was passed on from clients and to clients.
func (p *Proxy) Bytes() (up, down int64) { return p.bytesUp.Load(), p.bytesDn.Load() }

func (p *Proxy) now() (w weather, target string, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.weather, p.target, p.changed
}

func (p *Proxy) accept(all *sync.WaitGroup) {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.accepted.Add(1)
		l := &link{client: conn}
		l.ctx, l.end = context.WithCancel(p.ctx)
		p.mu.Lock()
		refuse := p.weather.refuse
		if !refuse {
			p.links[l] = struct{}{}
		}
		p.mu.Unlock()
		if refuse {
			l.reset()
			continue
		}
		all.Go(func() { p.serve(l) })
	}
}

// serve carries one connection until one side closes it.
func (p *Proxy) serve(l *link) {
	defer func() {
		l.close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	if !p.clear(l.ctx, func(w weather) bool { return w.holdUp }) {
		return
	}
	_, target, _ := p.now()
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(l.ctx, "tcp", target)
	if err != nil {
		l.reset() // the target refuses; so do we
		return
	}
	if !l.attach(conn) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.carry(l, conn, l.client, &p.bytesUp, func(w weather) bool { return w.holdUp }) })
	both.Go(func() {
		p.carry(l, l.client, conn, &p.bytesDn, func(w weather) bool { return w.holdDown || w.muted && l.waits.Load() })
	})
	both.Wait()
}

// clear waits until nothing is held back. It says false when the connection is over.
func (p *Proxy) clear(ctx context.Context, held func(weather) bool) bool {
	for {
		w, _, changed := p.now()
		if !held(w) {
			return ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// parcel is some bytes and when they arrived here.
type parcel struct {
	b  []byte
	at time.Time
}

// carry passes one direction on. The end of one direction is passed on like its bytes; a failure ends both.
func (p *Proxy) carry(l *link, to, from net.Conn, count *atomic.Int64, held func(weather) bool) {
	parcels := make(chan parcel, 64)
	go func() {
		defer close(parcels)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if n > 0 {
				if from == l.client && notified.Match(b[:n]) {
					l.waits.Store(true)
				}
				select {
				case parcels <- parcel{b[:n], time.Now()}:
				case <-l.ctx.Done():
					return
				}
			}
			if err != nil {
				if err != io.EOF { //nolint:errorlint // Read returns io.EOF itself
					l.reset()
				}
				return
			}
		}
	}()
	for one := range parcels {
		if w, _, _ := p.now(); w.swallow && to == l.client || !p.hold(l.ctx, one, held) {
			l.reset()
			break
		}
		if _, err := to.Write(one.b); err != nil {
			l.reset()
			break
		}
		count.Add(int64(len(one.b)))
	}
	for range parcels { //nolint:revive // the reader must not wait for us
	}
	if !p.clear(l.ctx, held) {
		return
	}
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}

// hold waits until a parcel may be delivered.
func (p *Proxy) hold(ctx context.Context, one parcel, held func(weather) bool) bool {
	for {
		w, _, changed := p.now()
		var due <-chan time.Time
		wait := time.Until(one.at.Add(w.delay))
		if w.rate > 0 {
			wait += time.Duration(len(one.b)) * time.Second / time.Duration(w.rate)
		}
		switch {
		case held(w):
		case wait <= 0:
			return ctx.Err() == nil
		default:
			timer := time.NewTimer(wait)
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-due:
			return true
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// attach hands the connection to the target to the link. It says false when the link is over.
func (l *link) attach(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		_ = conn.Close()
		return false
	}
	l.target = conn
	return true
}

// reset ends both connections with RST, so that nobody takes it for a polite end.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil {
		l.end()
	}
	for _, c := range []net.Conn{l.client, l.target} {
		if c, ok := c.(*net.TCPConn); ok {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	_ = l.client.Close()
	if l.target != nil {
		_ = l.target.Close()
	}
}
