package store

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"netlyra/internal/models"
)

// choose is one of vs.
func choose[T any](r *rand.Rand, vs ...T) T { return vs[r.IntN(len(vs))] }

// sometimes is one of vs, or the zero value.
func sometimes[T any](r *rand.Rand, vs ...T) (v T) {
	if r.IntN(4) == 0 {
		v = choose(r, vs...)
	}
	return v
}

var searchedPrefixes = []netip.Prefix{
	one("10.0.0.1"), one("10.0.1.2"), one("2001:db8::1"), netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.0.0/15"),
	netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::/0"),
}

func randomAddress(r *rand.Rand) string {
	return choose(r, "10.0.0.1", "10.0.0.2", "10.0.1.2", "10.1.0.1", "2001:db8::1", "192.0.2.1", "")
}

func inPrefix(p netip.Prefix, addresses ...string) bool {
	return !p.IsValid() || slices.ContainsFunc(addresses, func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err == nil && p.Contains(a)
	})
}

func hasText(text string, in ...string) bool {
	return text == "" || slices.ContainsFunc(in, func(v string) bool { return strings.Contains(strings.ToLower(v), strings.ToLower(text)) })
}

func oneOfThem[T comparable](vs []T, v T) bool { return len(vs) == 0 || slices.Contains(vs, v) }

func same[T comparable](want, v T) bool {
	var zero T
	return want == zero || want == v
}

func randomConnection(r *rand.Rand, id int64) models.Connection {
	c := testConnection(id)
	c.SrcIP, c.DstIP, c.SrcPort, c.DstPort = randomAddress(r), randomAddress(r), choose[uint16](r, 0, 53, 65535), choose[uint16](r, 53, 443)
	c.Proto, c.Sensor, c.State = choose(r, "TCP", "UDP"), choose(r, "s1", "s2"), choose(r, "closed", "reset", "active")
	c.CommunityID, c.SNI, c.Alert, c.Score = fmt.Sprint("1:", r.IntN(20)), choose(r, "", "www.Example.org", "a_b%c"), choose(r, "", "", "i1"), choose(r, 0, 0, 0.8, 0.95, 1)
	c.FirstTS = models.Micros(r.IntN(5000))
	c.LastTS, c.BytesUp, c.BytesDown = c.FirstTS+models.Micros(r.IntN(3000)), uint64(r.IntN(50)), choose[uint64](r, 0, 100, 1<<63)
	return c
}

func randomConnectionQuery(r *rand.Rand) models.ConnectionQuery {
	q := models.ConnectionQuery{
		Limit: choose(r, 17, 60, 500), Sort: choose(r, "", models.SortNewest, models.SortBytes), Host: sometimes(r, searchedPrefixes...),
		Port: sometimes[uint16](r, 53, 443, 65535, 7), Proto: sometimes(r, "TCP", "UDP", "ICMP"),
		MinScore: sometimes(r, 0.8, 0.9, 1), States: sometimes(r, []string{"closed"}, []string{"reset", "active"}), Sensor: sometimes(r, "s2", "s3"),
		CommunityID: sometimes(r, "1:3", "1:x"), Alert: sometimes(r, "i1", "i2"), Text: sometimes(r, "EXAMPLE", "_b%", ".0.1", "ä"),
	}
	if r.IntN(4) == 0 {
		q.From = models.Micros(1 + r.IntN(8000))
	}
	if r.IntN(4) == 0 {
		q.To = models.Micros(1 + r.IntN(8000))
	}
	return q
}

func connectionMatches(q *models.ConnectionQuery, c *models.Connection) bool {
	return inPrefix(q.Host, c.SrcIP, c.DstIP) && (q.Port == 0 || q.Port == c.SrcPort || q.Port == c.DstPort) && same(q.Proto, c.Proto) &&
		same(q.Sensor, c.Sensor) && c.Score >= q.MinScore && oneOfThem(q.States, c.State) && same(q.CommunityID, c.CommunityID) && same(q.Alert, c.Alert) &&
		hasText(q.Text, c.SNI, c.SrcIP, c.DstIP) && (q.From == 0 || c.LastTS >= q.From) && (q.To == 0 || c.FirstTS < q.To)
}

func randomAlert(r *rand.Rand, id string) *models.Alert {
	a := testAlert(id, models.Micros(r.IntN(400)))
	a.SrcIP, a.DstIP, a.SrcPort, a.DstPort = randomAddress(r), randomAddress(r), choose[uint16](r, 0, 53, 65535), choose[uint16](r, 53, 443)
	a.Proto, a.Sensor, a.State = choose(r, "TCP", "UDP"), choose(r, "s1", "s2"), choose(r, models.AlertOpen, models.AlertClosed)
	a.Category, a.Severity = choose(r, models.CategoryFlood, models.CategoryBeacon, models.CategoryWorm), choose(r, models.Severities()...)
	a.CommunityID, a.Summary, a.Score = fmt.Sprint("1:", r.IntN(20)), choose(r, "Tried 100% of A_B.", "Çalls home.", ""), choose(r, 0.8, 0.85, 0.999, 1)
	return a
}

