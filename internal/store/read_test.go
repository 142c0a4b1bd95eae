package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

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
		a.Severity = models.Severities()[i%4]
		a.CommunityID = fmt.Sprint("1:", i%6)
		a.Summary = fmt.Sprintf("Host %d%% tried_%d", i, i%10)
		all = append(all, a)
	}
	must(t, s.SaveAlerts(t.Context(), all))
	must(t, s.SetTriage(t.Context(), "a07", models.TriageHidden, somebody))
	must(t, s.SetTriage(t.Context(), "a08", models.TriageAcknowledged, somebody))
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
		{"prefix", models.AlertQuery{Host: netip.MustParsePrefix("10.0.0.2/31")}, func(_ int, a *models.Alert) bool {
			return a.SrcIP == "10.0.0.2" || a.SrcIP == "10.0.0.3" || a.DstIP == "10.0.0.2" || a.DstIP == "10.0.0.3"
		}},
		{"prefix of another family", models.AlertQuery{Host: netip.MustParsePrefix("2001:db8::/32")}, func(int, *models.Alert) bool { return false }},
		{"categories", models.AlertQuery{Categories: []models.Category{models.CategoryBeacon, models.CategoryFlood}}, func(_ int, a *models.Alert) bool {
			return a.Category != models.CategoryPortScan
		}},
		{"severities", models.AlertQuery{Severities: []models.Severity{models.SeverityLow, models.SeverityCritical}}, func(_ int, a *models.Alert) bool {
			return a.Severity == models.SeverityLow || a.Severity == models.SeverityCritical
		}},
		{"community id", models.AlertQuery{CommunityID: "1:3"}, func(_ int, a *models.Alert) bool { return a.CommunityID == "1:3" }},
		{"text of the summary", models.AlertQuery{Text: "TRIED_7"}, func(i int, _ *models.Alert) bool { return i%10 == 7 }},
		{"text with a wildcard", models.AlertQuery{Text: "5%"}, func(i int, _ *models.Alert) bool { return i%10 == 5 }},
		{"text of the id", models.AlertQuery{Text: "A1"}, func(i int, _ *models.Alert) bool { return i/10 == 1 }},
		{"short text", models.AlertQuery{Text: "9"}, func(i int, _ *models.Alert) bool { return i/10 == 9 || i%10 == 9 }},
		{"host, port and score", models.AlertQuery{Host: one("10.0.0.1"), Port: 2, MinScore: 0.3}, func(_ int, a *models.Alert) bool {
			return (a.SrcIP == "10.0.0.1" || a.DstIP == "10.0.0.1") && (a.SrcPort == 2 || a.DstPort == 2) && a.Score >= 0.3
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
			if diff := gocmp.Diff(want, allAlerts(t, s, tt.query, 7)); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAlertOrders: each order has pages that go through all alerts, once each.
func TestAlertOrders(t *testing.T) {
	s := open(t, Options{})
	run(t, s)
	var all []*models.Alert
	for i := range 60 {
		a := testAlert(fmt.Sprintf("a%02d", i), models.Micros(1000+i%7))
		a.Score, a.Severity = float64(i%5)/4, models.Severities()[i%4]
		all = append(all, a)
	}
	must(t, s.SaveAlerts(t.Context(), all))
	newest := func(a, b *models.Alert) int { return cmp.Or(cmp.Compare(b.TS, a.TS), cmp.Compare(b.ID, a.ID)) }
	rank := func(a *models.Alert) int { return slices.Index(models.Severities(), a.Severity) }
	for by, less := range map[models.Sort]func(a, b *models.Alert) int{
		"":                  newest,
		models.SortNewest:   newest,
		models.SortScore:    func(a, b *models.Alert) int { return cmp.Or(cmp.Compare(b.Score, a.Score), newest(a, b)) },
		models.SortSeverity: func(a, b *models.Alert) int { return cmp.Or(cmp.Compare(rank(b), rank(a)), newest(a, b)) },
	} {
		t.Run(string(by), func(t *testing.T) {
			slices.SortFunc(all, less)
			var want []string
			for _, a := range all {
				want = append(want, a.ID)
			}
			if diff := gocmp.Diff(want, allAlerts(t, s, models.AlertQuery{Sort: by}, 7)); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := s.Alerts(t.Context(), models.AlertQuery{Sort: models.SortBytes}); !errors.Is(err, models.ErrBadQuery) {
		t.Errorf("%v, want ErrBadQuery: alerts have no bytes", err)
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
	if diff := gocmp.Diff(want, got); diff != "" {
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
		c.CommunityID, c.SNI = fmt.Sprint("1:", i%6), fmt.Sprintf("www%d.Example", i%10)
		if i%20 == 3 {
			c.Alert = "incident"
		}
		c.BytesUp, c.BytesDown = uint64(1000-i), uint64(i*i)
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
		{"prefix", models.ConnectionQuery{Host: netip.MustParsePrefix("10.0.0.2/31")}, func(c models.Connection) bool {
			return c.SrcIP == "10.0.0.2" || c.SrcIP == "10.0.0.3" || c.DstIP == "10.0.0.2" || c.DstIP == "10.0.0.3"
		}},
		{"host and port", models.ConnectionQuery{Host: one("10.0.0.1"), Port: 2}, func(c models.Connection) bool {
			return (c.SrcIP == "10.0.0.1" || c.DstIP == "10.0.0.1") && (c.SrcPort == 2 || c.DstPort == 2)
		}},
		{"states", models.ConnectionQuery{States: []string{"closed", "reset"}}, func(c models.Connection) bool { return c.State == "closed" }},
		{"community id", models.ConnectionQuery{CommunityID: "1:3"}, func(c models.Connection) bool { return c.CommunityID == "1:3" }},
		{"incident", models.ConnectionQuery{Alert: "incident"}, func(c models.Connection) bool { return c.Alert == "incident" }},
		{"sensor", models.ConnectionQuery{Sensor: "s2"}, func(models.Connection) bool { return false }},
		{"server name", models.ConnectionQuery{Text: "WWW3.ex"}, func(c models.Connection) bool { return c.SNI == "www3.Example" }},
		{"part of an address", models.ConnectionQuery{Text: ".0.4"}, func(c models.Connection) bool { return c.SrcIP == "10.0.0.4" }},
		{"bytes", models.ConnectionQuery{Sort: models.SortBytes, Proto: "TCP"}, func(c models.Connection) bool { return c.Proto == "TCP" }},
		{"time", models.ConnectionQuery{From: 1000, To: 2000}, func(c models.Connection) bool {
			return c.LastTS >= 1000 && c.FirstTS < 2000
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want, sorted := []int64{}, slices.Clone(all)
			if tt.query.Sort == models.SortBytes {
				slices.SortFunc(sorted, func(a, b models.Connection) int {
					return cmp.Or(cmp.Compare(a.BytesUp+a.BytesDown, b.BytesUp+b.BytesDown), cmp.Compare(a.ID, b.ID))
				})
			}
			for _, c := range slices.Backward(sorted) {
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
			if diff := gocmp.Diff(want, got); diff != "" {
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
	for q := (models.HostQuery{Limit: 6, Sort: models.SortAddress}); ; {
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
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestHostQueries: filters, orders, the total, one host.
func TestHostQueries(t *testing.T) {
	s := open(t, Options{})
	stop := run(t, s)
	s.OfferHosts([]models.Host{
		{IP: "10.0.0.1", MAC: "02:00:00:00:00:aa", LastTS: 30, BytesSent: 1},
		{IP: "10.0.1.1", MAC: "02:00:00:00:00:bb", LastTS: 10, BytesSent: 1, BytesRecv: 7},
		{IP: "2001:db8::1", MAC: "02:00:00:00:00:aa", LastTS: 20, BytesSent: 5},
	})
	stop()
	for _, tt := range []struct {
		name  string
		query models.HostQuery
		want  []string
	}{
		{"newest", models.HostQuery{}, []string{"10.0.0.1", "2001:db8::1", "10.0.1.1"}},
		{"bytes", models.HostQuery{Sort: models.SortBytes}, []string{"10.0.1.1", "2001:db8::1", "10.0.0.1"}},
		{"address", models.HostQuery{Sort: models.SortAddress}, []string{"10.0.0.1", "10.0.1.1", "2001:db8::1"}},
		{"prefix", models.HostQuery{Prefix: netip.MustParsePrefix("10.0.0.0/24")}, []string{"10.0.0.1"}},
		{"hardware address", models.HostQuery{Text: "00:AA"}, []string{"10.0.0.1", "2001:db8::1"}},
		{"since", models.HostQuery{Since: 20}, []string{"10.0.0.1", "2001:db8::1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for q := tt.query; ; {
				q.Limit = 1
				p, err := s.Hosts(t.Context(), q)
				must(t, err)
				if p.Total == nil || *p.Total != uint64(len(tt.want)) {
					t.Errorf("total %v, want %d", p.Total, len(tt.want))
				}
				for _, h := range p.Items {
					got = append(got, h.IP)
				}
				if q.Cursor = p.Next; q.Cursor == "" {
					break
				}
			}
			if diff := gocmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if h, err := s.Host(t.Context(), "2001:db8::1", ""); err != nil || h.BytesSent != 5 {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := s.Host(t.Context(), "10.0.0.9", ""); !errors.Is(err, models.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

// TestSeriesSteps: ten seconds and an hour are sums of what is kept, drops included; without traffic there is a gap.
func TestSeriesSteps(t *testing.T) {
	s := open(t, Options{})
	stop := run(t, s)
	for _, ts := range []int64{3600, 3609, 3610, 3660, 7300} {
		s.OfferSeries([]models.SeriesPoint{{TS: ts, Packets: 1, Bytes: 10, Drops: 3}})
	}
	stop()
	point := func(step, ts int64, n uint64) models.SeriesPoint {
		return models.SeriesPoint{Step: step, TS: ts, Packets: n, Bytes: 10 * n, Drops: 3 * n}
	}
	for _, tt := range []struct {
		q    models.SeriesQuery
		want []models.SeriesPoint
	}{
		{models.SeriesQuery{Step: 1, From: 3609, To: 3660}, []models.SeriesPoint{point(1, 3609, 1), point(1, 3610, 1)}},
		{models.SeriesQuery{Step: 10, To: 7000}, []models.SeriesPoint{point(10, 3600, 2), point(10, 3610, 1), point(10, 3660, 1)}},
		{models.SeriesQuery{Step: 10, From: 3601, To: 3661}, []models.SeriesPoint{point(10, 3610, 1), point(10, 3660, 1)}},
		{models.SeriesQuery{Step: 60, To: 8000}, []models.SeriesPoint{point(60, 3600, 3), point(60, 3660, 1), point(60, 7260, 1)}},
		{models.SeriesQuery{Step: 3600, To: 8000}, []models.SeriesPoint{point(3600, 3600, 4), point(3600, 7200, 1)}},
	} {
		got, err := s.Series(t.Context(), tt.q)
		must(t, err)
		if diff := gocmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.q, diff)
		}
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
		{"cursor of another list", models.AlertQuery{Cursor: cursor("hosts/newest", []any{int64(0), "x"})}},
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
