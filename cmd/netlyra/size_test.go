package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxBinary is what the program may weigh: it is to be carried to small machines.
const maxBinary = 38e6

// The program as `./task build` makes it is small, and knows its version.
func TestBinarySize(t *testing.T) {
	if testing.Short() {
		t.Skip("links the program: run without -short")
	}
	taskfile, err := os.ReadFile("../../Taskfile.yml")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^ *- (go build .*) -o netlyra \./cmd/netlyra$`).FindSubmatch(taskfile)
	if m == nil {
		t.Fatal("Taskfile.yml does not build the program")
	}
	path := filepath.Join(t.TempDir(), "netlyra")
	c := exec.CommandContext(t.Context(), "sh", "-c", string(m[1])+" -o "+path+" ./cmd/netlyra")
	c.Dir = "../.."
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", m[1], err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > maxBinary {
		t.Errorf("%d bytes, more than %.0f: go tool nm -size -sort size shows what it is made of", info.Size(), maxBinary)
	}
	out, err := exec.CommandContext(t.Context(), path, "version").Output()
	if err != nil || strings.TrimSpace(string(out)) == "netlyra" {
		t.Errorf("version: %q, %v", out, err)
	}
}
