package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"netlyra/internal/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryStore is a Store over slices, which are in the order of the lists.
type memoryStore struct {
	mu     sync.Mutex
	alerts []models.Alert
	conns  []models.Connection
	made   []models.Exception
	hosts  []models.Host
	points []models.SeriesPoint
	told   []models.Decision
	by     models.Actor // of the latest decision
	err    error        // returned by everything
	block  chan struct{}
}

// fail has everything return err.
func (s *memoryStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// keep has these be the exceptions.
func (s *memoryStore) keep(es []models.Exception) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made = es
}

// hold has everything wait until block is closed.
func (s *memoryStore) hold(block chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block = block
}

func (s *memoryStore) wait(ctx context.Context) error {
	s.mu.Lock()
	block, err := s.block, s.err
	s.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (s *memoryStore) Alert(ctx context.Context, id string) (models.Alert, error) {
	if err := s.wait(ctx); err != nil {
		return models.Alert{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.alerts {
		if a.ID == id {
			return a, nil
		}
	}
	return models.Alert{}, fmt.Errorf("alert %s: %w", id, models.ErrNotFound)
}

func (s *memoryStore) Alerts(ctx context.Context, q models.AlertQuery) (models.Page[models.Alert], error) {
	if err := s.wait(ctx); err != nil {
		return models.Page[models.Alert]{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slice(s.alerts, q.Cursor, q.Limit, func(a *models.Alert) bool {
		return (!q.Host.IsValid() || within(q.Host, a.SrcIP) || within(q.Host, a.DstIP)) &&
			(q.Port == 0 || a.SrcPort == q.Port || a.DstPort == q.Port) &&
			(q.Proto == "" || a.Proto == q.Proto) &&
			(q.From == 0 || a.TS >= q.From) && (q.To == 0 || a.TS < q.To) &&
			a.Score >= q.MinScore && (q.State == "" || a.State == q.State) &&
			(len(q.Categories) == 0 || slices.Contains(q.Categories, a.Category)) &&
			(len(q.Severities) == 0 || slices.Contains(q.Severities, a.Severity)) &&
			(q.Sensor == "" || a.Sensor == q.Sensor) && (q.CommunityID == "" || a.CommunityID == q.CommunityID) &&
			(q.Text == "" || holds(a.Summary, q.Text) || holds(a.SrcIP, q.Text) || holds(a.DstIP, q.Text) || holds(a.ID, q.Text)) &&
			(q.Triage == models.TriageAll || q.Triage == a.Triage || q.Triage == "" && a.Triage != models.TriageHidden)
	})
}

func (s *memoryStore) SetTriage(ctx context.Context, id string, t models.Triage, by models.Actor) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = by
	for i := range s.alerts {
		if s.alerts[i].ID == id {
			s.alerts[i].Triage = t
			return nil
		}
	}
	return models.ErrNotFound
}

func (s *memoryStore) Exceptions(ctx context.Context) ([]models.Exception, error) {
	err := s.wait(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.made), err
}

// PreviewException knows only exceptions about a source.
func (s *memoryStore) PreviewException(ctx context.Context, e models.Exception, limit int) (models.ExceptionPreview, error) {
	err := errors.Join(s.wait(ctx), e.Normalize())
	p := models.ExceptionPreview{Items: []models.Alert{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.alerts {
		if a := &s.alerts[i]; a.SrcIP == e.Host && a.Triage != models.TriageHidden {
			if p.Count++; len(p.Items) < limit {
				p.Items = append(p.Items, *a)
			}
		}
	}
	return p, err
}

func (s *memoryStore) AddException(ctx context.Context, e models.Exception, by models.Actor) (models.Exception, error) {
	if err := errors.Join(s.wait(ctx), e.Normalize(), models.NormalizeReason(&e.Reason)); err != nil {
		return e, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = by
	for _, m := range s.made {
		same := m
		same.ID, same.Created, same.Hits, same.Reason, same.Expires = e.ID, e.Created, e.Hits, e.Reason, e.Expires
		if same == e {
			return e, &models.DuplicateException{ID: m.ID}
		}
	}
	if len(s.made) == models.MaxExceptions {
		return e, models.ErrTooManyExceptions
	}
	e.ID, e.Created, e.Hits = fmt.Sprintf("e%d", len(s.made)), t0, 2
	s.made = append(s.made, e)
	return e, nil
}

func (s *memoryStore) ChangeException(ctx context.Context, id string, c models.ExceptionChange, by models.Actor) (models.Exception, error) {
	if err := s.wait(ctx); err != nil {
		return models.Exception{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = by
	i := slices.IndexFunc(s.made, func(e models.Exception) bool { return e.ID == id })
	if i < 0 {
		return models.Exception{}, models.ErrNotFound
	}
	if c.Reason != nil {
		s.made[i].Reason = *c.Reason
	}
	if c.Expires != nil {
		s.made[i].Expires = *c.Expires
	}
	return s.made[i], models.NormalizeReason(&s.made[i].Reason)
}

func (s *memoryStore) RemoveException(ctx context.Context, id string, by models.Actor) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = by
	i := slices.IndexFunc(s.made, func(e models.Exception) bool { return e.ID == id })
	if i < 0 {
		return models.ErrNotFound
	}
	s.made = slices.Delete(s.made, i, i+1)
	return nil
}

func (s *memoryStore) Connections(ctx context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	if err := s.wait(ctx); err != nil {
		return models.Page[models.Connection]{}, err
	}
	return slice(s.conns, q.Cursor, q.Limit, func(c *models.Connection) bool { return matches(c, &q) })
}

func (s *memoryStore) Hosts(ctx context.Context, q models.HostQuery) (models.Page[models.Host], error) {
	if err := s.wait(ctx); err != nil {
		return models.Page[models.Host]{}, err
	}
	return slice(s.hosts, q.Cursor, q.Limit, func(h *models.Host) bool {
		return (!q.Prefix.IsValid() || within(q.Prefix, h.IP)) && (q.Text == "" || holds(h.IP, q.Text) || holds(h.MAC, q.Text)) && (q.Sensor == "" || h.Sensor == q.Sensor) && h.LastTS >= q.Since
	})
}

func (s *memoryStore) Host(ctx context.Context, ip, sensor string) (models.Host, error) {
	if err := s.wait(ctx); err != nil {
		return models.Host{}, err
	}
	for _, h := range s.hosts {
		if h.IP == ip && (sensor == "" || h.Sensor == sensor) {
			return h, nil
		}
	}
	return models.Host{}, models.ErrNotFound
}

func (s *memoryStore) Series(ctx context.Context, q models.SeriesQuery) ([]models.SeriesPoint, error) {
	var points []models.SeriesPoint
	for _, p := range s.points {
		if p.Step == q.Step && p.TS >= q.From && p.TS < q.To {
			points = append(points, p)
		}
	}
	return points, s.wait(ctx)
}

func (s *memoryStore) Decisions(ctx context.Context, q models.DecisionQuery) (models.Page[models.Decision], error) {
	if err := s.wait(ctx); err != nil {
		return models.Page[models.Decision]{}, err
	}
	return slice(s.told, q.Cursor, q.Limit, func(d *models.Decision) bool { return q.Object == "" || q.Object == d.Object })
}

func (s *memoryStore) Exception(ctx context.Context, id string) (models.Exception, error) {
	all, err := s.Exceptions(ctx)
	if err != nil {
		return models.Exception{}, err
	}
	for _, e := range all {
		if e.ID == id {
			return e, nil
		}
	}
	return models.Exception{}, models.ErrNotFound
}

// slice pages through all; its cursors are offsets.
func slice[T any](all []T, cursor models.Cursor, limit int, keep func(*T) bool) (models.Page[T], error) {
	var p models.Page[T]
	start := 0
	if cursor != "" {
		n, err := strconv.Atoi(string(cursor))
		if err != nil {
			return p, fmt.Errorf("%w: cursor", models.ErrBadQuery)
		}
		start = n
	}
	hits := slices.DeleteFunc(slices.Clone(all), func(v T) bool { return !keep(&v) })
	hits = hits[min(start, len(hits)):]
	if len(hits) > limit {
		hits = hits[:limit]
		p.Next = models.Cursor(strconv.Itoa(start + limit))
	}
	p.Items = hits
	return p, nil
}

// memoryLive is a Live whose generations are made by set.
type memoryLive struct {
	mu    sync.Mutex
	gen   uint64
	stats models.Stats
	conns map[int64]models.Connection
	gens  map[int64]uint64
	gone  map[int64]uint64
	asked int // times that Stats was called
}

func newLive() *memoryLive {
	return &memoryLive{
		gen: 1, stats: exampleStats(), conns: map[int64]models.Connection{}, gens: map[int64]uint64{}, gone: map[int64]uint64{},
	}
}

func (l *memoryLive) Sensors() []models.SensorState {
	return []models.SensorState{{Name: "s", Status: models.SensorOK, Version: "v1", Source: "eth0", SeenTS: 1, Packets: 3, Interfaces: []models.Interface{{Name: "eth0", Link: "up"}}, Detector: "netlyra", Learning: 0.5}}
}

func (l *memoryLive) Stats() models.Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return l.stats
}

func (l *memoryLive) Generation() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gen
}

func (l *memoryLive) LiveConnections(_ context.Context, q models.ConnectionQuery) (models.Page[models.Connection], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []models.Connection
	for _, c := range l.conns {
		all = append(all, c)
	}
	return selectLive(all, q)
}

func (l *memoryLive) ConnectionChanges(since uint64) models.ConnectionChanges {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := models.ConnectionChanges{Generation: l.gen, Full: since == 0}
	for id, c := range l.conns {
		if l.gens[id] > since {
			ch.Rows = append(ch.Rows, &c)
		}
	}
	for id, gen := range l.gone {
		if gen > since && since > 0 {
			ch.Gone = append(ch.Gone, id)
		}
	}
	return ch
}

// count makes a generation in which n packets have come.
func (l *memoryLive) count(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gen++
	l.stats.Packets += n
}

// put makes a generation in which these connections are new or changed.
func (l *memoryLive) put(conns ...models.Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gen++
	for _, c := range conns {
		l.conns[c.ID], l.gens[c.ID] = c, l.gen
		delete(l.gone, c.ID)
	}
}

// end makes a generation in which these connections have left.
func (l *memoryLive) end(ids ...int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gen++
	for _, id := range ids {
		delete(l.conns, id)
		l.gone[id] = l.gen
	}
}

func exampleStats() models.Stats {
	return models.Stats{
		Sensor: "s1", Source: "eth0", LastPacketTS: t0, UptimeSeconds: 12.5, Packets: 1000, Bytes: 64000,
		PacketRate: 100, ByteRate: 6400, Decoded: 990, NonIP: 4, Fragments: models.Fragments{First: 1, Later: 2},
		ByProto:     map[string]models.Volume{"TCP": {Packets: 900, Bytes: 60000}, "47": {Packets: 7, Bytes: 700}, "132": {Packets: 1, Bytes: 90}},
		Connections: models.ConnStats{Active: 3, Opened: 9, Expired: 5, Evicted: 1},
		Drops:       []models.Drop{{Stage: "kernel", Reason: "ring_full", Count: 0, Unit: models.DropPackets, Effect: models.DropUnseen}, {Stage: "store", Reason: "queue_full", Count: 2, Unit: models.DropRows, Effect: models.DropUnstored}},
		Malformed:   map[string]uint64{"truncated": 6},
		Alerts:      models.AlertStats{Raised: 4, Stored: 3, Suppressed: 1},
		Detector: models.DetectorStats{
			Name: "netlyra", Learning: .5, Parts: map[string]float64{"trees": .5}, BudgetPerDay: 5, ActualPerDay: 1,
			OpenIncidents: 1, Entities: map[string]uint64{"source": 7}, CapsHit: map[string]uint64{"sources": 0},
		},
		Interfaces: []models.Interface{{Name: "eth0", Link: "up", Received: 1000, Dropped: 3}},
		LatencyMS:  []models.StageLatency{{Stage: "decode", P50: 2, P99: 5, Total: models.Latencies{Count: 4, Sum: 61, Within: [models.LatencyBounds]uint64{5: 1, 6: 2}}}}, MemoryBytes: 1 << 26,
	}
}

// t0 is 2026-01-31T12:00:00Z.
const t0 = models.Micros(1769860800000000)

const minute = models.Micros(60_000_000)

func exampleAlert(id string, ts models.Micros) models.Alert {
	return models.Alert{
		TS: ts, LastTS: ts + 5, SrcIP: "192.0.2.7", DstIP: "192.0.2.80", SrcPort: 0, DstPort: 443, Proto: "TCP", Score: .9,
		Features: map[string]float64{"entropy": 7.9, "packet_rate": 12, "byte_rate": 1200, "hst_score": .8},
		ID:       id, Rev: 2, Count: 3, State: models.AlertOpen, Sensor: "s1", Category: models.CategoryPortScan,
		Severity: models.SeverityHigh, Summary: "192.0.2.7 <b>tried</b> 900 ports of 192.0.2.80 in 4 s.",
		Facts:          []models.Fact{{Name: "ports", Value: 900}},
		Reasons:        []models.Reason{{Feature: "ports", Value: 900, Unit: "ports", Expected: models.Range{Low: 1, High: 20}, Contribution: .7}},
		Counterfactual: "fewer than 60 ports in 4 s", Peers: models.Top{Total: 1, Top: []models.Count{{Name: "192.0.2.80", Count: 900}}},
		Ports: models.Top{Total: 900}, Detector: models.DetectorInfo{Name: "netlyra", Version: "1", Learning: .5},
		CaptureConfidence: 1, Triage: models.TriageNew, InsertedAt: 1,
	}
}

func exampleConnection(id int64) models.Connection {
	return models.Connection{
		ID: id, Sensor: "s1", SrcIP: "192.0.2.7", DstIP: "198.51.100.9", SrcPort: 50000, DstPort: 443, Proto: "TCP",
		CommunityID: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", State: "established", FirstTS: t0, LastTS: t0 + minute,
		PacketsUp: 10, PacketsDown: 20, BytesUp: 1000, BytesDown: 20000, FlagsUp: "ACK,SYN", Entropy: 7.5, SNI: "example.org", Score: 0,
	}
}

// populated is a store with 120 alerts and connections, of which every third differs in all that can be filtered by.
func populated() *memoryStore {
	s := &memoryStore{}
	for i := range 120 {
		ts := t0 - models.Micros(i)*minute
		a := exampleAlert(fmt.Sprintf("%016x", i), ts)
		c := exampleConnection(1<<62 - int64(i))
		c.FirstTS, c.LastTS = ts-minute, ts
		if i%3 == 0 {
			a.SrcIP, a.DstPort, a.Proto, a.Score = "2001:db8::7", 53, "UDP", .81
			a.State, a.Category, a.Triage = models.AlertClosed, models.CategoryFlood, models.TriageAcknowledged
			a.Severity, a.Sensor, a.CommunityID, a.Summary = models.SeverityLow, "s2", "1:abc=", "A flood of SYN."
			c.Sensor, c.CommunityID, c.Alert, c.SNI = "s2", "1:abc=", a.ID, "Flood.example"
			c.SrcIP, c.DstPort, c.Proto, c.State, c.Score = "2001:db8::7", 53, "UDP", "active", .81
			c.VLAN, c.SrcMAC, c.End = 7, "02:00:00:00:00:01", models.ConnIdle
		}
		s.alerts, s.conns = append(s.alerts, a), append(s.conns, c)
		s.hosts = append(s.hosts, models.Host{IP: fmt.Sprintf("192.0.2.%d", i), MAC: "02:00:00:00:00:07", FirstTS: ts - minute, LastTS: ts, PacketsSent: 1, BytesSent: 64})
		s.told = append(s.told, models.Decision{ID: int64(120 - i), TS: ts, Who: "alice", Whence: "127.0.0.1", Action: models.ActionTriage, Object: a.ID, Detail: "acknowledged"})
	}
	for _, ts := range []int64{0, 60, 180} {
		s.points = append(s.points, models.SeriesPoint{Step: 60, TS: int64(t0)/1e6 + ts, Packets: 7, Bytes: 700, TCPBytes: 500, UDPBytes: 150, OtherBytes: 50, Connections: 2, Drops: 1})
	}
	return s
}

// fixture is a server that runs.
type fixture struct {
	*Server
	store *memoryStore
	live  *memoryLive
	reg   *prometheus.Registry
	base  string // URL of the REST listener, without slash
	http  *http.Client
	stop  context.CancelFunc
	ended chan error
}

// start runs a server on free ports until the test ends.
func start(t *testing.T, change func(*Options)) *fixture {
	t.Helper()
	f := &fixture{store: populated(), live: newLive(), reg: prometheus.NewRegistry(), ended: make(chan error, 1)}
	f.live.put(exampleConnection(1), exampleConnection(2))
	o := Options{
		Listen: "127.0.0.1:0", WSListen: "127.0.0.1:0", Version: "test", Store: f.store, Live: f.live, Registry: f.reg,
		Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	var err error
	if f.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	f.base = strings.TrimSuffix(f.URL(), "/")
	transport := &http.Transport{}
	f.http = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	var ctx context.Context
	ctx, f.stop = context.WithCancel(context.Background())
	go func() { f.ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		f.stop()
		if err := <-f.ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		transport.CloseIdleConnections()
	})
	return f
}

// wsURL is the WebSocket's, on its own port.
func (f *fixture) wsURL() string {
	return "ws://" + f.Addrs()[1].String() + "/ws"
}

// answer is what a request has given.
type answer struct {
	status int
	header http.Header
	body   string
}

func (f *fixture) get(t *testing.T, path string, header ...string) answer {
	t.Helper()
	return f.do(t, http.MethodGet, path, "", header...)
}

// do makes a request; header is names and values in turn.
func (f *fixture) do(t *testing.T, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := f.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}
