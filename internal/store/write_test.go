package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

func TestHighestRevisionStays(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	rev := func(n int64, summary string) *models.Alert {
		a := testAlert("a", 1000)
		a.Rev, a.Summary = n, summary
		return a
	}
	for _, step := range []struct {
		save *models.Alert
		want string
	}{
		{rev(2, "second"), "second"},
		{rev(1, "late first"), "second"},
		{rev(2, "second again"), "second"},
		{rev(5, "fifth"), "fifth"},
	} {
		if err := s.SaveAlert(t.Context(), step.save); err != nil {
			t.Fatal(err)
		}
		got, err := s.Alert(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if got.Summary != step.want {
			t.Errorf("after rev %d: %q, want %q", step.save.Rev, got.Summary, step.want)
		}
	}
}

func TestTriageSurvivesUpdates(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	a := testAlert("a", 1000)
	a.Triage = models.TriageHidden // not the caller's to set
	must(t, s.SaveAlert(t.Context(), a))
	check := func(want models.Triage) {
		t.Helper()
		got, err := s.Alert(t.Context(), "a")
		must(t, err)
		if got.Triage != want {
			t.Errorf("triage %q, want %q", got.Triage, want)
		}
	}
	check(models.TriageNew)
	must(t, s.SetTriage(t.Context(), "a", models.TriageAcknowledged, somebody))
	check(models.TriageAcknowledged)
	a.Rev = 9
	must(t, s.SaveAlert(t.Context(), a))
	check(models.TriageAcknowledged)
	if err := s.SetTriage(t.Context(), "none", models.TriageNew, somebody); !errors.Is(err, models.ErrNotFound) {
		t.Errorf("unknown alert: %v, want ErrNotFound", err)
	}
	if err := s.SetTriage(t.Context(), "a", "odd", somebody); !errors.Is(err, models.ErrBadQuery) {
		t.Errorf("unknown triage: %v, want ErrBadQuery", err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentAlertsShareCommits(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	const n = 200
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			if err := s.SaveAlert(t.Context(), testAlert(fmt.Sprint("a", i), models.Micros(i+1))); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	c, err := s.Counts(t.Context())
	must(t, err)
	if c.Alerts != n {
		t.Errorf("%d alerts, want %d", c.Alerts, n)
	}
}

func TestSaveAlertRefusesWhatIsNoNumber(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	bad := testAlert("bad", 1)
	bad.Score = math.NaN()
	if err := s.SaveAlert(t.Context(), bad); err == nil {
		t.Error("NaN was accepted as a score")
	}
	bad = testAlert("bad", 1)
	bad.Features["entropy"] = math.Inf(1)
	if err := s.SaveAlert(t.Context(), bad); err == nil {
		t.Error("an infinity was accepted as a feature")
	}
	must(t, s.SaveAlert(t.Context(), testAlert("good", 1)))
}

func TestConnectionsAreUpdatedByID(t *testing.T) {
	s := open(t, Options{})
	stop := run(t, s)
	c := testConnection(1)
	if n := s.OfferConnections([]models.Connection{c}); n != 1 {
		t.Fatalf("accepted %d", n)
	}
	c.State, c.End, c.BytesUp, c.LastTS, c.SNI = "closed", models.ConnDone, 5000, 99_000, "example.com"
	if n := s.OfferConnections([]models.Connection{c, testConnection(2)}); n != 2 {
		t.Fatalf("accepted %d", n)
	}
	stop()
	p, err := s.Connections(t.Context(), models.ConnectionQuery{})
	must(t, err)
	if diff := cmp.Diff([]models.Connection{testConnection(2), c}, p.Items, ignoreInserted); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	id, err := s.MaxConnectionID(t.Context())
	if err != nil || id != 2 {
		t.Errorf("highest id %d, %v, want 2", id, err)
	}
}

func TestOversizedCounterStopsAtTheEnd(t *testing.T) {
	s := open(t, Options{})
	stop := run(t, s)
	c := testConnection(1)
	c.BytesUp = math.MaxUint64
	s.OfferConnections([]models.Connection{c})
	stop()
	p, err := s.Connections(t.Context(), models.ConnectionQuery{})
	must(t, err)
	if len(p.Items) != 1 || p.Items[0].BytesUp != math.MaxInt64 {
		t.Errorf("%+v", p.Items)
	}
}

func TestHostsAddUp(t *testing.T) {
	s := open(t, Options{})
	stop := run(t, s)
	host := func(mac string, first, last models.Micros, n uint64) []models.Host {
		return []models.Host{{IP: "192.0.2.1", MAC: mac, FirstTS: first, LastTS: last, PacketsSent: n, BytesRecv: 10 * n}}
	}
	s.OfferHosts(host("02:00:00:00:00:01", 500, 900, 1))
	s.OfferHosts(host("", 400, 800, 2)) // merged in the queue
	stop()
	again := reopen(t, s)
	stop = run(t, again)
	again.OfferHosts(host("", 700, 1000, 4)) // merged in the table
	stop()
	p, err := again.Hosts(t.Context(), models.HostQuery{})
	must(t, err)
	want := []models.Host{{
		IP: "192.0.2.1", MAC: "02:00:00:00:00:01", FirstTS: 400, LastTS: 1000, PacketsSent: 7, BytesRecv: 70,
	}}
	if diff := cmp.Diff(want, p.Items, ignoreInserted); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// reopen closes a store whose Run has ended, and opens its file again.
func reopen(t *testing.T, s *Store) *Store {
	t.Helper()
	must(t, s.Close())
	return open(t, Options{Path: s.opts.Path, Now: s.opts.Now})
}

func TestSeriesAddUpAndMakeMinutes(t *testing.T) {
	s := open(t, Options{})
	stop := run(t, s)
	s.OfferSeries([]models.SeriesPoint{{TS: 120, Packets: 1, Bytes: 60, TCPBytes: 60}, {TS: 121, Packets: 2, Drops: 1}})
	s.OfferSeries([]models.SeriesPoint{{TS: 120, Packets: 10, UDPBytes: 5}})
	stop()
	again := reopen(t, s)
	stop = run(t, again)
	again.OfferSeries([]models.SeriesPoint{{TS: 179, Packets: 100}, {TS: 180, Packets: 1000}})
	stop()
	for _, tt := range []struct {
		step, from, to int64
		want           []models.SeriesPoint
	}{
		{1, 120, 180, []models.SeriesPoint{
			{Step: 1, TS: 120, Packets: 11, Bytes: 60, TCPBytes: 60, UDPBytes: 5},
			{Step: 1, TS: 121, Packets: 2, Drops: 1},
			{Step: 1, TS: 179, Packets: 100},
		}},
		{60, 0, 1000, []models.SeriesPoint{
			{Step: 60, TS: 120, Packets: 113, Bytes: 60, TCPBytes: 60, UDPBytes: 5, Drops: 1},
			{Step: 60, TS: 180, Packets: 1000},
		}},
		{1, 500, 600, []models.SeriesPoint{}},
	} {
		got, err := again.Series(t.Context(), models.SeriesQuery{Step: tt.step, From: tt.from, To: tt.to})
		must(t, err)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", tt.step, diff)
		}
	}
	if _, err := again.Series(t.Context(), models.SeriesQuery{Step: 5, To: 1}); !errors.Is(err, models.ErrBadQuery) {
		t.Errorf("step 5: %v, want ErrBadQuery", err)
	}
}

// TestQueuesAreBounded: without a writer queues fill up, and every row is either accepted or counted as dropped.
func TestQueuesAreBounded(t *testing.T) {
	s := open(t, Options{})
	cs := make([]models.Connection, maxConnections+7)
	hs := make([]models.Host, maxHosts+8)
	for i := range hs {
		hs[i].IP, hs[i].PacketsRecv = fmt.Sprint(i), 1
	}
	ps := make([]models.SeriesPoint, maxSeries+9)
	for i := range ps {
		ps[i].TS = int64(i)
	}
	for _, tt := range []struct {
		name           string
		accepted, want int
	}{
		{"connections", s.OfferConnections(cs), maxConnections},
		{"hosts", s.OfferHosts(hs), maxHosts},
		{"hosts that wait already", s.OfferHosts(hs[:5]), 5},
		{"series", s.OfferSeries(ps), maxSeries},
	} {
		if tt.accepted != tt.want {
			t.Errorf("%s: accepted %d, want %d", tt.name, tt.accepted, tt.want)
		}
	}
	want := []models.Drop{
		{Stage: "store.connections", Reason: "queue_full", Count: 7, Unit: models.DropRows, Effect: models.DropUnstored},
		{Stage: "store.hosts", Reason: "queue_full", Count: 8, Unit: models.DropRows, Effect: models.DropUnstored},
		{Stage: "store.series", Reason: "queue_full", Count: 9, Unit: models.DropRows, Effect: models.DropUnstored},
	}
	if diff := cmp.Diff(want, s.Drops()); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
}

// TestRunDrains: everything accepted before Run's context ended is written, what comes later is refused and counted.
func TestRunDrains(t *testing.T) {
	// Nothing is flushed before the end. How long that may take is not what this is about: see TestDrainGivesUp.
	s := open(t, Options{GroupCommit: time.Hour, DrainTimeout: time.Minute})
	const n = 7 * flushRows / 2
	cs := make([]models.Connection, n)
	for i := range cs {
		cs[i] = testConnection(int64(i + 1))
	}
	if got := s.OfferConnections(cs); got != n {
		t.Fatalf("accepted %d of %d", got, n)
	}
	saved := make(chan error, 1)
	go func() { saved <- s.SaveAlert(context.WithoutCancel(t.Context()), testAlert("a", 1)) }()
	for { // until the alert waits in the queue
		s.queue.mu.Lock()
		waiting := len(s.queue.jobs)
		s.queue.mu.Unlock()
		if waiting == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	run(t, s)()
	must(t, <-saved)
	c, err := s.Counts(t.Context())
	must(t, err)
	if c.Connections != n || c.Alerts != 1 {
		t.Errorf("%d connections and %d alerts, want %d and 1", c.Connections, c.Alerts, n)
	}
	if err := s.SaveAlert(t.Context(), testAlert("b", 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v, want ErrClosed", err)
	}
	if got := s.OfferConnections(cs[:3]); got != 0 {
		t.Errorf("after the end: accepted %d", got)
	}
	want := []models.Drop{{Stage: "store.connections", Reason: "shutdown", Count: 3, Unit: models.DropRows, Effect: models.DropUnstored}}
	if diff := cmp.Diff(want, s.Drops()); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
}

func TestRejectedRowDoesNotStopTheOthers(t *testing.T) {
	s := open(t, Options{})
	stop := run(t, s)
	bad := testConnection(2)
	bad.Entropy = math.NaN()
	s.OfferConnections([]models.Connection{testConnection(1), bad, testConnection(3)})
	stop()
	c, err := s.Counts(t.Context())
	must(t, err)
	if c.Connections != 2 {
		t.Errorf("%d connections, want 2", c.Connections)
	}
	want := []models.Drop{{Stage: "store.connections", Reason: "rejected", Count: 1, Unit: models.DropRows, Effect: models.DropUnstored}}
	if diff := cmp.Diff(want, s.Drops()); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
}

// TestReadersWhileWriting: pages read while flushes and alerts are under way come without errors and in order.
func TestReadersWhileWriting(t *testing.T) {
	s := open(t, Options{GroupCommit: time.Millisecond})
	run(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				p, err := s.Connections(t.Context(), models.ConnectionQuery{Limit: 100})
				if err != nil {
					t.Errorf("connections: %v", err)
					return
				}
				for i := 1; i < len(p.Items); i++ {
					if p.Items[i].ID >= p.Items[i-1].ID {
						t.Errorf("id %d after %d", p.Items[i].ID, p.Items[i-1].ID)
						return
					}
				}
				if _, err := s.Alerts(t.Context(), models.AlertQuery{}); err != nil {
					t.Errorf("alerts: %v", err)
					return
				}
			}
		})
	}
	for i := range 30 {
		cs := make([]models.Connection, 100)
		for k := range cs {
			cs[k] = testConnection(int64(100*i + k + 1))
		}
		s.OfferConnections(cs)
		must(t, s.SaveAlert(t.Context(), testAlert(fmt.Sprint("a", i), models.Micros(i+1))))
	}
	cancel()
	readers.Wait()
}

// TestWhatAKilledRunLeftOpenIsClosed, and what this run has open is not.
func TestWhatAKilledRunLeftOpenIsClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "netlyra.db")
	ends := func(s *Store) map[int64]models.ConnEnd {
		page, err := s.Connections(t.Context(), models.ConnectionQuery{Limit: 10})
		must(t, err)
		got := map[int64]models.ConnEnd{}
		for _, c := range page.Items {
			got[c.ID] = c.End
		}
		return got
	}
	conn := func(id int64, end models.ConnEnd) models.Connection {
		c := testConnection(id)
		c.End = end
		return c
	}
	for round, want := range []map[int64]models.ConnEnd{
		{1: models.ConnOpen, 2: models.ConnDone},
		{1: models.ConnCutOff, 2: models.ConnDone, 11: models.ConnOpen, 12: models.ConnDone},
	} {
		s, err := New(t.Context(), Options{Path: path, GroupCommit: time.Millisecond})
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		first := int64(10 * round)
		s.OfferConnections([]models.Connection{conn(first+1, models.ConnOpen), conn(first+2, models.ConnDone)})
		for deadline := time.Now().Add(time.Minute); len(ends(s)) != len(want); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%v", ends(s))
			}
		}
		if d := cmp.Diff(want, ends(s)); d != "" {
			t.Errorf("round %d: %s", round, d)
		}
		stop()
		must(t, <-done)
		must(t, s.Close())
	}
}
