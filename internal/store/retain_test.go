package store

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// clock is a wall clock that a test moves.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(1_795_498_893_000_000)
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.micros.Load()) }
func (c *clock) advance(d time.Duration) { c.micros.Add(d.Microseconds()) }

// eventually waits until the counts are as wanted.
func eventually(t *testing.T, s *Store, want models.StoreCounts) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		got, err := s.Counts(t.Context())
		must(t, err)
		got.Bytes = 0
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("counts (-want +got):\n%s", cmp.Diff(want, got))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestRetentionByAgeSinceInsertion(t *testing.T) {
	clock := newClock()
	s := open(t, Options{
		Now: clock.now, GroupCommit: time.Millisecond, RetainEvery: time.Millisecond,
		AlertAge: 48 * time.Hour, ConnectionAge: 24 * time.Hour,
	})
	run(t, s)
	// Capture times are years ago: they do not count.
	old := make([]models.Connection, 2*retainRows+5)
	for i := range old {
		old[i] = testConnection(int64(i + 1))
	}
	s.OfferConnections(old)
	s.OfferHosts([]models.Host{
		{IP: "192.0.2.1", LastTS: 1},
		{IP: "192.0.2.2", LastTS: models.Micros(clock.now().Add(20 * time.Hour).UnixMicro())}, // still active
	})
	must(t, s.SaveAlert(t.Context(), testAlert("old", 1000)))
	eventually(t, s, models.StoreCounts{Alerts: 1, Connections: int64(len(old)), Hosts: 2})

	clock.advance(25 * time.Hour)
	s.OfferConnections([]models.Connection{testConnection(90_000)})
	must(t, s.SaveAlert(t.Context(), testAlert("young", 1)))
	eventually(t, s, models.StoreCounts{Alerts: 2, Connections: 1, Hosts: 1})

	clock.advance(24*time.Hour + time.Second)
	eventually(t, s, models.StoreCounts{Alerts: 1})
	if _, err := s.Alert(t.Context(), "young"); err != nil {
		t.Errorf("the younger alert: %v", err)
	}
}

func TestRetentionBySize(t *testing.T) {
	clock := newClock()
	limit, total := int64(2<<20), int64(20_000)
	if testing.Short() {
		limit, total = limit/2, total/2
	}
	s := open(t, Options{Now: clock.now, GroupCommit: time.Millisecond, RetainEvery: time.Millisecond, MaxBytes: limit})
	run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("kept", 1)))
	for from := int64(0); from < total; from += 1000 {
		cs := make([]models.Connection, 1000)
		for i := range cs {
			cs[i] = testConnection(from + int64(i) + 1)
		}
		if n := s.OfferConnections(cs); n != len(cs) {
			t.Fatalf("accepted %d", n)
		}
		clock.advance(time.Second)
		time.Sleep(2 * time.Millisecond)
	}
	deadline := time.Now().Add(3 * time.Minute)
	for {
		c, err := s.Counts(t.Context())
		must(t, err)
		info, err := os.Stat(s.opts.Path)
		must(t, err)
		id, err := s.MaxConnectionID(t.Context())
		must(t, err)
		if id == total && c.Bytes <= limit && info.Size() < 2*limit {
			if c.Connections == 0 || c.Connections == total || c.Alerts != 1 {
				t.Errorf("%+v: the oldest connections were to go, and nothing else", c)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes in use in a file of %d, want at most %d", c.Bytes, info.Size(), limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	p, err := s.Connections(t.Context(), models.ConnectionQuery{Limit: 1})
	must(t, err)
	if p.Items[0].ID != total {
		t.Errorf("the newest connection is %d, want %d", p.Items[0].ID, total)
	}
}

func TestHostsAreCapped(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.now, GroupCommit: time.Millisecond, RetainEvery: time.Millisecond, MaxHosts: 10})
	run(t, s)
	for i := range 30 {
		s.OfferHosts([]models.Host{{IP: fmt.Sprintf("10.0.0.%02d", i), LastTS: 1}})
	}
	eventually(t, s, models.StoreCounts{Hosts: 10})
}

