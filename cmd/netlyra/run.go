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
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"netlyra/internal/api"
	"netlyra/internal/bus"
	"netlyra/internal/capture"
	"netlyra/internal/config"
	"netlyra/internal/detect"
	"netlyra/internal/flow"
	"netlyra/internal/models"
	"netlyra/internal/pipeline"
	"netlyra/internal/state"
	"netlyra/internal/store"
	"netlyra/internal/telemetry"
	"netlyra/ui"
)

// watch captures, detects, stores and serves until ctx ends.
func (p *program) watch(ctx context.Context, c *config.Run, log *slog.Logger, out *telemetry.Detached) (err error) {
	w := &watcher{config: c, log: log, warn: func(text string) { logWarning(log, text) }, out: out, end: ctx.Done(), deciders: deciders()} // who started it is known before the user changes
	if err := w.changeUser(); err != nil {
		return err
	}
	if err := w.check(ctx, p, nil, nil); err != nil {
		return err
	}
	if err := w.openSource(ctx, p); err != nil {
		return err
	}
	defer func() {
		for _, s := range w.sources {
			err = errors.Join(err, s.Close())
		}
	}()
	if w.store, err = store.New(ctx, w.storeOptions()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.store.Close()) }()
	if c.Database == config.DatabaseTemporary {
		log.LogAttrs(ctx, slog.LevelInfo, "what the capture shows is kept until the end of the program; --database FILE keeps it", slog.String("path", w.store.Path()))
	}
	if err := w.openServer(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.memory.close()) }()
	if err := w.openPipeline(ctx); err != nil {
		return errors.Join(err, w.server.Close())
	}
	if err := w.enterSandbox(ctx); err != nil {
		return errors.Join(err, w.server.Close())
	}
	return w.run(ctx)
}

func (w *watcher) storeOptions() store.Options {
	c := w.config
	return store.Options{
		Path: c.Database, Temporary: c.Database == config.DatabaseTemporary, Log: w.log,
		AlertAge: time.Duration(c.AlertAge), ConnectionAge: time.Duration(c.ConnectionAge), MaxBytes: c.DatabaseMaxMB * 1e6,
		DrainTimeout:  drainTimeout,
		TriageChanged: func() { w.server.TriageChanged() }, // nothing changes before the store runs, and by then there is a server
	}
}

// drainTimeout is for what the store has accepted, at the end: with the alert keeper's last attempt it stays below the ten seconds
// that an orderly end may take.
const drainTimeout = 2 * time.Second

// watcher holds the parts of a running program.
type watcher struct {
	config   *config.Run
	log      *slog.Logger
	warn     func(text string)
	out      *telemetry.Detached // where log writes
	filter   *packetFilter
	sources  []pipeline.Source
	name     string            // of what is watched
	fileTime func(int64) int64 // of a file
	links    func() []models.Interface
	live     capture.LiveOptions // of the interfaces
	noRoute  bool                // they are all that are up, as there is no default route
	store    *store.Store
	bus      *bus.Memory
	pipe     *pipeline.Pipeline
	serving  api.Options // where and to whom is served
	server   *api.Server
	ended    atomic.Bool // the file has been played to its end
	changed  atomic.Pointer[func()]
	keeper   *keeper
	memory   *memory         // nil: nothing is kept
	cutOff   []*models.Alert // that nobody goes on with
	sandbox  *api.Sandbox    // nil: it is off
	deciders []int
	end      <-chan struct{} // closed when the program is to end
}

