package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// names are the files of a directory, but for the lock.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			all = append(all, e.Name())
		}
	}
	return all
}

func TestPath(t *testing.T) {
	for sensor, want := range map[string]string{
		"office":        "d/office.state",
		"a.b-c_1":       "d/a.b-c_1.state",
		"../etc/passwd": "d/%2E.%2Fetc%2Fpasswd.state",
		".":             "d/%2E.state",
		"büro":          "d/b%C3%BCro.state",
		"50%":           "d/50%25.state",
	} {
		if got := Path("d", sensor); got != want {
			t.Errorf("%q: %s, want %s", sensor, got, want)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "memory")
	f := open(t, Path(dir, "s"))
	none := func([]byte) error { t.Error("there is nothing to load"); return nil }
	if _, err := f.Load(100, none, nil, time.Now()); !errors.Is(err, ErrNone) {
		t.Errorf("%v, want ErrNone", err)
	}
	for _, text := range []string{"one", "two", "three"} {
		if err := f.Save([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	var got []byte
	if _, err := f.Load(100, func(b []byte) error { got = b; return nil }, nil, time.Now()); err != nil || string(got) != "three" {
		t.Errorf("%q, %v", got, err)
	}
	if d := cmp.Diff([]string{"s.state", "s.state.1"}, names(t, dir)); d != "" {
		t.Error(d)
	}
	for _, name := range names(t, dir) {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if b, err := os.ReadFile(f.Path() + ".1"); err != nil || string(b) != "two" {
		t.Errorf("before it: %q, %v", b, err)
	}
}

// Whatever is there, what can be used is used, and what cannot be is set aside with its bytes.
func TestLoadSetsAsideWhatCannotBeUsed(t *testing.T) {
	errBad, errOther := errors.New("bad"), errors.New("other")
	use := func(b []byte) error {
		switch {
		case bytes.HasPrefix(b, []byte("good")):
			return nil
		case bytes.HasPrefix(b, []byte("other")):
			return errOther
		}
		return errBad
	}
	foreign := func(err error) bool { return errors.Is(err, errOther) }
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		name        string
		files       map[string]string
		want        []string
		wantAside   int
		wantNothing bool
	}{
		{"good", map[string]string{"": "good", ".1": "good"}, []string{"s.state", "s.state.1"}, 0, false},
		{"killed between the renames", map[string]string{".1": "good", ".new": "half"}, []string{"s.state.1", "s.state.new"}, 0, false},
		{"damaged", map[string]string{"": "gone bad", ".1": "good"}, []string{"s.state.1", "s.state.corrupt-20260102T030405Z"}, 1, false},
		{"both damaged", map[string]string{"": "gone bad", ".1": ""}, []string{"s.state.1.corrupt-20260102T030405Z", "s.state.corrupt-20260102T030405Z"}, 2, true},
		{"another version", map[string]string{"": "other"}, []string{"s.state.other-20260102T030405Z"}, 1, true},
		{"too long", map[string]string{"": "good" + strings.Repeat(".", 100)}, []string{"s.state.corrupt-20260102T030405Z"}, 1, true},
		{
			"damaged twice in a second",
			map[string]string{"": "bad", ".corrupt-20260102T030405Z": "kept"},
			[]string{"s.state.corrupt-20260102T030405Z", "s.state.corrupt-20260102T030405Z-2"},
			1, true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			f := open(t, Path(dir, "s"))
			for suffix, text := range tc.files {
				write(t, f.Path()+suffix, text)
			}
			aside, err := f.Load(100, use, foreign, now)
			if (err != nil) != tc.wantNothing || len(aside) != tc.wantAside {
				t.Errorf("%v, %v", aside, err)
			}
			got := names(t, dir)
			slices.Sort(tc.want)
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
			texts := 0
			for _, name := range got {
				if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && slices.Contains(slices.Collect(values(tc.files)), string(b)) {
					texts++
				}
			}
			if texts != len(tc.files) {
				t.Errorf("%d of %d files are there with their bytes", texts, len(tc.files))
			}
		})
	}
}

func values(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

func TestOneProgramAtATime(t *testing.T) {
	path := Path(t.TempDir(), "s")
	f := open(t, path)
	if _, err := Open(path); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want ErrInUse naming the file", err)
	}
	if err := f.Save([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if b, err := Look(path).Read(10); err != nil || string(b) != "x" {
		t.Errorf("who only looks reads %q, %v", b, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

// A write that fails leaves what was there.
func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	f := open(t, Path(dir, "s"))
	if err := f.Save([]byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.Path()+".new", 0o700); err != nil { // the place of the new file is taken
		t.Fatal(err)
	}
	if err := f.Save([]byte("two")); err == nil || !strings.Contains(err.Error(), f.Path()) {
		t.Errorf("%v, want an error naming the file", err)
	}
	if b, err := f.Read(10); err != nil || string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.Remove(f.Path() + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := f.Save([]byte("two")); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

func TestOpenWhereNothingCanBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if _, err := Open(Path(filepath.Join(file, "memory"), "s")); err == nil || !strings.Contains(err.Error(), "--state") {
		t.Errorf("%v, want an error with the remedy", err)
	}
}

func TestReset(t *testing.T) {
	dir := t.TempDir()
	f := open(t, Path(dir, "s"))
	if kept, err := f.Reset(); kept != "" || err != nil {
		t.Errorf("nothing there: %q, %v", kept, err)
	}
	for _, text := range []string{"one", "two"} {
		if err := f.Save([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := f.Reset()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(kept); err != nil || string(b) != "two" {
		t.Errorf("kept %q, %v", b, err)
	}
	if _, err := f.Read(10); !errors.Is(err, ErrNone) {
		t.Errorf("%v, want ErrNone", err)
	}
	if d := cmp.Diff([]string{filepath.Base(kept)}, names(t, dir)); d != "" {
		t.Error(d)
	}
}