func TestSeriesRetention(t *testing.T) {
	clock := newClock()
	now := clock.now().Unix()
	for _, tt := range []struct {
		name           string
		give           []int64
		secondsOldest  int64
		wantSecondsLen int
	}{
		{name: "live", give: []int64{now - 3700, now - 3500, now - 1, now}, wantSecondsLen: 3, secondsOldest: now - 3500},
		{name: "a capture's old times", give: []int64{1000, 1500, 4000}, wantSecondsLen: 3, secondsOldest: 1000},
		{
			name: "one packet with a bad clock", give: []int64{now - 3500, now - 1, now + 1_000_000_000},
			wantSecondsLen: 3, secondsOldest: now - 3500,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, Options{Now: clock.now, GroupCommit: time.Millisecond, RetainEvery: time.Millisecond})
			run(t, s)
			for _, ts := range tt.give {
				s.OfferSeries([]models.SeriesPoint{{TS: ts, Packets: 1}})
			}
			deadline := time.Now().Add(30 * time.Second)
			for {
				seconds, err := s.Series(t.Context(), models.SeriesQuery{Step: 1, From: 0, To: 1 << 40})
				must(t, err)
				minutes, err := s.Series(t.Context(), models.SeriesQuery{Step: 60, From: 0, To: 1 << 40})
				must(t, err)
				var packets uint64
				for _, m := range minutes {
					packets += m.Packets
				}
				if packets == uint64(len(tt.give)) && len(seconds) == tt.wantSecondsLen && seconds[0].TS == tt.secondsOldest {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("seconds %+v, minutes %+v", seconds, minutes)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
}

// flood offers n connections, beginning with this id, as fast as they are taken, and calls look now and then.
func flood(t *testing.T, s *Store, id int64, n int, answered uint64, look func()) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(id))) //nolint:gosec // addresses of a test
	for done := 0; done < n; {
		cs := make([]models.Connection, 500)
		for i := range cs {
			cs[i] = testConnection(id + int64(done+i))
			cs[i].SrcIP = netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}).String()
			cs[i].SrcPort, cs[i].PacketsDown, cs[i].End = uint16(r.Uint32()), answered, models.ConnIdle
			cs[i].FirstTS = models.Micros(id+int64(done+i)) * 125 // 8,000 a second
			cs[i].LastTS = cs[i].FirstTS
		}
		for s.Room() < len(cs) {
			time.Sleep(time.Millisecond)
			look()
		}
		s.OfferConnections(cs)
		done += len(cs)
		look()
	}
	for s.queue.waiting() > 0 {
		time.Sleep(time.Millisecond)
		look()
	}
}

// fileSizes are those of the database, its log and its shared memory, together.
func fileSizes(t *testing.T, s *Store) (sum int64) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(s.opts.Path + suffix)
		must(t, err)
		sum += info.Size()
	}
	return sum
}

// TestSizeIsABoundUnderLoad: while rows come as fast as they can be written, and readers read, the files never exceed the limit by more
// than a fifth, and what is too old goes.
func TestSizeIsABoundUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("writes as fast as the disk takes it; run without -short")
	}
	const limit = 10 << 20
	clock := newClock()
	s := open(t, Options{
		MaxBytes: limit, GroupCommit: time.Millisecond, Now: clock.now, AlertAge: time.Hour, RetainEvery: 20 * time.Millisecond,
		QueryTimeout: time.Minute, // that reads are fast is not what this is about
	})
	run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("old", 1)))
	clock.advance(2 * time.Hour)
	must(t, s.SaveAlert(t.Context(), testAlert("young", 1)))
	most, looks := int64(0), 0
	flood(t, s, 1, 80_000, 1, func() {
		most = max(most, fileSizes(t, s))
		if looks++; looks%50 == 0 {
			_, err := s.Connections(t.Context(), models.ConnectionQuery{Limit: 500})
			must(t, err)
		}
	})
	t.Logf("%d kB at most", most/1000)
	if most > limit*12/10 {
		t.Errorf("the files had %d bytes, the limit is %d", most, limit)
	}
	if _, err := s.Alert(t.Context(), "young"); err != nil {
		t.Error(err)
	}
	if _, err := s.Alert(t.Context(), "old"); err == nil {
		t.Error("an alert that is too old is there after the load: ages do not hold under it")
	}
}

