package role

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"netlyra/internal/api"
	"netlyra/internal/bus"
	"netlyra/internal/livetable"
	"netlyra/internal/models"
	"netlyra/internal/store"
	"netlyra/internal/telemetry"
)

// ConsoleOptions configure a Console.
type ConsoleOptions struct {
	// API says where and to whom is served, and what the page is. What a Console adds itself is overwritten: Store, Live, Health.
	API   api.Options
	Group string // begins the names of the groups in which the bus is read: a broker tells consoles apart by it
	Wait  bool   // for room in the database rather than drop what there is none for: a file can wait
}

// ConsoleDeps are what a Console needs.
type ConsoleDeps struct {
	Store    *store.Store
	Decided  Signal // set by the store when alerts leave the list or come back
	Bus      bus.Bus
	Sensor   *Sensor   // of this process, whose present state is served; nil: those of Fleet are
	Fleet    *Fleet    // sensors elsewhere, whose records come over Bus
	Detector *Detector // nil: there is none in this process
	External *External // where others detect; nil: they do not
	Changed  Signal    // set by the sensor when its statistics or connections have changed
	// Drops and Health are those of parts that the console does not know.
	Drops  func() []models.Drop
	Health func() []api.Reason
	Ending <-chan struct{} // closed when the program has been asked to end
	Log    *slog.Logger
}

// Console stores what sensors and detectors say, and serves it.
type Console struct {
	options ConsoleOptions
	deps    ConsoleDeps
	watched watched
	server  *api.Server
	keeper  *keeper
	table   *livetable.Table
	updates atomic.Uint64   // of the table
	expired int64           // capture time up to which the table has been gone over
	cutOff  []*models.Alert // that nobody goes on with
	alerts  bus.Consumer
	rest    bus.Consumer
	stored  chan struct{} // closed when the keeper has ended
}

// watched is what a console shows the present state of: a Sensor or a Fleet.
type watched interface {
	// Stats is cheap, and may be called from any goroutine.
	Stats() models.Stats
	// Generation rises whenever Stats may have changed.
	Generation() uint64
	// Query lists live connections.
	Query(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error)
	// Health lists why it is not at its best.
	Health() []api.Reason
	// Sensors are the states of its sensors.
	Sensors() []models.SensorState
}

// ConsoleTopics are what a Console reads.
func ConsoleTopics() []bus.Topic {
	return []bus.Topic{bus.TopicAlerts, bus.TopicConnections, bus.TopicHosts, bus.TopicSensors}
}

// NewConsole binds the listeners and joins the bus. A Console that is not run is to be closed.
func NewConsole(ctx context.Context, o ConsoleOptions, deps ConsoleDeps) (_ *Console, err error) {
	c := &Console{options: o, deps: deps, watched: deps.Sensor, table: livetable.New(), stored: make(chan struct{})}
	if deps.Fleet != nil {
		c.watched, c.table = deps.Fleet, deps.Fleet.table
	}
	var goOn []string
	if deps.Detector != nil {
		goOn = deps.Detector.OpenIncidents()
	}
	if deps.External == nil && deps.Fleet == nil { // which may go on with any
		if c.cutOff, err = cutOff(ctx, deps.Store, deps.Sensor.options.Name, goOn); err != nil {
			return nil, err
		}
	}
	if deps.External != nil {
		c.alerts = deps.External.alerts
	} else if c.alerts, err = deps.Bus.Consumer(o.Group+"alerts", bus.TopicAlerts); err != nil {
		return nil, err
	}
	// Alerts are committed before all else, and wait for nothing that waits for room.
	if c.rest, err = deps.Bus.Consumer(o.Group+"console", bus.TopicConnections, bus.TopicHosts, bus.TopicSensors); err != nil {
		return nil, err
	}
	o.API.Store, o.API.Live, o.API.News, o.API.Health, o.API.Log = storeReader{deps.Store}, present{c}, deps.Changed, c.health, deps.Log
	if c.server, err = api.New(o.API); err != nil {
		return nil, err
	}
	c.keeper = newKeeper(deps.Store, c.server.PublishAlert, deps.Log, c.ending, deps.Bus.Done(), deps.External != nil || deps.Fleet != nil)
	if err := c.keeper.register(o.API.Registry); err != nil {
		return nil, errors.Join(err, c.server.Close())
	}
	return c, nil
}

