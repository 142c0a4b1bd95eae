package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// opener gives a file with frames at these times, in milliseconds from an hour long ago; the frames' first byte counts.
func opener(millis ...int64) func() (*File, error) {
	var frames []models.Frame
	for i, ms := range millis {
		frames = append(frames, models.Frame{TS: longAgo + ms*1000, Data: []byte{byte(i)}, WireLen: 60})
	}
	content := pcapFile(binary.LittleEndian, pcapMicro, 1, frames)
	return func() (*File, error) { return OpenFile("-", FileOptions{Stdin: bytes.NewReader(content)}) }
}

const longAgo = 1_000_000_000_000_000

// event is a frame as a replay gave it.
type event struct {
	Number byte
	At     time.Duration // when Read brought it
	TS     time.Duration // its time
}

// play reads a replay until it ends or count frames have come, and checks what must hold of every batch. origin is what
// frames' times are given from.
func play(t *testing.T, r *Replay, origin int64, count int) ([]event, error) {
	t.Helper()
	begin := time.Now()
	var events []event
	var b models.Batch
	mark := int64(0)
	for len(events) < count {
		before := time.Now()
		err := r.Read(&b)
		if err != nil {
			return events, err
		}
		if waited := time.Since(before); waited > replayStep {
			t.Errorf("Read took %v", waited)
		}
		if b.Watermark < mark {
			t.Errorf("watermark went from %d back to %d", mark, b.Watermark)
		}
		for _, f := range b.Frames {
			if f.TS <= mark && f.TS != b.Watermark {
				t.Errorf("frame %d of %d came behind the watermark %d", f.Data[0], f.TS, mark)
			}
			events = append(events, event{f.Data[0], time.Since(begin), time.Duration(f.TS-origin) * time.Microsecond})
		}
		mark = b.Watermark
	}
	return events, nil
}

func TestReplay(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name  string
		open  func() (*File, error)
		o     ReplayOptions
		count int
		want  []event
		end   error
	}{
		{
			name: "real time", open: opener(0, 0, 10, 11, 1000), count: 99, end: io.EOF,
			want: []event{{0, 0, 0}, {1, 0, 0}, {2, 10 * ms, 10 * ms}, {3, 11 * ms, 11 * ms}, {4, 1000 * ms, 1000 * ms}},
		},
		{
			name: "as fast as it reads", open: opener(0, 10, 1000), o: ReplayOptions{Speed: MaxSpeed}, count: 99, end: io.EOF,
			want: []event{{0, 0, 0}, {1, 0, 10 * ms}, {2, 0, 1000 * ms}},
		},
		{
			name: "loop", open: opener(0, 10), o: ReplayOptions{Loop: true}, count: 5,
			want: []event{
				{0, 0, 0},
				{1, 10 * ms, 10 * ms},
				{0, 10 * ms, 10*ms + time.Microsecond},
				{1, 20 * ms, 20*ms + time.Microsecond},
				{0, 20 * ms, 20*ms + 2*time.Microsecond},
			},
		},
		{
			name: "loop as fast as it reads", open: opener(0, 10), o: ReplayOptions{Speed: MaxSpeed, Loop: true}, count: 3,
			want: []event{{0, 0, 0}, {1, 0, 10 * ms}, {0, 0, 10*ms + time.Microsecond}, {1, 0, 20*ms + time.Microsecond}},
		},
		{name: "loop of nothing", open: opener(), o: ReplayOptions{Loop: true}, count: 1, end: io.EOF},
		{
			name: "out of order", open: opener(5, 0, 9), count: 99, end: io.EOF,
			want: []event{{0, 0, 0}, {1, 0, -5 * ms}, {2, 4 * ms, 4 * ms}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := NewReplay(tt.open, tt.o)
				got, err := play(t, r, time.Now().UnixMicro(), tt.count)
				if !errors.Is(err, tt.end) {
					t.Errorf("ended by %v, want %v", err, tt.end)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("frames (-want +got):\n%s", diff)
				}
				if s := r.Stats(); s.Frames < uint64(len(got)) || s.Received != s.Frames || s.Bytes != 60*s.Frames {
					t.Errorf("Stats %+v after %d frames", s, len(got))
				}
			})
		})
	}
}

func TestReplayKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReplay(opener(0, 500), ReplayOptions{KeepTime: true})
		got, err := play(t, r, longAgo, 99)
		want := []event{{0, 0, 0}, {1, 500 * time.Millisecond, 500 * time.Millisecond}}
		if diff := cmp.Diff(want, got); diff != "" || !errors.Is(err, io.EOF) {
			t.Errorf("ended by %v; frames (-want +got):\n%s", err, diff)
		}
	})
}

func TestReplayWatermarkFollowsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReplay(opener(0, 3_600_000), ReplayOptions{})
		if _, err := play(t, r, 0, 1); err != nil {
			t.Fatal(err)
		}
		var b models.Batch
		for range 100 {
			if err := r.Read(&b); err != nil || len(b.Frames) != 0 || b.Watermark != time.Now().UnixMicro() {
				t.Fatalf("%v, %d frames, watermark %d, clock %d", err, len(b.Frames), b.Watermark, time.Now().UnixMicro())
			}
		}
	})
}

func TestReplayClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReplay(opener(0, 3_600_000), ReplayOptions{Loop: true})
		go func() {
			time.Sleep(50*time.Millisecond + time.Microsecond)
			if err := errors.Join(r.Close(), r.Close()); err != nil {
				t.Error(err)
			}
		}()
		begin := time.Now()
		if _, err := play(t, r, 0, 99); !errors.Is(err, io.EOF) {
			t.Errorf("ended by %v, want io.EOF", err)
		}
		if took := time.Since(begin); took != 50*time.Millisecond+time.Microsecond {
			t.Errorf("Read ended after %v", took)
		}
	})
}

func TestReplayErrors(t *testing.T) {
	broken := errors.New("no such file")
	r := NewReplay(func() (*File, error) { return nil, broken }, ReplayOptions{})
	var b models.Batch
	for range 2 {
		if err := r.Read(&b); !errors.Is(err, broken) {
			t.Errorf("%v, want the error of open", err)
		}
	}
	content := pcapFile(binary.LittleEndian, pcapMicro, 1, []models.Frame{{TS: 1, Data: []byte{1}}})
	r = NewReplay(func() (*File, error) {
		return OpenFile("-", FileOptions{Stdin: bytes.NewReader(content[:len(content)-1])})
	}, ReplayOptions{Loop: true})
	if err := r.Read(&b); err == nil {
		t.Error("a damaged file was replayed")
	} else if _, ok := errors.AsType[*DamageError](err); !ok {
		t.Errorf("%v, want a DamageError", err)
	}
}
