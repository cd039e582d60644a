package fault

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// echo answers every line with itself.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

type lineClient struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dialLines(t *testing.T, addr string) *lineClient {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &lineClient{t: t, c: c, r: bufio.NewReader(c)}
}

func (l *lineClient) say(line string) {
	l.t.Helper()
	if _, err := fmt.Fprintln(l.c, line); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lineClient) hears(line string) {
	l.t.Helper()
	_ = l.c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if got, err := l.r.ReadString('\n'); err != nil || got != line+"\n" {
		l.t.Errorf("heard %q, %v, want %q", got, err, line)
	}
}

// hearsNothing looks for an answer for a moment. An answer that comes is an error; that none comes is no proof, which is
// why the lines that are held back are looked for afterwards.
func (l *lineClient) hearsNothing() {
	l.t.Helper()
	_ = l.c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if got, err := l.r.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Errorf("heard %q, %v, want silence", got, err)
	}
}

func (l *lineClient) isReset() {
	l.t.Helper()
	_ = l.c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if got, err := l.r.ReadString('\n'); !errors.Is(err, syscall.ECONNRESET) {
		l.t.Errorf("heard %q, %v, want a reset", got, err)
	}
}

// isRefused connects and is reset, at once or when it listens.
func isRefused(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	(&lineClient{t: t, c: c, r: bufio.NewReader(c)}).isReset()
}

func TestProxyPassesOn(t *testing.T) {
	t.Parallel()
	p := NewProxy(t, echo(t))
	c := dialLines(t, p.Addr())
	c.say("one")
	c.hears("one")
	if p.Open() != 1 || p.Accepted() != 1 {
		t.Errorf("%d open, %d accepted", p.Open(), p.Accepted())
	}
	if up, down := p.Bytes(); up != 4 || down != 4 {
		t.Errorf("%d bytes up, %d down", up, down)
	}
	// The end of one direction is passed on, and the other goes on.
	c.say("two")
	_ = c.c.(*net.TCPConn).CloseWrite()
	c.hears("two")
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestProxyDelays(t *testing.T) {
	t.Parallel()
	p := NewProxy(t, echo(t))
	c := dialLines(t, p.Addr())
	c.say("before")
	c.hears("before")
	p.Delay(60 * time.Millisecond)
	began := time.Now()
	c.say("slow")
	c.hears("slow")
	if d := time.Since(began); d < 120*time.Millisecond {
		t.Errorf("there and back took %v", d)
	}
	p.Heal()
	p.Bandwidth(100)
	began = time.Now()
	c.say("123456789")
	c.hears("123456789")
	if d := time.Since(began); d < 200*time.Millisecond {
		t.Errorf("ten bytes there and back at a hundred a second took %v", d)
	}
}

func TestProxyHoldsBackAndLosesNothing(t *testing.T) {
	t.Parallel()
	p := NewProxy(t, echo(t))
	c := dialLines(t, p.Addr())
	c.say("one")
	c.hears("one")
	p.Blackhole()
	d := dialLines(t, p.Addr()) // is accepted
	c.say("two")
	d.say("new")
	c.hearsNothing()
	d.hearsNothing()
	if up, _ := p.Bytes(); up != 4 {
		t.Errorf("a black hole passed %d bytes on", up)
	}
	p.Heal()
	c.hears("two")
	d.hears("new")
	p.HalfOpen()
	c.say("three")
	c.hearsNothing()
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C { // it is on its way, and arrives
		if up, _ := p.Bytes(); up == 4+4+4+6 {
			break
		}
	}
	if _, down := p.Bytes(); down != 4+4+4 {
		t.Errorf("half-open: %d bytes came back", down)
	}
	p.Heal()
	c.hears("three")
	p.Deaf()
	c.say("four")
	c.hearsNothing()
	p.Heal()
	c.hears("four")
}

func TestProxyMutesNotifications(t *testing.T) {
	t.Parallel()
	p := NewProxy(t, echo(t))
	alarm, other := dialLines(t, p.Addr()), dialLines(t, p.Addr())
	alarm.say(`LISTEN "events";`)
	alarm.hears(`LISTEN "events";`)
	p.Mute()
	alarm.say("one")
	other.say("two")
	other.hears("two")
	alarm.hearsNothing()
	p.Heal()
	alarm.hears("one")
}

func TestProxySwallowsAnswers(t *testing.T) {
	t.Parallel()
	p := NewProxy(t, echo(t))
	c, idle := dialLines(t, p.Addr()), dialLines(t, p.Addr())
	c.say("one")
	c.hears("one")
	p.Swallow()
	c.say("two")
	c.isReset()
	if up, down := p.Bytes(); up != 4+4 || down != 4 {
		t.Errorf("%d bytes went, %d came back", up, down)
	}
	p.Heal()
	idle.say("three")
	idle.hears("three")
}

func TestProxyCuts(t *testing.T) {
	t.Parallel()
	p := NewProxy(t, echo(t))
	c := dialLines(t, p.Addr())
	c.say("one")
	c.hears("one")
	p.Cut()
	c.isReset()
	isRefused(t, p.Addr())
	p.Heal()
	d := dialLines(t, p.Addr())
	d.say("two")
	d.hears("two")
	p.Reset()
	d.isReset()
	p.Blackhole()
	held := dialLines(t, p.Addr())
	held.say("held")
	held.hearsNothing()
	p.Reset()
	held.isReset()
	p.Heal()
	again := dialLines(t, p.Addr())
	stop := p.ResetEvery(5 * time.Millisecond)
	again.isReset()
	stop()
	p.SetTarget(echo(t))
	last := dialLines(t, p.Addr())
	last.say("elsewhere")
	last.hears("elsewhere")
	p.SetTarget(Loopback(FreePort(t)))
	isRefused(t, p.Addr()) // the target refuses
}
