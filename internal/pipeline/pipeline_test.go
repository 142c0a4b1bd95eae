package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/capture"
	"netlyra/internal/detect"
	"netlyra/internal/flow"
	"netlyra/internal/models"
)

const sample = "../../demo/sample.pcap.zst"

func open(t testing.TB) Source {
	t.Helper()
	f, err := capture.OpenFile(sample, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// outputs collects what a pipeline gives.
type outputs struct {
	alerts []models.Alert
	conns  map[int64]models.Connection
	hosts  map[string]models.Host
	series []models.SeriesPoint
}

func (o *outputs) wire() Outputs {
	o.conns, o.hosts = map[int64]models.Connection{}, map[string]models.Host{}
	return Outputs{
		Connections: func(_ int64, cs, _ []models.Connection) {
			for _, c := range cs {
				o.conns[c.ID] = c
			}
		},
		Hosts: func(_ int64, hs []models.Host) {
			for _, h := range hs {
				sum := o.hosts[h.IP]
				h.PacketsSent += sum.PacketsSent
				h.PacketsRecv += sum.PacketsRecv
				o.hosts[h.IP] = h
			}
		},
		Series: func(_ int64, ps []models.SeriesPoint) { o.series = append(o.series, slices.Clone(ps)...) },
	}
}

// judging is a detector that keeps its alerts.
type judging struct {
	*detect.Judge
	out *outputs
}

func (o *outputs) detector(t *testing.T) Detector {
	t.Helper()
	j, err := detect.NewJudge(detect.Options{Sensor: "s"})
	if err != nil {
		t.Fatal(err)
	}
	return judging{j, o}
}

func (j judging) Roll() models.Roll { return &detect.Accumulator{} }

func (j judging) Slot(_ context.Context, s *models.SensorSlot) error {
	var parts []*detect.Accumulator
	for i := range s.Parts {
		a, ok := s.Parts[i].Roll.(*detect.Accumulator)
		if !ok {
			return errors.New("a part is not rolled up")
		}
		parts = append(parts, a)
	}
	j.out.alerts = append(j.out.alerts, j.Judge.Slot(s.N, parts, s.Received, s.Lost)...)
	return nil
}

func (j judging) Close(context.Context, bool) error {
	j.out.alerts = append(j.out.alerts, j.Finish()...)
	return nil
}

func run(t *testing.T, o Options) *Pipeline {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// received = decoded + non-IP + malformed + dropped; opened = active + expired + evicted; and the parts add up to the whole.
func TestAccounting(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			var out outputs
			src := open(t)
			p := run(t, Options{Sensor: "s", Sources: []Source{src}, Workers: workers, Wait: true, Detector: out.detector(t), Outputs: out.wire()})
			s := p.Stats()
			malformed := uint64(0)
			for _, n := range s.Malformed {
				malformed += n
			}
			captured := src.Stats()
			if got := s.Decoded + s.NonIP + malformed + captured.Dropped + captured.Skipped; captured.Received != got || s.Packets != captured.Frames || got < 10_000 {
				t.Errorf("received %d, accounted for %d, packets %d", captured.Received, got, s.Packets)
			}
			if s.Bytes != captured.Bytes {
				t.Errorf("%d bytes, captured %d", s.Bytes, captured.Bytes)
			}
			if c := s.Connections; c.Opened != c.Active+c.Expired+c.Evicted || c.Active != 0 {
				t.Errorf("%+v", c)
			}
			if got := uint64(len(out.conns)) + s.Connections.Unstored; got != s.Connections.Opened {
				t.Errorf("%d connections opened, %d handed on and %d only counted", s.Connections.Opened, len(out.conns), s.Connections.Unstored)
			}
			var series models.SeriesPoint
			for _, p := range out.series {
				series.Packets += p.Packets
				series.Bytes += p.Bytes
				series.Connections += p.Connections
			}
			if series.Packets != s.Packets || series.Bytes != s.Bytes || series.Connections != s.Connections.Opened {
				t.Errorf("series add up to %+v, stats %d packets, %d bytes, %d connections", series, s.Packets, s.Bytes, s.Connections.Opened)
			}
			if len(out.alerts) == 0 {
				t.Error("no alert")
			}
			if h := out.hosts["10.77.0.10"]; h.PacketsSent < 1000 || h.MAC != "02:00:00:00:00:10" {
				t.Errorf("the server as a host: %+v", h)
			}
		})
	}
}

