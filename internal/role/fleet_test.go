package role

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"netlyra/internal/bus"
	"netlyra/internal/models"
)

// origins is a database that has stored what it was given.
type origins struct {
	mu     sync.Mutex
	stored []models.Connection
	cut    []string
}

func (o *origins) MaxConnectionID(context.Context) (last int64, _ error) {
	for i := range o.stored {
		last = max(last, o.stored[i].ID)
	}
	return last, nil
}

func (o *origins) Origins(context.Context, int, int) ([]models.Connection, error) {
	return o.stored, nil
}

func (o *origins) CutOff(_ context.Context, sensor string, boot int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cut = append(o.cut, fmt.Sprint(sensor, " ", boot))
	return nil
}

func (o *origins) cuts() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.cut, ", ")
}

// A connection has one number here, whoever else has the same number elsewhere, over a restart of the console and when the broker delivers it again.
func TestConnectionsOfAFleetHaveNumbersOfTheirOwn(t *testing.T) {
	db := &origins{}
	fleet := func() *Fleet {
		f, err := NewFleet(t.Context(), FleetDeps{Store: db, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := fleet()
	id := func(sensor string, boot uint64, number int64, end models.ConnEnd) int64 {
		t.Helper()
		v := f.Own(t.Context(), sensor, bus.Connections{Boot: boot, Changed: []models.Connection{{ID: number, Sensor: sensor, End: end}}})
		c := v.Changed[0]
		if c.Origin != number || c.Boot != int64(boot) {
			t.Errorf("%+v", c)
		}
		db.stored = append(db.stored, c)
		return c.ID
	}
	first := id("a", 1, 7, models.ConnOpen)
	other := id("b", 1<<63+5, 7, models.ConnOpen)
	later := id("a", 2, 7, models.ConnOpen)
	if first == other || first == later || other == later {
		t.Errorf("numbers %d, %d, %d", first, other, later)
	}
	if again := id("a", 1, 7, models.ConnDone); again != first {
		t.Errorf("%d, then %d", first, again)
	}
	if again := id("a", 1, 7, models.ConnDone); again != first {
		t.Errorf("delivered again: %d, then %d", first, again)
	}
	f = fleet()
	if got := id("b", 1<<63+5, 7, models.ConnOpen); got != other {
		t.Errorf("after a restart: %d, then %d", other, got)
	}
	if got := id("a", 1, 7, models.ConnDone); got != first {
		t.Errorf("delivered again after a restart: %d, then %d", first, got)
	}
	if got := id("c", 3, 1, models.ConnOpen); got <= later {
		t.Errorf("a new connection has the number %d", got)
	}
}

// Who is silent is told, and who is there twice; a sensor that starts anew cuts off what it had open; what is from long ago, or of more sensors than there may be, is no sign of life.
func TestSignsOfAFleet(t *testing.T) {
	db := &origins{}
	now := time.UnixMicro(1_000_000 * second)
	var log bytes.Buffer
	f, err := NewFleet(t.Context(), FleetDeps{Store: db, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(name string, boot uint64) {
		f.Hear(name, bus.Sensor{
			Role: bus.RoleSensor, Boot: boot, TS: models.Micros(now.UnixMicro()), Packets: 100, Drops: []models.Drop{{Stage: "kernel", Reason: "ring_full", Count: 3, Unit: models.DropPackets, Effect: models.DropUnseen}},
			Series: []models.SeriesPoint{{TS: 1, Packets: 10}, {TS: 2, Packets: 30}},
		})
	}
	statuses := func() string {
		var all []string
		for _, s := range f.Sensors() {
			all = append(all, s.Name+" "+string(s.Status))
		}
		return strings.Join(all, ", ")
	}
	f.Hear("past", bus.Sensor{Role: bus.RoleSensor, TS: models.Micros(now.UnixMicro() - 3600*second)})
	sign("a", 1)
	sign("b", 1)
	f.Hear("a", bus.Sensor{Role: bus.RoleEngine, TS: models.Micros(now.UnixMicro()), Detector: models.DetectorStats{Learning: 0.5}})
	if got := statuses(); got != "a ok, b ok" {
		t.Error(got)
	}
	if s := f.Stats(); s.Packets != 200 || s.PacketRate != 40 || s.Drops[0].Count != 6 || s.Detector.Learning != 0.25 {
		t.Errorf("%+v", s)
	}
	if s := f.Sensors()[0]; s.Detector != "engine" || s.Learning != 0.5 || s.Lost != 3 {
		t.Errorf("%+v", s)
	}

	f.Own(t.Context(), "a", bus.Connections{Boot: 1, Changed: []models.Connection{{ID: 1}}})
	sign("a", 2)
	f.Own(t.Context(), "a", bus.Connections{Boot: 2, Changed: []models.Connection{{ID: 1}}})
	until(t, "end of what was open", func() bool { return db.cuts() == "a 2" })
	if got := statuses(); got != "a ok, b ok" {
		t.Errorf("a restart: %s", got)
	}
	sign("b", 2)
	sign("b", 1)
	sign("b", 2)
	if got := statuses(); got != "a ok, b twice" {
		t.Error(got)
	}
	f.Own(t.Context(), "b", bus.Connections{Boot: 1, Changed: []models.Connection{{ID: 1}}})
	f.Own(t.Context(), "b", bus.Connections{Boot: 2, Changed: []models.Connection{{ID: 1}}})
	if h := f.Health(); len(h) != 1 || h[0].Code != "sensor_twice" || !strings.Contains(h[0].Message, "b") {
		t.Errorf("%+v", h)
	}
	if n := strings.Count(log.String(), "two sensors have one name"); n != 1 {
		t.Errorf("%d lines: %s", n, &log)
	}
	now = now.Add(61 * time.Second)
	sign("a", 2)
	f.tell(t.Context())
	if got := statuses(); got != "a ok, b silent" || db.cuts() != "a 2" {
		t.Error(got, db.cuts())
	}
	if h := f.Health(); len(h) != 1 || h[0].Code != "sensor_silent" || !strings.Contains(h[0].Message, ": b.") || !strings.Contains(log.String(), "sensor is silent") {
		t.Errorf("%+v, %s", h, &log)
	}
	for i := range 2 * maxSensors {
		sign(fmt.Sprint("spoofed ", i), 1)
	}
	if n := len(f.Sensors()); n != maxSensors {
		t.Errorf("%d sensors", n)
	}
	if h := f.Health(); len(h[0].Message) > 500 {
		t.Error(h[0].Message)
	}
}
