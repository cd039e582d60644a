package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"

	"github.com/handstamp/handstamp/internal/fault"
)

// person has an account with a password. He knows his password, never mistypes it, and never does two things at once.
type person struct {
	*client
	account  account
	password string
}

// doubt is a change of an account that nobody knows the outcome of. Its person takes another account.
type doubt struct {
	op       *fault.Op
	email    string
	old, new string // the passwords before and after; equal where the doubt is not about them
}

type doubts struct {
	sync.Mutex
	all []doubt
}

func (f *fleet) doubt(d doubt) {
	f.doubts.Lock()
	defer f.doubts.Unlock()
	f.doubts.all = append(f.doubts.all, d)
}

// person makes one who draws from rnd.
func (f *fleet) person(rnd *rand.Rand) *person {
	return &person{client: &client{f: f, rand: rand.New(rand.NewPCG(rnd.Uint64(), 3))}}
}

// step does one thing at one node.
func (p *person) step() {
	defer p.pause()
	n := p.node()
	if p.account.id == "" {
		p.create(n)
		return
	}
	if p.rand.IntN(20) == 0 {
		p.account, p.alive = account{}, nil
		return
	}
	if what := p.rand.IntN(100); len(p.alive) == 0 || what < 15 && len(p.alive) < 4 {
		if c := n.login(p.f, p.account, p.password); c != nil {
			p.alive = append(p.alive, c)
		}
		return
	}
	i := p.rand.IntN(len(p.alive))
	switch what := p.rand.IntN(100); {
	case what < 50:
		n.check(p.alive[i], false)
	case what < 70:
		n.refresh(p.alive[i])
	case what < 80:
		n.logout(p.alive[i])
		p.bury(i)
	case what < 92:
		p.change(n, p.alive[i])
	default:
		p.lock(n)
	}
}

// create takes a new account.
func (p *person) create(n *node) {
	email := fmt.Sprintf("person-%d@example.com", p.f.serial.Add(1))
	const password = "the first passphrase"
	op := p.f.Invoke(fault.Op{Kind: fault.Create, Node: n.Name(), Entry: userCreated, Note: email})
	a := n.call(context.Background(), http.MethodPost, "/v1/admin/users", p.f.key, map[string]any{"email": email, "password": password})
	made := struct{ ID string }{}
	_ = decode(a.body, &made) // an answer that is none leaves it empty
	outcome := fault.Unknown
	switch a.status {
	case http.StatusCreated:
		outcome, op.Session = fault.Yes, made.ID
		p.account, p.password = account{made.ID, email}, password
	case http.StatusTooManyRequests:
		outcome = fault.No
	case 0, http.StatusServiceUnavailable:
		p.f.doubt(doubt{op, email, password, password})
	default:
		p.f.t.Errorf("a new account at %s is answered %d %s", n.Name(), a.status, a.body)
	}
	p.f.done(op, a, outcome)
}

// change takes a new password, which ends all other sessions and makes this one's credentials new. Whoever does not know
// which password holds now takes another account.
func (p *person) change(n *node, c *cred) {
	next := fmt.Sprintf("passphrase number %d", p.f.serial.Add(1))
	op := p.f.Invoke(fault.Op{Kind: fault.End, Node: n.Name(), User: p.account.id, Entry: passwordChanged, Note: "password"})
	access, _ := c.now()
	a := n.call(context.Background(), http.MethodPost, "/v1/password", access, map[string]any{"current_password": p.password, "new_password": next})
	outcome := fault.Unknown
	switch a.status {
	case http.StatusOK:
		outcome = fault.Yes
	case http.StatusTooManyRequests:
		outcome = fault.No
	case http.StatusUnauthorized, http.StatusForbidden:
		outcome = fault.No
		p.f.t.Errorf("a change of a password at %s is refused: %d %s", n.Name(), a.status, a.body)
	}
	p.f.done(op, a, outcome)
	switch outcome {
	case fault.Yes:
		p.password = next
		p.alive = nil
	case fault.Unknown:
		p.f.doubt(doubt{op, p.account.email, p.password, next})
		p.account = account{}
		p.alive = nil
	case fault.No:
	}
}

// lock disables the account, as an administrator does, and enables it again.
func (p *person) lock(n *node) {
	for _, disabled := range []bool{true, false} {
		op := fault.Op{Kind: "enable", Node: n.Name(), User: p.account.id, Entry: userEnabled}
		if disabled {
			op.Kind, op.Entry = fault.End, userDisabled
		}
		one := p.f.Invoke(op)
		a := n.call(context.Background(), http.MethodPatch, "/v1/admin/users/"+p.account.id, p.f.key, map[string]any{"disabled": disabled})
		outcome := fault.Unknown
		if a.status == http.StatusOK {
			outcome = fault.Yes
		}
		p.f.done(one, a, outcome)
		p.alive = nil
		if outcome != fault.Yes {
			p.account = account{}
			return
		}
	}
}

// resolve asks what became of the changes that were not answered. Half of one would be seen here or by what is judged
// afterwards: a new password without its entry, or one that ended no session.
func (f *fleet) resolve() {
	f.t.Helper()
	f.doubts.Lock()
	defer f.doubts.Unlock()
	n := f.nodes[0]
	opens := func(d doubt, password string) (string, bool) {
		op := f.Invoke(fault.Op{Kind: fault.Start, Node: n.Name(), Note: d.email})
		a := n.call(context.Background(), http.MethodPost, "/v1/login", "", map[string]any{"email": d.email, "password": password, "mode": "session", "transport": "bearer"})
		g := a.grant()
		f.Done(op, func(op *fault.Op) { op.Outcome, op.Status, op.Code = fault.No, a.status, g.Code })
		switch a.status {
		case http.StatusOK:
			// The login is of this moment: it is recorded as what it was, and looked for like any other.
			f.Done(op, func(op *fault.Op) {
				op.Outcome, op.User, op.Session, op.Entry = fault.Yes, g.User.ID, g.Session.ID, loginOK
			})
			f.created.Store(g.Session.ID, &cred{mode: "session", session: g.Session.ID, user: g.User.ID, access: g.Access})
			return g.User.ID, true
		case http.StatusUnauthorized:
			return "", false
		}
		f.t.Errorf("a login of %s when all is well is answered %d %s", d.email, a.status, a.body)
		return "", false
	}
	for _, d := range f.doubts.all {
		found := map[bool]fault.Outcome{false: fault.No, true: fault.Yes}
		if d.old == d.new { // the account is there, or it is not
			id, ok := opens(d, d.old)
			f.FoundOut(d.op, found[ok])
			f.Done(f.Invoke(fault.Op{Kind: fault.Create, Node: n.Name(), Note: d.email}), func(op *fault.Op) {
				op.Outcome, op.Status, op.Session = found[ok], http.StatusOK, id
			})
			continue
		}
		// If it has happened, all sessions from before this moment are over.
		over := f.Invoke(fault.Op{Kind: fault.End, Node: n.Name(), User: d.op.User, Note: "found out"})
		_, before := opens(d, d.old)
		_, after := opens(d, d.new)
		if before == after {
			f.t.Errorf("after a change of the password of %s without an answer: the old one opens %v, the new one %v", d.email, before, after)
		}
		f.FoundOut(d.op, found[after])
		f.Done(over, func(op *fault.Op) { op.Outcome, op.Status = found[after], http.StatusOK })
	}
	f.doubts.all = nil
}
