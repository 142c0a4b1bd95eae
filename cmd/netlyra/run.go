package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"netlyra/internal/api"
	"netlyra/internal/bus"
	"netlyra/internal/capture"
	"netlyra/internal/config"
	"netlyra/internal/detect"
	"netlyra/internal/flow"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
	"netlyra/internal/role"
	"netlyra/internal/state"
	"netlyra/internal/store"
	"netlyra/internal/telemetry"
)

// watch captures, detects, stores and serves until ctx ends.
func (p *program) watch(ctx context.Context, c *config.Run, log *slog.Logger, out *telemetry.Detached) (err error) {
	w := newWatcher(c, newServed(ctx, &c.Serving, c.Sensor, log, out)) // who started it is known before the user changes
	if err := w.changeUser(w.ownDirs()); err != nil {
		return err
	}
	if err := w.check(ctx, p, nil, nil); err != nil {
		return err
	}
	defer func() {
		for _, s := range w.sources {
			err = errors.Join(err, s.Close())
		}
		if w.learned != nil {
			err = errors.Join(err, w.learned.Close())
		}
		err = errors.Join(err, w.close())
	}()
	if err := w.open(ctx, p); err != nil {
		return err
	}
	console, sensor, detector, err := w.build(ctx)
	if err != nil {
		return err
	}
	write, read := w.ownPaths()
	if err := w.enterSandbox(ctx, c.Read == "", write, read); err != nil {
		return errors.Join(err, console.Close())
	}
	log.LogAttrs(ctx, slog.LevelInfo, "watching", slog.String("source", w.source), slog.String("page", console.URL()))
	first := []role.Part{sensor}
	if detector != nil {
		first = append(first, detector)
	}
	returnMemory := role.PartFunc(func(ctx context.Context) error {
		telemetry.ReturnMemory(ctx, time.Minute)
		return nil
	})
	readers, last := console.Readers(), append(console.Servers(), returnMemory)
	if w.publisher != nil {
		readers, last = append(readers, w.publisher.Readers()...), append(last, w.broker)
	}
	if w.external != nil {
		last = append(last, w.external)
	}
	err = role.Run(ctx, w.bus, first, readers, last)
	s := console.Stats()
	log.LogAttrs(ctx, slog.LevelInfo, "stopped", slog.Uint64("packets", s.Packets), slog.Uint64("alert_revisions", s.Alerts.Raised))
	return err
}

// open opens the file, the database and what has been learned. Of interfaces it only says which they are: their rings fill as soon as they
// are open.
func (w *watcher) open(ctx context.Context, p *program) (err error) {
	c := w.config
	if c.Read != "" {
		if err := w.openReplay(p); err != nil {
			return err
		}
	} else if w.noRoute {
		w.log.LogAttrs(ctx, slog.LevelInfo, "no interface is given and there is no default route: every interface that is up is watched; --interface names others",
			slog.Any("interfaces", w.live.Interfaces))
	}
	if w.store, err = store.New(ctx, w.storeOptions()); err != nil {
		return err
	}
	if c.Database == config.DatabaseTemporary {
		w.log.LogAttrs(ctx, slog.LevelInfo, "what the capture shows is kept until the end of the program; --database FILE keeps it", slog.String("path", w.store.Path()))
	}
	if w.keepsState() {
		if w.learned, err = role.OpenLearned(state.Path(c.State, c.Sensor), w.log); err != nil {
			return err
		}
	}
	return nil
}