// URL is where the page is.
func (c *Console) URL() string { return c.server.URL() }

// Stats is what the API tells of now.
func (c *Console) Stats() models.Stats { return present{c}.Stats() }

// Close gives the listeners of a Console up that is not run.
func (c *Console) Close() error { return c.server.Close() }

// UntilAsked is what goes on until the program is asked to end, where nothing else in this process says when: a console of a fleet.
func UntilAsked(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Readers are the parts that read the bus to its end.
func (c *Console) Readers() []Part {
	return []Part{
		PartFunc(func(ctx context.Context) error {
			defer close(c.stored)
			if c.deps.External != nil { // whose alerts are on another bus
				open, stop := c.untilClosed(ctx)
				defer stop()
				defer context.AfterFunc(open, func() { _ = c.alerts.Close() })()
			}
			return c.keeper.run(ctx, c.alerts)
		}),
		PartFunc(c.read),
	}
}

// untilClosed is a context that ends when the bus has been closed.
func (c *Console) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	open, stop := context.WithCancel(ctx)
	go func() {
		defer stop()
		select {
		case <-c.deps.Bus.Done():
		case <-open.Done():
		}
	}()
	return open, stop
}

// Stored is closed when all alerts that there will be are stored, or given up.
func (c *Console) Stored() <-chan struct{} { return c.stored }

// Servers are the parts that go on until everything has been read: database, API and what serves them.
func (c *Console) Servers() []Part {
	return []Part{c.deps.Store, c.server, PartFunc(c.decided), PartFunc(c.closeCutOff)}
}

// decided passes on to clients that alerts have left the list or come back.
func (c *Console) decided(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.deps.Decided:
			c.server.TriageChanged()
		}
	}
}

// read stores and shows connections, hosts and seconds until the bus is closed and empty.
func (c *Console) read(ctx context.Context) error {
	open, stop := c.untilClosed(ctx)
	defer stop()
	for {
		records, err := c.rest.Poll(ctx)
		for i := range records {
			c.take(&records[i])
		}
		if err == nil && c.deps.Fleet != nil { // what is committed does not come again; what is not stored at the end does
			if err = c.deps.Store.Settle(open); err == nil {
				err = c.deps.Fleet.CutOff(open)
			}
		}
		if err == nil {
			err = c.rest.Commit(ctx)
		}
		switch {
		case errors.Is(err, bus.ErrClosed), errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			return fmt.Errorf("console: %w", err)
		}
	}
}

func (c *Console) take(r *bus.Record) {
	switch v := r.Value.(type) {
	case bus.Connections:
		if c.deps.Fleet != nil {
			v = c.deps.Fleet.Own(r.Key, v)
		}
		c.show(r.Key, &v)
		c.store(v.Changed)
	case bus.Hosts:
		c.deps.Store.OfferHosts(v.Hosts)
	case bus.Sensor:
		c.deps.Store.OfferSeries(v.Series)
	}
}

// show changes what pages see. Its clock is that of the same sensor's records: what other topics, or sensors, tell may be of another time.
func (c *Console) show(sensor string, v *bus.Connections) {
	now := int64(v.Now)
	c.table.Update(v.Changed, now)
	c.table.Update(v.Moving, now)
	expired := &c.expired
	if c.deps.Fleet != nil {
		expired = c.deps.Fleet.expired(sensor)
	}
	switch since := now - *expired; {
	case v.Ended:
		c.table.Clear(sensor)
	case since >= 1_000_000, since < 0: // or the clock was set back
		c.table.Expire(sensor, now)
		*expired = now
	case len(v.Changed)+len(v.Moving) == 0:
		return
	}
	c.updates.Add(1)
	c.server.Changed()
}

const (
	roomRows  = 2000 // connections handed over at a time
	roomPause = 5 * time.Millisecond
)

// store hands connections to the database. A file can wait until there is room, as long as the program is not to end; an interface cannot.
func (c *Console) store(cs []models.Connection) {
	for len(cs) > 0 {
		n := min(len(cs), roomRows)
		for c.options.Wait && c.deps.Store.Room() < n && !c.over() {
			time.Sleep(roomPause)
		}
		c.deps.Store.OfferConnections(cs[:n])
		cs = cs[n:]
	}
}

