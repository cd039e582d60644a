package importer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
)

// ErrFile is about the file as a whole: it is empty, cannot be read on, or is not of the format at all. What was read
// before is in the report.
var ErrFile = errors.New("the file cannot be used")

// Format says how a file is written. The zero Format is none.
type Format string

// The formats.
const (
	JSONL Format = "jsonl" // one JSON object to a line
	CSV   Format = "csv"   // RFC 4180 with a header; a field has no line end in it
)

const (
	batchSize          = 100
	defaultMaxProblems = 100
)

// Options of [Import]. Format must be set; the rest of the zero value refuses every password hash and writes.
type Options struct {
	Format Format
	// DryRun does everything but write: what it reports as created would be.
	DryRun bool
	// CheckHash says whether a password hash can be checked at a login. Its errors are shown, and hold nothing of the
	// hash. Nil refuses every hash.
	CheckHash func(stored string) error
	// JoinSalt makes one text of a hash and the salt beside it. Its errors are shown, and hold nothing of them. Nil
	// refuses lines with a salt.
	JoinSalt func(hash, salt string) (string, error)
	// Client is who imports, for the audit log.
	Client handstamp.Client
	// MaxProblems is how many problems the Report keeps; 0 is 100. OnProblem hears of all of them.
	MaxProblems int
	// OnProblem, if set, is called with each problem, in the order of the lines of a batch of 100.
	OnProblem func(Problem)
	// Progress, if set, is called after each batch of 100 accounts and at the end.
	Progress func(Progress)
}

// Sink is who takes the accounts; [account.Accounts] is one.
type Sink interface {
	// Compare says what Adopt would do with one account, and writes nothing.
	Compare(ctx context.Context, i account.Imported) (account.Outcome, error)
	// Adopt makes accounts, and answers for each in the order given. It leaves alone who is there already. With an
	// error, what became of the batch is not known.
	Adopt(ctx context.Context, batch []account.Imported, by handstamp.Client) ([]account.Outcome, error)
}

// Problem is why a line made no account.
type Problem struct {
	Line int // counted from 1, as editors do
	// Field is the field it is about, empty for the whole line.
	Field string
	// Text is a sentence for people. It holds no value of the file.
	Text string
	// Conflict says that the line can be read, but disagrees with an account that is there or cannot be one.
	Conflict bool
}

// Error returns the problem as one line of a report.
func (p Problem) Error() string {
	if p.Field == "" {
		return fmt.Sprintf("line %d: %s", p.Line, p.Text)
	}
	return fmt.Sprintf("line %d, %s: %s", p.Line, p.Field, p.Text)
}

// Progress says how far an import is.
type Progress struct {
	Lines int   // read so far, those without text among them
	Bytes int64 // read so far, to compare with the size of the file
}

// Report says what became of a file.
type Report struct {
	Lines     int // with something in them, the header not among them
	Created   int // accounts made; with DryRun those that would be
	Same      int // there already, and the same
	Conflicts int // there already with something else, or impossible; nothing was changed
	Broken    int // could not be read, or held something that cannot be imported
	// Problems are the first MaxProblems of the conflicts and the broken lines.
	Problems []Problem
}

// OK says whether every line is an account now (with DryRun: would be).
func (r Report) OK() bool { return r.Conflicts == 0 && r.Broken == 0 }

// Import reads a file to its end. Lines that cannot be used are in the Report and no error. An error wraps [ErrFile], or
// the sink's that could not say what became of a batch, or the cause of ctx; the Report then says what was done before.
// Importing the same file again goes on from there. When ctx ends, a batch that is with the sink is brought to its end.
//
// Memory does not grow with the size of lines; of each account 20 bytes are kept to find those that come twice.
func Import(ctx context.Context, r io.Reader, opt Options, sink Sink) (Report, error) {
	if opt.MaxProblems == 0 {
		opt.MaxProblems = defaultMaxProblems
	}
	run := &run{opt: opt, sink: sink, lines: newLines(r), seen: newSeen()}
	parse, err := run.parser()
	if err == nil {
		err = run.all(ctx, parse)
	}
	if err == nil && opt.Format == JSONL && run.report.Lines == 0 { // an export that failed, and not one of nobody
		err = fmt.Errorf("%w: it is empty", ErrFile)
	}
	if opt.Progress != nil {
		opt.Progress(run.lines.progress())
	}
	return run.report, err
}

