package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

// TestAlertFilters: each filter selects exactly what a plain loop over all alerts does.
func TestAlertFilters(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	var all []*models.Alert
	for i := range 60 {
		a := testAlert(fmt.Sprintf("a%02d", i), models.Micros(1000+i/2)) // two at the same time
		a.SrcIP, a.DstIP = fmt.Sprintf("10.0.0.%d", i%5), fmt.Sprintf("10.0.0.%d", i%4)
		a.SrcPort, a.DstPort = uint16(i%3), uint16(i%7)
		a.Proto = []string{"TCP", "UDP"}[i%2]
		a.Score = float64(i) / 60
		a.State = []models.AlertState{models.AlertOpen, models.AlertClosed}[i%2]
		a.Category = []models.Category{models.CategoryFlood, models.CategoryPortScan, models.CategoryBeacon}[i%3]
		all = append(all, a)
	}
	must(t, s.SaveAlerts(t.Context(), all))
	must(t, s.SetTriage(t.Context(), "a07", models.TriageHidden))
	must(t, s.SetTriage(t.Context(), "a08", models.TriageAcknowledged))
	for _, tt := range []struct {
		name  string
		query models.AlertQuery
		match func(i int, a *models.Alert) bool
	}{
		{"none", models.AlertQuery{}, func(int, *models.Alert) bool { return true }},
		{"host", models.AlertQuery{Host: one("10.0.0.3")}, func(_ int, a *models.Alert) bool {
			return a.SrcIP == "10.0.0.3" || a.DstIP == "10.0.0.3"
		}},
		{"port", models.AlertQuery{Port: 2}, func(_ int, a *models.Alert) bool { return a.SrcPort == 2 || a.DstPort == 2 }},
		{"host and port", models.AlertQuery{Host: one("10.0.0.1"), Port: 2}, func(_ int, a *models.Alert) bool {
			return (a.SrcIP == "10.0.0.1" || a.DstIP == "10.0.0.1") && (a.SrcPort == 2 || a.DstPort == 2)
		}},
		{"proto", models.AlertQuery{Proto: "UDP"}, func(_ int, a *models.Alert) bool { return a.Proto == "UDP" }},
		{"from", models.AlertQuery{From: 1010}, func(_ int, a *models.Alert) bool { return a.TS >= 1010 }},
		{"to", models.AlertQuery{To: 1010}, func(_ int, a *models.Alert) bool { return a.TS < 1010 }},
		{"score", models.AlertQuery{MinScore: 0.5}, func(_ int, a *models.Alert) bool { return a.Score >= 0.5 }},
		{"state", models.AlertQuery{State: models.AlertClosed}, func(_ int, a *models.Alert) bool {
			return a.State == models.AlertClosed
		}},
		{"category", models.AlertQuery{Categories: []models.Category{models.CategoryBeacon}}, func(_ int, a *models.Alert) bool {
			return a.Category == models.CategoryBeacon
		}},
		{"hidden", models.AlertQuery{Triage: models.TriageHidden}, func(i int, _ *models.Alert) bool { return i == 7 }},
		{"new", models.AlertQuery{Triage: models.TriageNew}, func(i int, _ *models.Alert) bool { return i != 7 && i != 8 }},
		{"acknowledged", models.AlertQuery{Triage: models.TriageAcknowledged}, func(i int, _ *models.Alert) bool { return i == 8 }},
		{"all", models.AlertQuery{Triage: models.TriageAll}, func(int, *models.Alert) bool { return true }},
		{"several", models.AlertQuery{Host: one("10.0.0.2"), Proto: "TCP", From: 1005, To: 1025}, func(_ int, a *models.Alert) bool {
			return (a.SrcIP == "10.0.0.2" || a.DstIP == "10.0.0.2") && a.Proto == "TCP" && a.TS >= 1005 && a.TS < 1025
		}},
		{"nothing matches", models.AlertQuery{Sensor: "x' OR '1'='1"}, func(int, *models.Alert) bool { return false }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := []string{}
			for i, a := range slices.Backward(all) {
				if tt.match(i, a) && (i != 7 || tt.query.Triage != "") { // what is hidden comes only if it is asked for
					want = append(want, a.ID)
				}
			}
			if diff := cmp.Diff(want, allAlerts(t, s, tt.query, 7)); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

// allAlerts pages through a query.
func allAlerts(t *testing.T, s *Store, q models.AlertQuery, limit int) []string {
	t.Helper()
	ids := []string{}
	q.Limit = limit
	for {
		p, err := s.Alerts(t.Context(), q)
		must(t, err)
		if len(p.Items) > limit {
			t.Fatalf("page of %d, limit %d", len(p.Items), limit)
		}
		for i := range p.Items {
			ids = append(ids, p.Items[i].ID)
		}
		if p.Next == "" {
			return ids
		}
		q.Cursor = p.Next
	}
}

// TestPagesAreCompleteUnderInserts: what was there when paging began comes exactly once, whatever is added meanwhile.
func TestPagesAreCompleteUnderInserts(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	var want []string
	for i := 99; i >= 0; i-- {
		want = append(want, fmt.Sprintf("old%02d", i))
		must(t, s.SaveAlert(t.Context(), testAlert(fmt.Sprintf("old%02d", i), models.Micros(1000+i))))
	}
	var got []string
	q := models.AlertQuery{Limit: 9}
	for n := 0; ; n++ {
		p, err := s.Alerts(t.Context(), q)
		must(t, err)
		for i := range p.Items {
			if id := p.Items[i].ID; id[:3] == "old" {
				got = append(got, id)
			}
		}
		if p.Next == "" {
			break
		}
		q.Cursor = p.Next
		// Newer ones, older ones, and an update of one that is still to come.
		must(t, s.SaveAlert(t.Context(), testAlert(fmt.Sprint("new", n), models.Micros(5000+n))))
		must(t, s.SaveAlert(t.Context(), testAlert(fmt.Sprint("mid", n), models.Micros(1000+n))))
		again := testAlert("old00", 1000)
		again.Rev = int64(n + 2)
		must(t, s.SaveAlert(t.Context(), again))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConnectionFilters(t *testing.T) {
	s := open(t, Options{})
	stop := run(t, s)
	var all []models.Connection
	for i := range int64(60) {
		c := testConnection(i + 1)
		c.SrcIP, c.DstIP = fmt.Sprintf("10.0.0.%d", i%5), fmt.Sprintf("10.0.0.%d", i%4)
		c.SrcPort, c.DstPort = uint16(i%3), uint16(i%7)
		c.Proto = []string{"TCP", "17"}[i%2]
		c.State = []string{"established", "closed"}[i%2]
		c.Score = float64(i%10) / 10
		c.FirstTS, c.LastTS = models.Micros(100*i), models.Micros(100*i+250)
		all = append(all, c)
	}
	s.OfferConnections(all)
	stop()
	for _, tt := range []struct {
		name  string
		query models.ConnectionQuery
		match func(c models.Connection) bool
	}{
		{"none", models.ConnectionQuery{}, func(models.Connection) bool { return true }},
		{"host", models.ConnectionQuery{Host: one("10.0.0.3")}, func(c models.Connection) bool {
			return c.SrcIP == "10.0.0.3" || c.DstIP == "10.0.0.3"
		}},
		{"port", models.ConnectionQuery{Port: 2}, func(c models.Connection) bool { return c.SrcPort == 2 || c.DstPort == 2 }},
		{"proto", models.ConnectionQuery{Proto: "17"}, func(c models.Connection) bool { return c.Proto == "17" }},
		{"state", models.ConnectionQuery{States: []string{"closed"}}, func(c models.Connection) bool { return c.State == "closed" }},
		{"score", models.ConnectionQuery{MinScore: 0.5}, func(c models.Connection) bool { return c.Score >= 0.5 }},
		{"time", models.ConnectionQuery{From: 1000, To: 2000}, func(c models.Connection) bool {
			return c.LastTS >= 1000 && c.FirstTS < 2000
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := []int64{}
			for _, c := range slices.Backward(all) {
				if tt.match(c) {
					want = append(want, c.ID)
				}
			}
			got := []int64{}
			for q := tt.query; ; {
				q.Limit = 8
				p, err := s.Connections(t.Context(), q)
				must(t, err)
				for i := range p.Items {
					got = append(got, p.Items[i].ID)
				}
				if p.Next == "" {
					break
				}
				q.Cursor = p.Next
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHostPages(t *testing.T) {
	s := open(t, Options{})
	stop := run(t, s)
	var want []string
	for i := range 20 {
		ip := fmt.Sprintf("10.0.0.%02d", i)
		want = append(want, ip)
		s.OfferHosts([]models.Host{{IP: ip, LastTS: 1}})
	}
	stop()
	var got []string
	for q := (models.HostQuery{Limit: 6}); ; {
		p, err := s.Hosts(t.Context(), q)
		must(t, err)
		for _, h := range p.Items {
			got = append(got, h.IP)
		}
		if p.Next == "" {
			break
		}
		q.Cursor = p.Next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBadQueries(t *testing.T) {
	s := open(t, Options{})
	for _, tt := range []struct {
		name  string
		query models.AlertQuery
	}{
		{"limit too high", models.AlertQuery{Limit: models.MaxPageLimit + 1}},
		{"negative limit", models.AlertQuery{Limit: -1}},
		{"cursor of nothing", models.AlertQuery{Cursor: "!!"}},
		{"cursor of another list", models.AlertQuery{Cursor: cursor("hosts", 0, "x")}},
		{"cursor without a number", models.AlertQuery{Cursor: "YWxlcnRzIHggeA"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := s.Alerts(t.Context(), tt.query); !errors.Is(err, models.ErrBadQuery) {
				t.Errorf("%v, want ErrBadQuery", err)
			}
		})
	}
	p, err := s.Alerts(t.Context(), models.AlertQuery{})
	if err != nil || p.Items == nil || p.Next != "" {
		t.Errorf("an empty store gives %+v, %v: items must not be nil", p, err)
	}
}

func TestSlowQueryIsCutOff(t *testing.T) {
	s := open(t, Options{QueryTimeout: time.Nanosecond})
	if _, err := s.Alerts(t.Context(), models.AlertQuery{}); !errors.Is(err, models.ErrQueryTimeout) {
		t.Errorf("%v, want ErrQueryTimeout", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Alerts(ctx, models.AlertQuery{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// one is the prefix that holds a single address.
func one(address string) netip.Prefix {
	a := netip.MustParseAddr(address)
	return netip.PrefixFrom(a, a.BitLen())
}
