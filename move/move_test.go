package move_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/audit"
	"github.com/handstamp/handstamp/internal/fault"
	"github.com/handstamp/handstamp/move"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/transfer"
)

// TestUnderUse moves an installation while servers use it: nobody is logged out, nothing that was ended is accepted
// anywhere, and the server that was left behind answers neither yes nor no.
func TestUnderUse(t *testing.T) {
	for _, p := range pairs() {
		t.Run(pairName(p), func(t *testing.T) {
			from, to := engines()[p[0]](t), engines()[p[1]](t)
			n := serve(t, from)
			other := serve(t, from)
			c := newCrowd()
			c.on(n, 0, 1)
			c.on(other, 2)
			pause(t, 500*time.Millisecond)
			var behind sync.Once
			steps := map[move.Step]bool{}
			opt := options(t, from, to)
			opt.Wait = nil
			opt.Confirm = func(context.Context) error { pause(t, 200*time.Millisecond); return nil }
			opt.Progress = func(at move.Progress) {
				steps[at.Step] = true
				if at.Step == move.Opening {
					behind.Do(func() {
						c.never(t, n, "before the target is opened")
						c.never(t, other, "before the target is opened")
					})
				}
			}
			report, err := move.Run(t.Context(), opt)
			if err != nil {
				t.Fatalf("Run = %v", err)
			}
			c.stop()
			for _, s := range []move.Step{move.Copying, move.CatchingUp, move.Ready, move.Fencing, move.Comparing, move.Closing, move.Outlasting, move.Opening, move.Done} {
				if !steps[s] {
					t.Errorf("the step %q was left out", s)
				}
			}
			t.Logf("paused for %v; %+v", report.Paused.Round(time.Millisecond), counts(report))
			target := serve(t, to)
			c.settled(t, target)
			c.never(t, n, "after the move")
			entries, err := target.store.Audit().List(t.Context(), audit.Filter{Kind: move.Kind, Limit: 10})
			if err != nil || len(entries) != 1 {
				t.Errorf("the audit log of the target has %d entries of the move, %v", len(entries), err)
			}
			again, err := move.Run(t.Context(), options(t, from, to))
			if err != nil || !again.Already {
				t.Errorf("the same move once more = %+v, %v, want that it is done", again.Already, err)
			}
		})
	}
}

func counts(r move.Report) map[string]int64 {
	rows := map[string]int64{}
	for _, t := range r.Tables {
		rows[t.Name] = t.Rows
	}
	return rows
}

// pause lets real servers work for a while; nothing depends on how much they get done.
func pause(t testing.TB, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// at once replaces the wait for leases where no server runs.
func atOnce(context.Context, time.Duration) error { return nil }

// killed is the panic of a process that dies.
var killed = errors.New("killed")

// deadly dies after a number of calls, and lets nobody clean up.
type deadly struct {
	mu   *sync.Mutex
	left *int
}

func (d deadly) call() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *d.left--; *d.left < 0 {
		panic(killed)
	}
}

type deadlySource struct {
	transfer.Source
	deadly
}

func (s deadlySource) Set(ctx context.Context, from, to transfer.Mark) error {
	defer s.call()
	return s.Source.Set(ctx, from, to)
}

func (s deadlySource) Changes(ctx context.Context, limit int) ([]transfer.Change, error) {
	defer s.call()
	return s.Source.Changes(ctx, limit)
}

func (s deadlySource) Forget(ctx context.Context, done []transfer.Change) error {
	defer s.call()
	return s.Source.Forget(ctx, done)
}

type deadlyTarget struct {
	transfer.Target
	deadly
}

func (s deadlyTarget) Set(ctx context.Context, from, to transfer.Mark) error {
	defer s.call()
	return s.Target.Set(ctx, from, to)
}

func (s deadlyTarget) Write(ctx context.Context, m transfer.Mark, t transfer.Table, put, drop []transfer.Row) error {
	defer s.call()
	return s.Target.Write(ctx, m, t, put, drop)
}

