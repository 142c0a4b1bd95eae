package role

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/capture"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

const sample = "../../demo/sample.pcap.zst"

func openSample(t testing.TB) *capture.File {
	t.Helper()
	f, err := capture.OpenFile(sample, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// stopping is a source that asks for the end before its last read.
type stopping struct {
	pipeline.Source
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
		src := &stopping{Source: openSample(t), stop: stop}
		for probe := openSample(t); ; src.reads++ { // the end comes with the last of the scan and the flood
			if err := probe.Read(new(models.Batch)); err != nil {
				break
			}
		}
		if !interrupted {
			src.stop = func() {}
		}
		src.reads--
		detector := func(m Memory) *Detector {
			d, err := NewDetector(DetectorOptions{Sensor: "s", Live: true}, DetectorDeps{Memory: m, Alerts: func(_ context.Context, as []models.Alert) error {
				alerts = append(alerts, as...)
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		d := detector(memory{save: func(b []byte) error { state = bytes.Clone(b); return nil }})
		p, err := pipeline.New(pipeline.Options{Sensor: "s", Sources: []pipeline.Source{src}, Live: true, Wait: true, Detector: d})
		if err != nil {
			t.Fatal(err)
		}
		saved := make(chan error, 1)
		go func() { saved <- d.Run(t.Context()) }()
		if err := errors.Join(p.Run(ctx), <-saved); err != nil {
			t.Fatal(err)
		}
		open := map[string]bool{}
		for _, a := range alerts {
			if open[a.ID] = a.State == models.AlertOpen; !open[a.ID] {
				delete(open, a.ID)
			}
		}
		next := detector(memory{restore: func(load func([]byte) error) error { return load(state) }})
		ids := next.OpenIncidents()
		if len(ids) != len(open) || interrupted != (len(ids) > 0) {
			t.Errorf("interrupted %v: %d go on, %d were told as open", interrupted, len(ids), len(open))
		}
		for _, id := range ids {
			if !open[id] {
				t.Errorf("%s goes on and was not told as open", id)
			}
		}
		var stats models.Stats
		if next.Fill(&stats); stats.Detector.Parts["baseline"] == 0 {
			t.Error("nothing is remembered")
		}
	}
}

func TestAStateThatCannotBeReadEndsTheStart(t *testing.T) {
	broken := errors.New("an I/O error")
	_, err := NewDetector(DetectorOptions{Sensor: "s"}, DetectorDeps{Memory: memory{restore: func(func([]byte) error) error { return broken }}})
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// A detector that has to roll up the parts itself, as one that has them from a broker, gives what one gives whose sensor's workers do it.
func TestWhoRollsUpDoesNotMatter(t *testing.T) {
	var here, elsewhere []models.Alert
	collect := func(into *[]models.Alert) *Detector {
		d, err := NewDetector(DetectorOptions{Sensor: "s"}, DetectorDeps{Alerts: func(_ context.Context, as []models.Alert) error {
			*into = append(*into, as...)
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first, second := collect(&here), collect(&elsewhere)
	p, err := pipeline.New(pipeline.Options{
		Sensor: "s", Sources: []pipeline.Source{openSample(t)}, Workers: 3, Wait: true, Detector: first,
		Outputs: pipeline.Outputs{Records: pipeline.Records{Slots: func(ctx context.Context, s *models.SensorSlot) error {
			bare := *s
			bare.Parts = nil
			for _, part := range s.Parts {
				part.Roll = nil
				bare.Parts = append(bare.Parts, part)
			}
			return second.Slot(ctx, &bare)
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Run(t.Context()), second.Close(t.Context(), false)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(here, elsewhere); d != "" || len(here) == 0 {
		t.Errorf("%d alerts (-rolled up by the workers +by the detector)\n%s", len(here), d)
	}
}

// When the clock is set back, what is open closes at its own time, and what has been learned stays.
func TestTheClockIsSetBack(t *testing.T) {
	var alerts []models.Alert
	d, err := NewDetector(DetectorOptions{Sensor: "s"}, DetectorDeps{Alerts: func(_ context.Context, as []models.Alert) error {
		alerts = append(alerts, as...)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	back := false
	p, err := pipeline.New(pipeline.Options{Sensor: "s", Sources: []pipeline.Source{openSample(t)}, Wait: true, Outputs: pipeline.Outputs{Records: pipeline.Records{
		Slots: func(ctx context.Context, s *models.SensorSlot) error {
			if back {
				return nil
			}
			last = s.N
			err := d.Slot(ctx, s)
			back = len(alerts) > 0 // in the middle of the first incident
			return err
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(alerts); n == 0 || alerts[n-1].State != models.AlertOpen {
		t.Fatalf("%d alerts, none is open", n)
	}
	open := alerts[len(alerts)-1]
	alerts = nil
	if err := d.Slot(t.Context(), &models.SensorSlot{N: last - models.SetBackSlots}); err != nil || len(alerts) != 0 {
		t.Errorf("%v, %d alerts: 10 s are no step of the clock", err, len(alerts))
	}
	if err := d.Slot(t.Context(), &models.SensorSlot{N: last - 3*models.SetBackSlots, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	if len(alerts) != 1 || alerts[0].ID != open.ID || alerts[0].State != models.AlertClosed || alerts[0].LastTS < open.LastTS {
		t.Errorf("%+v, want the end of %s", alerts, open.ID)
	}
}
