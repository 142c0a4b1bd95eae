package capture

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"netlyra/internal/models"
)

func TestSequence(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	frames := []models.Frame{{TS: 1, Data: []byte("abc"), WireLen: 3}, {TS: 2, Data: []byte("defg"), WireLen: 4}}
	whole := pcapFile(binary.LittleEndian, pcapMicro, 1, frames)
	paths := []string{
		write("whole", whole), write("cut", whole[:len(whole)-1]), write("text", []byte("this is no capture file")),
		filepath.Join(dir, "missing"), write("empty", nil), write("again", whole),
	}
	s, err := NewSequence(paths, 0, FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var b models.Batch
	n := 0
	for err == nil {
		err = s.Read(&b)
		n += len(b.Frames)
	}
	if !errors.Is(err, io.EOF) || n != 5 {
		t.Errorf("%d frames, then %v; want 5 and io.EOF", n, err)
	}
	if st := s.Stats(); st.Frames != 5 || st.Bytes != 17 {
		t.Errorf("%+v", st)
	}
	for i, want := range []struct {
		packets        uint64
		damaged, error bool
	}{{2, false, false}, {1, true, false}, {0, false, true}, {0, false, true}, {0, true, false}, {2, false, false}} {
		got := s.Results()[i]
		if got.Path != paths[i] || got.Packets != want.packets || (got.Damage != nil) != want.damaged || (got.Err != nil) != want.error {
			t.Errorf("file %d: %+v", i, got)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSequenceOfNothing(t *testing.T) {
	if _, err := NewSequence(nil, 0, FileOptions{}); err == nil {
		t.Error("no error without a file")
	}
	s, err := NewSequence([]string{"/nowhere/x.pcap"}, 0, FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Read(&models.Batch{}); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want the end", err)
	}
	if r := s.Results(); len(r) != 1 || !errors.Is(r[0].Err, fs.ErrNotExist) {
		t.Errorf("%+v, want that the file does not exist", r)
	}
}
