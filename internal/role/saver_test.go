package role

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"netlyra/internal/detect"
)

// memory is a Memory of two functions; without them it is empty, and forgets.
type memory struct {
	restore func(load func([]byte) error) error
	save    func([]byte) error
}

func (m memory) Restore(load func([]byte) error) error {
	if m.restore == nil {
		return nil
	}
	return m.restore(load)
}

func (m memory) Save(b []byte) error {
	if m.save == nil {
		return nil
	}
	return m.save(b)
}

func detectorOf(t *testing.T) *detect.Judge {
	t.Helper()
	d, err := detect.NewJudge(detect.Options{MaxEntities: 256})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A copy is due after a while, sooner after incidents have changed or when the last could not be written, and never while one is being written.
func TestWhenACopyIsDue(t *testing.T) {
	for _, tc := range []struct {
		name    string
		every   time.Duration
		changes uint64
		failed  bool
		want    time.Duration
	}{
		{"nothing new", 0, 0, false, saveEvery},
		{"an incident has opened", 0, 1, false, promptly},
		{"the last failed", 0, 0, true, saveAgain},
		{"as often as told", time.Second, 1, true, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := time.Unix(1_700_000_000, 0)
			now := start
			s := newSaver(memory{}, tc.every, func() time.Time { return now })
			s.failed.Store(tc.failed)
			for !s.due(tc.changes) {
				if now = now.Add(time.Second); now.Sub(start) > time.Hour {
					t.Fatal("never")
				}
			}
			if got := now.Sub(start); got != tc.want {
				t.Errorf("after %v, want %v", got, tc.want)
			}
		})
	}
}

func TestOneCopyAtATime(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s := newSaver(memory{}, time.Second, func() time.Time { return now })
	d := detectorOf(t)
	for range 5 {
		now = now.Add(time.Minute)
		s.offer(d)
	}
	if len(s.in) != 1 || len(s.free) != 0 {
		t.Errorf("%d copies wait, %d buffers are free", len(s.in), len(s.free))
	}
}

// What cannot be saved is tried again with what is known by then; what is saved at the end is all.
func TestSavingGoesOnAfterAFailure(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var saved [][]byte
	s := newSaver(memory{save: func(b []byte) error {
		saved = append(saved, bytes.Clone(b))
		if len(saved) < 3 {
			return errors.New("the disk is full")
		}
		return nil
	}}, 0, func() time.Time { return now })
	d := detectorOf(t)
	done := make(chan struct{})
	go func() { defer close(done); s.run() }()
	offer := func(after time.Duration) {
		now = now.Add(after)
		b := <-s.free // the one before is written
		s.free <- b
		s.offer(d)
	}
	offer(saveEvery)
	offer(saveAgain)
	offer(saveAgain)
	offer(saveAgain) // the third went well: not due
	s.finish(d)
	<-done
	if len(saved) != 4 || s.failed.Load() {
		t.Fatalf("%d attempts", len(saved))
	}
	if last := saved[3]; !bytes.Equal(last, d.AppendState(nil, true)) {
		t.Error("the last copy is not of the end")
	}
}
