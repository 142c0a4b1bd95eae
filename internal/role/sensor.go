package role

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"netlyra/internal/api"
	"netlyra/internal/bus"
	"netlyra/internal/capture"
	"netlyra/internal/flow"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
)

// SensorOptions configure a Sensor.
type SensorOptions struct {
	Name    string
	Version string // of the program
	Boot    uint64 // random at each start
	Source  string // what is watched: the interfaces or the file
	Workers int    // a file's: 0 means 1. Interfaces have one a ring
	File    bool   // the source is a file: it waits for who takes its records, where an interface has them dropped
	Live    bool   // capture time is now, and somebody watches: latency is measured, connections that move are told
	Often   bool   // tell counters with each slot that has packets, not once a second only: for a console elsewhere
	Stay    bool   // when the source has ended, go on until ctx ends
	Flow    flow.Options
}

// SensorDeps are what a Sensor needs.
type SensorDeps struct {
	Sources  []pipeline.Source         // one a ring, or that of the file
	Detector pipeline.Detector         // nil: there is none in this process
	Bus      bus.Producer              // takes connections, hosts and seconds
	Topics   []bus.Topic               // of these, what is produced: what nobody reads costs nothing
	Records  pipeline.Records          // take slots and packets that are published; zero: none are
	Changed  Signal                    // set when statistics or connections have changed; nil: nobody waits
	Links    func() []models.Interface // state of the interfaces; nil: a file has none
	Received func() uint64             // packets of the file so far, those that a filter refuses included; nil: an interface has Links
	FileTime func(ts int64) int64      // turns the source's times into those that its file has; nil: they are the same
	Log      *slog.Logger
}

// Sensor watches interfaces, or reads a file.
type Sensor struct {
	options SensorOptions
	deps    SensorDeps
	pipe    *pipeline.Pipeline
	ended   atomic.Bool         // the source has come to its end
	ends    []models.Connection // the export's: for which there was no room
	told    time.Time           // the export's: when counters were told last
}

// NewSensor makes a sensor; it starts nothing.
func NewSensor(o SensorOptions, deps SensorDeps) (*Sensor, error) {
	s := &Sensor{options: o, deps: deps}
	outputs := pipeline.Outputs{Records: deps.Records}
	if s.produces(bus.TopicConnections) {
		outputs.Connections = s.connections
	}
	if s.produces(bus.TopicHosts) {
		outputs.Hosts = func(now int64, hs []models.Host) {
			s.produce(bus.TopicHosts, bus.Hosts{Now: models.Micros(now), Hosts: hs})
		}
	}
	if s.produces(bus.TopicSensors) {
		outputs.Series = func(now int64, ps []models.SeriesPoint) { s.produce(bus.TopicSensors, s.state(now, ps)) }
	}
	if deps.Changed != nil {
		outputs.Changed = deps.Changed.Set
	}
	var err error
	s.pipe, err = pipeline.New(pipeline.Options{
		Sensor: o.Name, SourceName: o.Source, Sources: deps.Sources, Workers: o.Workers, Live: o.Live, Wait: o.File, Flow: o.Flow,
		Detector: deps.Detector, Outputs: outputs, Links: s.links, FileTime: deps.FileTime,
	})
	return s, err
}

func (s *Sensor) produces(t bus.Topic) bool { return slices.Contains(s.deps.Topics, t) }

// produce hands a record to the bus, and says whether that took it. For a file it waits until there is room; of an interface the bus counts what
// there is no room for.
func (s *Sensor) produce(t bus.Topic, v bus.Value) bool {
	r := bus.Record{Topic: t, Key: s.options.Name, Value: v}
	if !s.options.File {
		return s.deps.Bus.TryProduce(r)
	}
	return s.deps.Bus.Produce(context.Background(), r) == nil // fails only when the bus is closed, because who reads it has failed
}

// state is what the sensor tells of itself with the seconds that have passed.
func (s *Sensor) state(now int64, seconds []models.SeriesPoint) bus.Sensor {
	st := s.Stats()
	if d, ok := s.deps.Detector.(*Detector); ok {
		d.Fill(&st)
	}
	return bus.Sensor{
		Role: bus.RoleSensor, Version: s.options.Version, Boot: s.options.Boot, TS: models.Micros(time.Now().UnixMicro()), Now: models.Micros(now),
		Source: s.options.Source, Packets: st.Packets, Bytes: st.Bytes, Connections: st.Connections, Interfaces: st.Interfaces, Drops: st.Drops,
		Detector: st.Detector, Series: slices.Clone(seconds),
	}
}

// oftenAtMost is how often counters are told at most, whatever a file's slots come at: a slot has 40 ms.
const oftenAtMost = 30 * time.Millisecond