// TestAFloodPushesNothingOut: connections that nobody has answered give way before those that were, and are counted rather than stored.
func TestAFloodPushesNothingOut(t *testing.T) {
	if testing.Short() {
		t.Skip("writes as fast as the disk takes it; run without -short")
	}
	s := open(t, Options{MaxBytes: 6 << 20, GroupCommit: time.Millisecond})
	stop := run(t, s)
	flood(t, s, 1, 500, 7, func() {})
	const spoofed = 200_000
	flood(t, s, 1000, spoofed, 0, func() {})
	stop()
	var answered, unanswered uint64
	must(t, s.write.QueryRowContext(t.Context(), `SELECT count(*) FILTER (WHERE packets_down > 0), count(*) FILTER (WHERE packets_down = 0)
		FROM connections`).Scan(&answered, &unanswered))
	if answered != 500 {
		t.Errorf("%d connections of the 500 that were answered", answered)
	}
	if unanswered == 0 || unanswered > sampleBurst+spoofed/8000*sampleRate+sampleRate {
		t.Errorf("%d of %d connections of the flood are stored, want a sample", unanswered, spoofed)
	}
	drops := s.Drops()
	if len(drops) != 1 || drops[0].Reason != dropFlood || drops[0].Count+sampleBurst+spoofed/8000*sampleRate < spoofed-sampleRate {
		t.Errorf("%+v, want the rest of the %d counted", drops, spoofed)
	}
}

// TestAFloodOfHostsPushesNothingOut: addresses that have sent and were never answered, as spoofed ones are, are a sample; hosts and connections that
// were there stay, and the files are within their bound.
func TestAFloodOfHostsPushesNothingOut(t *testing.T) {
	if testing.Short() {
		t.Skip("writes as fast as the disk takes it; run without -short")
	}
	const limit, real, spoofed = 6 << 20, 500, 300_000
	s := open(t, Options{MaxBytes: limit, GroupCommit: time.Millisecond})
	stop := run(t, s)
	flood(t, s, 1, real, 7, func() {})
	for i := range real {
		s.OfferHosts([]models.Host{{IP: fmt.Sprintf("10.0.%d.%d", i/250, i%250), LastTS: 1, PacketsSent: 1, PacketsRecv: 1}})
	}
	most := int64(0)
	for i := 0; i < spoofed; i += 1000 {
		hosts := make([]models.Host, 1000)
		for j := range hosts {
			n := i + j
			hosts[j] = models.Host{IP: fmt.Sprintf("%d.%d.%d.7", 20+n>>16, n>>8&255, n&255), LastTS: models.Micros(n) * 125, PacketsSent: 1} // 8,000 a second
		}
		s.OfferHosts(hosts)
		s.OfferHosts([]models.Host{{IP: "10.0.0.0", LastTS: models.Micros(i) * 125, PacketsSent: 1}}) // it was answered before
		for hostsWaiting(s) > maxHosts/2 {
			time.Sleep(time.Millisecond)
		}
		most = max(most, fileSizes(t, s))
	}
	stop()
	if most > limit*12/10 {
		t.Errorf("the files had %d bytes, the limit is %d", most, limit)
	}
	var hosts, silent, connections, sent int
	must(t, s.write.QueryRowContext(t.Context(), `SELECT count(*) FILTER (WHERE packets_recv > 0), count(*) FILTER (WHERE packets_recv = 0),
		(SELECT count(*) FROM connections), (SELECT packets_sent FROM hosts WHERE ip = '10.0.0.0') FROM hosts`).Scan(&hosts, &silent, &connections, &sent))
	if hosts != real || connections != real {
		t.Errorf("%d hosts and %d connections of %d that were answered", hosts, connections, real)
	}
	if silent == 0 || silent > sampleBurst+spoofed/8000*sampleRate+sampleRate {
		t.Errorf("%d hosts of the flood, want a sample", silent)
	}
	if sent != 1+spoofed/1000 {
		t.Errorf("the host that was answered before has sent %d packets, want %d", sent, 1+spoofed/1000)
	}
}

func hostsWaiting(s *Store) int {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return len(s.queue.hosts)
}

// TestHostsOfAFloodAreASample: what was not chosen is counted, and a silent host that was there before the flood is told on.
func TestHostsOfAFloodAreASample(t *testing.T) {
	s := open(t, Options{})
	early := models.Host{IP: "192.0.2.1", LastTS: 1, PacketsSent: 1} // a sender of logs, say: nobody answers
	s.OfferHosts([]models.Host{early})
	const spoofed = 3 * sampleBurst
	for i := range spoofed {
		s.OfferHosts([]models.Host{{IP: fmt.Sprintf("20.%d.%d.%d", i>>16, i>>8&255, i&255), LastTS: 1, PacketsSent: 1}})
	}
	s.OfferHosts([]models.Host{early})
	if got := s.queue.hosts[seenBy{"", "192.0.2.1"}].PacketsSent; got != 2 {
		t.Errorf("the silent host has sent %d packets, want 2", got)
	}
	if n := len(s.queue.hosts); n != sampleBurst {
		t.Errorf("%d hosts, want %d", n, sampleBurst)
	}
	want := []models.Drop{{Stage: kindHosts, Reason: dropFlood, Count: spoofed - sampleBurst + 1, Unit: models.DropRows, Effect: models.DropUnstored}}
	if d := cmp.Diff(want, s.Drops()); d != "" {
		t.Error(d)
	}
}

