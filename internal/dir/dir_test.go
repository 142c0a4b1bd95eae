package dir

import (
	"os"
	"path/filepath"
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
