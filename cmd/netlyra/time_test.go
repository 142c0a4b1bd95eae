package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/capture"
	"netlyra/internal/models"
	"netlyra/internal/nettest"
)

// The incidents of a capture do not depend on a packet whose time is wrong, nor on a clock that was set back while capturing; and a
// file that holds two captures has the incidents of both.
func TestWrongTimesInAFile(t *testing.T) {
	t.Run("sample", func(t *testing.T) { wrongTimes(t, "../../demo/sample.pcap.zst") })
	t.Run("office-dev", func(t *testing.T) {
		if testing.Short() {
			t.Skip("composes and analyses an hour of traffic seven times; run without -short")
		}
		captures := filepath.Dir(nettest.Shared(t, "captures", "compose.py"))
		wrongTimes(t, compose(t, captures, "office-dev"))
	})
}

func wrongTimes(t *testing.T, capture string) {
	frames := readCapture(t, capture)
	year2100 := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	setBack := func(by time.Duration) []models.Frame {
		fs := slices.Clone(frames)
		for i := len(fs) / 2; i < len(fs); i++ {
			fs[i].TS -= by.Microseconds()
		}
		return fs
	}
	at := func(i int, ts int64) []models.Frame {
		fs := slices.Clone(frames)
		fs[i].TS = ts
		return fs
	}
	once, _ := incidents(t, frames)
	if len(once) == 0 {
		t.Fatal("the capture has no incidents: this test shows nothing")
	}
	for _, c := range []struct {
		name            string
		frames          []models.Frame
		outliers, jumps uint64
		twice           bool
	}{
		{name: "the first packet of the year 2100", frames: at(0, year2100), outliers: 1},
		{name: "a packet of the year 2100", frames: at(len(frames)/3, year2100), outliers: 1},
		{name: "a packet of 1970", frames: at(len(frames)/3, 1), outliers: 1},
		{name: "30 s back at half", frames: setBack(30 * time.Second), jumps: 1},
		{name: "an hour back at half", frames: setBack(time.Hour), jumps: 1},
		{name: "two captures in one file", frames: append(slices.Clone(frames), frames...), jumps: 1, twice: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := slices.Clone(once)
			if c.twice {
				want = append(want, once...)
				slices.Sort(want)
			}
			got, s := incidents(t, c.frames)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if s.TimeOutliers != c.outliers || s.ClockJumps != c.jumps || s.Packets != uint64(len(c.frames)) {
				t.Errorf("the summary says %d packets, %d outliers and %d steps back, want %d, %d and %d",
					s.Packets, s.TimeOutliers, s.ClockJumps, len(c.frames), c.outliers, c.jumps)
			}
		})
	}
}

// readCapture reads all packets of a capture file into memory.
func readCapture(t *testing.T, path string) (frames []models.Frame) {
	t.Helper()
	f, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var b models.Batch
	for {
		err := f.Read(&b)
		for _, frame := range b.Frames {
			frame.Data = slices.Clone(frame.Data)
			frames = append(frames, frame)
		}
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// incidents analyses packets, as a pcap file, and gives a line for each incident, sorted, and the summary.
func incidents(t *testing.T, frames []models.Frame) (lines []string, s summary) {
	t.Helper()
	dir := t.TempDir()
	file, out := filepath.Join(dir, "capture.pcap"), filepath.Join(dir, "summary.json")
	if err := os.WriteFile(file, pcapOf(frames), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, status := netlyra(t, "analyze", "--quiet", "--format", "jsonl", "--summary", out, file)
	if status != exitOK {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	lines = []string{}
	for line := range strings.Lines(stdout) {
		var a models.Alert
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Join([]string{string(a.Category), string(a.Severity), a.SrcIP, a.DstIP, a.Proto}, " ")) // numbers in sentences depend on where windows begin
	}
	slices.Sort(lines)
	raw, err := os.ReadFile(out)
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return lines, s
}

// pcapOf writes Ethernet frames as a pcap file.
func pcapOf(frames []models.Frame) []byte {
	const headerBytes, recordBytes = 24, 16
	b := make([]byte, headerBytes, headerBytes+len(frames)*(recordBytes+100))
	binary.LittleEndian.PutUint32(b, 0xa1b2c3d4)
	binary.LittleEndian.PutUint16(b[4:], 2)
	binary.LittleEndian.PutUint16(b[6:], 4)
	binary.LittleEndian.PutUint32(b[16:], 1<<18)
	binary.LittleEndian.PutUint32(b[20:], uint32(models.LinkEthernet))
	for i := range frames {
		f := &frames[i]
		for _, v := range []uint32{uint32(f.TS / 1e6), uint32(f.TS % 1e6), uint32(len(f.Data)), f.WireLen} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		b = append(b, f.Data...)
	}
	return b
}