// run runs the parts in the order in which data flows. The packet path ends first; what it has handed on is stored and served
// before the others end.
func (w *watcher) run(ctx context.Context) error {
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()
	consumer, err := w.bus.Consumer("store", bus.TopicAlerts)
	if err != nil {
		return err
	}
	w.log.LogAttrs(ctx, slog.LevelInfo, "watching", slog.String("source", w.name), slog.String("page", w.server.URL()))
	g, gctx := errgroup.WithContext(rest)
	g.Go(func() error { return w.store.Run(rest) }) // what failed elsewhere is no reason to lose what is accepted
	g.Go(func() error { return w.server.Run(gctx) })
	if w.config.Read == "" {
		g.Go(func() error { return w.watchLinks(gctx) })
	}
	g.Go(func() error {
		telemetry.ReturnMemory(gctx, time.Minute)
		return nil
	})
	g.Go(func() error {
		w.closeCutOff(gctx)
		return nil
	})
	keep, done := context.WithCancel(rest)
	kept := make(chan struct{})
	g.Go(func() error {
		defer close(kept)
		return w.keeper.run(keep, consumer)
	})
	g.Go(func() error {
		// Ends with ctx, or when another part has failed.
		run, stop := context.WithCancel(ctx)
		defer stop()
		context.AfterFunc(gctx, stop)
		err := w.pipe.Run(run)
		w.ended.Store(true)
		if err == nil && run.Err() == nil {
			w.log.LogAttrs(ctx, slog.LevelInfo, "the file has ended; serving on", slog.String("source", w.name))
		}
		if err != nil {
			w.log.LogAttrs(ctx, slog.LevelError, "reading has ended", slog.String("source", w.name), slog.Any("error", err))
		}
		if err == nil || errors.As(err, new(*capture.DamageError)) {
			<-run.Done() // serve on after the end of a file
		}
		_ = w.bus.Close() // what it holds is still read
		<-kept
		done()
		stopRest()
		return err
	})
	err = g.Wait()
	s := w.pipe.Stats()
	w.log.LogAttrs(ctx, slog.LevelInfo, "stopped", slog.Uint64("packets", s.Packets), slog.Uint64("alert_revisions", s.Alerts.Raised))
	done()
	return err
}

// closeCutOff stores the end of alerts that nobody goes on with.
func (w *watcher) closeCutOff(ctx context.Context) {
	if len(w.cutOff) == 0 {
		return
	}
	attrs := []slog.Attr{slog.Int("alerts", len(w.cutOff))}
	if err := w.store.SaveAlerts(ctx, w.cutOff); err != nil {
		w.log.LogAttrs(ctx, slog.LevelError, "alerts of the last run stay open", append(attrs, slog.Any("error", err))...)
		return
	}
	w.log.LogAttrs(ctx, slog.LevelInfo, "closed alerts of the last run that nobody goes on with", attrs...)
}

// openSource opens the file. Of interfaces it only says which they are: their rings are opened last, as they fill from then on.
func (w *watcher) openSource(ctx context.Context, p *program) error {
	if w.config.Read != "" {
		return w.openReplay(p)
	}
	if w.noRoute {
		w.log.LogAttrs(ctx, slog.LevelInfo, "no interface is given and there is no default route: every interface that is up is watched; --interface names others",
			slog.Any("interfaces", w.live.Interfaces))
	}
	return nil
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
	w.name = filepath.Base(c.Read)
	w.links = func() []models.Interface {
		state := "file"
		if w.ended.Load() {
			state = "ended"
		}
		return []models.Interface{{Name: w.name, Link: state, Received: replay.Stats().Frames}}
	}
	return nil
}

func (w *watcher) openPipeline(ctx context.Context) error {
	c := w.config
	last, err := w.store.MaxConnectionID(ctx)
	if err != nil {
		return err
	}
	if w.keepsState() {
		if w.memory, err = openMemory(state.Path(c.State, c.Sensor), w.log); err != nil {
			return err
		}
	}
	if c.Read == "" {
		if err := w.openRings(); err != nil {
			return err
		}
	}
	telemetry.PaceCollections(heapBase+int64(c.MaxConnections)*connectionBytes, os.LookupEnv)
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails
	w.bus = bus.NewMemory(bus.MemoryOptions{})
	producer, err := w.bus.Producer()
	if err != nil {
		return err
	}
	w.pipe, err = pipeline.New(pipeline.Options{
		Sensor: c.Sensor, SourceName: w.name, Sources: w.sources, Workers: c.Workers, Live: true, Wait: c.Read != "",
		Flow:        flow.Options{MaxConnections: c.MaxConnections, Seed: binary.LittleEndian.Uint64(seed[:]), FirstID: last + 1},
		Detect:      detect.Options{Seed: analysisSeed, BudgetDay: c.AlertBudget},
		DetectorOff: c.Detector == "off",
		FileTime:    w.fileTime,
		Memory:      w.memory.options(time.Duration(c.StateEvery)),
		Outputs: pipeline.Outputs{
			Alerts: func(ctx context.Context, alerts []models.Alert) error {
				for i := range alerts {
					a := alerts[i]
					if err := producer.Produce(ctx, bus.Record{Topic: bus.TopicAlerts, Key: c.Sensor, Value: bus.Alert{Alert: &a}}); err != nil {
						return err
					}
				}
				return nil
			},
			Connections: w.keepConnections,
			Hosts:       func(hs []models.Host) { w.store.OfferHosts(hs) },
			Series:      func(ps []models.SeriesPoint) { w.store.OfferSeries(ps) },
			Changed: func() {
				if f := w.changed.Load(); f != nil {
					(*f)()
				}
			},
		},
		Links: w.links, Drops: w.drops, Resident: telemetry.ResidentBytes,
	})
	if err != nil {
		return err
	}
	w.cutOff, err = cutOff(ctx, w.store, c.Sensor, w.pipe.OpenIncidents())
	return err
}

