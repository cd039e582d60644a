package main

import (
	"database/sql"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(tempBinaries{m}, map[string]func(){"handstamp": main})
}

// tempBinaries removes the binaries that tests built.
type tempBinaries struct{ *testing.M }

// Run runs the tests.
func (m tempBinaries) Run() int {
	defer binaries.remove()
	return m.M.Run()
}

// TestScripts are stories of the command line: what a person types and sees. Each runs in a directory of its own, with
// no server, and without the variables of whoever runs the tests.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"sql": sqlCommand, "overwrite": overwriteCommand, "says": saysCommand,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("BINARY", binaries.binary(t, ""))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "bash", "zsh", "fish":
				_, err := exec.LookPath(cond)
				return err == nil, nil
			}
			return false, nil
		},
		RequireUniqueNames: true,
	})
}

// sqlCommand runs statements on a database file: sql FILE STATEMENT...
func sqlCommand(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer func() { _ = db.Close() }()
	for _, statement := range args[1:] {
		_, err := db.Exec(statement)
		ts.Check(err)
	}
}

// saysCommand runs a command that fails, with the exit code and exactly the line given: says CODE LINE COMMAND ARG...
// Standard input is the file named by $INPUT.
func saysCommand(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command(ts.Getenv("BINARY"), args[2:]...)
	if input := ts.Getenv("INPUT"); input != "" {
		f, err := os.Open(ts.MkAbs(input))
		ts.Check(err)
		defer func() { _ = f.Close() }()
		cmd.Stdin = f
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "HANDSTAMP_SECRET", "HANDSTAMP_PASSWORD_MEMORY_KIB", "HANDSTAMP_PASSWORD_ITERATIONS"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	_ = cmd.Run()
	ts.Logf("%s", errs.String())
	if code := strconv.Itoa(cmd.ProcessState.ExitCode()); code != args[0] || out.String() != "" || errs.String() != "handstamp: "+args[1]+"\n" {
		ts.Fatalf("handstamp %q: exit %s, and said\n%s%swant exit %s and\nhandstamp: %s", args[2:], code, out.String(), errs.String(), args[0], args[1])
	}
}

// overwriteCommand puts a text into a file at its beginning: overwrite FILE TEXT.
func overwriteCommand(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteString(args[1])
	ts.Check(err)
	ts.Check(f.Close())
}