// TestKilledAnywhere kills a move after each of its calls that change something, and runs it again: it comes to the same
// end, whatever has happened in between.
func TestKilledAnywhere(t *testing.T) {
	for _, p := range pairs() {
		t.Run(pairName(p), func(t *testing.T) {
			if p[0] != p[1] {
				t.Skip("each engine is killed as source and as target in the move to its own kind")
			}
			stride := 4
			if p[0] == "sqlite" && !testing.Short() {
				stride = 1
			}
			for calls := 0; ; calls += stride {
				if killedAfter(t, p, calls) {
					t.Logf("a move makes %d calls at most", calls)
					return
				}
			}
		})
	}
}

// killedAfter kills a move after so many calls and runs it again. It reports whether the move was over before that.
func killedAfter(t *testing.T, p [2]string, calls int) (over bool) {
	t.Helper()
	from, to := engines()[p[0]](t), engines()[p[1]](t)
	c := newCrowd()
	use(t, from, c, 1)
	over = once(t, from, to, calls)
	source := from.transfer(t)
	mark, err := source.Mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if mark.Phase == transfer.Open || mark.Phase == transfer.Tracked { // somebody goes on using it
		use(t, from, c, 2)
	}
	if !over {
		if _, err := move.Run(t.Context(), options(t, from, to)); err != nil {
			t.Fatalf("Run after a kill after %d calls = %v", calls, err)
		}
	}
	if from.beside == nil && to.beside == nil {
		identical(t, source, to.transfer(t))
	}
	if calls%10 == 0 || from.beside != nil || to.beside != nil {
		c.settled(t, serve(t, to))
	}
	return over
}

// use lets a few clients do things in a fixed order.
func use(t *testing.T, d database, c *crowd, seed uint64) {
	t.Helper()
	n := serve(t, d)
	defer n.stop()
	for i := range 60 {
		c.act(n, pcg(seed, uint64(i)), i%2)
	}
}

// once runs a move that may die, and reports whether it lived.
func once(t *testing.T, from, to database, calls int) (lived bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil && r != killed {
			panic(r)
		}
	}()
	d := deadly{new(sync.Mutex), &calls}
	opt := options(t, from, to)
	opt.From, opt.To = deadlySource{opt.From, d}, deadlyTarget{opt.To, d}
	if opt.ToSessions != nil {
		opt.ToSessions = deadlyTarget{opt.ToSessions, d}
	}
	if opt.FromSessions != nil {
		opt.FromSessions = deadlyTarget{opt.FromSessions.(transfer.Target), d}
	}
	if _, err := move.Run(t.Context(), opt); err != nil {
		t.Fatalf("Run = %v", err)
	}
	return true
}

// identical compares every row, but for the entry of the move.
func identical(t *testing.T, from, to transfer.Database) {
	t.Helper()
	for _, table := range transfer.Tables() {
		a, err := transfer.Sum(t.Context(), from, table)
		if err != nil {
			t.Fatal(err)
		}
		b, err := transfer.Sum(t.Context(), to, table)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case table.Name == transfer.TableAudit && b.Rows != a.Rows+1:
			t.Errorf("audit has %d rows at the source and %d at the target, want one more", a.Rows, b.Rows)
		case table.Name != transfer.TableAudit && a != b:
			t.Errorf("%s differs: %d rows and %d", table.Name, a.Rows, b.Rows)
		}
	}
	m, err := from.Mark(t.Context())
	if err != nil || m.Phase != transfer.Moved {
		t.Errorf("the source is %q, %v, want it moved", m.Phase, err)
	}
	if m, err = to.Mark(t.Context()); err != nil || m.Phase != transfer.Open {
		t.Errorf("the target is %q, %v, want it open", m.Phase, err)
	}
}

// TestSessionsStay moves the database under sessions in Redis, which stay where they are.
func TestSessionsStay(t *testing.T) {
	server := fault.SharedRedis(t)
	url := server.URLAt(server.Addr(), server.NextDB())
	from, to := overRedis(newSQLite(t), url), overRedis(newSQLite(t), url)
	n := serve(t, from)
	c := newCrowd()
	c.on(n, 0, 1)
	pause(t, 300*time.Millisecond)
	opt := options(t, from, to)
	opt.FromSessions, opt.ToSessions, opt.Wait = nil, nil, nil
	if _, err := move.Run(t.Context(), opt); err != nil {
		t.Fatalf("Run = %v", err)
	}
	c.stop()
	c.settled(t, serve(t, to))
	c.never(t, n, "after the move")
}