// keepsState says whether what is learned is kept on disk.
func (w *watcher) keepsState() bool {
	return w.config.State != config.StateOff && w.config.Detector != "off"
}

// keepConnections hands connections to the store. A file can wait until there is room, as long as the program is not to end; an
// interface cannot wait.
func (w *watcher) keepConnections(cs []models.Connection) {
	for len(cs) > 0 {
		n := min(len(cs), roomRows)
		for w.config.Read != "" && w.store.Room() < n && !w.ending() {
			time.Sleep(roomPause)
		}
		w.store.OfferConnections(cs[:n])
		cs = cs[n:]
	}
}

const (
	roomRows  = 2000 // connections handed over at a time
	roomPause = 5 * time.Millisecond
)

// ending says whether the program has been asked to end.
func (w *watcher) ending() bool {
	select {
	case <-w.end:
		return true
	default:
		return false
	}
}

func (w *watcher) drops() []models.Drop {
	return slices.Concat(w.bus.Drops(), w.store.Drops(), []models.Drop{
		{Stage: "log", Reason: "unread", Count: w.out.Lost(), Unit: models.DropLines, Effect: models.DropUnlisted},
	})
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

func (w *watcher) openServer() error {
	page, err := fs.Sub(ui.Dist, "dist")
	if err != nil {
		return err
	}
	if _, err := fs.Stat(page, "index.html"); err != nil {
		page = nil
	}
	o := w.serving
	o.TLS.Dir = filepath.Join(filepath.Dir(w.store.Path()), tlsDir)
	o.Version, o.Store, o.Live, o.Health, o.Sandbox = version(), storeReader{w.store}, liveState{w}, w.health, func() *api.Sandbox { return w.sandbox }
	o.Registry, o.Log = telemetry.Registry(), w.log
	if page != nil {
		o.UI = page
	}
	if w.server, err = api.New(o); err != nil {
		return err
	}
	changed := w.server.Changed
	w.changed.Store(&changed)
	w.keeper = newKeeper(w.store, w.server.PublishAlert, w.log, w.ending)
	return w.keeper.register(o.Registry)
}

// health lists why the program is not at its best.
func (w *watcher) health() []api.Reason {
	var reasons []api.Reason
	h := w.store.Health()
	if !h.Healthy {
		reasons = append(reasons, api.Reason{Code: h.Code, Message: h.Problem})
	}
	for _, file := range h.SetAside {
		reasons = append(reasons, api.Reason{Code: "database_set_aside", Message: "The database was damaged and has been set aside as " + file + "."})
	}
	if h.Exposed != "" {
		reasons = append(reasons, api.Reason{Code: models.StoreExposed, Message: "Anybody on this machine may write into " + h.Exposed + ", where the database is."})
	}
	reasons = append(reasons, w.memory.health()...)
	if problem := w.out.Problem(); problem != "" {
		reasons = append(reasons, api.Reason{Code: "log_unread", Message: fmt.Sprintf("Lines of the log do not arrive: %s. Lines lost so far: %d.", problem, w.out.Lost())})
	}
	for _, l := range w.links() {
		if l.Link == "gone" || l.Link == "down" {
			reasons = append(reasons, api.Reason{Code: "interface_" + l.Link, Message: "The interface " + l.Name + " is " + l.Link + "."})
		}
	}
	return reasons
}

// liveState shows the API the pipeline.
type liveState struct{ w *watcher }

func (l liveState) Stats() models.Stats {
	s := l.w.pipe.Stats()
	k := l.w.keeper
	s.Alerts.Stored, s.Alerts.Suppressed, s.Alerts.Dropped = k.stored.Load(), k.hidden.Load(), k.lost.Load()
	return s
}

func (l liveState) Generation() uint64 { return l.w.pipe.Generation() }

func (l liveState) LiveConnections(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	return l.w.pipe.Query(ctx, q)
}

func (l liveState) ConnectionChanges(since uint64) models.ConnectionChanges {
	return l.w.pipe.Changes(since)
}

// storeReader shows the API the store.
type storeReader struct{ *store.Store }

// Alert reads one alert.
func (s storeReader) Alert(ctx context.Context, id string) (models.Alert, error) {
	a, err := s.Store.Alert(ctx, id)
	if err != nil {
		return models.Alert{}, err
	}
	return *a, nil
}
