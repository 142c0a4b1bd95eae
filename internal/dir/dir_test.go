package dir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWritable(t *testing.T) {
	here := t.TempDir()
	file := filepath.Join(here, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path string
		ok         bool
	}{
		{"a directory", here, true},
		{"one that can be made", filepath.Join(here, "a", "b"), true},
		{"a file", file, false},
		{"below a file", filepath.Join(file, "a"), false},
		{"of the kernel", "/proc/self/a", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := Writable(tc.path); (err == nil) != tc.ok {
				t.Errorf("%s: %v", tc.path, err)
			}
		})
	}
	if left, err := os.ReadDir(here); err != nil || len(left) != 1 {
		t.Errorf("%v, %v: more than was there", left, err)
	}
}

// Root is not told to give itself a right that it has.
func TestRemedy(t *testing.T) {
	if got := remedy("its directory", 1000); got != "give user id 1000 the right to write its directory" {
		t.Error(got)
	}
	if got := remedy("its directory", 0); strings.Contains(got, "user id") || !strings.Contains(got, "read-only") {
		t.Error(got)
	}
}