// brief tells the counters between two states. What there is no room for is told by the next.
func (s *Sensor) brief(now int64) {
	at := time.Now()
	if !s.options.Often || !s.produces(bus.TopicSensors) || at.Sub(s.told) < oftenAtMost {
		return
	}
	s.told = at
	st := s.Stats()
	s.deps.Bus.TryProduce(bus.Record{Topic: bus.TopicSensors, Key: s.options.Name, Value: bus.Sensor{
		Brief: true, Role: bus.RoleSensor, Boot: s.options.Boot, TS: models.Micros(at.UnixMicro()), Now: models.Micros(now), Packets: st.Packets, Bytes: st.Bytes, Connections: st.Connections,
	}})
}

// maxEnds bounds the connections that have ended and wait for room on the bus.
const maxEnds = 1 << 14

// connections hands on what has happened to connections. Those that have ended, which would stay open in the database, go with the next record
// if there is no room for this one.
func (s *Sensor) connections(now int64, changed, moving []models.Connection) {
	s.brief(now)
	if len(s.ends) > 0 {
		changed = append(s.ends, changed...)
	}
	if s.produce(bus.TopicConnections, bus.Connections{Boot: s.options.Boot, Now: models.Micros(now), Changed: changed, Moving: moving}) {
		s.ends = nil
		return
	}
	var ends []models.Connection
	for i := range changed {
		if changed[i].End != models.ConnOpen && len(ends) < maxEnds {
			ends = append(ends, changed[i])
		}
	}
	s.ends = ends
}

// Run reads the sources to their end, or until ctx ends; what they have by then is still handed on.
func (s *Sensor) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	watch, stop := context.WithCancel(ctx)
	if s.deps.Links != nil {
		beside.Go(func() { s.watchLinks(watch) })
	}
	err := s.pipe.Run(ctx)
	s.ended.Store(true)
	if s.produces(bus.TopicConnections) {
		s.produce(bus.TopicConnections, bus.Connections{Boot: s.options.Boot, Now: s.pipe.Stats().ClockTS, Changed: s.ends, Ended: true})
	}
	stop()
	beside.Wait()
	if !s.options.Stay {
		return err
	}
	source := slog.String("source", s.options.Source)
	if err != nil {
		s.deps.Log.LogAttrs(ctx, slog.LevelError, "reading has ended", source, slog.Any("error", err))
	} else if ctx.Err() == nil {
		s.deps.Log.LogAttrs(ctx, slog.LevelInfo, "the file has ended; serving on", source)
	}
	if err == nil || errors.As(err, new(*capture.DamageError)) {
		s.stay(ctx)
	}
	return err
}

// stay gives signs of life until ctx ends: the source has ended, the sensor has not.
func (s *Sensor) stay(ctx context.Context) {
	tick := time.NewTicker(signEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s.produces(bus.TopicSensors) {
				s.deps.Bus.TryProduce(bus.Record{Topic: bus.TopicSensors, Key: s.options.Name, Value: s.state(int64(s.Stats().ClockTS), nil)})
			}
		}
	}
}

// Stats is what the sensor has counted. It may be called from any goroutine, and is cheap.
func (s *Sensor) Stats() models.Stats { return s.pipe.Stats() }

// Generation rises whenever Stats may have changed.
func (s *Sensor) Generation() uint64 { return s.pipe.Generation() }

// Query lists connections of the tables as pipeline.Pipeline's.
func (s *Sensor) Query(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	return s.pipe.Query(ctx, q)
}

// Health says which interfaces are not up.
func (s *Sensor) Health() (reasons []api.Reason) {
	for _, l := range s.links() {
		if l.Link == "gone" || l.Link == "down" {
			reasons = append(reasons, api.Reason{Code: "interface_" + l.Link, Message: "The interface " + l.Name + " is " + l.Link + "."})
		}
	}
	return reasons
}

// Sensors is the state of this one.
func (s *Sensor) Sensors() []models.SensorState {
	st := s.Stats()
	return []models.SensorState{{
		Name: s.options.Name, Status: models.SensorOK, Version: s.options.Version, Source: s.options.Source, SeenTS: models.Micros(time.Now().UnixMicro()), ClockTS: st.ClockTS,
		Packets: st.Packets, Bytes: st.Bytes, PacketRate: st.PacketRate, ByteRate: st.ByteRate, Active: st.Connections.Active, Opened: st.Connections.Opened,
		Lost: unseen(st.Drops), Interfaces: st.Interfaces,
	}}
}

// links are the interfaces, or the file in their place.
func (s *Sensor) links() []models.Interface {
	if s.deps.Links != nil {
		return s.deps.Links()
	}
	state := "file"
	if s.ended.Load() {
		state = "ended"
	}
	link := models.Interface{Name: s.options.Source, Link: state}
	if s.deps.Received != nil {
		link.Received = s.deps.Received()
	}
	return []models.Interface{link}
}
