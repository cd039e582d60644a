package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/store/memory"
)

// sink keeps what it is given, like an account store would.
type sink struct {
	got    []account.Imported
	known  map[account.Address]bool
	writes int
	err    error // of Adopt
}

func (s *sink) Compare(_ context.Context, i account.Imported) (account.Outcome, error) {
	if s.known[i.Email] {
		return account.Outcome{Adoption: account.Same}, nil
	}
	return account.Outcome{Adoption: account.Adopted}, nil
}

func (s *sink) Adopt(ctx context.Context, batch []account.Imported, _ handstamp.Client) ([]account.Outcome, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.known == nil {
		s.known = map[account.Address]bool{}
	}
	s.writes++
	out := make([]account.Outcome, len(batch))
	for n, i := range batch {
		out[n], _ = s.Compare(ctx, i)
		if out[n].Adoption == account.Adopted {
			s.got = append(s.got, i)
			s.known[i.Email] = true
		}
	}
	return out, nil
}

// checkHash takes texts that begin with "$".
func checkHash(stored string) error {
	if !strings.HasPrefix(stored, "$") {
		return errors.New("it is of none of the formats that can be checked")
	}
	return nil
}

func joinSalt(hash, salt string) (string, error) { return "$" + salt + "$" + hash, nil }

func run1(t testing.TB, f Format, text string) (Report, []account.Imported) {
	t.Helper()
	s := &sink{}
	r, err := Import(t.Context(), strings.NewReader(text), Options{Format: f, CheckHash: checkHash, JoinSalt: joinSalt}, s)
	if err != nil {
		t.Fatal(err)
	}
	return r, s.got
}

func TestFields(t *testing.T) {
	want := account.Imported{
		ID: "42", Email: "ada@example.org", EmailVerified: true, Disabled: true, Roles: []string{"editor", "author"},
		CreatedAt: time.Date(2021, 4, 5, 4, 7, 8, 0, time.UTC), PasswordHash: "$2y$10$x",
	}
	for name, text := range map[string]string{
		"jsonl": `{"id":"42","email":" Ada@Example.org ","email_verified":true,"disabled":true,"roles":["editor","author"],"created_at":"2021-04-05T06:07:08+02:00","password_hash":"$2y$10$x"}`,
		"csv":   "id,email,email_verified,disabled,roles,created_at,password_hash\n42, Ada@Example.org ,t,1,editor author,2021-04-05 06:07:08+02,$2y$10$x",
		"csv with quotes, BOM and CRLF": "\ufeff\"ID\",\"email\",\"email_verified\",\"disabled\",\"roles\",\"created_at\",\"password_hash\"\r\n" +
			"\r\n\"42\",\"ada@example.org\",\"TRUE\",\"true\",\"editor  author\",\"2021-04-05 04:07:08Z\",\"$2y$10$x\"\r\n",
		"jsonl with BOM, CRLF and blank lines": "\ufeff\r\n \t\r\n" + `{"email":"ada@example.org","id":"42","email_verified":true,"disabled":true,"roles":["editor","author"],"created_at":"2021-04-05T04:07:08Z","password_hash":"$2y$10$x","password_salt":null}` + "\r\n",
	} {
		f := Format(strings.Fields(name)[0])
		r, got := run1(t, f, text)
		if !r.OK() || r.Lines != 1 || r.Created != 1 || len(got) != 1 || fmt.Sprintf("%+v", got[0]) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s: %+v, %+v", name, r, got)
		}
	}
	r, got := run1(t, JSONL, `{"email":"a@example.org"}`+"\n"+`{"email":"b@example.org","roles":[]}`+"\n"+`{"email":"c@example.org","roles":null,"id":"","password_hash":"h","password_salt":"s"}`)
	if r.Created != 3 || got[0].Roles != nil || got[0].EmailVerified || got[1].Roles == nil || got[2].Roles != nil || got[2].PasswordHash != "$s$h" || got[2].ID != "" {
		t.Errorf("%+v, %+v", r, got)
	}
	r, got = run1(t, CSV, "email,roles,password_hash\na@example.org,,\n\"b@example.org\",\"\",\"$a\"\"b,c\"\n")
	if r.Created != 2 || got[0].Roles != nil || got[0].PasswordHash != "" || got[1].PasswordHash != `$a"b,c` {
		t.Errorf("%+v, %+v", r, got)
	}
}

const canary = "canary-5f4dcc3b5aa765d61d83"

