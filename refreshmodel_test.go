package handstamp_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/jwt"
	"github.com/handstamp/handstamp/keyring"
	"github.com/handstamp/handstamp/token"
)

// This file walks through every short history of one session's refresh tokens: what the owner, a thief, the network, a
// password change, the clock and a restored backup can do to it, in every order. A referee who knows nothing of
// generations judges each answer by what may never happen. The same histories run against the rule alone and against the
// whole engine; and against broken rules, each of which the referee must catch.

const (
	modelGrace = 20 * time.Second
	modelStart = 1_800_000_000 // seconds since 1970
)

type outcome uint8

const (
	refused outcome = iota + 1 // no, and the session lives
	given                      // yes
	alarm                      // the session was ended as stolen
)

// refresher is what refreshes: the rule alone, a broken rule, or the engine. Tokens are numbers.
type refresher interface {
	begin() (first int)
	present(tok int, key string) (answer int, out outcome)
	renew() (tok int) // new secrets for the owner, as with a password change; 0 if the session is over
	restore()         // the row as it was after begin
	move(d time.Duration)
	now() time.Time
}

// steps is the alphabet of histories.
const (
	stepRefresh = 'o' // the owner refreshes
	stepLost    = 'l' // the owner refreshes, and the answer is lost
	stepLate    = 'c' // the owner refreshes in a slow tab: the cookie comes later
	stepCookie  = 'd' // that cookie comes
	stepSteal   = 's' // a thief copies the owner's token
	stepThief   = 't' // the thief refreshes
	stepRenew   = 'p' // the owner changes the password
	stepShort   = 'g' // 5 s pass
	stepLong    = 'G' // 61 s pass
	stepBack    = '-' // the clock is set back by 30 s
	stepRestore = 'R' // a backup is put back
)

// stepsOf are the steps that make sense for a transport. A bearer client writes down its answers itself, in the order it
// asked; only a browser takes cookies in the order they come.
func stepsOf(t handstamp.Transport) string {
	if t == handstamp.TransportCookie {
		return "olcdstpgG-R"
	}
	return "olstpgG-R"
}

// fact is what the referee knows of one token.
type fact struct {
	family  int
	child   int       // what it was answered with first
	spentAt time.Time // when
	key     string    // with which key
}

// referee plays one history and judges it.
type referee struct {
	r         refresher
	transport handstamp.Transport
	keys      bool // the owner sends an Idempotency-Key, a new one for each try that is not a retry

	facts    map[int]*fact
	family   int
	owner    int
	lostAt   time.Time // when the owner's token was spent by a request whose answer has not arrived
	lostKey  string
	tries    int
	late     int // the cookie that is still under way
	lateTill time.Time
	thief    int
	stolen   bool
	restored bool
	over     bool
}

func (f *referee) play(history string) error {
	*f = referee{r: f.r, transport: f.transport, keys: f.keys, facts: map[int]*fact{}}
	f.owner = f.r.begin()
	f.learn(f.owner)
	for i := range len(history) {
		stop, err := f.step(history[i])
		if err != nil {
			return fmt.Errorf("%s after %q (%s, keys %v): %w", history[i:i+1], history[:i], f.transport, f.keys, err)
		}
		if stop {
			return nil
		}
	}
	return nil
}

func (f *referee) learn(tok int) *fact {
	if f.facts[tok] == nil {
		f.facts[tok] = &fact{family: f.family}
	}
	return f.facts[tok]
}

func (f *referee) step(s byte) (stop bool, err error) {
	switch s {
	case stepRefresh, stepLost, stepLate:
		return f.ownerRefreshes(s)
	case stepCookie:
		if f.late != 0 && f.r.now().Before(f.lateTill) {
			f.owner, f.lostAt, f.late = f.late, time.Time{}, 0
		}
	case stepSteal:
		f.thief, f.stolen = f.owner, true
	case stepThief:
		if f.thief != 0 {
			answer, out, err := f.present(f.thief, "")
			if err != nil {
				return true, err
			}
			if out == given {
				f.thief = answer
			}
		}
	case stepRenew:
		if tok := f.r.renew(); tok != 0 {
			if f.over {
				return true, errors.New("an ended session got new secrets")
			}
			f.family++
			f.owner, f.lostAt, f.late = tok, time.Time{}, 0
			f.learn(tok)
		} else if !f.over {
			return true, errors.New("a live session got no new secrets")
		}
	case stepShort:
		f.r.move(5 * time.Second)
	case stepLong:
		f.r.move(61 * time.Second)
	case stepBack:
		f.r.move(-30 * time.Second)
	case stepRestore:
		if !f.over { // an end is in the log, which is restored by another rule
			f.r.restore()
			f.restored = true
		}
	}
	return false, nil
}

