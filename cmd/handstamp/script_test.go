package main

import (
	"database/sql"
	"os"
	"os/exec"
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
			"sql": sqlCommand, "overwrite": overwriteCommand,
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

// overwriteCommand puts a text into a file at its beginning: overwrite FILE TEXT.
func overwriteCommand(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteString(args[1])
	ts.Check(err)
	ts.Check(f.Close())
}