// broken are lines that make no account, the field that is named and a part of what is said.
func broken() []struct{ text, field, says string } {
	return []struct{ text, field, says string }{
		{`{`, "", "not one JSON object"}, {`[]`, "", "not one JSON object"}, {`null`, "", "not one JSON object"}, {`"` + canary + `"`, "", "not one JSON object"},
		{`{} {}`, "", "not one JSON object"}, {`{"email":"a@example.org"},`, "", "not one JSON object"}, {`{"email":"a@example.org","email":"` + canary + `@example.org"}`, "", "every name once"},
		{"{\"email\":\"\xff\"}", "", "not valid UTF-8"}, {`{"email":"\ud800"}`, "", "not one JSON object"}, {"{\"email\":\"a\x00\"}", "", "NUL"}, {"{\"email\":\"a\tb@example.org\"}", "", "not one JSON object"},
		{strings.Repeat("[", 60000), "", "not one JSON object"}, {`{"a":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `}`, "", "not one JSON object"},
		{`{}`, "email", "missing"}, {`{"email":null}`, "email", "missing"}, {`{"email":""}`, "email", "missing"}, {`{"email":"` + canary + `"}`, "email", "exactly one @"},
		{`{"email":7}`, "email", "text in quotes"}, {`{"email":["a@example.org"]}`, "email", "text in quotes"}, {`{"email":"a@example.org","id":7}`, "id", "text in quotes"},
		{`{"email":"a@example.org","id":"a\u0007` + canary + `"}`, "id", "control characters"}, {`{"email":"a@example.org","id":"` + strings.Repeat("x", 129) + `"}`, "id", "128 bytes"},
		{`{"email":"a@example.org","email_verified":"true"}`, "email_verified", "without quotes"}, {`{"email":"a@example.org","disabled":1}`, "disabled", "without quotes"},
		{`{"email":"a@example.org","roles":"admin"}`, "roles", "list of texts"}, {`{"email":"a@example.org","roles":[1]}`, "roles", "list of texts"}, {`{"email":"a@example.org","roles":[null]}`, "roles", "a role has"},
		{`{"email":"a@example.org","roles":["` + canary + ` x"]}`, "roles", "a role has"}, {`{"email":"a@example.org","roles":["x","x"]}`, "roles", "twice"},
		{`{"email":"a@example.org","created_at":"yesterday"}`, "created_at", "2021-04-05T06:07:08Z"}, {`{"email":"a@example.org","created_at":1508893925000}`, "created_at", "text in quotes"},
		{`{"email":"a@example.org","created_at":"1899-01-01T00:00:00Z"}`, "created_at", "year"}, {`{"email":"a@example.org","created_at":"2021-04-05T06:07:08"}`, "created_at", "zone"},
		{`{"email":"a@example.org","password_hash":"` + canary + `"}`, "password_hash", "none of the formats"}, {`{"email":"a@example.org","password_hash":7}`, "password_hash", "text in quotes"},
		{`{"email":"a@example.org","password_salt":"` + canary + `"}`, "password_hash", "without a hash"}, {`{"email":"a@example.org","password_hash":"$` + strings.Repeat("x", 5000) + `"}`, "password_hash", "too long"},
		{`{"email":"a@example.org","password":"` + canary + `"}`, "", "not known here: password;"}, {`{"email":"a@example.org","zeta":1,"alpha":null}`, "", "not known here: alpha, zeta;"},
		{`{"email":"a@example.org","Email":"b@example.org"}`, "", "not known here: Email;"}, {`{"email":"a@example.org","$2y$10$` + canary + `":1}`, "", "not shown"},
	}
}

// A line that cannot be used is named by its number and its field, without a value of it, and all others are accounts.
func TestBrokenLines(t *testing.T) {
	var file strings.Builder
	for n, tc := range broken() {
		fmt.Fprintf(&file, "{\"email\":\"good-%d@example.org\"}\n%s\n", n, tc.text)
	}
	r, got := run1(t, JSONL, file.String())
	if r.Created != len(broken()) || len(got) != len(broken()) || r.Broken != len(broken()) || r.OK() || r.Lines != 2*len(broken()) {
		t.Errorf("%d good and broken lines: %d created, %d broken", len(broken()), r.Created, r.Broken)
	}
	for n, tc := range broken() {
		p := r.Problems[n]
		if p.Line != 2*n+2 || p.Field != tc.field || !strings.Contains(p.Text, tc.says) || p.Conflict {
			t.Errorf("%.80s: %+v, want %q about %q", tc.text, p, tc.says, tc.field)
		}
		if strings.Contains(p.Error(), "canary") || strings.Contains(p.Error(), "example.org") || len(p.Error()) > 400 {
			t.Errorf("%.80s: the problem repeats it: %v", tc.text, p)
		}
	}
}

func TestBrokenRows(t *testing.T) {
	const header = "email,id,email_verified,roles\n"
	for text, says := range map[string]string{
		"a@example.org": "another number of fields", "a@example.org,1,t,x,": "another number of fields", `"a@example.org,1,t,x`: "not closed",
		`"a"x,1,t,x`: "after a closing quote", `a"b@example.org,1,t,x`: "a quote stands inside", "a@example.org,1,yes,x": "true or false",
		"a@example.org,1,t,x x": "twice", "a@example.org,1,t,x;y": "a role has", ",1,t,x": "missing", strings.Repeat(",", 70): "more than 64",
		"a@example.org,a\tb,t,x": "control characters",
	} {
		r, got := run1(t, CSV, header+text+"\nb@example.org,,,\n")
		if r.Broken != 1 || r.Created != 1 || len(got) != 1 || r.Problems[0].Line != 2 || !strings.Contains(r.Problems[0].Text, says) {
			t.Errorf("%.60q: %+v, want %q", text, r, says)
		}
	}
}

