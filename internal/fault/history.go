package fault

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Kind is what an operation does.
type Kind string

// The operations that checkers know. Others may be recorded; only the rules about answers look at them.
const (
	Start   Kind = "start"   // begins Session of User; Token is its refresh token, if it has one
	Check   Kind = "check"   // shows a credential of Session at Node
	Create  Kind = "create"  // makes something that is no session; Session is its id, once the answer says it
	Refresh Kind = "refresh" // shows Token; Successor is the refresh token of the answer
	End     Kind = "end"     // ends Session; without one all sessions of User but Except; without either all of everybody
	Nemesis Kind = "nemesis" // a fault: from its invocation to its return Node, or every node, is not to be judged by its silence
)

// FormCookie is the form of a credential that a browser keeps and sends by itself. What ends the session in the answer to
// a request with one takes it away.
const FormCookie = "cookie"

// Outcome is what the client knows afterwards. The zero value is "unknown": it may have happened, and may still.
type Outcome int

// The outcomes.
const (
	Unknown Outcome = iota // no answer, or one that says that the server does not know
	Yes                    // done, or the credential is good
	No                     // refused: it has not happened, or the credential is not good
)

func (o Outcome) String() string { return [...]string{"info", "ok", "fail"}[o] }

// MarshalText is the word for a history file.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// forever is when an operation without an answer may still take effect.
const forever = time.Duration(math.MaxInt64)

// Op is one operation as its client saw it. Times are measured from the beginning of the history by a clock that nobody
// steps.
type Op struct {
	ID      int
	Kind    Kind
	Client  string        `json:",omitempty"`
	Node    string        `json:",omitempty"` // who was asked
	Session string        `json:",omitempty"` // whose credential was shown, begun or ended
	User    string        `json:",omitempty"` // whom that credential was made for
	Except  string        `json:",omitempty"` // the session that an end of a user spares
	Form    string        `json:",omitempty"` // of the credential; for messages
	Token   string        `json:",omitempty"` // what names the refresh token that was shown or given; not the token itself
	Fleet   bool          `json:",omitempty"` // the end waited for the fleet
	Entry   string        `json:",omitempty"` // the kind of the audit entry that it leaves if it happens
	Final   bool          `json:",omitempty"` // the check is one of those that look whether everything is still there
	Invoke  time.Duration // when the request was about to be sent
	Return  time.Duration // when the answer was complete
	Outcome Outcome
	Found   Outcome `json:",omitzero"` // where the outcome is unknown: what was found out later, when all was well again

	// What was answered.
	Status        int    `json:",omitempty"` // 0: nothing
	Code          string `json:",omitempty"` // the problem's code
	SaidUser      string `json:",omitempty"`
	SaidSession   string `json:",omitempty"`
	Successor     string `json:",omitempty"` // like Token
	RetryAfter    bool   `json:",omitempty"` // the header was there
	CookieCleared bool   `json:",omitempty"`
	Note          string `json:",omitempty"`
}

// happened is the outcome, as far as anybody knows by now.
func (op Op) happened() Outcome {
	if op.Outcome == Unknown {
		return op.Found
	}
	return op.Outcome
}

// History records operations. All methods may be called from any goroutine.
type History struct {
	began time.Time

	mu   sync.Mutex
	ops  []*Op
	last int
}

// NewHistory begins a history. If the test fails it is written to a file, one operation on a line; the variable
// HANDSTAMP_HISTORY names the directory, else it is the system's for temporary files.
func NewHistory(t testing.TB) *History {
	t.Helper()
	h := &History{began: time.Now()}
	t.Cleanup(func() {
		if t.Failed() {
			h.dump(t)
		}
	})
	return h
}

// Now is the time since the history began.
func (h *History) Now() time.Duration { return time.Since(h.began) }

// Invoke records that an operation is about to be sent. Until Done it is one without an answer.
func (h *History) Invoke(op Op) *Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	op.ID, op.Outcome, op.Return = h.last, Unknown, forever
	one := &op
	h.ops = append(h.ops, one)
	one.Invoke = h.Now()
	return one
}

// Done records the answer: answer fills in what was answered, the outcome included. An operation whose outcome stays
// unknown may still happen at any later time.
func (h *History) Done(op *Op, answer func(op *Op)) {
	at := h.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	answer(op)
	op.Return = at
}

// FoundOut records what became of an operation without a known outcome. The time of its answer stays what it was.
func (h *History) FoundOut(op *Op, outcome Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op.Found = outcome
}

// Fault records that a node, or every node if the name is empty, is being broken in a way that excuses its silence: it
// is killed or stopped. The function that is returned ends that.
func (h *History) Fault(what, node string) (over func()) {
	op := h.Invoke(Op{Kind: Nemesis, Node: node, Note: what})
	return func() { h.Done(op, func(*Op) {}) }
}

// Forget forgets all operations: a long run judges them now and then and does not keep them all. None may be under way.
func (h *History) Forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = nil
}

// Ops is a copy of what was recorded so far, in the order of the invocations.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Op, len(h.ops))
	for i, op := range h.ops {
		all[i] = *op
	}
	return all
}

func (h *History) dump(t testing.TB) {
	f, err := os.CreateTemp(os.Getenv("HANDSTAMP_HISTORY"), "history-"+strings.ReplaceAll(t.Name(), "/", "-")+"-*.jsonl")
	if err != nil {
		t.Logf("fault: write the history: %v", err)
		return
	}
	defer func() { _ = f.Close() }()
	e := json.NewEncoder(f)
	for _, op := range h.Ops() {
		if err := e.Encode(op); err != nil {
			t.Logf("fault: write the history: %v", err)
			return
		}
	}
	t.Logf("the history is in %s", f.Name())
}