func (f *referee) ownerRefreshes(s byte) (stop bool, err error) {
	retry := !f.lostAt.IsZero()
	key := ""
	if f.keys {
		if f.tries++; !retry {
			f.lostKey = fmt.Sprint("key ", f.tries)
		}
		key = f.lostKey
	}
	now := f.r.now()
	waited := retry && key == "" && now.Sub(f.lostAt) >= modelGrace
	spent := f.facts[f.owner].child == 0
	answer, out, err := f.present(f.owner, key)
	switch {
	case err != nil:
		return true, err
	case out == alarm:
		if !f.stolen && !waited {
			return true, errors.New("false alarm: the owner's own token ended the session")
		}
		return true, nil
	case out == refused:
		if !f.over && !f.stolen && !f.restored {
			return true, errors.New("the owner of a live session was refused")
		}
		return false, nil
	}
	switch s {
	case stepRefresh:
		f.owner, f.lostAt = answer, time.Time{}
	case stepLate:
		f.late, f.lateTill = answer, now.Add(modelGrace)
		if d := f.facts[f.owner]; d.child == answer {
			f.lateTill = d.spentAt.Add(modelGrace) // a cookie is late if it comes within the grace of its rotation
		}
		fallthrough
	case stepLost:
		if spent && answer != f.owner && !retry {
			f.lostAt = now
		}
	}
	return false, nil
}

// present judges an answer by what may never happen.
func (f *referee) present(tok int, key string) (answer int, out outcome, err error) {
	d, now := f.learn(tok), f.r.now()
	answer, out = f.r.present(tok, key)
	if f.over && out != refused {
		return 0, 0, errors.New("an ended session answered")
	}
	if out == alarm {
		f.over = true
		if d.family != f.family && !f.restored {
			return 0, 0, errors.New("a token of a family that is over ended the session")
		}
	}
	if f.restored { // who is ahead of whom is another question then
		if out == given {
			f.learn(answer)
		}
		return answer, out, nil
	}
	twice := d.child != 0 && f.facts[d.child].child != 0
	switch {
	case out == given && d.family != f.family:
		return 0, 0, errors.New("a token from before the password change was answered")
	case out == given && twice:
		return 0, 0, errors.New("a token two generations old was answered")
	case out != alarm && twice && !f.over && d.family == f.family:
		return 0, 0, errors.New("a token two generations old was no alarm")
	case out != given:
		return answer, out, nil
	case answer == tok:
		if f.transport != handstamp.TransportCookie {
			return 0, 0, errors.New("a bearer token was answered with itself")
		}
		return answer, out, nil
	case d.child == 0:
		d.child, d.spentAt, d.key = answer, now, key
	case d.child != answer:
		return 0, 0, errors.New("a token has two children")
	case now.Sub(d.spentAt) >= modelGrace && (key == "" || key != d.key):
		return 0, 0, errors.New("a spent token was answered after the grace")
	}
	f.learn(answer)
	return answer, out, nil
}

// histories calls fn with every history of exactly n steps.
func histories(alphabet string, n int, fn func(string) error) error {
	h := make([]byte, n)
	var fill func(int) error
	fill = func(i int) error {
		if i == n {
			return fn(string(h))
		}
		for j := range len(alphabet) {
			h[i] = alphabet[j]
			if err := fill(i + 1); err != nil {
				return err
			}
		}
		return nil
	}
	return fill(0)
}

// rule is a server that is nothing but the rule.
type rule struct {
	transport handstamp.Transport
	row       handstamp.Family
	at        time.Time
	family    int
	over      bool
	decide    func(cur handstamp.Family, generation uint32, request token.Hash, now time.Time, t handstamp.Transport, grace time.Duration) handstamp.Verdict
	anyNonce  bool // broken: the nonce is not compared
	keepGrace bool // broken: new secrets leave nonce, grace and key as they are
}

// Tokens of the rule: the family's number and the generation.
func ruleToken(family int, generation uint32) int { return 1 + family<<16 + int(generation) }

func (r *rule) begin() int {
	r.row, r.at, r.family, r.over = handstamp.Family{}, time.Unix(modelStart, 0), 0, false
	return ruleToken(0, 0)
}