// TestUnansweredGiveWayFirst: even where all of them are younger.
func TestUnansweredGiveWayFirst(t *testing.T) {
	s := open(t, Options{MaxBytes: 3 << 20, GroupCommit: time.Millisecond})
	stop := run(t, s)
	flood(t, s, 1, 1000, 7, func() {})
	s.queue.sampleConnections.tokens = 1e9
	flood(t, s, 5000, 20_000, 0, func() {})
	stop()
	var answered, unanswered int
	must(t, s.write.QueryRowContext(t.Context(), `SELECT count(*) FILTER (WHERE packets_down > 0), count(*) FILTER (WHERE packets_down = 0)
		FROM connections`).Scan(&answered, &unanswered))
	if answered != 1000 || unanswered == 0 || unanswered >= 20_000 {
		t.Errorf("%d answered, %d not: only the latter were to go", answered, unanswered)
	}
}

// TestSharesAreReserved: neither do alerts push out the connections, nor connections the alerts.
func TestSharesAreReserved(t *testing.T) {
	s := open(t, Options{MaxBytes: 4 << 20, GroupCommit: time.Millisecond, RetainEvery: time.Millisecond})
	stop := run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("first", 1)))
	flood(t, s, 1, 20_000, 1, func() {})
	if _, err := s.Alert(t.Context(), "first"); err != nil {
		t.Errorf("connections have pushed out an alert: %v", err)
	}
	for i := range 20 {
		batch := make([]*models.Alert, 400)
		for j := range batch {
			batch[j] = testAlert(fmt.Sprint(i, "-", j), models.Micros(i))
		}
		must(t, s.SaveAlerts(t.Context(), batch))
	}
	stop()
	c, err := s.Counts(t.Context())
	must(t, err)
	if c.Alerts < 500 || c.Alerts > 7500 || c.Connections < 500 || c.Bytes > 4<<20 {
		t.Errorf("%+v, want some of both", c)
	}
}

// TestUnansweredUpdates: a connection of the flood's sample is stored to its end, one that is answered later is stored whole, and each
// that is not is counted once.
func TestUnansweredUpdates(t *testing.T) {
	q := newQueue()
	q.sampleConnections.tokens = 1
	c := func(id int64, down uint64, end models.ConnEnd) []models.Connection {
		return []models.Connection{{ID: id, PacketsDown: down, End: end}}
	}
	for _, cs := range [][]models.Connection{
		c(1, 0, ""), c(2, 0, ""), c(1, 0, ""), c(2, 0, models.ConnIdle), c(1, 0, models.ConnIdle), c(3, 0, ""), c(3, 1, models.ConnDone),
	} {
		if n := q.offerConnections(cs); n != 1 {
			t.Errorf("took %d of %+v", n, cs)
		}
	}
	var ids []int64
	for _, c := range q.connections {
		ids = append(ids, c.ID)
	}
	if diff := cmp.Diff([]int64{1, 1, 1, 3}, ids); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	want := []models.Drop{{Stage: kindConnections, Reason: dropFlood, Count: 1, Unit: models.DropRows, Effect: models.DropUnstored}}
	if diff := cmp.Diff(want, q.listDrops()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTheFileShrinks: after rows have gone, and when nothing else is left to do, the file has few free pages.
func TestTheFileShrinks(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.now, GroupCommit: time.Millisecond, RetainEvery: time.Millisecond})
	run(t, s)
	const most = 2 << 20
	rows := 40_000
	if testing.Short() {
		rows /= 2
	}
	flood(t, s, 1, rows, 1, func() {})
	before := fileSizes(t, s)
	if before <= most {
		t.Fatalf("%d bytes are too few to shrink", before)
	}
	clock.advance(15 * 24 * time.Hour)
	deadline := time.Now().Add(time.Minute)
	for fileSizes(t, s) > most {
		if time.Now().After(deadline) {
			t.Fatalf("the files have %d bytes, before they had %d", fileSizes(t, s), before)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
