package role

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"netlyra/internal/api"
	"netlyra/internal/bus"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
	"netlyra/internal/store"
)

const second = 1_000_000

// newConsole makes a console beside a sensor that is not run, over b.
func newConsole(t *testing.T, b bus.Bus) (*Console, *store.Store) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := store.New(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "netlyra.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	producer, err := b.Producer()
	if err != nil {
		t.Fatal(err)
	}
	changed := NewSignal()
	sensor, err := NewSensor(SensorOptions{Name: "s", Source: "sample"}, SensorDeps{Sources: []pipeline.Source{openSample(t)}, Bus: producer, Topics: ConsoleTopics(), Changed: changed, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConsole(t.Context(), ConsoleOptions{API: api.Options{Listen: "127.0.0.1:0", WSListen: "off", Registry: prometheus.NewRegistry()}}, ConsoleDeps{
		Store: s, Decided: NewSignal(), Bus: b, Sensor: sensor, Changed: changed, Log: log,
		Drops: func() []models.Drop { return nil }, Health: func() []api.Reason { return nil }, Ending: make(chan struct{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// A console that is behind reads connections of later than the seconds: what moves stays in its table all the same, with its rate. What falls
// silent loses its rate and leaves, and at the end everything does.
func TestAConsoleThatIsBehindShowsWhatMoves(t *testing.T) {
	b := bus.NewMemory(bus.MemoryOptions{})
	c, s := newConsole(t, b)
	producer, err := b.Producer()
	if err != nil {
		t.Fatal(err)
	}
	produce := func(topic bus.Topic, v bus.Value) {
		t.Helper()
		if err := producer.Produce(t.Context(), bus.Record{Topic: topic, Key: "s", Value: v}); err != nil {
			t.Fatal(err)
		}
	}
	const start = 1_000_000 * second
	conn := func(id int64, at int64, n uint64) models.Connection {
		return models.Connection{ID: id, Sensor: "s", Proto: "TCP", State: "established", FirstTS: start, LastTS: models.Micros(at), BytesUp: n, PacketsUp: n, PacketsDown: 1}
	}
	last := int64(0)
	for i := range int64(400) {
		last = start + i*second/10
		v := bus.Connections{Now: models.Micros(last), Moving: []models.Connection{conn(1, last, uint64(i+1)*100)}}
		if i == 0 {
			v.Changed = []models.Connection{conn(2, last, 100)}
		}
		produce(bus.TopicConnections, v)
		if i%10 == 0 {
			produce(bus.TopicSensors, bus.Sensor{Series: []models.SeriesPoint{{Step: 1, TS: last / second, Packets: 1}}})
		}
	}
	ran := make(chan error, 1)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { ran <- s.Run(ctx) }()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, ok := c.table.Find(1)
	if !ok || got.RateUp < 900 || got.RateUp > 1100 {
		t.Errorf("the connection that moves: %v, %v bytes/s", ok, got.RateUp)
	}
	if got, ok := c.table.Find(2); !ok || got.RateUp != 0 {
		t.Errorf("the one that is silent: %v, %v bytes/s", ok, got.RateUp)
	}
	before := (present{c}).Generation()
	c.take(&bus.Record{Key: "s", Value: bus.Connections{Now: models.Micros(last + 400*second)}}) // nothing moves, but time passes
	if all := c.table.Since(0).Rows; len(all) != 0 || (present{c}).Generation() == before {
		t.Errorf("%d connections after six silent minutes", len(all))
	}
	c.take(&bus.Record{Key: "s", Value: bus.Connections{Now: models.Micros(last), Moving: []models.Connection{conn(3, last, 1)}}}) // the clock was set back
	if _, ok := c.table.Find(3); !ok {
		t.Error("the clock was set back, and what moves then is not shown")
	}
	c.take(&bus.Record{Key: "s", Value: bus.Connections{Now: models.Micros(last), Ended: true}})
	if all := c.table.Since(0).Rows; len(all) != 0 {
		t.Errorf("%d connections after the end", len(all))
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	counts, err := s.Counts(t.Context())
	if err != nil || counts.Connections != 1 {
		t.Errorf("%+v stored, %v; want the one that has changed", counts, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A console of a fleet ends though its database cannot be written: what it has not stored comes again.
func TestAConsoleOfAFleetEndsWithItsDatabaseLocked(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds: run without -short")
	}
	path := filepath.Join(t.TempDir(), "netlyra.db")
	s, _ := runStore(t, path)
	log := slog.New(slog.DiscardHandler)
	b := bus.NewMemory(bus.MemoryOptions{})
	fleet, err := NewFleet(t.Context(), FleetDeps{Store: s, Bus: b, Changed: NewSignal(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConsole(t.Context(), ConsoleOptions{API: api.Options{Listen: "127.0.0.1:0", WSListen: "off", Registry: prometheus.NewRegistry()}, Wait: true}, ConsoleDeps{
		Store: s, Decided: NewSignal(), Bus: b, Fleet: fleet, Changed: NewSignal(), Log: log,
		Drops: func() []models.Drop { return nil }, Health: func() []api.Reason { return nil }, Ending: make(chan struct{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	producer, err := b.Producer()
	if err != nil {
		t.Fatal(err)
	}
	release := lockDatabase(t, path)
	defer release()
	many := make([]models.Connection, 40_000) // more than the database's queue has room for
	for i := range many {
		many[i] = models.Connection{ID: int64(i + 1), Sensor: "s", Proto: "TCP"}
	}
	if err := producer.Produce(t.Context(), bus.Record{Topic: bus.TopicConnections, Key: "s", Value: bus.Connections{Boot: 1, Now: 1, Changed: many}}); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() { read <- c.read(t.Context()) }()
	until(t, "reading", func() bool { return len(c.table.Since(0).Rows) > 0 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("it waits for the database for ever")
	}
}

// A sensor whose file has ended goes on to give signs of life.
func TestASensorStaysWhenItsFileHasEnded(t *testing.T) {
	b := bus.NewMemory(bus.MemoryOptions{})
	producer, err := b.Producer()
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := b.Consumer("c", bus.TopicSensors, bus.TopicConnections)
	if err != nil {
		t.Fatal(err)
	}
	sensor, err := NewSensor(SensorOptions{Name: "s", Source: "sample", File: true, Stay: true},
		SensorDeps{Sources: []pipeline.Source{openSample(t)}, Bus: producer, Topics: ConsoleTopics(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- sensor.Run(ctx) }()
	for ended, signs := false, 0; signs < 2; {
		records, err := consumer.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			switch v := r.Value.(type) {
			case bus.Connections:
				ended = ended || v.Ended
			case bus.Sensor:
				if ended && len(v.Series) == 0 {
					signs++
					if len(v.Interfaces) != 1 || v.Interfaces[0].Link != "ended" || v.Packets == 0 {
						t.Errorf("%+v", v)
					}
				}
			}
		}
		if err := consumer.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// Connections that have ended go with the next record, if the bus has no room for theirs.
func TestEndsWaitForRoomOnTheBus(t *testing.T) {
	b := bus.NewMemory(bus.MemoryOptions{TopicBytes: map[bus.Topic]int{bus.TopicConnections: 1}})
	producer, err := b.Producer()
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := b.Consumer("c", bus.TopicConnections)
	if err != nil {
		t.Fatal(err)
	}
	s := &Sensor{deps: SensorDeps{Bus: producer}}
	s.connections(1, []models.Connection{{ID: 1}}, nil)
	s.connections(2, []models.Connection{{ID: 2, End: models.ConnDone}, {ID: 3}}, []models.Connection{{ID: 9}})
	read := func() (ids []int64) {
		t.Helper()
		records, err := consumer.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			v, _ := r.Value.(bus.Connections)
			for _, c := range v.Changed {
				ids = append(ids, c.ID)
			}
		}
		if err := consumer.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if ids := read(); len(ids) != 1 || ids[0] != 1 {
		t.Errorf("%v", ids)
	}
	s.connections(3, []models.Connection{{ID: 4}}, nil)
	if ids := read(); len(ids) != 2 || ids[0] != 2 || ids[1] != 4 {
		t.Errorf("%v, want the one that had ended, then the new one", ids)
	}
	if d := b.Drops(); len(d) != 1 || d[0].Count != 2 {
		t.Errorf("%+v: the one that moves is no loss", d)
	}
}
