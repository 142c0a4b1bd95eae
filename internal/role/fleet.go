package role

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"netlyra/internal/api"
	"netlyra/internal/bus"
	"netlyra/internal/livetable"
	"netlyra/internal/models"
	"netlyra/internal/telemetry"
)

// FleetDeps are what a Fleet needs.
type FleetDeps struct {
	Store   Origins
	Bus     bus.Bus // signs of life are read from it
	Changed Signal  // set when something has been heard
	Log     *slog.Logger
	Now     func() time.Time // the wall clock; nil means time.Now
}

// Origins is what the database knows of connections of sensors elsewhere. A store.Store has it.
type Origins interface {
	MaxConnectionID(ctx context.Context) (int64, error)
	Origins(ctx context.Context, open, ended int) ([]models.Connection, error)
	CutOff(ctx context.Context, sensor string, boot int64) error
}

// Fleet knows the sensors elsewhere that a console serves: their states, and the numbers that their connections have here. What it is told comes from the
// broker, and may be hostile: all it holds is bounded.
type Fleet struct {
	deps       FleetDeps
	signs      bus.Consumer
	started    time.Time
	table      *livetable.Table // the console's, of connections that move
	generation atomic.Uint64
	failing    *telemetry.Limiter // the line about connections that stay open

	mu      sync.Mutex
	sensors map[string]*member
	ids     map[origin]int64   // of open connections: the number here
	ended   map[origin]int64   // of those that have ended lately, which the broker may deliver again
	order   []origin           // of ended, the oldest first
	last    int64              // the highest number that was given
	starts  map[string]int64   // by sensor: the start whose connections are numbered here; others are cut off
	left    map[string][]int64 // by sensor: starts before that one, the latest last; the broker may deliver their records again
	cuts    map[string]int64   // by sensor: the start all others of which are to be cut off
	refused uint64             // signs of life of sensors for which there was no room
}

// origin is a connection as its sensor numbers it.
type origin struct {
	sensor string
	boot   int64
	id     int64
}

// member is one sensor.
type member struct {
	state   bus.Sensor
	seen    time.Time // when it was heard last
	rate    models.SeriesPoint
	seconds float64  // that rate is the sum of
	before  []uint64 // the starts of which it told before this one, the latest last
	twice   time.Time
	judge   models.DetectorStats
	judged  time.Time // when its detector was heard last
	silent  bool      // that has been logged
	expired int64     // capture time up to which the table has been gone over
}

const (
	maxSensors = 4096
	maxOrigins = 1 << 19 // open connections whose numbers are known; of those beyond, a connection comes as another one
	maxEnded   = 1 << 16 // connections that have ended: several times what a broker may deliver again
	maxStarts  = 8       // of one sensor that are told from new ones
	twiceFor   = time.Minute
	forgetTime = 24 * time.Hour // without a sign of life, after which a sensor is none any more
	maxDrops   = 64             // reasons, and interfaces, that are kept of one sensor, and reasons in all
	tellNames  = 5              // names in one sentence
)

// NewFleet knows the connections that the database has open.
func NewFleet(ctx context.Context, deps FleetDeps) (*Fleet, error) {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	f := &Fleet{
		deps: deps, started: deps.Now(), table: livetable.New(), sensors: map[string]*member{}, ids: map[origin]int64{}, ended: map[origin]int64{},
		starts: map[string]int64{}, left: map[string][]int64{}, cuts: map[string]int64{}, failing: telemetry.NewLimiter(time.Minute),
	}
	f.generation.Store(1)
	var err error
	if f.signs, err = deps.Bus.Tail(bus.TopicSensors); err != nil { // apart from what waits for the database
		return nil, err
	}
	if f.last, err = deps.Store.MaxConnectionID(ctx); err != nil {
		return nil, err
	}
	known, err := deps.Store.Origins(ctx, maxOrigins, maxEnded)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(known, func(a, b models.Connection) int { return cmp.Compare(a.ID, b.ID) })
	for i := range known {
		c := &known[i]
		if key := (origin{c.Sensor, c.Boot, c.Origin}); c.End == models.ConnOpen {
			f.ids[key] = c.ID
		} else {
			f.end(key, c.ID)
		}
		f.starts[c.Sensor] = c.Boot // of the latest
	}
	for i := range known {
		if c := &known[i]; f.starts[c.Sensor] != c.Boot {
			f.leave(c.Sensor, c.Boot)
		}
	}
	for key := range f.ids {
		if f.starts[key.sensor] != key.boot { // the console has ended before it could cut them off
			f.cuts[key.sensor] = f.starts[key.sensor]
		}
		if f.sensors[key.sensor] == nil && len(f.sensors) < maxSensors { // one that is not heard any more is told, and its connections are cut off in the end
			f.sensors[key.sensor] = &member{seen: f.started}
		}
	}
	return f, nil
}