// parseLine reads one line; the problems are for people, nil for none.
type parseLine func(text string) (record, *Problem)

// run is one import.
type run struct {
	opt    Options
	sink   Sink
	lines  *lines
	seen   *seen
	report Report

	batch   []account.Imported
	numbers []int // the line of each of the batch
}

// parser returns what reads a line of the format.
func (r *run) parser() (parseLine, error) {
	switch r.opt.Format {
	case JSONL:
		return parseJSON, nil
	case CSV:
		for {
			head, err := r.lines.next()
			switch {
			case errors.Is(err, io.EOF):
				return nil, fmt.Errorf("%w: it is empty, and has to begin with a line that names the columns", ErrFile)
			case err != nil:
				return nil, fmt.Errorf("%w: read the header: %w", ErrFile, err)
			case head.blank():
				continue
			}
			parse, err := parseHeader(head.text)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrFile, err)
			}
			return parse, nil
		}
	default:
		return nil, fmt.Errorf("the format of an import is %s or %s", JSONL, CSV)
	}
}

// all reads to the end.
func (r *run) all(ctx context.Context, parse parseLine) error {
	for {
		l, err := r.lines.next()
		if errors.Is(err, io.EOF) {
			return r.flush(ctx)
		}
		if err != nil && !isProblem(err) {
			// What was read before is good: it is written, so that the next run has less to do.
			if flushed := r.flush(ctx); flushed != nil {
				return flushed
			}
			return fmt.Errorf("%w: read line %d: %w", ErrFile, l.number, err)
		}
		if err == nil && l.blank() {
			continue
		}
		r.report.Lines++
		if p := r.line(l, err, parse); p != nil {
			p.Line = l.number
			r.problem(*p)
			continue
		}
		if len(r.batch) == batchSize {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// line puts one line into the batch, or says what is wrong with it.
func (r *run) line(l line, bad error, parse parseLine) *Problem {
	if bad != nil {
		return &Problem{Text: bad.Error()}
	}
	rec, p := parse(l.text)
	if p != nil {
		return p
	}
	i, p := rec.account(r.opt)
	if p != nil {
		return p
	}
	if p := r.seen.add(i, l.number); p != nil {
		return p
	}
	r.batch, r.numbers = append(r.batch, i), append(r.numbers, l.number)
	return nil
}

// flush gives the batch to the sink.
func (r *run) flush(ctx context.Context) error {
	if len(r.batch) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("import from line %d on: %w", r.numbers[0], context.Cause(ctx))
	}
	// Once begun, a batch is brought to its end: of one that was cut off nobody would know what became of it.
	outcomes, err := r.give(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("import lines %d to %d: %w", r.numbers[0], r.numbers[len(r.numbers)-1], err)
	}
	if len(outcomes) != len(r.batch) {
		return fmt.Errorf("import lines %d to %d: %d answers for %d accounts",
			r.numbers[0], r.numbers[len(r.numbers)-1], len(outcomes), len(r.batch))
	}
	for n, o := range outcomes {
		switch o.Adoption {
		case account.Adopted:
			r.report.Created++
		case account.Same:
			r.report.Same++
		default:
			r.problem(Problem{Line: r.numbers[n], Field: o.Field, Text: o.Problem, Conflict: true})
		}
	}
	r.batch, r.numbers = r.batch[:0], r.numbers[:0]
	if r.opt.Progress != nil {
		r.opt.Progress(r.lines.progress())
	}
	return nil
}

func (r *run) give(ctx context.Context) ([]account.Outcome, error) {
	if !r.opt.DryRun {
		return r.sink.Adopt(ctx, r.batch, r.opt.Client)
	}
	outcomes := make([]account.Outcome, len(r.batch))
	for n, i := range r.batch {
		var err error
		if outcomes[n], err = r.sink.Compare(ctx, i); err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

// problem counts a problem, keeps the first ones and tells whoever listens.
func (r *run) problem(p Problem) {
	if p.Conflict {
		r.report.Conflicts++
	} else {
		r.report.Broken++
	}
	if len(r.report.Problems) < r.opt.MaxProblems {
		r.report.Problems = append(r.report.Problems, p)
	}
	if r.opt.OnProblem != nil {
		r.opt.OnProblem(p)
	}
}
