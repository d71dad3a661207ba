package postgres_test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var statement = regexp.MustCompile(`(?s)^\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b.*@task`)

// statementsOf returns the package's statements on its tables, as they stand in its source: constants, and what is put together of them
// where it is run. Each has the place where it was found.
func statementsOf(t *testing.T) map[string]token.Position {
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var files []*ast.File
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			f, err := parser.ParseFile(fset, name, nil, 0)
			require.NoError(t, err)
			files = append(files, f)
		}
	}
	// What is imported isn't there: that is no matter to constants.
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}}
	c := types.Config{Error: func(error) {}, Importer: nothing{}}
	_, _ = c.Check("postgres", fset, files, info)
	found := map[string]token.Position{}
	add := func(v constant.Value, at token.Pos) {
		if v == nil || v.Kind() != constant.String || !statement.MatchString(constant.StringVal(v)) {
			return
		}
		if _, ok := found[constant.StringVal(v)]; !ok {
			found[constant.StringVal(v)] = fset.Position(at)
		}
	}
	for id, o := range info.Defs {
		if c, ok := o.(*types.Const); ok {
			add(c.Val(), id.Pos())
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 1 {
				if fun, ok := call.Fun.(*ast.SelectorExpr); ok && (fun.Sel.Name == "stmt" || fun.Sel.Name == "sql") {
					add(info.Types[call.Args[0]].Value, call.Pos())
				}
			}
			return true
		})
	}
	return found
}

type nothing struct{}

func (nothing) Import(path string) (*types.Package, error) {
	return types.NewPackage(path, path[strings.LastIndex(path, "/")+1:]), nil
}
