package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"netlyra/internal/api"
	"netlyra/internal/bus"
	"netlyra/internal/bus/kafka"
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
	"netlyra/ui"

	"github.com/prometheus/client_golang/prometheus"
)

// watch captures, detects, stores and serves until ctx ends.
func (p *program) watch(ctx context.Context, c *config.Run, log *slog.Logger, out *telemetry.Detached) (err error) {
	w := &watcher{config: c, log: log, warn: func(text string) { logWarning(log, text) }, out: out, end: ctx.Done(), deciders: deciders(), decided: role.NewSignal(), posted: role.NewSignal(), boot: random64(), registry: telemetry.Registry()} // who started it is known before the user changes
	if err := w.changeUser(); err != nil {
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
		if w.broker != nil {
			err = errors.Join(err, w.broker.Close())
		}
		if w.store != nil {
			err = errors.Join(err, w.store.Close())
		}
	}()
	if err := w.open(ctx, p); err != nil {
		return err
	}
	console, sensor, detector, err := w.build(ctx)
	if err != nil {
		return err
	}
	if err := w.enterSandbox(ctx); err != nil {
		return errors.Join(err, console.Close())
	}
	log.LogAttrs(ctx, slog.LevelInfo, "watching", slog.String("source", w.name), slog.String("page", console.URL()))
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
		Name: c.Sensor, Version: version(), Boot: w.boot, Source: w.name, Workers: c.Workers, File: c.Read != "", Live: true, Stay: true,
		Flow: flow.Options{MaxConnections: c.MaxConnections, Seed: random64(), FirstID: last + 1},
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
	if w.broker, err = openBroker(&c.Broker, c.Sensor, w.log, w.warn); err != nil {
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

func (w *watcher) storeOptions() store.Options {
	c := w.config
	return store.Options{
		Path: c.Database, Temporary: c.Database == config.DatabaseTemporary, Log: w.log,
		AlertAge: time.Duration(c.AlertAge), ConnectionAge: time.Duration(c.ConnectionAge), MaxBytes: c.DatabaseMaxMB * 1e6,
		DrainTimeout:  drainTimeout,
		TriageChanged: w.decided.Set,
		Outbox:        len(c.Brokers) > 0 && c.Detector == config.DetectorGo, Posted: w.posted.Set,
	}
}

// drainTimeout is for what the store has accepted, at the end: with the alert keeper's last attempt it stays below the ten seconds
// that an orderly end may take.
const drainTimeout = 2 * time.Second

// watcher holds what the roles are made of.
type watcher struct {
	config    *config.Run
	log       *slog.Logger
	warn      func(text string)
	out       *telemetry.Detached // where log writes
	filter    *packetFilter
	sources   []pipeline.Source
	name      string            // of what is watched
	fileTime  func(int64) int64 // of a file
	received  func() uint64     // of a file
	links     func() []models.Interface
	live      capture.LiveOptions // of the interfaces
	noRoute   bool                // they are all that are up, as there is no default route
	store     *store.Store
	decided   role.Signal     // alerts have left the list or come back
	learned   *role.Learned   // nil: nothing is kept
	boot      uint64          // random at each start
	posted    role.Signal     // there is something new in the outbox
	broker    *kafka.Bus      // nil: nothing leaves the process
	published bus.Producer    // of the broker
	publisher *role.Publisher // beside broker
	external  *role.External  // nil: nobody else detects
	bus       *bus.Memory
	registry  *prometheus.Registry
	serving   api.Options                 // where and to whom is served
	sandbox   atomic.Pointer[api.Sandbox] // nil: it is off
	deciders  []int
	end       <-chan struct{} // closed when the program is to end
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
	w.name = strings.Join(names, ", ")
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
	w.name = filepath.Base(c.Read)
	return nil
}

// keepsState says whether what is learned is kept on disk.
func (w *watcher) keepsState() bool {
	return w.config.State != config.StateOff && w.config.Detector == config.DetectorGo
}

func (w *watcher) drops() []models.Drop {
	log := models.Drop{Stage: "log", Reason: "unread", Count: w.out.Lost(), Unit: models.DropLines, Effect: models.DropUnlisted}
	if w.broker == nil {
		return []models.Drop{log}
	}
	return append(brokerDrops(w.broker), log)
}

// tlsDir is the directory beside the database for a certificate of our own.
const tlsDir = "tls"

// serverOptions say where and to whom is served.
func (w *watcher) serverOptions() (api.Options, error) {
	c := w.config
	token, read, err := w.tokens()
	return api.Options{
		Listen: c.Listen, WSListen: c.WSListen, AllowedHosts: c.AllowedHosts, Token: token, ReadToken: read, Deciders: w.deciders,
		TLS: api.TLS{CertFile: c.TLSCert, KeyFile: c.TLSKey},
	}, err
}

// apiOptions add the page to what is served.
func (w *watcher) apiOptions() (api.Options, error) {
	o := w.serving
	page, err := fs.Sub(ui.Dist, "dist")
	if err != nil {
		return o, err
	}
	if _, err := fs.Stat(page, "index.html"); err == nil {
		o.UI = page
	}
	o.TLS.Dir = filepath.Join(filepath.Dir(w.store.Path()), tlsDir)
	o.Version, o.Sandbox, o.Registry = version(), w.sandbox.Load, w.registry
	return o, nil
}

// health lists why what belongs to no role is not at its best.
func (w *watcher) health() (reasons []api.Reason) {
	if w.learned != nil {
		reasons = w.learned.Health()
	}
	if w.broker != nil {
		reasons = append(reasons, brokerHealth(w.broker)...)
	}
	if problem := w.out.Problem(); problem != "" {
		reasons = append(reasons, api.Reason{Code: "log_unread", Message: fmt.Sprintf("Lines of the log do not arrive: %s. Lines lost so far: %d.", problem, w.out.Lost())})
	}
	return reasons
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
