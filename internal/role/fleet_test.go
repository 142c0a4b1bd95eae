package role

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
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
		f, err := NewFleet(t.Context(), FleetDeps{Store: db, Bus: bus.NewMemory(bus.MemoryOptions{}), Changed: NewSignal(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := fleet()
	id := func(sensor string, boot uint64, number int64, end models.ConnEnd) int64 {
		t.Helper()
		v := f.Own(sensor, bus.Connections{Boot: boot, Changed: []models.Connection{{ID: number, Sensor: sensor, End: end}}})
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

// What a sensor had open when it started anew is cut off, though the console was away meanwhile, and however often a start is made up.
func TestOpenConnectionsAreCutOffAfterARestartOfTheConsole(t *testing.T) {
	db := &origins{stored: []models.Connection{
		{ID: 1, Sensor: "a", Boot: 1, Origin: 1}, {ID: 2, Sensor: "b", Boot: 7, Origin: 1}, {ID: 3, Sensor: "b", Boot: 8, Origin: 1}, {ID: 4, Sensor: "c", Boot: 9, Origin: 1},
	}}
	f, err := NewFleet(t.Context(), FleetDeps{Store: db, Bus: bus.NewMemory(bus.MemoryOptions{}), Changed: NewSignal(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f.Own("a", bus.Connections{Boot: 2, Changed: []models.Connection{{ID: 1}}})
	f.Own("c", bus.Connections{Boot: 9, Changed: []models.Connection{{ID: 1}}})
	for boot := range uint64(1000) {
		f.Own("made up", bus.Connections{Boot: boot})
	}
	if err := f.CutOff(t.Context()); err != nil || db.cuts() != "a 2, b 8" {
		t.Errorf("cut off %q, %v", db.cuts(), err)
	}
	if err := f.CutOff(t.Context()); err != nil || db.cuts() != "a 2, b 8" {
		t.Errorf("cut off again: %q, %v", db.cuts(), err)
	}
}

// A console that was killed is delivered the last records of two starts of a sensor again: each connection has the number that it had, and only those of the first start end.
func TestARestartThatIsDeliveredAgain(t *testing.T) {
	db := &origins{}
	fleet := func() *Fleet {
		f, err := NewFleet(t.Context(), FleetDeps{Store: db, Bus: bus.NewMemory(bus.MemoryOptions{}), Changed: NewSignal(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		f.Hear("a", bus.Sensor{Role: bus.RoleSensor, Boot: 2, TS: models.Micros(time.Now().UnixMicro())})
		return f
	}
	f := fleet()
	read := func() (ids []int64) {
		for _, boot := range []uint64{1, 2} {
			for n := range int64(3) {
				v := f.Own("a", bus.Connections{Boot: boot, Changed: []models.Connection{{ID: n + 1, Sensor: "a"}}})
				ids = append(ids, v.Changed[0].ID)
			}
		}
		return ids
	}
	first := read()
	for i, id := range first {
		db.stored = append(db.stored, models.Connection{ID: id, Sensor: "a", Boot: int64(1 + i/3), Origin: int64(1 + i%3)})
	}
	if again := read(); !slices.Equal(first, again) {
		t.Errorf("numbers %v, then %v", first, again)
	}
	f = fleet()
	if again := read(); !slices.Equal(first, again) {
		t.Errorf("after a restart: numbers %v, then %v", first, again)
	}
	if err := f.CutOff(t.Context()); err != nil || db.cuts() != "a 2" {
		t.Errorf("cut off %q, %v", db.cuts(), err)
	}
}

// A sensor that was gone before the console started is told to be silent, and what it had open is cut off after a day; one whose file has ended has no traffic.
func TestSensorsThatAreGone(t *testing.T) {
	now := time.UnixMicro(1_000_000 * second)
	db := &origins{stored: []models.Connection{{ID: 1, Sensor: "gone", Boot: 1, Origin: 1}}}
	f, err := NewFleet(t.Context(), FleetDeps{Store: db, Bus: bus.NewMemory(bus.MemoryOptions{}), Changed: NewSignal(), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		s := bus.Sensor{Role: bus.RoleSensor, Boot: 1, TS: models.Micros(now.UnixMicro()), Now: 5}
		if i == 0 {
			s.Series = []models.SeriesPoint{{Packets: 1000}}
		}
		f.Hear("file", s)
	}
	f.Hear("file", bus.Sensor{Brief: true, Role: bus.RoleSensor, Boot: 1, TS: models.Micros(now.UnixMicro()), Packets: 7})
	f.Hear("made up", bus.Sensor{Brief: true, Role: bus.RoleSensor, Boot: 1, TS: models.Micros(now.UnixMicro()), Packets: 7})
	if all := f.Sensors(); len(all) != 2 || all[0].PacketRate != 0 || all[0].Packets != 7 {
		t.Errorf("%+v", all)
	}
	now = now.Add(11 * time.Second)
	if h := f.Health(); len(h) != 1 || !strings.Contains(h[0].Message, "gone") {
		t.Errorf("%+v", h)
	}
	now = now.Add(24 * time.Hour)
	f.tell(t.Context())
	if err := f.CutOff(t.Context()); err != nil || !strings.Contains(db.cuts(), "gone 0") {
		t.Errorf("cut off %q, %v", db.cuts(), err)
	}
}

// Who is silent is told, and who is there twice; a sensor that starts anew cuts off what it had open; what is from long ago, or of more sensors than there may be, is no sign of life.
func TestSignsOfAFleet(t *testing.T) {
	db := &origins{}
	now := time.UnixMicro(1_000_000 * second)
	var log bytes.Buffer
	f, err := NewFleet(t.Context(), FleetDeps{Store: db, Bus: bus.NewMemory(bus.MemoryOptions{}), Changed: NewSignal(), Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now }})
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

	f.Own("a", bus.Connections{Boot: 1, Changed: []models.Connection{{ID: 1}}})
	sign("a", 2)
	f.Own("a", bus.Connections{Boot: 2, Changed: []models.Connection{{ID: 1}}})
	if err := f.CutOff(t.Context()); err != nil || db.cuts() != "a 2" {
		t.Errorf("cut off %q, %v", db.cuts(), err)
	}
	if got := statuses(); got != "a ok, b ok" {
		t.Errorf("a restart: %s", got)
	}
	sign("b", 2)
	sign("b", 1)
	sign("b", 2)
	if got := statuses(); got != "a ok, b twice" {
		t.Error(got)
	}
	f.Own("b", bus.Connections{Boot: 1, Changed: []models.Connection{{ID: 1}}})
	f.Own("b", bus.Connections{Boot: 2, Changed: []models.Connection{{ID: 1}}})
	if h := f.Health(); len(h) != 1 || h[0].Code != "sensor_twice" || !strings.Contains(h[0].Message, "b") {
		t.Errorf("%+v", h)
	}
	if n := strings.Count(log.String(), "two sensors have one name"); n != 1 {
		t.Errorf("%d lines: %s", n, &log)
	}
	if err := f.CutOff(t.Context()); err != nil {
		t.Error(err)
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
	now = now.Add(24 * time.Hour)
	sign("a", 2)
	f.Hear("b", bus.Sensor{Role: bus.RoleDetector, TS: models.Micros(now.UnixMicro())}) // who judges it does not know that it is gone
	f.tell(t.Context())
	if err := f.CutOff(t.Context()); err != nil || statuses() != "a ok" || db.cuts() != "a 2, b 0" {
		t.Errorf("after a day: %s; cut off %q, %v", statuses(), db.cuts(), err)
	}
	f.Hear("made up", bus.Sensor{Role: bus.RoleEngine, TS: models.Micros(now.UnixMicro())})
	if statuses() != "a ok" {
		t.Errorf("a detector's word makes a sensor: %s", statuses())
	}
	for _, boot := range []uint64{11, 12, 13, 11, 12, 13} {
		sign("three", boot)
	}
	if got := statuses(); got != "a ok, three twice" {
		t.Error(got)
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

// Of more reasons for losses than are kept those that come first by name are, each with its whole sum, and always the same ones. What a sensor says takes no more room than
// what is kept of it.
func TestReasonsOfAFleetAreTheSameOnes(t *testing.T) {
	now := time.UnixMicro(1_000_000 * second)
	f, err := NewFleet(t.Context(), FleetDeps{Bus: bus.NewMemory(bus.MemoryOptions{}), Changed: NewSignal(), Store: &origins{}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	const sensors, each = 40, 60
	for i := range sensors { // the sensors' reasons overlap by half: reason-0000 to reason-1229
		s := bus.Sensor{Role: bus.RoleSensor, Boot: 1, TS: models.Micros(now.UnixMicro()), Series: make([]models.SeriesPoint, 1000), Interfaces: make([]models.Interface, 1000)}
		for n := range each {
			s.Drops = append(s.Drops, models.Drop{Stage: "s", Reason: fmt.Sprintf("reason-%04d", i*each/2+n), Count: 1})
		}
		s.Drops = slices.Grow(s.Drops, 10_000)
		s.Detector = models.DetectorStats{Name: "d", Learning: 0.5, Entities: map[string]uint64{"source": 1}}
		f.Hear(fmt.Sprint("sensor ", i), s)
	}
	for range 20 {
		drops := f.Stats().Drops
		if len(drops) != maxDrops+1 { // and what the fleet has lost itself
			t.Fatalf("%d reasons", len(drops))
		}
		for n, d := range drops[:maxDrops] {
			want := uint64(2)
			if n < each/2 {
				want = 1
			}
			if d.Reason != fmt.Sprintf("reason-%04d", n) || d.Count != want {
				t.Fatalf("reason %d: %+v", n, d)
			}
		}
	}
	for _, m := range f.sensors {
		if cap(m.state.Drops) > 2*maxDrops || cap(m.state.Interfaces) > 2*maxDrops || m.state.Series != nil || m.state.Detector.Entities != nil || m.judge.Entities != nil {
			t.Fatalf("kept: %d reasons, %d interfaces, %+v, %+v", cap(m.state.Drops), cap(m.state.Interfaces), m.state.Detector, m.judge)
		}
	}
}