// Several sources, as several rings are, give what one gives: here each has the packets of every third connection.
func TestSeveralSourcesGiveTheSameAlerts(t *testing.T) {
	var whole, parts outputs
	run(t, Options{Sensor: "s", Sources: []Source{open(t)}, Detector: whole.detector(t), Outputs: whole.wire()})
	var sources []Source
	for i := range 3 {
		sources = append(sources, &share{Source: open(t), n: 3, i: i})
	}
	run(t, Options{Sensor: "s", Sources: sources, Detector: parts.detector(t), Outputs: parts.wire()})
	if d := cmp.Diff(whole.alerts, parts.alerts); d != "" {
		t.Errorf("(-one source +three)\n%s", d)
	}
}

// What is handed on as slots is all that the detector is told: another one, fed with them alone, gives the same alerts.
func TestSlotsAreAllThatTheDetectorIsTold(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			other, err := detect.NewJudge(detect.Options{Sensor: "s"})
			if err != nil {
				t.Fatal(err)
			}
			var told []models.Alert
			var out outputs
			wired := out.wire()
			wired.Slots = func(_ context.Context, s *models.SensorSlot) error {
				var whole models.SlotPart // how a slot is cut does not matter
				for _, p := range s.Parts {
					whole.Conns, whole.Failed = append(whole.Conns, p.Conns...), append(whole.Failed, p.Failed...)
					whole.ARP, whole.DNS, whole.Unheard = append(whole.ARP, p.ARP...), append(whole.DNS, p.DNS...), whole.Unheard+p.Unheard
				}
				var a detect.Accumulator
				a.Take(&whole)
				told = append(told, other.Slot(s.N, []*detect.Accumulator{&a}, s.Received, s.Lost)...)
				return nil
			}
			run(t, Options{Sensor: "s", Sources: []Source{open(t)}, Workers: workers, Detector: out.detector(t), Outputs: wired})
			told = append(told, other.Finish()...)
			if d := cmp.Diff(out.alerts, told); d != "" || len(told) == 0 {
				t.Errorf("%d alerts (-in its process +from slots)\n%s", len(told), d)
			}
		})
	}
}

// In the sample clients go on using the server that is flooded, and the one that is scanned: their connections are part of no incident.
func TestOrdinaryClientsAreInNoIncident(t *testing.T) {
	var out outputs
	run(t, Options{Sensor: "s", Sources: []Source{open(t)}, Wait: true, Detector: out.detector(t), Outputs: out.wire()})
	in, ordinary := map[models.Category]int{}, 0
	category := map[string]models.Category{}
	for _, a := range out.alerts {
		category[a.ID] = a.Category
	}
	for _, c := range out.conns {
		client := c.SrcIP == "10.77.0.21" || c.SrcIP == "10.77.0.22"
		switch {
		case c.Alert == "" && client:
			ordinary++
		case client:
			t.Errorf("%s:%d to %s:%d, %s, is said to be part of the %s", c.SrcIP, c.SrcPort, c.DstIP, c.DstPort, c.State, category[c.Alert])
		case c.Alert != "":
			in[category[c.Alert]]++
		}
	}
	if in[models.CategoryPortScan] < 1500 || in[models.CategoryFlood] < 3000 || ordinary < 50 {
		t.Errorf("%v in incidents, %d ordinary", in, ordinary)
	}
}

// share passes on the frames of every n-th connection, as a fan-out does.
type share struct {
	Source
	n, i int
}

func (s *share) Read(b *models.Batch) error {
	err := s.Source.Read(b)
	var c counts
	w := &worker{}
	kept := b.Frames[:0]
	for _, f := range b.Frames {
		var p models.Packet
		if c.decode(&w.decoder, &f, &p, &w.volume) && deal(&p, s.n) == s.i || p.Proto == 0 && s.i == 0 {
			kept = append(kept, f)
		}
	}
	b.Frames = kept
	return err
}

