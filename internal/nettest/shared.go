package nettest

import (
	"os"
	"path/filepath"
	"testing"
)

// SharedDir is where collected captures and tables lie that are not part of the project: NETLYRA_SHARED, or shared beside the clone. It need
// not exist.
func SharedDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("NETLYRA_SHARED"); dir != "" {
		return dir
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for root != filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		root = filepath.Dir(root)
	}
	return filepath.Join(root, "..", "shared")
}

// Shared is a directory or file below SharedDir; without it the test is skipped, under CI=true too: not everybody has them.
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{SharedDir(t)}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("what this test reads is not here: put it beside the clone as ../shared, or name the place of shared in NETLYRA_SHARED (%v)", err)
	}
	return path
}