func randomAlertQuery(r *rand.Rand) models.AlertQuery {
	q := models.AlertQuery{
		Limit: choose(r, 17, 60, 500), Sort: choose(r, "", models.SortNewest, models.SortScore, models.SortSeverity), Host: sometimes(r, searchedPrefixes...),
		Port: sometimes[uint16](r, 53, 443, 65535, 7), Proto: sometimes(r, "TCP", "UDP", "ICMP"), MinScore: sometimes(r, 0.8, 0.9, 1),
		State: sometimes(r, models.AlertOpen, models.AlertClosed), Categories: sometimes(r, []models.Category{models.CategoryWorm}, []models.Category{"flood", "beacon"}),
		Severities: sometimes(r, []models.Severity{models.SeverityLow}, models.Severities()[2:]), Sensor: sometimes(r, "s2", "s3"),
		CommunityID: sometimes(r, "1:3", "1:x"), Text: sometimes(r, "TRIED", "% of a_", "alls", ".0.1", "A1"),
		Triage: choose(r, "", models.TriageAll, models.TriageNew, models.TriageHidden, models.TriageAcknowledged),
	}
	if r.IntN(4) == 0 {
		q.From = models.Micros(1 + r.IntN(400))
	}
	if r.IntN(4) == 0 {
		q.To = models.Micros(1 + r.IntN(400))
	}
	return q
}

func alertMatches(q *models.AlertQuery, a *models.Alert) bool {
	triage := same(q.Triage, a.Triage) || q.Triage == models.TriageAll
	if q.Triage == "" {
		triage = a.Triage != models.TriageHidden
	}
	return triage && inPrefix(q.Host, a.SrcIP, a.DstIP) && (q.Port == 0 || q.Port == a.SrcPort || q.Port == a.DstPort) && same(q.Proto, a.Proto) &&
		same(q.Sensor, a.Sensor) && a.Score >= q.MinScore && same(q.State, a.State) && oneOfThem(q.Categories, a.Category) &&
		oneOfThem(q.Severities, a.Severity) && same(q.CommunityID, a.CommunityID) && hasText(q.Text, a.Summary, a.SrcIP, a.DstIP, a.ID) &&
		(q.From == 0 || a.TS >= q.From) && (q.To == 0 || a.TS < q.To)
}

// all are the rows of a table.
func all[T any](t *testing.T, s *Store) (rows []T) {
	t.Helper()
	must(t, s.readers.Load().gorm.Find(&rows).Error)
	return rows
}

// pages are all items of a list; cursor says where the next page begins.
func pages[T any](t *testing.T, cursor *models.Cursor, ask func() (models.Page[T], error)) (items []T) {
	t.Helper()
	for {
		p, err := ask()
		must(t, err)
		items = append(items, p.Items...)
		if *cursor = p.Next; p.Next == "" {
			return items
		}
	}
}

// smallBlocks makes blocks that a test can fill, and a writer.
func smallBlocks(s *Store) *writer {
	for _, b := range s.blocked {
		b.size, b.rest = 40, 25
	}
	return newWriter(s)
}

// TestSearchIsExact: whatever has been written, changed and deleted, before and after its block was written, any filters in any order give, page by
// page, exactly what a plain loop over all rows does.
func TestSearchIsExact(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's rows
			s := open(t, Options{})
			w := smallBlocks(s)
			id, n := int64(1000), 0
			for round := range 40 {
				var cs []models.Connection
				for range r.IntN(40) {
					id += int64(1 + r.IntN(3))
					cs = append(cs, randomConnection(r, id))
					if r.IntN(5) == 0 { // an earlier one changes, or comes late
						cs = append(cs, randomConnection(r, 990+r.Int64N(id-990)))
					}
				}
				w.OfferConnections(cs)
				_, err := w.flush(t.Context())
				must(t, err)
				var as []*models.Alert
				for range r.IntN(20) {
					a := randomAlert(r, fmt.Sprint(choose(r, "a", "B"), r.IntN(600)))
					a.Rev = int64(round + 1)
					as = append(as, a)
				}
				write(t, w, func() error { return s.SaveAlerts(t.Context(), as) })
				if len(as) > 0 {
					write(t, w, func() error { return s.SetTriage(t.Context(), as[0].ID, choose(r, models.Triages()...), somebody) })
				}
				if r.IntN(5) == 0 {
					_, err = w.deleteRows(t.Context(), "DELETE FROM connections WHERE id % ? = 0 AND id < ?", []any{2 + r.IntN(9), 1000 + r.Int64N(id-990)})
					must(t, err)
					_, err = w.deleteRows(t.Context(), "DELETE FROM alerts WHERE ts % ? = 0 AND ts < ?", []any{2 + r.IntN(9), r.IntN(400)})
					must(t, err)
				}
				for range r.IntN(6) {
					_, err := w.writeBlocks(t.Context())
					must(t, err)
				}
				searchBoth(t, s, r)
			}
			for _, b := range s.blocked {
				must(t, s.write.QueryRowContext(t.Context(), "SELECT count(*) FROM "+b.blocks).Scan(&n))
				if n < 3 {
					t.Errorf("%d %s: too few to say anything", n, b.blocks)
				}
			}
		})
	}
}