func TestHeader(t *testing.T) {
	for text, says := range map[string]string{
		"": "empty", "\n\n": "empty", "id,roles\n": "no column email", "email,email\n": "twice", "email,password\n": "not known here: password;",
		"ada@example.org,$2y$10$" + canary + "\n": "no header", canary + "\n": "no header", "email,\"x\n": "not closed", "\xff\n": "UTF-8", strings.Repeat("x", 70000) + "\n": "64 KiB",
	} {
		s := &sink{}
		r, err := Import(t.Context(), strings.NewReader(text), Options{Format: CSV}, s)
		if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "canary") || len(s.got) != 0 || r.Lines != 0 {
			t.Errorf("%.40q: %+v, %v, want %q", text, r, err, says)
		}
	}
	if _, err := Import(t.Context(), strings.NewReader("x"), Options{}, &sink{}); err == nil {
		t.Error("no format")
	}
	for _, text := range []string{"", "\n \r\n"} {
		if _, err := Import(t.Context(), strings.NewReader(text), Options{Format: JSONL}, &sink{}); !errors.Is(err, ErrFile) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Lines that are too long are skipped and not kept, whatever their length; the longest that is allowed passes.
func TestLongLines(t *testing.T) {
	fill := func(n int) string {
		const head, tail = `{"email":"long@example.org"`, `}`
		return head + strings.Repeat(" ", n-len(head)-len(tail)) + tail
	}
	for _, end := range []string{"\n", "\r\n"} {
		text := fill(maxLineBytes) + end + `{"email":"a@example.org"` + strings.Repeat(" ", 10*maxLineBytes) + "}" + end + strings.Replace(fill(maxLineBytes+1), "long@", "more@", 1) + end +
			`{"email":"b@example.org"}` + end + strings.Repeat("x", 3*maxLineBytes)
		r, got := run1(t, JSONL, text)
		if r.Created != 2 || r.Broken != 3 || got[0].Email != "long@example.org" || got[1].Email != "b@example.org" {
			t.Errorf("%q: %+v", end, r)
		}
		for n, want := range []int{2, 3, 5} {
			if r.Problems[n].Line != want || !strings.Contains(r.Problems[n].Text, "64 KiB") {
				t.Errorf("%q: %+v, want line %d", end, r.Problems[n], want)
			}
		}
	}
}

func TestTwins(t *testing.T) {
	r, got := run1(t, JSONL, `{"email":"A@example.org","id":"1"}
{"email":"a@EXAMPLE.org","id":"2"}
{"email":"c@example.org","id":"1"}
{"email":"broken","id":"9"}
{"email":"d@example.org","id":"9"}
{"email":"bücher@bücher.example"}
{"email":"e@bücher.example"}
{"email":"e@xn--bcher-kva.example"}`)
	if r.Created != 3 || len(got) != 3 || r.Broken != 5 {
		t.Fatalf("%+v", r)
	}
	for n, want := range []string{
		"line 2, email: the same address is in line 1", "line 3, id: the same id is in line 1", "line 4, email: ", "line 6, email: ", "line 8, email: the same address is in line 7",
	} {
		if !strings.HasPrefix(r.Problems[n].Error(), want) {
			t.Errorf("%v, want %s", r.Problems[n], want)
		}
	}
}

// Nothing is said about hashes: none is taken.
func TestHashesNeedAJudge(t *testing.T) {
	r, err := Import(t.Context(), strings.NewReader(`{"email":"a@example.org","password_hash":"$x"}`), Options{Format: JSONL}, &sink{})
	if err != nil || r.Broken != 1 || r.Problems[0].Field != "password_hash" {
		t.Errorf("%+v, %v", r, err)
	}
	leaky := Options{Format: JSONL, CheckHash: func(s string) error { return fmt.Errorf("bad hash %s", s) }}
	r, err = Import(t.Context(), strings.NewReader(`{"email":"a@example.org","password_hash":"`+canary+`"}`), leaky, &sink{})
	if err != nil || r.Broken != 1 || strings.Contains(r.Problems[0].Error(), "canary") {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = Import(t.Context(), strings.NewReader(`{"email":"a@example.org","password_hash":"$x","password_salt":"y"}`), Options{Format: JSONL, CheckHash: checkHash}, &sink{})
	if err != nil || r.Broken != 1 || !strings.Contains(r.Problems[0].Text, "belong together") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	s := &sink{known: map[account.Address]bool{"b@example.org": true}}
	var heard []Problem
	r, err := Import(t.Context(), strings.NewReader("email\na@example.org\nb@example.org\nx\n"),
		Options{Format: CSV, DryRun: true, OnProblem: func(p Problem) { heard = append(heard, p) }}, s)
	if err != nil || s.writes != 0 || r.Created != 1 || r.Same != 1 || r.Broken != 1 || !slices.Equal(heard, r.Problems) {
		t.Errorf("%+v, %v, %d writes", r, err, s.writes)
	}
}

// What fails on the way is an error that says where, what was done before is in the report, and the next run goes on.
func TestFailuresOnTheWay(t *testing.T) {
	var file strings.Builder
	for n := range 250 {
		fmt.Fprintf(&file, "{\"email\":\"u%d@example.org\"}\n", n)
	}
	opt := Options{Format: JSONL}
	down := errors.New("the store is down")
	if _, err := Import(t.Context(), strings.NewReader(file.String()), opt, &sink{err: down}); !errors.Is(err, down) || !strings.Contains(err.Error(), "lines 1 to 100") {
		t.Errorf("%v", err)
	}
	s := &sink{}
	torn := io.MultiReader(strings.NewReader(file.String()[:4000]), iotest.ErrReader(errors.New("disk gone")))
	r, err := Import(t.Context(), torn, opt, s)
	if err == nil || r.Created == 0 || r.Created != len(s.got) || r.Created > 150 {
		t.Errorf("%+v, %v", r, err)
	}
	before := r.Created
	if r, err = Import(t.Context(), strings.NewReader(file.String()), opt, s); err != nil || r.Created != 250-before || r.Same != before || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := errors.New("interrupted")
	opt.Progress = func(p Progress) {
		if p.Lines >= 100 {
			cancel(asked)
		}
	}
	s = &sink{}
	if r, err = Import(ctx, strings.NewReader(file.String()), opt, s); !errors.Is(err, asked) || r.Created != 100 || len(s.got) != 100 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Import(t.Context(), strings.NewReader("{\"email\":\"a@example.org\"}"), Options{Format: JSONL}, mute{}); err == nil {
		t.Error("a sink that forgets an account")
	}
}

// pausing is a sink in whose work the import is interrupted.
type pausing struct {
	*sink
	interrupt func()
}

func (p pausing) Adopt(ctx context.Context, batch []account.Imported, by handstamp.Client) ([]account.Outcome, error) {
	p.interrupt()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return p.sink.Adopt(ctx, batch, by)
}

// An interrupted import ends between two batches: the one that was under way is whole, and no other begins.
func TestInterruptedBetweenBatches(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := pausing{&sink{}, cancel}
	r, err := Import(ctx, users(250), Options{Format: JSONL, CheckHash: checkHash}, s)
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrFile) || r.Created != batchSize || len(s.got) != batchSize || s.writes != 1 {
		t.Errorf("%+v, %v, %d batches", r, err, s.writes)
	}
}

// mute is a sink that answers for nobody.
type mute struct{}

func (mute) Adopt(context.Context, []account.Imported, handstamp.Client) ([]account.Outcome, error) {
	return nil, nil
}
func (mute) Compare(context.Context, account.Imported) (account.Outcome, error) {
	return account.Outcome{}, nil
}

// users is a file of n accounts that is never whole in memory.
func users(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		for i := range n {
			if _, err := fmt.Fprintf(w, "{\"id\":\"user-%d\",\"email\":\"u%d@example.org\",\"email_verified\":true,\"password_hash\":\"$2y$10$%040d\"}\n", i, i, i); err != nil {
				return
			}
			if i%10 == 0 {
				fmt.Fprintf(w, "%s\n", strings.Repeat("x", 2000))
			}
		}
		_ = w.Close()
	}()
	return r
}