// end remembers a connection that has ended, for a while.
func (f *Fleet) end(key origin, id int64) {
	if _, known := f.ended[key]; known {
		return
	}
	if len(f.order) == maxEnded {
		delete(f.ended, f.order[0])
		f.order = f.order[1:]
	}
	f.ended[key] = id
	f.order = append(f.order, key)
}

// Own gives the connections of a sensor their numbers here.
func (f *Fleet) Own(sensor string, v bus.Connections) bus.Connections {
	f.mu.Lock()
	defer f.mu.Unlock()
	boot := int64(v.Boot)
	f.renumber(sensor, boot)
	for _, cs := range [][]models.Connection{v.Changed, v.Moving} {
		for i := range cs {
			c := &cs[i]
			key := origin{sensor, boot, c.ID}
			id, known := f.ids[key]
			if !known {
				id, known = f.ended[key]
			}
			if !known {
				f.last++
				id = f.last
				f.makeRoom()
				f.ids[key] = id
			}
			if c.End != models.ConnOpen {
				delete(f.ids, key)
				f.end(key, id)
			}
			c.Boot, c.Origin, c.ID = boot, c.ID, id
		}
	}
	return v
}

// renumber notices that a sensor has started anew: nobody tells the ends of the connections that were open.
func (f *Fleet) renumber(sensor string, boot int64) {
	m := f.sensors[sensor]
	before, known := f.starts[sensor]
	if m == nil && !known || known && before == boot { // who gives no sign of life may be anybody
		return
	}
	twice := m != nil && f.deps.Now().Sub(m.twice) < twiceFor // two of one name end nothing of each other's
	if slices.Contains(f.left[sensor], boot) {                // delivered again
		if !twice {
			f.cuts[sensor] = before
		}
		return
	}
	f.starts[sensor] = boot
	if known {
		f.leave(sensor, before)
	}
	if !known || twice {
		return
	}
	f.forget(sensor, boot)
}

// leave notes that a start of a sensor is over.
func (f *Fleet) leave(sensor string, boot int64) {
	left := f.left[sensor]
	if !slices.Contains(left, boot) {
		f.left[sensor] = append(left[max(0, len(left)-maxStarts+1):], boot)
	}
}

// forget ends the connections of a sensor's starts but for one.
func (f *Fleet) forget(sensor string, but int64) {
	for o, id := range f.ids {
		if o.sensor == sensor && o.boot != but {
			delete(f.ids, o)
			f.end(o, id)
		}
	}
	f.cuts[sensor] = but
}

// CutOff ends in the database what is open of sensors' earlier starts. It waits for the writer; what the database does not take is tried again with the next
// call. The error is that of ctx.
func (f *Fleet) CutOff(ctx context.Context) error {
	f.mu.Lock()
	cuts := maps.Clone(f.cuts)
	f.mu.Unlock()
	for _, sensor := range slices.Sorted(maps.Keys(cuts)) {
		boot := cuts[sensor]
		if err := f.deps.Store.CutOff(ctx, sensor, boot); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			f.failing.Log(ctx, f.deps.Log, slog.LevelWarn, "connections of a sensor's last start stay open", slog.String("sensor", sensor), slog.Any("error", err))
			continue
		}
		f.mu.Lock()
		if f.cuts[sensor] == boot {
			delete(f.cuts, sensor)
		}
		f.mu.Unlock()
	}
	return nil
}

// expired is the capture time up to which the table has been gone over for a sensor. Only the console's reader may use it.
func (f *Fleet) expired(sensor string) *int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.sensors[sensor]; m != nil {
		return &m.expired
	}
	return new(int64) // it has given no sign of life yet
}

// makeRoom forgets the quarter of the numbers that is oldest, when there are too many.
func (f *Fleet) makeRoom() {
	if len(f.ids) < maxOrigins {
		return
	}
	all := slices.Sorted(maps.Values(f.ids))
	oldest := all[len(all)/4]
	maps.DeleteFunc(f.ids, func(_ origin, id int64) bool { return id < oldest })
}

