//go:build handstamp_testclock

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"
)

// This file is part of no build that anybody runs: it gives black-box tests a clock to move, so that they can see what
// happens in thirty days. Whoever can move a server's clock brings expired credentials back to life; so the control
// listens on loopback only, and the variables do not exist without the build tag.
const (
	// testClockAddr is where "serve" offers the control, and where the other commands ask for the time: GET answers the
	// offset from the machine's clock, POST with ?offset=72h sets it, POST with ?by=1h adds to it.
	testClockAddr = "HANDSTAMP_TEST_CLOCK_ADDR"
	// testClockOffset is the offset to begin with, so that a server that is started again goes on where it was.
	testClockOffset = "HANDSTAMP_TEST_CLOCK_OFFSET"
)

//nolint:gochecknoglobals // one clock for the process, in test builds only
var offset atomic.Int64

func variable(environ []string, name string) string {
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

func (a *app) now() time.Time { return step(time.Now(), time.Duration(offset.Load())) }

// step moves the wall clock of a reading and leaves its monotonic clock, as setting a machine's clock does.
func step(t time.Time, d time.Duration) time.Time {
	to := t.Round(0).Add(d)
	r := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	const monotonic, since1885 = 1 << 63, 1885
	if r.wall&monotonic == 0 {
		return to
	}
	sec := uint64(to.Unix() - time.Date(since1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	r.wall = monotonic | sec<<30 | uint64(to.Nanosecond())
	return t
}

func configEnviron(environ []string) []string {
	var rest []string
	for _, e := range environ {
		if !strings.HasPrefix(e, testClockAddr+"=") && !strings.HasPrefix(e, testClockOffset+"=") {
			rest = append(rest, e)
		}
	}
	setFrom(variable(environ, testClockOffset))
	if addr := variable(environ, testClockAddr); addr != "" {
		ask(addr)
	}
	return rest
}

func setFrom(text string) {
	if d, err := time.ParseDuration(text); err == nil {
		offset.Store(int64(d))
	}
}

// ask takes the offset of a server that runs already.
func ask(addr string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return
	}
	defer func() { _ = answer.Body.Close() }()
	if b, err := io.ReadAll(io.LimitReader(answer.Body, 64)); err == nil {
		setFrom(strings.TrimSpace(string(b)))
	}
}

func (a *app) moveClock() (stop func(), err error) {
	addr := variable(a.environ, testClockAddr)
	if addr == "" {
		return func() {}, nil
	}
	if ap, err := netip.ParseAddrPort(addr); err != nil || !ap.Addr().IsLoopback() {
		return nil, usage("%s is no loopback address with a port", testClockAddr)
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the control of the test clock: %w", err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(control), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }()
	return func() { _ = srv.Close() }, nil
}

func control(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		set, errSet := time.ParseDuration(r.FormValue("offset"))
		by, errBy := time.ParseDuration(r.FormValue("by"))
		switch {
		case errSet == nil:
			offset.Store(int64(set))
		case errBy == nil:
			offset.Add(int64(by))
		default:
			http.Error(w, "want offset= or by= with a duration", http.StatusBadRequest)
			return
		}
	}
	_, _ = fmt.Fprintln(w, time.Duration(offset.Load()))
}