// TestRefused is what a move does not begin with, and that nothing was changed then.
func TestRefused(t *testing.T) {
	from, to, third := newSQLite(t), newSQLite(t), newSQLite(t)
	use(t, from, newCrowd(), 1)
	use(t, third, newCrowd(), 2)
	run := func(a, b database) error {
		_, err := move.Run(t.Context(), move.Options{From: a.transfer(t), To: b.transfer(t), Wait: atOnce})
		return err
	}
	if err := run(from, third); !errors.Is(err, move.ErrNotEmpty) {
		t.Errorf("into a database that is used = %v, want ErrNotEmpty", err)
	}
	if m, err := from.transfer(t).Mark(t.Context()); err != nil || m.Phase != transfer.Open {
		t.Errorf("after that the source is %q, %v, want it open", m.Phase, err)
	}
	once(t, from, to, 3)
	if err := run(third, to); !errors.Is(err, move.ErrOther) {
		t.Errorf("into an unfinished copy of another = %v, want ErrOther", err)
	}
	if err := run(to, newSQLite(t)); err == nil {
		t.Error("out of an unfinished copy = nil, want an error")
	}
	if err := run(from, to); err != nil {
		t.Errorf("going on = %v", err)
	}
	if err := run(from, newSQLite(t)); !errors.Is(err, move.ErrGone) {
		t.Errorf("to another place after the move = %v, want ErrGone", err)
	}
}

// TestNoIsNoFence: who does not consent leaves a source that serves as before.
func TestNoIsNoFence(t *testing.T) {
	from, to := newSQLite(t), newSQLite(t)
	use(t, from, newCrowd(), 1)
	no := errors.New("no")
	_, err := move.Run(t.Context(), move.Options{
		From: from.transfer(t), To: to.transfer(t), Wait: atOnce, Confirm: func(context.Context) error { return no },
	})
	if !errors.Is(err, no) {
		t.Errorf("Run = %v, want the error of Confirm", err)
	}
	use(t, from, newCrowd(), 2)
	if _, err := to.store(t.Context()); err == nil {
		t.Error("a server starts on an unfinished copy")
	}
}

// spoiled is a target that loses the first row of each write of events, while it is on.
type spoiled struct {
	transfer.Target
	on *bool
}

func (s spoiled) Write(ctx context.Context, m transfer.Mark, t transfer.Table, put, drop []transfer.Row) error {
	if *s.on && t.Name == transfer.TableEvents && len(put) > 0 {
		put = put[1:]
	}
	return s.Target.Write(ctx, m, t, put, drop)
}

// TestDiffers: a copy that is not the same is never opened, and the source serves again. It is noticed also if only what
// changed in the last moments did not arrive.
func TestDiffers(t *testing.T) {
	for name, early := range map[string]bool{"from the beginning": true, "in the last moments": false} {
		t.Run(name, func(t *testing.T) {
			from, to := newSQLite(t), newSQLite(t)
			use(t, from, newCrowd(), 1)
			on := early
			opt := options(t, from, to)
			opt.To = spoiled{opt.To, &on}
			opt.Confirm = func(context.Context) error {
				use(t, from, newCrowd(), 2)
				on = true
				return nil
			}
			if _, err := move.Run(t.Context(), opt); !errors.Is(err, move.ErrDiffers) {
				t.Errorf("Run = %v, want ErrDiffers", err)
			}
			if m, err := from.transfer(t).Mark(t.Context()); err != nil || m.Phase != transfer.Tracked {
				t.Errorf("the source is %q, %v, want it tracked", m.Phase, err)
			}
			use(t, from, newCrowd(), 3)
		})
	}
}