// over says whether nothing waits for the database any more: the program has been asked to end or, of a fleet, the bus has been closed because some part has failed.
func (c *Console) over() bool {
	if c.deps.Fleet != nil {
		select {
		case <-c.deps.Bus.Done():
			return true
		default:
		}
	}
	return c.ending()
}

// ending says whether the program has been asked to end.
func (c *Console) ending() bool {
	select {
	case <-c.deps.Ending:
		return true
	default:
		return false
	}
}

// closeCutOff stores the end of alerts that nobody goes on with.
func (c *Console) closeCutOff(ctx context.Context) error {
	if len(c.cutOff) == 0 {
		return nil
	}
	attrs := []slog.Attr{slog.Int("alerts", len(c.cutOff))}
	if err := c.deps.Store.SaveAlerts(ctx, c.cutOff); err != nil {
		c.deps.Log.LogAttrs(ctx, slog.LevelError, "alerts of the last run stay open", append(attrs, slog.Any("error", err))...)
		return nil
	}
	c.deps.Log.LogAttrs(ctx, slog.LevelInfo, "closed alerts of the last run that nobody goes on with", attrs...)
	return nil
}

// health lists why the program is not at its best.
func (c *Console) health() []api.Reason {
	var reasons []api.Reason
	h := c.deps.Store.Health()
	if !h.Healthy {
		reasons = append(reasons, api.Reason{Code: h.Code, Message: h.Problem})
	}
	for _, file := range h.SetAside {
		reasons = append(reasons, api.Reason{Code: "database_set_aside", Message: "The database was damaged and has been set aside as " + file + "."})
	}
	if h.Exposed != "" {
		reasons = append(reasons, api.Reason{Code: models.StoreExposed, Message: "Anybody on this machine may write into " + h.Exposed + ", where the database is."})
	}
	if c.deps.External != nil {
		reasons = append(reasons, c.deps.External.Health()...)
	}
	reasons = append(reasons, c.deps.Health()...)
	return append(reasons, c.watched.Health()...)
}

// present shows the API what is now.
type present struct{ c *Console }

func (p present) Stats() models.Stats {
	d, k := &p.c.deps, p.c.keeper
	s := p.c.watched.Stats()
	if d.Detector != nil {
		d.Detector.Fill(&s)
	}
	if d.External != nil {
		d.External.Fill(&s)
	}
	if d.External != nil || d.Fleet != nil {
		s.Alerts.Raised = k.stored.Load() + k.hidden.Load() + k.lost.Load() // as far as they have come here
	}
	s.MemoryBytes = telemetry.ResidentBytes()
	s.Alerts.Stored, s.Alerts.Suppressed, s.Alerts.Dropped = k.stored.Load(), k.hidden.Load(), k.lost.Load()
	s.Drops = slices.Concat(s.Drops, d.Bus.Drops(), d.Store.Drops(), d.Drops())
	return s
}

func (p present) Generation() uint64 { return p.c.watched.Generation() + p.c.updates.Load() }

// LiveConnections lists the connections of the sensor's tables, with the rates and incidents that are known of those that move.
func (p present) LiveConnections(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	page, err := p.c.watched.Query(ctx, q)
	for i := range page.Items {
		c := &page.Items[i]
		if known, ok := p.c.table.Find(c.ID); ok {
			c.RateUp, c.RateDown, c.Alert, c.Score = known.RateUp, known.RateDown, known.Alert, known.Score
		}
	}
	return page, err
}

// Sensors are the states of the sensors that are watched.
func (p present) Sensors() []models.SensorState {
	all, d := p.c.watched.Sensors(), &p.c.deps
	var s models.Stats
	switch {
	case d.Detector != nil:
		d.Detector.Fill(&s)
	case d.External != nil:
		d.External.Fill(&s)
	default:
		return all
	}
	for i := range all { // there is one
		all[i].Detector, all[i].Learning = s.Detector.Name, s.Detector.Learning
	}
	return all
}

func (p present) ConnectionChanges(since uint64) models.ConnectionChanges {
	return p.c.table.Since(since)
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
