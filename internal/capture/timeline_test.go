package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// times reads a pcap file whose packets have the given times, in seconds, through a File, and gives what became of them.
func times(t *testing.T, seconds []float64, pipe bool) (got []float64, outliers uint64, marks []float64) {
	t.Helper()
	frames := make([]models.Frame, len(seconds))
	for i, s := range seconds {
		frames[i] = models.Frame{TS: int64(s * 1e6), Data: []byte{1, 2, 3, 4}, WireLen: 60}
	}
	f, err := OpenFile("-", FileOptions{Stdin: bytes.NewReader(pcapFile(binary.LittleEndian, pcapMicro, 1, frames))})
	if err != nil {
		t.Fatal(err)
	}
	f.pipe = pipe
	var b models.Batch
	high := int64(0)
	for {
		err := f.Read(&b)
		for i := range b.Frames {
			got = append(got, float64(f.FileTime(b.Frames[i].TS))/1e6)
			if b.Frames[i].TS < high-timeBehind {
				t.Fatalf("time goes back from %d to %d", high, b.Frames[i].TS)
			}
			high = max(high, b.Frames[i].TS)
		}
		if len(b.Frames) > 0 {
			marks = append(marks, float64(f.FileTime(b.Watermark))/1e6)
		}
		if errors.Is(err, io.EOF) {
			return got, f.Stats().Outliers, marks
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// ramp is n packets from a time on, ten a second.
func ramp(from float64, n int) []float64 {
	s := make([]float64, n)
	for i := range s {
		s[i] = from + float64(i)/10
	}
	return s
}

func join(parts ...[]float64) (all []float64) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func TestTheTimesOfAFile(t *testing.T) {
	const now, year2100 = 1_000_000, 4_102_444_800
	for _, c := range []struct {
		name     string
		in, want []float64
		outliers uint64
	}{
		{"in order", ramp(now, 500), ramp(now, 500), 0},
		{
			"one packet of the year 2100", join(ramp(now, 300), []float64{year2100}, ramp(now+30, 300)),
			join(ramp(now, 300), []float64{now + 29.9}, ramp(now+30, 300)), 1,
		},
		{"the first of the year 2100", join([]float64{year2100}, ramp(now, 300)), join([]float64{now}, ramp(now, 300)), 1},
		{"the first of 1970", join([]float64{1}, ramp(now*100, 300)), join([]float64{now * 100}, ramp(now*100, 300)), 1},
		{"the last of the year 2100", join(ramp(now, 300), []float64{year2100}), join(ramp(now, 300), []float64{now + 29.9}), 1},
		{"one packet of 1970", join(ramp(now, 9), []float64{1}, ramp(now+1, 9)), join(ramp(now, 9), []float64{now + .8}, ramp(now+1, 9)), 1},
		{
			"thirty in a row", join(ramp(now, 100), ramp(year2100, 30), ramp(now+10, 100)),
			join(ramp(now, 100), make30(now+9.9), ramp(now+10, 100)), 30,
		},
		{"a packet that is 5 s ahead", join(ramp(now, 9), []float64{now + 5}, ramp(now+1, 90)), join(ramp(now, 9), []float64{now + .8}, ramp(now+1, 90)), 1},
		{"a step of 30 s back", join(ramp(now, 300), ramp(now, 300)), join(ramp(now, 300), ramp(now, 300)), 0},
		{"a step of an hour back", join(ramp(now, 300), ramp(now-3600, 300)), join(ramp(now, 300), ramp(now-3600, 300)), 0},
		{"an hour's gap", join(ramp(now, 300), ramp(now+3600, 300)), join(ramp(now, 300), ramp(now+3600, 300)), 0},
		{"a packet an hour", []float64{now, now + 3600, now + 7200, now + 10_800}, []float64{now, now + 3600, now + 7200, now + 10_800}, 0},
		{"out of order by 5 s", join(ramp(now, 60), ramp(now+1, 60)), join(ramp(now, 60), ramp(now+1, 60)), 0},
		{"a packet, and an hour later a capture", join([]float64{now}, ramp(now+3600, 99)), join([]float64{now}, ramp(now+3600, 99)), 0},
		{"one packet", []float64{year2100}, []float64{year2100}, 0},
		{"none", nil, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, outliers, _ := times(t, c.in, false)
			if diff := cmp.Diff(c.want, got); diff != "" || outliers != c.outliers {
				t.Errorf("%d outliers, want %d; times (-want +got):\n%s", outliers, c.outliers, diff)
			}
		})
	}
}

func make30(at float64) []float64 {
	s := make([]float64, 30)
	for i := range s {
		s[i] = at
	}
	return s
}

// The watermark is the time of the last packet read, not the highest that was ever read.
func TestTheWatermarkOfAFileFollowsItsOrder(t *testing.T) {
	_, _, marks := times(t, join(ramp(1_000_000, 600), ramp(990_000, 600)), false)
	if last := marks[len(marks)-1]; last != 990_059.9 {
		t.Errorf("the watermarks are %v, want the last to be that of the last packet", marks)
	}
}

// A pipe's packet is not held up until dozens of others have come.
func TestAPipeHoldsUpOnePacketAtMost(t *testing.T) {
	var line timeline
	frames := []models.Frame{{TS: 1e12}, {TS: 1e12 + 60e6}, {TS: 1e12 + 120e6}}
	if n := line.settle(frames, 1, false); n != 2 {
		t.Errorf("%d of 3 packets are settled, want all but the last", n)
	}
}

func FuzzTimeline(f *testing.F) {
	f.Add([]byte{0, 0, 0, 200, 0, 0}, uint8(3))
	f.Fuzz(func(t *testing.T, steps []byte, few uint8) {
		frames := make([]models.Frame, 0, len(steps))
		at := int64(1e12)
		for _, s := range steps {
			ts := at + int64(int8(s))*int64(int8(s))*int64(int8(s))*100_000
			if s%3 == 0 {
				at = ts
			}
			frames = append(frames, models.Frame{TS: ts})
		}
		had := make([]int64, len(frames))
		for i := range frames {
			had[i] = frames[i].TS
		}
		var line timeline
		n := line.settle(frames, int(few%lookAhead)+1, false)
		n += line.settle(frames[n:], lookAhead, true)
		if n != len(frames) {
			t.Fatalf("%d of %d frames are settled at the end", n, len(frames))
		}
		changed := uint64(0)
		for i := range frames {
			if frames[i].TS != had[i] {
				changed++
			}
		}
		if changed > line.outliers {
			t.Errorf("%d times were changed, %d are counted", changed, line.outliers)
		}
	})
}
