package capture

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// TestCollectedCaptures reads every collected file, malformed packets among them, and holds frames and bytes to what
// Wireshark reads. Files of link types that we do not decode are told by their error.
func TestCollectedCaptures(t *testing.T) {
	shared := nettest.Shared(t, "captures")
	for _, name := range []string{"malformed", "attack", "benign"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(shared, name)
			oracle := capinfos(t, dir)
			if len(oracle) == 0 {
				t.Fatalf("capinfos read nothing in %s", dir)
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			unsupported, unread := 0, 0
			for _, e := range entries {
				path := filepath.Join(dir, e.Name())
				got, err := volume(path)
				if _, ok := errors.AsType[*LinkTypeError](err); ok {
					unsupported++
					continue
				}
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: %v", path, err) // none of them is damaged, only their packets are
				}
				want, ok := oracle[e.Name()]
				if !ok {
					unread++
					continue
				}
				if got != want {
					t.Errorf("%s: %+v, capinfos has %+v", path, got, want)
				}
			}
			t.Logf("%d files: %d of link types that are not supported, %d that capinfos cannot read",
				len(entries), unsupported, unread)
		})
	}
}

// volume reads a file and says what was in it.
func volume(path string) (models.Volume, error) {
	f, err := OpenFile(path, FileOptions{})
	if err != nil {
		return models.Volume{}, err
	}
	var b models.Batch
	for err == nil {
		err = f.Read(&b)
	}
	s := f.Stats()
	return models.Volume{Packets: s.Received, Bytes: s.Bytes}, errors.Join(err, f.Close())
}

// capinfos asks Wireshark's tool for packets and bytes of every file in a directory that it can read.
func capinfos(t *testing.T, dir string) map[string]models.Volume {
	t.Helper()
	tool, err := exec.LookPath("capinfos")
	if err != nil {
		nettest.Unavailable(t, "capinfos is not installed: apt-get install wireshark-common")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	// A table of name, packets and bytes, without a header; files that cannot be read make the exit status 1.
	args := append([]string{"-T", "-r", "-m", "-M", "-Q", "-c", "-d"}, files...)
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil && out.Len() == 0 {
		t.Fatalf("capinfos: %v", err)
	}
	all := map[string]models.Volume{}
	for line := range strings.Lines(out.String()) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		if len(fields) != 3 {
			continue
		}
		packets, err1 := strconv.ParseUint(strings.Trim(fields[1], `"`), 10, 64)
		size, err2 := strconv.ParseUint(strings.Trim(fields[2], `"`), 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			t.Logf("capinfos: %s: %v", line, err)
			continue
		}
		all[filepath.Base(strings.Trim(fields[0], `"`))] = models.Volume{Packets: packets, Bytes: size}
	}
	return all
}
