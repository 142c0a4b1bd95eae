package role

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"netlyra/internal/bus"
	"netlyra/internal/models"
)

// A detector elsewhere counts as at work while it gives signs of life; what it says of how far it has learned is shown. Neither a sensor, nor the detector of another sensor,
// nor a sign from long ago is one.
func TestSignsOfADetector(t *testing.T) {
	b := bus.NewMemory(bus.MemoryOptions{})
	p, err := b.Producer()
	if err != nil {
		t.Fatal(err)
	}
	var clock atomic.Int64
	clock.Store(1_000_000 * second)
	now := func() time.Time { return time.UnixMicro(clock.Load()) }
	var log bytes.Buffer
	e, err := NewExternal(ExternalOptions{Sensor: "s"}, ExternalDeps{Broker: b, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	sign := func(key string, role bus.Role, ts int64) {
		t.Helper()
		s := bus.Sensor{Role: role, TS: models.Micros(ts), Detector: models.DetectorStats{Name: "elsewhere", Learning: 0.25}}
		if err := p.Produce(t.Context(), bus.Record{Topic: bus.TopicSensors, Key: key, Value: s}); err != nil {
			t.Fatal(err)
		}
	}
	name := func() string {
		var s models.Stats
		e.Fill(&s)
		return s.Detector.Name
	}
	if e.Silence() != 0 || len(e.Health()) != 0 {
		t.Error("a detector that may be starting is said to be silent")
	}
	clock.Add(11 * second)
	if s := e.Silence(); s != 11*time.Second || name() != "" {
		t.Errorf("silent for %v, %q", s, name())
	}
	if h := e.Health(); len(h) != 1 || h[0].Code != "detector_silent" || !strings.Contains(h[0].Message, "11 s") {
		t.Errorf("%+v", h)
	}
	sign("other", bus.RoleDetector, clock.Load())
	sign("s", bus.RoleSensor, clock.Load())
	sign("s", bus.RoleDetector, clock.Load()-3600*second)
	sign("s", bus.RoleEngine, clock.Load()-30*second) // its clock is behind
	until(t, "sign of life", func() bool { return e.Silence() == 0 })
	if name() != "elsewhere" || len(e.Health()) != 0 {
		t.Errorf("%q, %+v", name(), e.Health())
	}
	clock.Add(20 * second)
	until(t, "word of the silence", func() bool { return e.Silence() > 0 })
	time.Sleep(2 * lookEvery) // it is told at the next look
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "no detector is heard"); n < 1 || n > 2 {
		t.Errorf("%d lines: %s", n, &log)
	}
}

// Of the alerts of all sensors on a broker one reads its own.
func TestAlertsOfOthersAreLeft(t *testing.T) {
	b := bus.NewMemory(bus.MemoryOptions{})
	p, err := b.Producer()
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewExternal(ExternalOptions{Sensor: "s"}, ExternalDeps{Broker: b, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, sensor := range []string{"other", "s", "other"} {
		if err := p.Produce(t.Context(), bus.Record{Topic: bus.TopicAlerts, Key: "id", Value: bus.Alert{Alert: &models.Alert{ID: sensor, Sensor: sensor}}}); err != nil {
			t.Fatal(err)
		}
	}
	records, err := e.alerts.Poll(t.Context())
	if err != nil || len(records) != 1 {
		t.Fatalf("%+v, %v", records, err)
	}
	if a, ok := records[0].Value.(bus.Alert); !ok || a.ID != "s" {
		t.Errorf("%+v", records[0])
	}
}
