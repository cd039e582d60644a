package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// Part is one thing that a process stands on: a database, a store of sessions, a cache in front of one.
type Part struct {
	// Name is a short word, such as "database": lower-case letters, digits and '_'. It is a label of metrics.
	Name string
	// Ask finds out whether the part answers now. It ends when its context does. Its error goes to the log; who reads /readyz
	// is told that the part does not answer, and no more unless the error is, or wraps, an [Excuse].
	Ask func(ctx context.Context) error
	// Spare is a part without which everything goes on, only slower, such as a cache. While it is down the process is
	// degraded, and ready all the same.
	Spare bool
	// Durability is what the part promises about what it acknowledged; zero for one that keeps nothing.
	Durability handstamp.Durability
	// Info says more, such as "breaker": "open". It is shown as it is: no hosts, no names of users, no passwords.
	Info func() map[string]string
}

// Excuse is an error of a Part that says why it cannot be used, in words that whoever reads /readyz may see: no hosts, no
// names of users, no passwords.
type Excuse string

// Error returns the words.
func (e Excuse) Error() string { return string(e) }

// The names that /readyz and the metrics give to what is always asked.
const (
	partSessions = "sessions_read"
	partAccounts = "accounts_read"
)

// checkParts reports parts that cannot be: two with one name would be one series.
func checkParts(parts []Part) error {
	seen := map[string]bool{partSessions: true, partAccounts: true}
	for _, p := range parts {
		plain := p.Name != ""
		for _, c := range p.Name {
			plain = plain && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_')
		}
		if !plain || seen[p.Name] || p.Ask == nil {
			return fmt.Errorf("server: Options.Parts: %q has no plain name of its own, or no Ask", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

// readyOut is /readyz: everything that must work, what of it does not, and what only makes it slower.
type readyOut struct {
	Ready      bool          `json:"ready"`
	Status     string        `json:"status"` // "ready", "degraded" (ready, and slower than it should be) or "not ready"
	Sessions   stateOut      `json:"sessions"`
	Accounts   stateOut      `json:"accounts"`
	Parts      []partOut     `json:"parts,omitempty"`
	Log        *logOut       `json:"log,omitempty"`
	Lease      *leaseOut     `json:"lease,omitempty"`
	Cache      cacheOut      `json:"cache"`
	Durability durabilityOut `json:"durability"`
}

type stateOut struct {
	OK     bool    `json:"ok"`
	TookMS float64 `json:"took_ms"`
	Detail string  `json:"detail,omitempty"`
}

type partOut struct {
	Name string `json:"name"`
	stateOut
	Spare      bool              `json:"spare"`
	Durability *durabilityOut    `json:"durability,omitempty"`
	Info       map[string]string `json:"info,omitempty"`
}

type logOut struct {
	ID      string `json:"id"`
	Applied uint64 `json:"applied"`
	Low     uint64 `json:"low"`
}

type leaseOut struct {
	OK      bool   `json:"ok"`
	Detail  string `json:"detail,omitempty"`
	LeftMS  int64  `json:"left_ms"`
	Applied uint64 `json:"applied"`
}

// cacheOut is the cache of checks in this process's memory. It cannot be down.
type cacheOut struct {
	Entries int    `json:"entries"`
	Bytes   uint64 `json:"bytes"`
	Hits    uint64 `json:"hits"`
	Misses  uint64 `json:"misses"`
}

type durabilityOut struct {
	Class         string `json:"class"`
	WindowSeconds int64  `json:"window_seconds,omitempty"`
}

func durabilityOf(d handstamp.Durability) durabilityOut {
	// A window is rounded up: nobody may lose more than they were told.
	return durabilityOut{Class: string(d.Class), WindowSeconds: int64(math.Ceil(d.Window.Seconds()))}
}

// readyTimeout is how long a store may take to say that it is there.
const readyTimeout = time.Second

// readyz: GET /readyz.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	probes := s.probe(r.Context())
	stats := s.auth.Stats().Cache
	out := readyOut{
		Ready: true, Status: "ready", Durability: durabilityOf(s.auth.Durability()),
		Cache: cacheOut{Entries: stats.Entries, Bytes: stats.Bytes, Hits: stats.Hits, Misses: stats.Misses},
	}
	for _, p := range probes {
		state := s.stateOf(r, p)
		switch p.part.Name {
		case partSessions:
			out.Sessions = state
		case partAccounts:
			out.Accounts = state
		default:
			out.Parts = append(out.Parts, partOf(p.part, state))
		}
		if p.err != nil && !p.part.Spare {
			out.Ready = false
		} else if p.err != nil {
			out.Status = "degraded"
		}
	}
	s.readyLog(&out)
	status := http.StatusOK
	if !out.Ready {
		out.Status, status = "not ready", http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	return answer(w, status, out)
}

// readyLog says where this process stands with the log. Without a lease every check asks the store, which is what balancers
// should spare a node from while there are others.
func (s *Server) readyLog(out *readyOut) {
	if s.opt.Health == nil {
		return
	}
	v := s.opt.Health()
	out.Log = &logOut{ID: v.Log, Applied: v.Applied, Low: v.Low}
	out.Lease = &leaseOut{OK: v.LeaseLeft > 0, LeftMS: v.LeaseLeft.Milliseconds(), Applied: v.Applied}
	if !out.Lease.OK {
		out.Lease.Detail = "the log of revocations was not heard from lately: every check asks the store"
		out.Ready = false
	}
}

// probed is what asking a part brought.
type probed struct {
	part Part
	took time.Duration
	err  error
}

// probe asks all parts at once.
func (s *Server) probe(ctx context.Context) []probed {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	parts := append([]Part{{Name: partSessions, Ask: s.auth.Ping}, {Name: partAccounts, Ask: s.askAccounts}}, s.opt.Parts...)
	out := make([]probed, len(parts))
	var all sync.WaitGroup
	for i, p := range parts {
		all.Go(func() {
			began := time.Now()
			err := p.Ask(ctx)
			out[i] = probed{part: p, took: time.Since(began), err: err}
		})
	}
	all.Wait()
	return out
}

func (s *Server) askAccounts(ctx context.Context) error {
	_, err := s.opt.Accounts.Users().Role(ctx, account.RoleAdmin)
	if errors.Is(err, handstamp.ErrNotFound) {
		return nil // it answered
	}
	return err
}

// stateOf says whether a part answered. Why it did not is for the log: the text may name hosts.
func (s *Server) stateOf(r *http.Request, p probed) stateOut {
	state := stateOut{OK: p.err == nil, TookMS: math.Round(p.took.Seconds()*1e5) / 100}
	if p.err != nil {
		s.opt.Logger.WarnContext(r.Context(), "not ready", "part", p.part.Name, "spare", p.part.Spare, "error", p.err)
		state.Detail = "the store does not answer"
		if p.part.Spare {
			state.Detail = "it does not answer: everything goes on without it, only slower"
		}
		if e, ok := errors.AsType[Excuse](p.err); ok {
			state.Detail = string(e)
		}
	}
	return state
}

func partOf(p Part, state stateOut) partOut {
	out := partOut{Name: p.Name, stateOut: state, Spare: p.Spare}
	if p.Durability.Class != "" {
		d := durabilityOf(p.Durability)
		out.Durability = &d
	}
	if p.Info != nil {
		out.Info = p.Info()
	}
	return out
}