// Hear takes a sign of life.
func (f *Fleet) Hear(name string, s bus.Sensor) {
	now := f.deps.Now()
	if now.Sub(time.UnixMicro(int64(s.TS))) > oldSign {
		return // what was in the topic before
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.sensors[name]
	if m == nil {
		if s.Role != bus.RoleSensor || s.Brief {
			return // a detector goes on to tell of sensors that are gone
		}
		if len(f.sensors) >= maxSensors {
			f.refused++
			return
		}
		m = &member{}
		f.sensors[name] = m
		f.deps.Log.LogAttrs(context.Background(), slog.LevelInfo, "sensor heard", slog.String("sensor", name), slog.String("version", s.Version))
	}
	f.generation.Add(1)
	if s.Brief {
		if s.Boot == m.state.Boot {
			m.state.Now, m.state.Packets, m.state.Bytes, m.state.Connections = s.Now, s.Packets, s.Bytes, s.Connections
		}
		return
	}
	if s.Role != bus.RoleSensor {
		m.judge, m.judged = models.DetectorStats{Name: cmp.Or(s.Detector.Name, string(s.Role)), Learning: s.Detector.Learning}, now
		return
	}
	if s.Boot != m.state.Boot && m.state.Boot != 0 {
		if slices.Contains(m.before, s.Boot) { // and after that another one: both are there
			if now.Sub(m.twice) > twiceFor {
				f.deps.Log.LogAttrs(context.Background(), slog.LevelError, "two sensors have one name: give each its own with --sensor", slog.String("sensor", name))
			}
			m.twice = now
		}
		m.before = append(slices.DeleteFunc(m.before, func(b uint64) bool { return b == s.Boot || b == m.state.Boot }), m.state.Boot)
		m.before = m.before[max(0, len(m.before)-maxStarts):]
	}
	if len(s.Series) == 0 && s.Now <= m.state.Now { // its source has ended
		m.rate, m.seconds = models.SeriesPoint{}, 0
	}
	m.state, m.seen = s, now
	if s.Detector.Name != "" {
		m.judge, m.judged = models.DetectorStats{Name: s.Detector.Name, Learning: s.Detector.Learning}, now
	}
	if n := len(s.Series); n > 0 {
		m.rate, m.seconds = models.SeriesPoint{}, float64(n)
		for i := range s.Series {
			m.rate.Packets += s.Series[i].Packets
			m.rate.Bytes += s.Series[i].Bytes
		}
	}
	m.state.Series, m.state.Detector = nil, models.DetectorStats{}
	// Copies, for an array goes on to hold what a slice of it has left out. Texts are bounded by the decoder, which copies each by itself.
	m.state.Interfaces = slices.Clone(s.Interfaces[:min(len(s.Interfaces), maxDrops)])
	var few leading
	for i := range s.Drops {
		few.add(&s.Drops[i])
	}
	m.state.Drops = few.drops
}

// leading are losses by stage and reason: the maxDrops kinds that come first, in order, whatever order they are added in.
type leading struct{ drops []models.Drop }

// add adds a loss to that of its kind.
func (l *leading) add(d *models.Drop) {
	at, known := slices.BinarySearchFunc(l.drops, d, func(a models.Drop, b *models.Drop) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Reason, b.Reason))
	})
	switch {
	case known:
		l.drops[at].Count += d.Count
	case at < maxDrops: // one that is pushed out stays out: those before it do not leave
		l.drops = slices.Insert(l.drops[:min(len(l.drops), maxDrops-1)], at, *d)
	}
}

// Run hears sensors, and logs those that fall silent and those that are heard again.
func (f *Fleet) Run(ctx context.Context) error {
	next := f.deps.Now().Add(lookEvery)
	for {
		limited, stop := context.WithTimeout(ctx, lookEvery)
		records, err := f.signs.Poll(limited)
		stop()
		for i := range records {
			if s, ok := records[i].Value.(bus.Sensor); ok {
				f.Hear(records[i].Key, s)
			}
		}
		switch {
		case err == nil:
			f.deps.Changed.Set()
		case errors.Is(err, bus.ErrClosed), errors.Is(err, context.Canceled):
			return nil
		case !errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("fleet: %w", err)
		}
		if now := f.deps.Now(); !now.Before(next) {
			next = now.Add(lookEvery)
			f.tell(ctx)
		}
	}
}

func (f *Fleet) tell(ctx context.Context) {
	now := f.deps.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, m := range f.sensors {
		if now.Sub(m.seen) > forgetTime {
			delete(f.sensors, name)
			delete(f.starts, name)
			delete(f.left, name)
			f.forget(name, 0) // which no start has
			f.generation.Add(1)
			f.deps.Log.LogAttrs(ctx, slog.LevelWarn, "a sensor that is silent for long is forgotten", slog.String("sensor", name))
			continue
		}
		silent := now.Sub(m.seen) > silentAfter
		if silent == m.silent {
			continue
		}
		m.silent = silent
		f.generation.Add(1)
		if silent {
			f.table.Clear(name)
			f.deps.Log.LogAttrs(ctx, slog.LevelWarn, "sensor is silent", slog.String("sensor", name), slog.Duration("since", now.Sub(m.seen).Round(time.Second)))
		} else {
			f.deps.Log.LogAttrs(ctx, slog.LevelInfo, "sensor is heard again", slog.String("sensor", name))
		}
	}
}