// TestTwoRuns: a later run takes over, and the earlier one changes nothing any more.
func TestTwoRuns(t *testing.T) {
	from, to := newSQLite(t), newSQLite(t)
	use(t, from, newCrowd(), 1)
	_, err := move.Run(t.Context(), move.Options{
		From: from.transfer(t), To: to.transfer(t), Wait: atOnce,
		Confirm: func(ctx context.Context) error {
			_, err := move.Run(ctx, move.Options{From: from.transfer(t), To: to.transfer(t), Wait: atOnce})
			return err
		},
	})
	if err == nil {
		t.Error("the earlier run went on")
	}
	identical(t, from.transfer(t), to.transfer(t))
}

// TestUndo takes a move back at every step where that is safe, and is refused where it is not.
func TestUndo(t *testing.T) {
	from, to := newSQLite(t), newSQLite(t)
	c := newCrowd()
	use(t, from, c, 1)
	undo := func() error {
		return move.Undo(t.Context(), options(t, from, to))
	}
	if err := undo(); !errors.Is(err, move.ErrNothing) {
		t.Errorf("Undo of nothing = %v, want ErrNothing", err)
	}
	for calls := 0; ; calls++ {
		lived := once(t, from, to, calls)
		if err := undo(); err != nil && !errors.Is(err, move.ErrNothing) {
			t.Fatalf("Undo after %d calls = %v", calls, err)
		}
		use(t, from, c, uint64(calls)+2)
		if _, err := to.store(t.Context()); err == nil {
			t.Fatalf("a server starts on the target after an undo after %d calls", calls)
		}
		if lived {
			break
		}
	}
	c.settled(t, serve(t, from))
	if !once(t, from, to, 1_000_000) {
		t.Fatal("the last move died")
	}
	use(t, to, newCrowd(), 99)
	if err := undo(); !errors.Is(err, move.ErrUsed) {
		t.Errorf("Undo after the target was used = %v, want ErrUsed", err)
	}
	use(t, to, newCrowd(), 100) // it is open again
}

// TestUndoSessions is TestUndo for sessions beside the target: they are not given back behind the log.
func TestUndoSessions(t *testing.T) {
	from, to := newSQLite(t), newRedis(t)
	c := newCrowd()
	use(t, from, c, 1)
	run := func() {
		t.Helper()
		if _, err := move.Run(t.Context(), options(t, from, to)); err != nil {
			t.Fatalf("Run = %v", err)
		}
	}
	run()
	if err := move.Undo(t.Context(), options(t, from, to)); err != nil {
		t.Fatalf("Undo = %v", err)
	}
	use(t, from, c, 2)
	run()
	use(t, to, c, 3)
	endUnheard(t, to, c)
	if err := move.Undo(t.Context(), options(t, from, to)); !errors.Is(err, move.ErrUsed) {
		t.Fatalf("Undo after the target was used = %v, want ErrUsed", err)
	}
	c.settled(t, serve(t, to))
}

// endUnheard ends a session in the log, and Redis does not hear of it: as if the server had died in between.
func endUnheard(t *testing.T, d database, c *crowd) {
	t.Helper()
	base, err := d.base.store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := c.of("user-0-0")
	if len(ended) == 0 {
		t.Fatal("the crowd has nobody to end")
	}
	err = base.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		_, err := tx.Append(t.Context(), revoke.Event{
			Kind: revoke.KindSession, ID: string(ended[0].grant.Session.ID), Effect: revoke.End, At: time.Now(),
			Until: time.Now().Add(time.Hour), Reason: "logout",
		})
		return err
	})
	if err := errors.Join(err, base.Close()); err != nil {
		t.Fatal(err)
	}
	c.over(true, ended[0])
}

// TestEndsArrive: a session whose end its record in Redis has not heard of does not live again where it is moved to.
func TestEndsArrive(t *testing.T) {
	for _, name := range []string{"sqlite", "redis"} {
		t.Run(name, func(t *testing.T) {
			from, to := newRedis(t), engines()[name](t)
			c := newCrowd()
			use(t, from, c, 1)
			endUnheard(t, from, c)
			if _, err := move.Run(t.Context(), options(t, from, to)); err != nil {
				t.Fatalf("Run = %v", err)
			}
			c.settled(t, serve(t, to))
		})
	}
}