// TestDamagedBlocksAreWrittenAnew: a list is answered all the same, and the blocks are whole after the writer's next turns.
func TestDamagedBlocksAreWrittenAnew(t *testing.T) {
	for name, damage := range map[string]string{
		"cut short": "UPDATE connection_columns SET data = substr(data, 1, length(data) - 1) WHERE name = 'src_port'",
		"gone":      "DELETE FROM connection_columns WHERE name = 'src_port'",
		"empty":     "UPDATE connection_columns SET data = x'' WHERE name = 'src_port'",
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Options{})
			w := smallBlocks(s)
			var cs []models.Connection
			for id := range int64(400) {
				cs = append(cs, testConnection(id+1))
			}
			w.OfferConnections(cs)
			for _, err := w.flush(t.Context()); len(s.queue.connections) > 0; _, err = w.flush(t.Context()) {
				must(t, err)
			}
			fill := func() (blocks int) {
				for worked := true; worked; {
					var err error
					worked, err = w.writeBlocks(t.Context())
					must(t, err)
				}
				must(t, s.write.QueryRowContext(t.Context(), "SELECT count(*) FROM connection_blocks").Scan(&blocks))
				return blocks
			}
			before := fill()
			_, err := s.write.ExecContext(t.Context(), damage)
			must(t, err)
			ask := func() int {
				page, err := s.Connections(t.Context(), models.ConnectionQuery{Port: cs[7].SrcPort, Limit: 500})
				must(t, err)
				return len(page.Items)
			}
			want := ask()
			if want == 0 || !s.blocked["connections"].bad.Load() {
				t.Fatalf("%d rows, bad %v", want, s.blocked["connections"].bad.Load())
			}
			if after := fill(); after != before || before < 3 {
				t.Errorf("%d blocks before, %d afterwards", before, after)
			}
			if got := ask(); got != want || s.blocked["connections"].bad.Load() {
				t.Errorf("%d rows, want %d; bad %v", got, want, s.blocked["connections"].bad.Load())
			}
		})
	}
}

// write runs a call that waits for the writer.
func write(t *testing.T, w *writer, call func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case <-w.queue.wake:
		must(t, w.commitJobs(t.Context(), w.queue.takeJobs(1)))
		must(t, <-done)
	case err := <-done:
		must(t, err)
	}
}

func searchBoth(t *testing.T, s *Store, r *rand.Rand) {
	t.Helper()
	connections := all[models.Connection](t, s)
	for range 3 {
		q := randomConnectionQuery(r)
		var want []models.Connection
		for i := range connections {
			if connectionMatches(&q, &connections[i]) {
				want = append(want, connections[i])
			}
		}
		bytes := func(c *models.Connection) uint64 { return min(c.BytesUp, 1<<62-1) + min(c.BytesDown, 1<<62-1) }
		slices.SortFunc(want, func(a, b models.Connection) int {
			if q.Sort == models.SortBytes {
				return cmp.Or(cmp.Compare(bytes(&b), bytes(&a)), cmp.Compare(b.ID, a.ID))
			}
			return cmp.Compare(b.ID, a.ID)
		})
		name := fmt.Sprintf("%+v", q)
		if diff := gocmp.Diff(want, pages(t, &q.Cursor, func() (models.Page[models.Connection], error) { return s.Connections(t.Context(), q) }), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", name, diff)
		}
	}
	alerts := all[models.Alert](t, s)
	for range 3 {
		q := randomAlertQuery(r)
		var want []models.Alert
		for i := range alerts {
			if alertMatches(&q, &alerts[i]) {
				want = append(want, alerts[i])
			}
		}
		rank := func(a *models.Alert) int { return slices.Index(models.Severities(), a.Severity) }
		slices.SortFunc(want, func(a, b models.Alert) int {
			newest := cmp.Or(cmp.Compare(b.TS, a.TS), cmp.Compare(b.ID, a.ID))
			switch q.Sort {
			case models.SortScore:
				return cmp.Or(cmp.Compare(b.Score, a.Score), newest)
			case models.SortSeverity:
				return cmp.Or(cmp.Compare(rank(&b), rank(&a)), newest)
			default:
				return newest
			}
		})
		name := fmt.Sprintf("%+v", q)
		if diff := gocmp.Diff(want, pages(t, &q.Cursor, func() (models.Page[models.Alert], error) { return s.Alerts(t.Context(), q) }), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", name, diff)
		}
	}
}
