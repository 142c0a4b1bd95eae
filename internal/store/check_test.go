package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What New would open, Check lets pass; neither what is there nor what is not changes. TestForeignFiles has what both refuse.
func TestCheckChangesNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, path string)
		want error
	}{
		{"nothing", func(*testing.T, string) {}, nil},
		{"an empty file", func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) }, nil},
		{"ours", func(t *testing.T, path string) { fill(t, path, 1) }, nil},
		{"ours, damaged", func(t *testing.T, path string) {
			fill(t, path, 1)
			overwrite(t, path, 100, bytes.Repeat([]byte{0xa5}, 4096))
		}, nil},
		{"ours, header damaged", func(t *testing.T, path string) {
			fill(t, path, 1)
			overwrite(t, path, 0, []byte("garbage!garbage!"))
		}, nil},
		{"ours, of a newer program", func(t *testing.T, path string) {
			s, err := New(t.Context(), Options{Path: path, migrations: versions(t, "CREATE TABLE later (x INTEGER);")})
			must(t, err)
			run(t, s)()
			must(t, s.Close())
		}, ErrNewerSchema},
		{"ours, in use", func(t *testing.T, path string) { open(t, Options{Path: path}) }, ErrInUse},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.db")
			tt.make(t, path)
			before := listing(t, dir)
			if err := Check(t.Context(), Options{Path: path}); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if diff := cmp.Diff(before, listing(t, dir)); diff != "" {
				t.Errorf("changed (-before +after):\n%s", diff)
			}
		})
	}
	t.Run("a directory that is missing", func(t *testing.T) {
		dir := t.TempDir()
		if err := Check(t.Context(), Options{Path: filepath.Join(dir, "a", "b", "x.db")}); err != nil {
			t.Error(err)
		}
		if left := listing(t, dir); len(left) > 0 {
			t.Errorf("made: %v", left)
		}
	})
}
