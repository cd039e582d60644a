package handstamp_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
)

// goFiles parses the files of this directory whose name keep accepts.
func goFiles(t *testing.T, fset *token.FileSet, keep func(name string) bool) []*ast.File {
	t.Helper()
	names, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if !keep(name) {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// exported lists what a package offers: names at the top level, and methods as Type.Method. Methods that are called by an
// interface of the standard library are left out.
func exported(files []*ast.File) (names, methods []string) {
	implied := []string{"Error", "Is", "Unwrap"}
	for _, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				switch {
				case !d.Name.IsExported():
				case d.Recv == nil:
					names = append(names, d.Name.Name)
				case ast.IsExported(receiver(d)) && !slices.Contains(implied, d.Name.Name):
					methods = append(methods, receiver(d)+"."+d.Name.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						names = append(names, s.Name.Name)
					case *ast.ValueSpec:
						for _, n := range s.Names {
							names = append(names, n.Name)
						}
					}
				}
			}
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return !ast.IsExported(n) }), methods
}

func receiver(d *ast.FuncDecl) string {
	e := d.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if index, ok := e.(*ast.IndexExpr); ok {
		e = index.X
	}
	return e.(*ast.Ident).Name
}

// TestEveryNameHasAnExample: whoever reads the documentation finds each exported name in code that runs, and each method
// too.
func TestEveryNameHasAnExample(t *testing.T) {
	fset := token.NewFileSet()
	names, methods := exported(goFiles(t, fset, func(name string) bool { return !strings.HasSuffix(name, "_test.go") }))
	files := goFiles(t, fset, func(name string) bool { // what the examples share shows nothing
		return strings.HasPrefix(name, "example_") && name != "example_helpers_test.go"
	})

	shown := map[string]bool{} // handstamp.Name in the files of examples
	called := map[string]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "handstamp" {
					shown[s.Sel.Name] = true
				} else {
					called[s.Sel.Name] = true
				}
			}
			return true
		})
	}
	for _, e := range doc.Examples(files...) {
		if e.Output == "" {
			t.Errorf("Example%s shows no output, so it is not run", e.Name)
		}
		name, _, _ := strings.Cut(e.Name, "_")
		shown[name] = true
	}
	for _, n := range names {
		if !shown[n] {
			t.Errorf("%s is in no example", n)
		}
	}
	for _, m := range methods {
		if _, method, _ := strings.Cut(m, "."); !called[method] {
			t.Errorf("the method %s is in no example", m)
		}
	}
	t.Logf("%d names, %d methods, %d examples", len(names), len(methods), len(doc.Examples(files...)))
}