// build makes the three roles.
func (w *watcher) build(ctx context.Context) (console *role.Console, sensor *role.Sensor, detector *role.Detector, err error) {
	c := w.config
	last, err := w.store.MaxConnectionID(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	telemetry.PaceCollections(heapBase+int64(c.MaxConnections)*connectionBytes, os.LookupEnv)
	room := 16 << 20
	if c.Read != "" { // which waits: what is shown is to be of now
		room = 2 << 20
	}
	w.bus = bus.NewMemory(bus.MemoryOptions{TopicBytes: map[bus.Topic]int{bus.TopicConnections: room, bus.TopicHosts: room}})
	producer, err := w.bus.Producer()
	if err != nil {
		return nil, nil, nil, err
	}
	if err := w.buildBroker(); err != nil {
		return nil, nil, nil, err
	}
	var judge pipeline.Detector
	if c.Detector == config.DetectorGo {
		deps := role.DetectorDeps{Alerts: role.AlertsTo(producer), FileTime: w.fileTime}
		if w.learned != nil {
			deps.Memory = w.learned
		}
		detector, err = role.NewDetector(role.DetectorOptions{
			Sensor: c.Sensor, Detect: detect.Options{Seed: analysisSeed, BudgetDay: c.AlertBudget, Without: leftOut(&c.Detection)}, Live: true, SaveEvery: time.Duration(c.StateEvery),
		}, deps)
		if err != nil {
			return nil, nil, nil, err
		}
		judge = detector
	}
	if c.Read == "" {
		if err := w.openRings(); err != nil {
			return nil, nil, nil, err
		}
	}
	var records pipeline.Records
	if w.broker != nil {
		if records, err = role.PublishRecords(ctx, w.publishing(), w.published); err != nil {
			return nil, nil, nil, err
		}
	}
	changed := role.NewSignal()
	sensor, err = role.NewSensor(role.SensorOptions{
		Name: c.Sensor, Version: version(), Boot: w.boot, Source: w.source, Workers: c.Workers, File: c.Read != "", Live: true, Stay: true,
		Often: len(c.Brokers) > 0 && c.Counters == config.CountersSlot,
		Flow:  flow.Options{MaxConnections: c.MaxConnections, Seed: random64(), FirstID: last + 1},
	}, role.SensorDeps{
		Sources: w.sources, Detector: judge, Bus: producer, Topics: role.ConsoleTopics(), Records: records, Changed: changed, Links: w.links, Received: w.received, FileTime: w.fileTime, Log: w.log,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	served, err := w.apiOptions()
	if err != nil {
		return nil, nil, nil, err
	}
	console, err = role.NewConsole(ctx, role.ConsoleOptions{API: served, Wait: c.Read != ""}, role.ConsoleDeps{
		Store: w.store, Decided: w.decided, Bus: w.bus, Sensor: sensor, Detector: detector, External: w.external, Changed: changed,
		Drops: w.drops, Health: w.health, Ending: w.end, Log: w.log,
	})
	if err == nil {
		if err = w.buildPublisher(ctx, console.Stored()); err != nil {
			err = errors.Join(err, console.Close())
		}
	}
	return console, sensor, detector, err
}

// buildBroker makes what joins this process to others: none without --brokers.
func (w *watcher) buildBroker() (err error) {
	c := w.config
	if len(c.Brokers) == 0 {
		return nil
	}
	if err := w.openBroker(); err != nil {
		return err
	}
	if w.published, err = w.broker.Producer(); err != nil {
		return err
	}
	if c.Detector == config.DetectorExternal {
		w.external, err = role.NewExternal(role.ExternalOptions{Sensor: c.Sensor}, role.ExternalDeps{Broker: w.broker, Log: w.log})
	}
	return err
}

// publishing is what is published, and how.
func (w *watcher) publishing() role.PublisherOptions {
	c := w.config
	return role.PublisherOptions{
		Sensor: c.Sensor, Boot: w.boot, Wait: c.Read != "",
		Packets: c.Publish == config.PublishPackets || c.Publish == config.PublishBoth, Slots: c.Publish == config.PublishSlots || c.Publish == config.PublishBoth,
	}
}

// buildPublisher makes what hands on what the roles say; stored is closed when all alerts are stored.
func (w *watcher) buildPublisher(ctx context.Context, stored <-chan struct{}) (err error) {
	if w.broker == nil {
		return nil
	}
	deps := role.PublisherDeps{Bus: w.bus, To: w.published, Broker: w.broker, Posted: w.posted, Stored: stored, Until: ctx, Log: w.log}
	if w.config.Detector == config.DetectorGo {
		deps.Outbox = w.store
	}
	if w.publisher, err = role.NewPublisher(w.publishing(), deps); err != nil {
		return err
	}
	return w.publisher.Register(w.registry)
}

// random64 is a random number.
func random64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// storeOptions add to what is stored that alerts found here are published.
func (w *watcher) storeOptions() store.Options {
	o := w.served.storeOptions()
	o.Outbox, o.Posted = len(w.config.Brokers) > 0 && w.config.Detector == config.DetectorGo, w.posted.Set
	return o
}

// drops add what readers elsewhere do not have.
func (w *watcher) drops() []models.Drop {
	if w.broker == nil {
		return w.served.drops()
	}
	return append(brokerDrops(w.broker), w.served.drops()...)
}

// health adds what is wrong with what has been learned.
func (w *watcher) health() (reasons []api.Reason) {
	if w.learned != nil {
		reasons = w.learned.Health()
	}
	return append(reasons, w.served.health()...)
}

// ownPaths add what has been learned, and the file that is read.
func (w *watcher) ownPaths() (write, read []string) {
	write, read = w.served.ownPaths()
	if w.learned != nil {
		write = append(write, w.config.State)
	}
	if c := w.config; c.Read != "" && c.Read != "-" {
		read = append(read, c.Read) // opened again for every round of --loop
	}
	return write, read
}

func newWatcher(c *config.Run, s *served) *watcher {
	return &watcher{served: s, config: c, posted: role.NewSignal(), boot: random64()}
}

// watcher holds what the roles are made of.
type watcher struct {
	*served
	config    *config.Run
	filter    *packetFilter
	sources   []pipeline.Source
	source    string            // what is watched
	fileTime  func(int64) int64 // of a file
	received  func() uint64     // of a file
	links     func() []models.Interface
	live      capture.LiveOptions // of the interfaces
	noRoute   bool                // they are all that are up, as there is no default route
	learned   *role.Learned       // nil: nothing is kept
	boot      uint64              // random at each start
	posted    role.Signal         // there is something new in the outbox
	published bus.Producer        // of the broker
	publisher *role.Publisher     // beside broker
	external  *role.External      // nil: nobody else detects
	bus       *bus.Memory
}

// chooseInterfaces finds out which interfaces are to be watched.
func (w *watcher) chooseInterfaces() (err error) {
	c := w.config
	names := c.Interface
	if len(names) == 0 {
		if names, w.noRoute, err = capture.DefaultInterfaces(); err != nil {
			return err
		}
	}
	w.source = strings.Join(names, ", ")
	w.live = capture.LiveOptions{Interfaces: names, Workers: c.Workers, RingBytes: c.RingMB << 20, Filter: w.filter.kernel}
	return nil
}

// What the memory of the Go runtime is held to, as far as collecting can hold it (docs/operations.md): several times what the tables of the
// detector, the queues and the clients take together under a spoofed flood, and what a setting adds.
const (
	heapBase        = 384 << 20
	connectionBytes = 256 // of a connection in the table, with its place in the index
)

// openRings begins to capture.
func (w *watcher) openRings() error {
	rings, err := capture.OpenLive(w.live)
	if err != nil {
		return err
	}
	for _, r := range rings {
		w.sources = append(w.sources, r)
	}
	w.links = func() []models.Interface { return linksOf(rings) }
	return nil
}

func (w *watcher) openReplay(p *program) error {
	c := w.config
	open := func() (*capture.File, error) { return capture.OpenFile(c.Read, capture.FileOptions{Stdin: p.stdin}) }
	speed := capture.RealTime
	if c.Speed == "max" {
		speed = capture.MaxSpeed
	}
	replay := capture.NewReplay(open, capture.ReplayOptions{Speed: speed, Loop: c.Loop, KeepTime: c.KeepTime})
	src, err := w.filter.apply(replay)
	if err != nil {
		return err
	}
	w.sources = []pipeline.Source{src}
	w.fileTime = replay.FileTime
	w.received = func() uint64 { return replay.Stats().Frames }
	w.source = filepath.Base(c.Read)
	return nil
}

// keepsState says whether what is learned is kept on disk.
func (w *watcher) keepsState() bool {
	return w.config.State != config.StateOff && w.config.Detector == config.DetectorGo
}

// linksOf are the interfaces of all rings, each once: its state, and what the kernel has counted in all of them.
func linksOf(rings []*capture.Ring) []models.Interface {
	all := rings[0].Links()
	for _, r := range rings[1:] { // each has the same interfaces
		for i, l := range r.Links() {
			all[i].Received += l.Received
			all[i].Dropped += l.Dropped
		}
	}
	return all
}
