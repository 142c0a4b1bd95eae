package api

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// collection is where the requests are.
const collection = "../../bruno"

func TestBrunoHasARequestForEveryOperation(t *testing.T) {
	doc, _ := description(t)
	known := map[string]bool{}
	for _, id := range operations(doc) {
		known[id] = true
		if _, err := os.Stat(filepath.Join(collection, id+".bru")); err != nil {
			t.Errorf("operation %s has no request: %v", id, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(collection, "*.bru"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".bru")
		if !startsWithOperation(name, known) {
			t.Errorf("%s: the name starts with no operationId", file)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if s := string(b); !strings.Contains(s, "assert {") && !strings.Contains(s, "tests {") {
			t.Errorf("%s asserts nothing", file)
		}
	}
}

// startsWithOperation: listAlertsBadPort is a request of listAlerts.
func startsWithOperation(name string, known map[string]bool) bool {
	for id := range known {
		if strings.HasPrefix(name, id) {
			return true
		}
	}
	return false
}

// missing skips a test that lacks a tool, with the remedy, unless CI demands all of them.
func missing(t *testing.T, remedy string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(remedy)
	}
	t.Skip(remedy)
}

func TestBrunoCollectionPasses(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "no Node.js in PATH: install it to run the requests in bruno/")
	}
	bru, err := filepath.Abs(filepath.Join(collection, "node_modules/@usebruno/cli/bin/bru.js"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(bru); err != nil {
		missing(t, "bruno/node_modules is missing: run npm ci in bruno/")
	}
	const token = "correct-horse-battery"
	f := start(t, func(o *Options) { o.Token = token })
	// The default sandbox of version 4.1.0 is loaded in the background: on a busy machine the first assertions find none.
	cmd := exec.CommandContext(t.Context(), node, bru, "run", "--sandbox", "developer", "--env", "local", "--env-var", "baseUrl="+f.base, "--env-var", "token="+token)
	cmd.Dir = collection
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("bru run: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}