// Sensors are the states of all sensors, by name.
func (f *Fleet) Sensors() []models.SensorState {
	now := f.deps.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]models.SensorState, 0, len(f.sensors))
	for _, name := range slices.Sorted(maps.Keys(f.sensors)) {
		m := f.sensors[name]
		s := models.SensorState{
			Name: name, Status: m.status(now), Version: m.state.Version, Source: m.state.Source, SeenTS: m.state.TS, ClockTS: m.state.Now, Packets: m.state.Packets, Bytes: m.state.Bytes,
			Active: m.state.Connections.Active, Opened: m.state.Connections.Opened, Lost: unseen(m.state.Drops), Interfaces: slices.Clone(m.state.Interfaces),
		}
		if s.Status != models.SensorSilent && m.seconds > 0 {
			s.PacketRate, s.ByteRate = float64(m.rate.Packets)/m.seconds, float64(m.rate.Bytes)/m.seconds
		}
		if now.Sub(m.judged) <= silentAfter {
			s.Detector, s.Learning = m.judge.Name, m.judge.Learning
		}
		all = append(all, s)
	}
	return all
}

func (m *member) status(now time.Time) models.SensorStatus {
	switch {
	case now.Sub(m.seen) > silentAfter:
		return models.SensorSilent
	case now.Sub(m.twice) < twiceFor:
		return models.SensorTwice
	default:
		return models.SensorOK
	}
}

// unseen are the packets that nothing has looked at.
func unseen(drops []models.Drop) (n uint64) {
	for _, d := range drops {
		if d.Unit == models.DropPackets && d.Effect == models.DropUnseen {
			n += d.Count
		}
	}
	return n
}

// Stats is the sum of all sensors; rates are those of the sensors that are heard.
func (f *Fleet) Stats() models.Stats {
	s := models.Stats{
		Source: "fleet", UptimeSeconds: f.deps.Now().Sub(f.started).Seconds(),
		ByProto: map[string]models.Volume{}, Malformed: map[string]uint64{}, Drops: []models.Drop{}, Interfaces: []models.Interface{}, LatencyMS: []models.StageLatency{},
	}
	sensors := f.Sensors()
	heard := 0
	for i := range sensors {
		one := &sensors[i]
		if one.Status != models.SensorSilent {
			heard++
		}
		s.Packets += one.Packets
		s.Bytes += one.Bytes
		s.PacketRate += one.PacketRate
		s.ByteRate += one.ByteRate
		s.Connections.Active += one.Active
		s.Connections.Opened += one.Opened
		s.ClockTS, s.LastPacketTS = max(s.ClockTS, one.ClockTS), max(s.LastPacketTS, one.ClockTS)
		if one.Detector != "" {
			s.Detector.Name = "fleet"
			s.Detector.Learning += one.Learning
		}
	}
	s.Detector.Learning /= float64(max(heard, 1))
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Drops = f.drops()
	s.Drops = append(s.Drops, models.Drop{Stage: "fleet", Reason: "sensors", Count: f.refused, Unit: models.DropMessages, Effect: models.DropUnlisted})
	return s
}

// drops are what the sensors have lost, added up.
func (f *Fleet) drops() []models.Drop {
	sums := leading{[]models.Drop{}}
	for _, name := range slices.Sorted(maps.Keys(f.sensors)) { // the first one says in what its kind is counted
		for i := range f.sensors[name].state.Drops {
			sums.add(&f.sensors[name].state.Drops[i])
		}
	}
	return sums.drops
}

// Generation rises whenever Stats may have changed.
func (f *Fleet) Generation() uint64 { return f.generation.Load() }

// Query lists connections that move.
func (f *Fleet) Query(_ context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	return f.table.Query(q)
}

// Health says which sensors are silent, or there twice.
func (f *Fleet) Health() (reasons []api.Reason) {
	names := map[models.SensorStatus][]string{}
	for _, s := range f.Sensors() {
		names[s.Status] = append(names[s.Status], s.Name)
	}
	if silent := names[models.SensorSilent]; len(silent) > 0 {
		reasons = append(reasons, api.Reason{Code: "sensor_silent", Message: fmt.Sprintf("Sensors that have given no sign of life for %d s: %s.", int(silentAfter.Seconds()), some(silent))})
	}
	if twice := names[models.SensorTwice]; len(twice) > 0 {
		reasons = append(reasons, api.Reason{Code: "sensor_twice", Message: "Two programs run under one name: " + some(twice) + ". Give each its own with --sensor."})
	}
	return reasons
}

// some lists the first names of many.
func some(names []string) string {
	if len(names) <= tellNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:tellNames], ", "), len(names)-tellNames)
}