func (r *rule) present(tok int, key string) (int, outcome) {
	family, generation := (tok-1)>>16, uint32(tok-1)&0xffff
	if r.over || family != r.family && !r.anyNonce {
		return 0, refused
	}
	var request token.Hash
	if key != "" {
		request = sha256.Sum256([]byte(key))
	}
	switch r.decide(r.row, generation, request, r.at, r.transport, modelGrace) {
	case handstamp.Rotate:
		r.row = handstamp.Family{Generation: generation + 1, RotatedAt: r.at, Request: request}
	case handstamp.Repeat, handstamp.Hold:
	case handstamp.Ahead:
		return 0, refused
	default:
		r.over = true
		return 0, alarm
	}
	return ruleToken(r.family, r.row.Generation), given
}

func (r *rule) renew() int {
	if r.over {
		return 0
	}
	if r.keepGrace {
		r.row.Generation++
		return ruleToken(r.family, r.row.Generation)
	}
	r.family++
	r.row = handstamp.Family{Generation: r.row.Generation + 1}
	return ruleToken(r.family, r.row.Generation)
}

func (r *rule) restore()             { r.row, r.family = handstamp.Family{}, 0 }
func (r *rule) move(d time.Duration) { r.at = r.at.Add(d) }
func (r *rule) now() time.Time       { return r.at }

// walk plays all histories of up to n steps and returns the first that the referee objects to.
func walk(r refresher, t handstamp.Transport, keys bool, n int) error {
	f := &referee{r: r, transport: t, keys: keys}
	return histories(stepsOf(t), n, f.play) // a history contains its beginnings
}

func transports() []handstamp.Transport {
	return []handstamp.Transport{handstamp.TransportBearer, handstamp.TransportCookie}
}