// counting is a sink that forgets.
type counting struct{ mute }

func (counting) Adopt(_ context.Context, batch []account.Imported, _ handstamp.Client) ([]account.Outcome, error) {
	return slices.Repeat([]account.Outcome{{Adoption: account.Adopted}}, len(batch)), nil
}

// A hundred thousand accounts, 36 MB of file, take the memory of what finds those that come twice and no more.
func TestStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("a hundred thousand lines")
	}
	const n = 100_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, last := heap(), uint64(0), Progress{}
	r, err := Import(t.Context(), users(n), Options{Format: JSONL, CheckHash: checkHash, Progress: func(p Progress) {
		if p.Lines < last.Lines || p.Bytes < last.Bytes {
			t.Errorf("progress goes back: %+v after %+v", p, last)
		}
		if p.Lines/20000 > last.Lines/20000 {
			most = max(most, heap())
		}
		last = p
	}}, counting{})
	if err != nil || r.Created != n || r.Broken != n/10 || len(r.Problems) != defaultMaxProblems || last.Lines != n+n/10 {
		t.Fatalf("%d created, %d broken, %d problems kept, %v", r.Created, r.Broken, len(r.Problems), err)
	}
	if grown := int64(most) - int64(before); grown > 24<<20 {
		t.Errorf("%d MiB of memory for %d accounts", grown>>20, n)
	}
}

