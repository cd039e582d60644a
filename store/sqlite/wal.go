package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

type connector = sqldriver.Connector

// minEngine is the oldest engine that is used: before it, two connections that wrote and checkpointed at the same
// moment could leave the file damaged (the "WAL-reset" fault, fixed in SQLite 3.51.3).
const minEngine = 3_051_003

// checkEngine refuses an engine older than minEngine: a build may replace the module.
func checkEngine(l *link) error {
	var version string
	if err := l.row("SELECT sqlite_version()", nil, &version); err != nil {
		return fmt.Errorf("ask for the engine's version: %w", err)
	}
	if engineNumber(version) < minEngine {
		return fmt.Errorf("the SQLite engine is version %s; 3.51.3 or newer is needed", version)
	}
	return nil
}

// checkWritable refuses a file that the engine could open for reading only, which it does without a word. A transaction
// begins on it as if nothing were wrong, and the first write would fail in the middle of somebody's login.
func checkWritable(l *link) error {
	var readOnly bool
	err := l.conn.Raw(func(c any) (err error) {
		engine, ok := c.(interface {
			IsReadOnly(schema string) (bool, error)
		})
		if !ok {
			return errors.New("the driver does not say whether the file can be written")
		}
		readOnly, err = engine.IsReadOnly("main")
		return err
	})
	if err != nil {
		return fmt.Errorf("ask whether the file can be written: %w", err)
	}
	if readOnly {
		return ErrReadOnly
	}
	return nil
}

// engineNumber is 3_051_003 for "3.51.3", and 0 for what is no version.
func engineNumber(version string) int {
	parts := strings.Split(version, ".")
	if len(parts) < 3 {
		return 0
	}
	n := 0
	for _, p := range parts[:3] {
		v, err := strconv.Atoi(p)
		if err != nil || v < 0 || v > 999 {
			return 0
		}
		n = n*1000 + v
	}
	return n
}

// useWAL puts the file into WAL mode, which stays with the file. Processes that start together get in each other's way
// here, and the engine does not always wait by itself.
func (s *Store) useWAL(ctx context.Context, opt Options) error {
	deadline := time.Now().Add(opt.openTimeout())
	var l *link
	err := whileBusy(ctx, deadline, func() (err error) {
		l, err = s.writer.take(ctx) // connecting reads the file, which another process may be switching
		return err
	})
	if err != nil {
		return err
	}
	defer s.writer.give(l, true)
	if err := checkEngine(l); err != nil {
		return err
	}
	if err := checkWritable(l); err != nil {
		return err
	}
	return whileBusy(ctx, deadline, func() error {
		var mode string
		if err := l.row("PRAGMA journal_mode(WAL)", nil, &mode); err != nil {
			return readOnly(fmt.Errorf("switch to WAL mode: %w", err))
		}
		if mode != "wal" {
			return fmt.Errorf("the file cannot be put into WAL mode (it stays in mode %s); it must be on a local disk", mode)
		}
		return nil
	})
}

// readOnly says in words what the engine's code for it means.
func readOnly(err error) error {
	if p := primary(err); p == codeReadOnly || p == codeCantOpen {
		return fmt.Errorf("%w (%w)", ErrReadOnly, err)
	}
	return err
}

// whileBusy repeats what another process's lock prevents, at least once, until the deadline or the context's end.
func whileBusy(ctx context.Context, deadline time.Time, try func() error) error {
	began := time.Now()
	for {
		err := try()
		if err == nil || !busy(err) {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait %v for another process: %w", time.Since(began).Round(time.Millisecond), err)
		}
		if err := pause(ctx, busyPause); err != nil {
			return err
		}
	}
}

const busyPause = time.Millisecond

// pause waits; some refusals of the engine come at once, and asking again without a pause would keep a processor busy.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