// TestJ17_RefreshModel: no history of up to six steps makes the rule do what it must not.
func TestJ17_RefreshModel(t *testing.T) {
	steps := 6
	if testing.Short() {
		steps = 5
	}
	for _, tr := range transports() {
		for _, keys := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/keys=%v", tr, keys), func(t *testing.T) {
				t.Parallel()
				if err := walk(&rule{transport: tr, decide: handstamp.DecideRefresh}, tr, keys, steps); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestJ17_RefreshModelFindsBrokenRules: every way to get the rule wrong is found.
func TestJ17_RefreshModelFindsBrokenRules(t *testing.T) {
	type decide = func(handstamp.Family, uint32, token.Hash, time.Time, handstamp.Transport, time.Duration) handstamp.Verdict
	instead := func(change func(cur handstamp.Family, g uint32, v handstamp.Verdict) handstamp.Verdict) decide {
		return func(cur handstamp.Family, g uint32, request token.Hash, now time.Time, tr handstamp.Transport, grace time.Duration) handstamp.Verdict {
			return change(cur, g, handstamp.DecideRefresh(cur, g, request, now, tr, grace))
		}
	}
	right := instead(func(_ handstamp.Family, _ uint32, v handstamp.Verdict) handstamp.Verdict { return v })
	for name, broken := range map[string]rule{
		"grace ignored": {decide: func(cur handstamp.Family, g uint32, request token.Hash, now time.Time, tr handstamp.Transport, _ time.Duration) handstamp.Verdict {
			return handstamp.DecideRefresh(cur, g, request, now, tr, 0)
		}},
		"key ignored": {decide: func(cur handstamp.Family, g uint32, _ token.Hash, now time.Time, tr handstamp.Transport, grace time.Duration) handstamp.Verdict {
			return handstamp.DecideRefresh(cur, g, token.Hash{}, now, tr, grace)
		}},
		"any key matches": {decide: instead(func(cur handstamp.Family, g uint32, v handstamp.Verdict) handstamp.Verdict {
			if g+1 == cur.Generation && !cur.Request.IsZero() {
				return handstamp.Repeat
			}
			return v
		})},
		"previous accepted for ever": {decide: instead(func(cur handstamp.Family, g uint32, v handstamp.Verdict) handstamp.Verdict {
			if g+1 == cur.Generation {
				return handstamp.Repeat
			}
			return v
		})},
		"repeat for two generations back": {decide: instead(func(cur handstamp.Family, g uint32, v handstamp.Verdict) handstamp.Verdict {
			if g+2 == cur.Generation && v == handstamp.Reused {
				return handstamp.Repeat
			}
			return v
		})},
		"an old token is only refused": {decide: instead(func(_ handstamp.Family, _ uint32, v handstamp.Verdict) handstamp.Verdict {
			if v == handstamp.Reused {
				return handstamp.Ahead
			}
			return v
		})},
		"a spent token rotates": {decide: instead(func(_ handstamp.Family, _ uint32, v handstamp.Verdict) handstamp.Verdict {
			if v == handstamp.Repeat {
				return handstamp.Rotate
			}
			return v
		})},
		"ahead is theft": {decide: instead(func(_ handstamp.Family, _ uint32, v handstamp.Verdict) handstamp.Verdict {
			if v == handstamp.Ahead {
				return handstamp.Reused
			}
			return v
		})},
		"no hold for cookies": {decide: instead(func(_ handstamp.Family, _ uint32, v handstamp.Verdict) handstamp.Verdict {
			if v == handstamp.Hold {
				return handstamp.Rotate
			}
			return v
		})},
		"hold for bearers": {decide: func(cur handstamp.Family, g uint32, request token.Hash, now time.Time, _ handstamp.Transport, grace time.Duration) handstamp.Verdict {
			return handstamp.DecideRefresh(cur, g, request, now, handstamp.TransportCookie, grace)
		}},
		"the nonce is not compared":   {decide: right, anyNonce: true},
		"new secrets keep the family": {decide: right, keepGrace: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, tr := range transports() {
				for _, keys := range []bool{false, true} {
					r := broken
					r.transport = tr
					if err := walk(&r, tr, keys, 5); err != nil {
						t.Log("found:", err)
						return
					}
				}
			}
			for _, tr := range transports() {
				r := broken
				r.transport = tr
				if err := walk(&r, tr, false, 6); err != nil {
					t.Log("found:", err)
					return
				}
			}
			t.Error("the broken rule was not found")
		})
	}
}

// served is the whole engine as a refresher.
type served struct {
	t         testing.TB
	e         *engine
	transport handstamp.Transport
	session   handstamp.Session
	tokens    []token.Secret
	ids       map[string]int
}

func (s *served) id(sec token.Secret) int {
	if sec.IsZero() {
		return 0
	}
	n, ok := s.ids[sec.Reveal()]
	if !ok {
		s.tokens = append(s.tokens, sec)
		n = len(s.tokens)
		s.ids[sec.Reveal()] = n
	}
	return n
}

func (s *served) begin() int {
	s.tokens, s.ids = nil, map[string]int{}
	g := s.e.as(s.t, "ada", handstamp.ModeHybrid, s.transport)
	s.session = g.Session
	return s.id(g.RefreshToken)
}

func (s *served) present(tok int, key string) (int, outcome) {
	g, err := s.e.Refresh(context.Background(), handstamp.RefreshRequest{Token: s.tokens[tok-1], IdempotencyKey: key})
	switch verdict(err) {
	case "yes":
		if _, err := s.e.verify(g); err != nil {
			s.t.Fatalf("the value token of a refresh is refused: %v", err)
		}
		return s.id(g.RefreshToken), given
	case string(handstamp.ReasonReused):
		return 0, alarm
	case "don't know":
		s.t.Fatalf("Refresh = %v", err)
	}
	return 0, refused
}

func (s *served) renew() int {
	g, err := s.e.Renew(context.Background(), s.session.ID, s.e.prove(s.t, "ada", ""))
	if verdict(err) == "don't know" {
		s.t.Fatalf("Renew = %v", err)
	}
	return s.id(g.RefreshToken)
}

func (s *served) restore() {
	row, err := s.e.Session(context.Background(), s.session.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	row.Refresh = s.session.Refresh
	err = s.e.store.fullStore.Work().Do(context.Background(), func(tx handstamp.Tx) error { return tx.PutSession(context.Background(), row) })
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *served) move(d time.Duration) { s.e.clock.Advance(d) }
func (s *served) now() time.Time       { return s.e.clock.Now() }

// TestJ17_EngineModel plays histories against the whole engine.
func TestJ17_EngineModel(t *testing.T) {
	steps := 4
	if testing.Short() || raceEnabled {
		steps = 3
	}
	for _, tr := range transports() {
		for _, keys := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/keys=%v", tr, keys), func(t *testing.T) {
				t.Parallel()
				e := setup{keys: func(o *keyring.Options) { o.Algorithm = jwt.HS256 }}.open(t)
				s := &served{t: t, e: e, transport: tr}
				if err := walk(s, tr, keys, steps); err != nil {
					t.Error(err)
				}
				// Longer ones, of the kind that broke other systems.
				f := &referee{r: s, transport: tr, keys: keys}
				for h := range strings.FieldsSeq("cooGo cgodgo lgoGoGo slgtGtGo sopt sotGpt stoGo ctdooGo lpto RooGo lRoGo sRpt csdtpt oosGt l-o-oGo ocpdGo pooGo lGo") {
					if tr == handstamp.TransportBearer && strings.ContainsAny(h, "cd") {
						continue
					}
					if err := f.play(h); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}
