package netlyra_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const internal = "netlyra/internal/"

// mayImport is the design's import rule: which of our packages each of our packages may import beside itself and its
// own subpackages. What is not listed here (a new package) fails the test until somebody decides where it belongs.
func mayImport() map[string][]string {
	leaf := []string{"models"}
	return map[string][]string{
		"models":    {},
		"config":    leaf,
		"dir":       {},
		"telemetry": {},
		"capture":   leaf,
		"decode":    leaf,
		"flow":      leaf,
		"detect":    leaf,
		"bus":       leaf,
		"store":     {"models", "dir"},
		"state":     {"dir"},
		"sandbox":   {"dir"},
		"api":       leaf,
		"traffic":   leaf,
		"livetable": leaf,
		"pipeline":  {"models", "capture", "decode", "flow"},
		"role":      {"models", "api", "bus", "capture", "detect", "flow", "livetable", "pipeline", "state", "store", "telemetry"},
		"bench":     {"models", "capture", "decode", "flow", "detect", "pipeline", "role", "traffic"},
		"nettest":   leaf, // test helpers: see TestOnlyTestsImportTestHelpers
	}
}

type listed struct {
	ImportPath string
	Imports    []string
}

func ours(t *testing.T) []listed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// unit is the package below internal/ that a path belongs to: "detect" for detect/hst too; "" for what is not there.
func unit(path string) string {
	rest, ok := strings.CutPrefix(path, internal)
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func TestImportRules(t *testing.T) {
	rules := mayImport()
	for _, p := range ours(t) {
		from := unit(p.ImportPath)
		if from == "" {
			continue // cmd joins everything
		}
		allowed, known := rules[from]
		if !known {
			t.Errorf("%s has no import rule: add it to mayImport", p.ImportPath)
		}
		for _, imp := range p.Imports {
			if to := unit(imp); to != "" && to != from && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: %q may import only %v of ours", p.ImportPath, imp, from, allowed)
			}
		}
	}
}

func TestOnlyTestsImportTestHelpers(t *testing.T) {
	for _, p := range ours(t) {
		for _, helper := range []string{"nettest", "bus/bustest", "bus/kafka/kafkatest"} {
			if slices.Contains(p.Imports, internal+helper) {
				t.Errorf("%s imports %s outside its tests", p.ImportPath, helper)
			}
		}
	}
}