// scripted is a live source: it gives batches, then watermarks on an idle link, then ends.
type scripted struct {
	batches []models.Batch
	closed  chan struct{}
}

func (s *scripted) Read(b *models.Batch) error {
	if len(s.batches) == 0 {
		b.Frames = b.Frames[:0]
		select {
		case <-s.closed:
			return io.EOF
		case <-time.After(time.Millisecond):
			b.Watermark += models.SlotMicros
			return nil
		}
	}
	*b = s.batches[0]
	s.batches = s.batches[1:]
	return nil
}
func (s *scripted) Stats() capture.Stats { return capture.Stats{} }
func (s *scripted) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

// Time passes on an idle link: connections expire and are handed on although no packet comes any more, even if one of two sources never
// saw any.
func TestTimePassesOnAnIdleLink(t *testing.T) {
	frames, err := firstFrames()
	if err != nil {
		t.Fatal(err)
	}
	busy := &scripted{closed: make(chan struct{}), batches: []models.Batch{{Frames: frames, Watermark: frames[len(frames)-1].TS}}}
	idle := &scripted{closed: make(chan struct{}), batches: []models.Batch{{Watermark: frames[0].TS}}}
	ended := make(chan models.Connection, 1000)
	ctx, stop := context.WithCancel(t.Context())
	p, err := New(Options{Sensor: "s", Sources: []Source{busy, idle}, Live: true, Flow: flow.Options{Timeouts: flow.Timeouts{UDP: time.Second, Other: time.Second}}, Outputs: Outputs{
		Connections: func(_ int64, cs, _ []models.Connection) {
			for _, c := range cs {
				if c.End == models.ConnIdle {
					ended <- c
				}
			}
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-ended // or the test times out
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := p.Stats(); s.Packets != uint64(len(frames)) {
		t.Errorf("%d packets, want %d", s.Packets, len(frames))
	}
}

// The clock is set back by an hour while one of two sources is idle: the busy one goes on being judged, at the new time.
func TestTheClockIsSetBackOnOneOfTwoSources(t *testing.T) {
	frames, err := firstFrames()
	if err != nil {
		t.Fatal(err)
	}
	const hour = 3_600_000_000
	later := slices.Clone(frames)
	for i := range later {
		later[i].TS -= hour
	}
	last := frames[len(frames)-1].TS
	busy := &scripted{closed: make(chan struct{}), batches: []models.Batch{{Frames: frames, Watermark: last}, {Frames: later, Watermark: last - hour}}}
	idle := &scripted{closed: make(chan struct{}), batches: []models.Batch{{Watermark: frames[0].TS}, {Watermark: last}, {Watermark: last - hour}}}
	seen := make(chan int64, 1000)
	ctx, stop := context.WithCancel(t.Context())
	p, err := New(Options{Sensor: "s", Sources: []Source{busy, idle}, Outputs: Outputs{Series: func(_ int64, ps []models.SeriesPoint) {
		for _, s := range ps {
			select {
			case seen <- s.TS:
			default:
			}
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for want := (last - hour) / 1_000_000; ; {
		if ts := <-seen; ts >= want-1 && ts <= want+1 { // or the test times out
			break
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := p.Stats(); s.Packets != uint64(2*len(frames)) || s.ClockJumps == 0 {
		t.Errorf("%d packets, %d jumps", s.Packets, s.ClockJumps)
	}
}

// All packets at one time do not make one slot of any size.
func TestASlotIsBounded(t *testing.T) {
	s := stamper{}
	turns := 0
	for range 3*slotPackets + 10 {
		if _, do := s.stamp(1_000_000); do == advance {
			turns++
			s.packets = 0
		}
	}
	if turns != 3 {
		t.Errorf("%d turns, want 3", turns)
	}
}

// firstFrames copies the first second of the sample.
func firstFrames() ([]models.Frame, error) {
	f, err := capture.OpenFile(sample, capture.FileOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var all []models.Frame
	var b models.Batch
	for {
		err := f.Read(&b)
		for _, fr := range b.Frames {
			if len(all) > 0 && fr.TS > all[0].TS+5_000_000 {
				return all, nil
			}
			fr.Data = slices.Clone(fr.Data)
			all = append(all, fr)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return all, nil
			}
			return nil, err
		}
	}
}

// All live connections can be asked for, in pages, and none once the program has ended.
func TestQueryListsAllLiveConnections(t *testing.T) {
	const n = 10_007 // more than any list of the page holds
	frames := make([]models.Frame, 0, n)
	for i := range n {
		frames = append(frames, models.Frame{TS: 1e15 + int64(i), Link: models.LinkIPv4, WireLen: 48, Data: udp(uint16(1+i%60_000), uint16(53+i%2))})
	}
	two := func() (sources []Source) {
		for part := range slices.Chunk(frames, n/2+1) {
			sources = append(sources, &scripted{closed: make(chan struct{}), batches: []models.Batch{{Frames: part, Watermark: 1e15 + n}}})
		}
		return sources
	}
	p, err := New(Options{Sensor: "s", Sources: two(), Live: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for p.Stats().Connections.Active < n {
		time.Sleep(time.Millisecond)
	}
	seen := map[int64]bool{}
	q := models.ConnectionQuery{Limit: 500}
	for {
		page, err := p.Query(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if page.Total == nil || *page.Total != n {
			t.Fatalf("the total is %v, want %d", page.Total, n)
		}
		for _, c := range page.Items {
			if seen[c.ID] {
				t.Errorf("connection %d comes twice", c.ID)
			}
			seen[c.ID] = true
		}
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
	}
	if len(seen) != n {
		t.Errorf("%d connections in all pages, want %d", len(seen), n)
	}
	page, err := p.Query(t.Context(), models.ConnectionQuery{Port: 54, Host: netip.MustParsePrefix("10.0.0.0/24"), Proto: "UDP", Limit: 1, Sort: models.SortBytes})
	if err != nil || len(page.Items) != 1 || *page.Total != n/2 || page.Items[0].DstPort != 54 {
		t.Errorf("%+v, %v", page, err)
	}
	for _, bad := range []models.ConnectionQuery{{Cursor: "x"}, {Alert: "a"}, {MinScore: .5}} {
		if _, err := p.Query(t.Context(), bad); !errors.Is(err, models.ErrBadQuery) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if page, err := p.Query(t.Context(), models.ConnectionQuery{}); err != nil || *page.Total != 0 {
		t.Errorf("after the end: %+v, %v", page, err)
	}
}

// However many questions wait, a batch waits for one.
func TestOneQuestionABatch(t *testing.T) {
	w, err := newWorker(Options{Sensor: "s", Live: true, Workers: 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range maxAsks {
		w.asks <- &ask{keep: func(*flow.Record) bool { return true }, answer: make(chan part, 1)}
	}
	for left := maxAsks - 1; left >= 0; left-- {
		if w.reply(); len(w.asks) != left {
			t.Fatalf("%d questions wait, want %d", len(w.asks), left)
		}
	}
}

// udp is a datagram of 20 bytes from 10.0.0.1 to 10.0.0.2.
func udp(src, dst uint16) []byte {
	b := []byte{0x45, 0, 0, 48, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
	b = binary.BigEndian.AppendUint16(b, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	return append(b, 0, 28, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)
}

// losing is a source that has lost packets.
type losing struct {
	scripted
	lost uint64
}

func (l *losing) Stats() capture.Stats { return capture.Stats{Dropped: l.lost} }

func TestTheSeriesHasLosses(t *testing.T) {
	frame := models.Frame{TS: 1e15, Link: models.LinkIPv4, WireLen: 48, Data: udp(1, 2)}
	src := &losing{scripted{closed: make(chan struct{}), batches: []models.Batch{{Frames: []models.Frame{frame}, Watermark: 1e15 + 5e6}}}, 41}
	if err := src.Close(); err != nil { // ends when all is read
		t.Fatal(err)
	}
	lost, seconds := uint64(0), map[int64]bool{}
	p, err := New(Options{Sensor: "s", Sources: []Source{src}, Live: true, Outputs: Outputs{Series: func(_ int64, ps []models.SeriesPoint) {
		for _, p := range ps {
			lost += p.Drops
			seconds[p.TS] = true
		}
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lost != 41 || !seconds[1e9] {
		t.Errorf("the series has %d lost packets, want 41; seconds %v", lost, seconds)
	}
}
