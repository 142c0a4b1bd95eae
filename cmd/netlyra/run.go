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
)

// watch captures, detects, stores and serves until ctx ends.
func (p *program) watch(ctx context.Context, c *config.Run, log *slog.Logger, out *telemetry.Detached) (err error) {
	w := &watcher{config: c, log: log, warn: func(text string) { logWarning(log, text) }, out: out, end: ctx.Done(), deciders: deciders(), decided: role.NewSignal()} // who started it is known before the user changes
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
	err = role.Run(ctx, w.bus, first, console.Readers(), append(console.Servers(), returnMemory))
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
	var judge pipeline.Detector
	if c.Detector != "off" {
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
	var seed, boot [8]byte
	_, _ = rand.Read(seed[:]) // never fails
	_, _ = rand.Read(boot[:])
	changed := role.NewSignal()
	sensor, err = role.NewSensor(role.SensorOptions{
		Name: c.Sensor, Version: version(), Boot: binary.LittleEndian.Uint64(boot[:]), Source: w.name, Workers: c.Workers, File: c.Read != "", Live: true, Stay: true,
		Flow: flow.Options{MaxConnections: c.MaxConnections, Seed: binary.LittleEndian.Uint64(seed[:]), FirstID: last + 1},
	}, role.SensorDeps{
		Sources: w.sources, Detector: judge, Bus: producer, Topics: role.ConsoleTopics(), Changed: changed, Links: w.links, Received: w.received, FileTime: w.fileTime, Log: w.log,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	served, err := w.apiOptions()
	if err != nil {
		return nil, nil, nil, err
	}
	console, err = role.NewConsole(ctx, role.ConsoleOptions{API: served, Wait: c.Read != ""}, role.ConsoleDeps{
		Store: w.store, Decided: w.decided, Bus: w.bus, Sensor: sensor, Detector: detector, Changed: changed,
		Drops: w.drops, Health: w.health, Ending: w.end, Log: w.log,
	})
	return console, sensor, detector, err
}

func (w *watcher) storeOptions() store.Options {
	c := w.config
	return store.Options{
		Path: c.Database, Temporary: c.Database == config.DatabaseTemporary, Log: w.log,
		AlertAge: time.Duration(c.AlertAge), ConnectionAge: time.Duration(c.ConnectionAge), MaxBytes: c.DatabaseMaxMB * 1e6,
		DrainTimeout:  drainTimeout,
		TriageChanged: w.decided.Set,
	}
}

// drainTimeout is for what the store has accepted, at the end: with the alert keeper's last attempt it stays below the ten seconds
// that an orderly end may take.
const drainTimeout = 2 * time.Second

// watcher holds what the roles are made of.
type watcher struct {
	config   *config.Run
	log      *slog.Logger
	warn     func(text string)
	out      *telemetry.Detached // where log writes
	filter   *packetFilter
	sources  []pipeline.Source
	name     string            // of what is watched
	fileTime func(int64) int64 // of a file
	received func() uint64     // of a file
	links    func() []models.Interface
	live     capture.LiveOptions // of the interfaces
	noRoute  bool                // they are all that are up, as there is no default route
	store    *store.Store
	decided  role.Signal   // alerts have left the list or come back
	learned  *role.Learned // nil: nothing is kept
	bus      *bus.Memory
	serving  api.Options                 // where and to whom is served
	sandbox  atomic.Pointer[api.Sandbox] // nil: it is off
	deciders []int
	end      <-chan struct{} // closed when the program is to end
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
	return w.config.State != config.StateOff && w.config.Detector != "off"
}

func (w *watcher) drops() []models.Drop {
	return []models.Drop{{Stage: "log", Reason: "unread", Count: w.out.Lost(), Unit: models.DropLines, Effect: models.DropUnlisted}}
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
	o.Version, o.Sandbox, o.Registry = version(), w.sandbox.Load, telemetry.Registry()
	return o, nil
}

// health lists why what belongs to no role is not at its best.
func (w *watcher) health() (reasons []api.Reason) {
	if w.learned != nil {
		reasons = w.learned.Health()
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
