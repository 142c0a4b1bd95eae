package pipeline

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"netlyra/internal/detect"
	"netlyra/internal/models"
)

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
			s := newSaver(Options{Now: func() time.Time { return now }, Memory: &Memory{Every: tc.every}})
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
	s := newSaver(Options{Now: func() time.Time { return now }, Memory: &Memory{Every: time.Second}})
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
	s := newSaver(Options{Now: func() time.Time { return now }, Memory: &Memory{Save: func(b []byte) error {
		saved = append(saved, bytes.Clone(b))
		if len(saved) < 3 {
			return errors.New("the disk is full")
		}
		return nil
	}}})
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
	close(s.in)
	<-done
	if len(saved) != 4 || s.failed.Load() {
		t.Fatalf("%d attempts", len(saved))
	}
	if last := saved[3]; !bytes.Equal(last, d.AppendState(nil, true)) {
		t.Error("the last copy is not of the end")
	}
}

// stopping is a source that asks for the end in the middle.
type stopping struct {
	Source
	reads int
	stop  func()
}

func (s *stopping) Read(b *models.Batch) error {
	if s.reads--; s.reads == 0 {
		s.stop()
	}
	return s.Source.Read(b)
}

// What is open when the program is asked to end goes on with the next run; what is open when a file ends is over.
func TestIncidentsGoOnWithTheNextRun(t *testing.T) {
	for _, interrupted := range []bool{true, false} {
		var state []byte
		var alerts []models.Alert
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		src := &stopping{Source: open(t), stop: stop}
		for probe := open(t); ; src.reads++ { // the end comes with the last of the scan and the flood
			if err := probe.Read(new(models.Batch)); err != nil {
				break
			}
		}
		if !interrupted {
			src.stop = func() {}
		}
		src.reads--
		memory := &Memory{
			Restore: func(func([]byte) error) error { return nil },
			Save:    func(b []byte) error { state = bytes.Clone(b); return nil },
		}
		p, err := New(Options{Sensor: "s", Sources: []Source{src}, Live: true, Wait: true, Memory: memory, Outputs: Outputs{Alerts: func(_ context.Context, as []models.Alert) error {
			alerts = append(alerts, as...)
			return nil
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		open := map[string]bool{}
		for _, a := range alerts {
			if open[a.ID] = a.State == models.AlertOpen; !open[a.ID] {
				delete(open, a.ID)
			}
		}
		next, err := New(Options{Sensor: "s", Sources: []Source{src}, Memory: &Memory{
			Restore: func(load func([]byte) error) error { return load(state) }, Save: func([]byte) error { return nil },
		}})
		if err != nil {
			t.Fatal(err)
		}
		ids := next.OpenIncidents()
		if len(ids) != len(open) || interrupted != (len(ids) > 0) {
			t.Errorf("interrupted %v: %d go on, %d were told as open", interrupted, len(ids), len(open))
		}
		for _, id := range ids {
			if !open[id] {
				t.Errorf("%s goes on and was not told as open", id)
			}
		}
		if next.Stats().Detector.Parts["baseline"] == 0 {
			t.Error("nothing is remembered")
		}
	}
}

func TestAStateThatCannotBeReadEndsTheStart(t *testing.T) {
	broken := errors.New("an I/O error")
	_, err := New(Options{Sensor: "s", Sources: []Source{open(t)}, Memory: &Memory{Restore: func(func([]byte) error) error { return broken }}})
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
