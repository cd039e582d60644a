package memory_test

import (
	"errors"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/store/memory"
)

func value(r handstamp.Session, from, to uint64) handstamp.DatumWrite {
	return handstamp.DatumWrite{
		Session: r.ID, Value: handstamp.Datum{Name: "cart", Data: []byte("x"), Version: to}, From: from, Limit: 100, Now: at(6),
	}
}

// TestOverValuesForeignEvents ends, in the base, a session that has a value here. The first to hear of it is, by turns, a
// read, a write and a sweep.
func TestOverValuesForeignEvents(t *testing.T) {
	for name, e := range map[string]func(r handstamp.Session) revoke.Event{
		"session/end": func(r handstamp.Session) revoke.Event { return event(revoke.KindSession, string(r.ID), revoke.End) },
		"user/end":    func(handstamp.Session) revoke.Event { return event(revoke.KindUser, string(ada), revoke.End) },
		"all/end":     func(handstamp.Session) revoke.Event { return event(revoke.KindAll, "", revoke.End) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, first := range []string{"Get", "Put", "Sweep"} {
				base := memory.New()
				s := memory.Over(base)
				r := begin(t, s, 0)
				must(t, s.Values().Put(t.Context(), value(r, 0, 1)))
				a := appendTo(t, base, e(r))
				switch first {
				case "Get":
					d, f, err := s.Values().Get(t.Context(), r.ID, "cart")
					must(t, err)
					if d.Version != 1 || handstamp.Live(f.Session, f.Subject, at(6)) || f.Subject.Head != a.Last() {
						t.Errorf("Get = version %d, alive: %v, head %d", d.Version, handstamp.Live(f.Session, f.Subject, at(6)), f.Subject.Head)
					}
				case "Put":
					if err := s.Values().Put(t.Context(), value(r, 1, 2)); !errors.Is(err, handstamp.ErrConflict) {
						t.Errorf("Put = %v, want ErrConflict", err)
					}
				}
				n, err := s.Sessions().Sweep(t.Context(), at(6), 10)
				must(t, err)
				if d, _, err := s.Values().Get(t.Context(), r.ID, "cart"); n != 1 || err != nil || d.Version != 0 {
					t.Errorf("Sweep = %d, and the value has version %d (%v)", n, d.Version, err)
				}
			}
		})
	}
}

// TestOverValuesUnknownCommit loses the answer of the base's commit: nothing was carried.
func TestOverValuesUnknownCommit(t *testing.T) {
	base := &doubtful{Store: memory.New()}
	s := memory.Over(base)
	from, to := begin(t, s, 0), begin(t, s, 1)
	must(t, s.Values().Put(t.Context(), value(from, 0, 1)))
	base.broken, base.happens = true, true
	err := s.Work().Do(t.Context(), func(tx handstamp.Tx) error {
		return tx.Carry(t.Context(), handstamp.Carrying{From: from.ID, To: to.ID, Names: []string{"cart"}, Limit: 1 << 20, Now: at(2)})
	})
	if !errors.Is(err, errUnknown) {
		t.Fatalf("Do = %v, want the base's error", err)
	}
	if d, _, err := s.Values().Get(t.Context(), to.ID, "cart"); err != nil || d.Version != 0 {
		t.Errorf("Get = version %d, %v; want nothing", d.Version, err)
	}
}

// TestOverSweepGoesOn has more sessions with values that stand than one sweep looks at, and those that are over behind
// them.
func TestOverSweepGoesOn(t *testing.T) {
	s := memory.Over(memory.New())
	var over []handstamp.Session
	for n := range 1200 {
		r := begin(t, s, n)
		w := value(r, 0, 1)
		w.Now = at(n)
		must(t, s.Values().Put(t.Context(), w))
		if n >= 1190 {
			over = append(over, r)
		}
	}
	for _, r := range over {
		appendTo(t, s, event(revoke.KindSession, string(r.ID), revoke.End))
	}
	swept := 0
	for range 20 {
		n, err := s.Sessions().Sweep(t.Context(), at(6), 4)
		must(t, err)
		swept += n
	}
	if swept != len(over) {
		t.Errorf("%d values were swept, want %d", swept, len(over))
	}
	for _, r := range over {
		if d, _, err := s.Values().Get(t.Context(), r.ID, "cart"); err != nil || d.Version != 0 {
			t.Errorf("a value that should be gone has version %d (%v)", d.Version, err)
		}
	}
}
