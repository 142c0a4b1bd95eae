package store

import (
	"fmt"
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
	const limit = 2 << 20
	s := open(t, Options{Now: clock.now, GroupCommit: time.Millisecond, RetainEvery: time.Millisecond, MaxBytes: limit})
	run(t, s)
	must(t, s.SaveAlert(t.Context(), testAlert("kept", 1)))
	const total = 20_000
	for from := 0; from < total; from += 1000 {
		cs := make([]models.Connection, 1000)
		for i := range cs {
			cs[i] = testConnection(int64(from + i + 1))
		}
		if n := s.OfferConnections(cs); n != len(cs) {
			t.Fatalf("accepted %d", n)
		}
		clock.advance(time.Second)
		time.Sleep(2 * time.Millisecond)
	}
	deadline := time.Now().Add(30 * time.Second)
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
