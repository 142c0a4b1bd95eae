package detect

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// The names that the code gives to features and facts are those of the closed lists, and the documented ones.
func TestNamesAreThoseOfTheClosedLists(t *testing.T) {
	features, facts := namesInCode(t)
	for n := range numFeatures {
		features = append(features, n.info().name)
	}
	features = append(features, "hst_score")
	page, err := os.ReadFile(filepath.FromSlash("../../docs/wire-format.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []struct {
		heading string
		code    []string
		names   []models.Name
	}{{"### Features", features, models.FeatureNames()}, {"### Facts", facts, models.FactNames()}} {
		var names []string
		for _, n := range list.names {
			names = append(names, n.Name)
		}
		for _, all := range []*[]string{&names, &list.code} {
			slices.Sort(*all)
			*all = slices.Compact(*all)
		}
		if d := cmp.Diff(names, list.code); d != "" {
			t.Errorf("%s (-package models +code)\n%s", list.heading, d)
		}
		_, section, _ := strings.Cut(string(page), list.heading+"\n")
		section, _, _ = strings.Cut(section, "\n##")
		var rows []models.Name
		for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (.*) \\| (.*) \\|$").FindAllStringSubmatch(section, -1) {
			rows = append(rows, models.Name{Name: row[1], Unit: strings.TrimSpace(row[2]), Meaning: row[3]})
		}
		if d := cmp.Diff(list.names, rows); d != "" {
			t.Errorf("docs/wire-format.md, %s (-package models +page)\n%s", list.heading, d)
		}
	}
}

// namesInCode are the string constants of this package that become the name of a feature or of a fact.
func namesInCode(t *testing.T) (features, facts []string) {
	files := token.NewFileSet()
	packages, err := parser.ParseDir(files, ".", func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0) //nolint:staticcheck // one package, no build tags
	if err != nil {
		t.Fatal(err)
	}
	text := func(e ast.Expr) (string, bool) {
		l, ok := e.(*ast.BasicLit)
		if !ok || l.Kind != token.STRING {
			return "", false
		}
		s, err := strconv.Unquote(l.Value)
		return s, err == nil
	}
	add := func(to *[]string, e ast.Expr) {
		if s, ok := text(e); ok {
			*to = append(*to, s)
		}
	}
	ast.Inspect(packages["detect"], func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec: // leadPorts = "ports"
			for i, name := range n.Names {
				if i < len(n.Values) && (strings.HasPrefix(name.Name, "lead") || strings.HasPrefix(name.Name, "featureH")) {
					add(&features, n.Values[i])
				}
			}
		case *ast.CompositeLit:
			for i, e := range n.Elts {
				kv, ok := e.(*ast.KeyValueExpr)
				key, _ := keyOf(kv)
				switch {
				case !ok && i == 0 && typeName(n) == "lead":
					add(&features, e)
				case ok && key == "Feature":
					add(&features, kv.Value)
				case ok && key == "Name":
					add(&facts, kv.Value)
				}
			}
		}
		return true
	})
	return features, facts
}

func keyOf(kv *ast.KeyValueExpr) (string, bool) {
	if kv == nil {
		return "", false
	}
	id, ok := kv.Key.(*ast.Ident)
	if !ok {
		return "", false
	}
	return id.Name, true
}

func typeName(n *ast.CompositeLit) string {
	if id, ok := n.Type.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