// The real accounts are a sink, and a second run finds everybody there.
func TestWithAccounts(t *testing.T) {
	store := memory.New()
	auth, err := handstamp.Open(t.Context(), store, handstamp.Options{PublicURL: "https://app.example.com", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = auth.Close() }()
	var accounts Sink = account.New(auth, store)
	var file strings.Builder
	file.WriteString("id,email,password_hash,email_verified\n")
	for n := range 230 {
		fmt.Fprintf(&file, "%d,u%d@example.org,$h%d,true\n", n, n, n)
	}
	for round, dry := range []bool{true, false, true, false} {
		r, err := Import(t.Context(), strings.NewReader(file.String()), Options{Format: CSV, CheckHash: checkHash, DryRun: dry}, accounts)
		fresh := round < 2
		if err != nil || !r.OK() || r.Lines != 230 || (r.Created == 230) != fresh || (r.Same == 230) == fresh {
			t.Errorf("round %d: %+v, %v", round, r, err)
		}
	}
	r, err := Import(t.Context(), strings.NewReader("id,email\n7,u8@example.org\n300,u9@example.org\n10,u10@example.org\n"), Options{Format: CSV}, accounts)
	if err != nil || r.Conflicts != 2 || r.Same != 1 || r.Problems[0].Line != 2 || r.Problems[0].Field != "email" || !r.Problems[0].Conflict {
		t.Errorf("%+v, %v", r, err)
	}
}

// Whatever is in a file: no panic, every line is counted once, and an account that gets through is a legal one.
func FuzzImport(f *testing.F) {
	for _, tc := range broken() {
		f.Add(tc.text+"\n{\"email\":\"a@example.org\"}", false)
	}
	for _, text := range []string{"email,id,roles,disabled\n\"a@example.org\",1,x y,t\r\n,,,\n", "\ufeffemail\n\"\"\"\"\n", "email,password_hash,password_salt,created_at\na@b.example,$x,,2021-04-05 06:07:08+02\n"} {
		f.Add(text, true)
	}
	f.Fuzz(func(t *testing.T, text string, isCSV bool) {
		format := JSONL
		if isCSV {
			format = CSV
		}
		s := &sink{}
		heard := 0
		opt := Options{Format: format, CheckHash: checkHash, JoinSalt: joinSalt, OnProblem: func(p Problem) {
			heard++
			if p.Line < 1 || p.Text == "" {
				t.Fatalf("%+v", p)
			}
		}}
		r, err := Import(context.Background(), strings.NewReader(text), opt, s)
		if err != nil && !errors.Is(err, ErrFile) || err != nil && !isCSV && r.Lines > 0 {
			t.Fatal(err)
		}
		if r.Created+r.Same+r.Broken+r.Conflicts != r.Lines || r.Created != len(s.got) || r.Broken+r.Conflicts != heard {
			t.Fatalf("%+v with %d accounts and %d problems", r, len(s.got), heard)
		}
		for _, i := range s.got {
			again, err := account.ParseAddress(string(i.Email))
			if err != nil || again != i.Email || len(i.ID) > 128 || strings.ContainsAny(string(i.ID), "\x00\n\r\t") || i.PasswordHash != "" && i.PasswordHash[0] != '$' {
				t.Fatalf("%+v", i)
			}
		}
	})
}
