package store

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"modernc.org/sqlite"

	"netlyra/internal/models"
)

// The values of the rows that makeConnection and makeAlert make: what is common, and what one row in rareEvery has.
const (
	rareEvery  = 100_003 // a prime: none of the rare rows is at a boundary of anything
	rareAt     = 17      // the first of them, so that few rows have one, too
	rowSpacing = 5_000   // microseconds between the starts of two connections
	rowsBegin  = 1_795_498_893_000_000
)

// rareRow says whether row i has the rare values, and whether they are those that are on one row alone.
func rareRow(i int) bool { return i%rareEvery == rareAt }

// makeConnection makes the ith connection, the same each time, of an office of 250 hosts.
func makeConnection(i int) models.Connection {
	r := rand.New(rand.NewPCG(7, uint64(i)))                                       //nolint:gosec // a test's rows
	pick := func(n int) int { return int(float64(n) * r.Float64() * r.Float64()) } // the first more often
	server := pick(5000)
	c := models.Connection{
		ID: int64(i + 1), Sensor: "office", SrcIP: fmt.Sprintf("10.0.%d.%d", pick(2), 1+pick(125)), DstIP: fmt.Sprintf("198.51.%d.%d", server/250, 1+server%250),
		SrcPort: uint16(32768 + r.IntN(28000)), DstPort: 443, Proto: "TCP", SrcMAC: fmt.Sprintf("02:00:00:00:00:%02x", pick(250)), DstMAC: "02:00:00:00:01:01",
		CommunityID: communityOf(i), State: "closed", End: models.ConnDone,
		FirstTS: models.Micros(rowsBegin + i*rowSpacing), PacketsUp: 12, PacketsDown: 20, BytesUp: uint64(900 + r.IntN(5000)), BytesDown: uint64(r.ExpFloat64() * 40_000),
		FlagsUp: "ACK,FIN,PSH,SYN", FlagsDown: "ACK,FIN,PSH,SYN", Entropy: 7.5, SNI: fmt.Sprintf("www%d.example.org", server), JA4: "t13d1516h2_8daaf6152771_02713d6af862",
	}
	c.LastTS = c.FirstTS + models.Micros(r.ExpFloat64()*3e6)
	switch n := r.IntN(100); {
	case n < 25:
		c.DstIP, c.DstPort, c.Proto, c.State, c.FlagsUp, c.FlagsDown, c.SNI, c.JA4 = "10.0.0.1", 53, "UDP", "active", "", "", "", ""
	case n < 32:
		c.DstPort, c.SNI, c.JA4 = 80, "", ""
	case n < 36:
		c.State, c.FlagsDown = "reset", "ACK,RST"
	case n < 38:
		c.State, c.FlagsUp, c.FlagsDown, c.PacketsDown, c.BytesDown, c.SNI, c.JA4 = "syn_sent", "SYN", "", 0, 0, "", ""
		c.Score, c.Alert = 0.85, fmt.Sprintf("%016x", i/20_000)
	}
	if rareRow(i) {
		c.Sensor, c.SrcIP, c.DstIP, c.DstPort, c.Proto, c.State = "annex", "10.9.8.7", "203.0.113.9", 4444, "SCTP", "syn_received"
		c.Score, c.Alert, c.SNI = 0.999, "feedfacefeedface", "needle.Example.net"
	}
	return c
}

// communityOf is a Community ID's length of text that no two rows share.
func communityOf(i int) string { return fmt.Sprintf("1:%028d", i) }

// makeAlert makes the ith alert, the same each time.
func makeAlert(i int) *models.Alert {
	r := rand.New(rand.NewPCG(8, uint64(i)))                                                                    //nolint:gosec // a test's rows
	a := testAlert(fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15), models.Micros(rowsBegin+i/3*rowSpacing)) // three in each slot
	a.SrcIP, a.DstIP = fmt.Sprintf("10.0.%d.%d", r.IntN(2), 1+r.IntN(125)), fmt.Sprintf("198.51.%d.%d", r.IntN(20), 1+r.IntN(250))
	a.SrcPort, a.DstPort = uint16(r.IntN(3)*1000), []uint16{0, 22, 443, 53}[r.IntN(4)]
	a.Proto = []string{"TCP", "TCP", "UDP", "ICMP"}[r.IntN(4)]
	a.Score = 0.8 + 0.15*r.Float64()
	a.State = models.AlertClosed
	a.Category = []models.Category{models.CategoryPortScan, models.CategoryFlood, models.CategoryExfiltration}[r.IntN(3)]
	a.Severity = []models.Severity{models.SeverityLow, models.SeverityMedium, models.SeverityMedium, models.SeverityHigh}[r.IntN(4)]
	a.CommunityID = communityOf(i)
	a.Summary = fmt.Sprintf("%s tried %d ports of %s within %d seconds.", a.SrcIP, 20+r.IntN(900), a.DstIP, 1+r.IntN(60))
	if rareRow(i) {
		a.Sensor, a.SrcIP, a.DstIP, a.SrcPort, a.DstPort, a.Proto = "annex", "10.9.8.7", "203.0.113.9", 4444, 4444, "SCTP"
		a.Score, a.State, a.Category, a.Severity = 0.999, models.AlertOpen, models.CategoryBeacon, models.SeverityCritical
		a.Summary = "10.9.8.7 calls a needle every 60 seconds."
	}
	return a
}

// ask is a named query.
type ask[Q any] struct {
	name  string
	query Q
}

// connectionAsks are every filter, common and rare, the pairs, and the orders, of n connections.
func connectionAsks(n int) []ask[models.ConnectionQuery] {
	type q = models.ConnectionQuery
	at := func(part float64) models.Micros { return models.Micros(rowsBegin + int(part*float64(n))*rowSpacing) }
	common, rare, server, busy := one("10.0.0.7"), one("10.9.8.7"), one("198.51.3.4"), one("10.0.0.1")
	return []ask[q]{
		{"none", q{}},
		{"host", q{Host: common}},
		{"host rare", q{Host: rare}},
		{"host none", q{Host: one("192.0.2.200")}},
		{"prefix", q{Host: netip.MustParsePrefix("10.0.0.0/23")}},
		{"prefix rare", q{Host: netip.MustParsePrefix("10.9.0.0/16")}},
		{"prefix none", q{Host: netip.MustParsePrefix("2001:db8::/32")}},
		{"port", q{Port: 443}},
		{"port rare", q{Port: 4444}},
		{"port none", q{Port: 7}},
		{"proto", q{Proto: "UDP"}},
		{"proto rare", q{Proto: "SCTP"}},
		{"proto none", q{Proto: "ARP"}},
		{"state", q{States: []string{"closed"}}},
		{"state rare", q{States: []string{"syn_received"}}},
		{"states none", q{States: []string{"established", "closing"}}},
		{"min_score", q{MinScore: 0.8}},
		{"min_score rare", q{MinScore: 0.99}},
		{"min_score none", q{MinScore: 1}},
		{"sensor rare", q{Sensor: "annex"}},
		{"sensor none", q{Sensor: "cellar"}},
		{"from late", q{From: at(0.999)}},
		{"from future", q{From: at(2)}},
		{"to middle", q{To: at(0.5)}},
		{"to early", q{To: at(0.00001)}},
		{"to past", q{To: 1}},
		{"from+to", q{From: at(0.3), To: at(0.300001)}},
		{"community_id rare", q{CommunityID: communityOf(n / 3)}},
		{"community_id none", q{CommunityID: "1:x"}},
		{"alert", q{Alert: fmt.Sprintf("%016x", 0)}},
		{"alert none", q{Alert: "0"}},
		{"text", q{Text: "WWW7"}},
		{"text rare", q{Text: "needle"}},
		{"text none", q{Text: "haystack"}},
		{"host+port", q{Host: common, Port: 443}},
		{"host+port none", q{Host: common, Port: 4444}},
		{"busy host+port none", q{Host: busy, Port: 22}},
		{"server+port none", q{Host: server, Port: 53}},
		{"from+port", q{From: at(0.5), Port: 4444}},
		{"from+port none", q{From: at(0.5), Port: 7}},
		{"to+port", q{To: at(0.1), Port: 443}},
		{"proto+state none", q{Proto: "UDP", States: []string{"closed"}}},
		{"proto+min_score", q{Proto: "TCP", MinScore: 0.99}},
		{"state+min_score", q{States: []string{"closed"}, MinScore: 0.8}},
		{"prefix+port none", q{Host: netip.MustParsePrefix("10.0.0.0/8"), Port: 22}},
		{"text+proto none", q{Text: "www7", Proto: "UDP"}},
		{"host+from+to", q{Host: common, From: at(0.2), To: at(0.21)}},
		{"bytes", q{Sort: models.SortBytes}},
		{"bytes host", q{Sort: models.SortBytes, Host: common}},
		{"bytes port rare", q{Sort: models.SortBytes, Port: 4444}},
		{"bytes proto 500", q{Sort: models.SortBytes, Proto: "TCP", Limit: models.MaxPageLimit}},
		{"port 500", q{Port: 443, Limit: models.MaxPageLimit}},
	}
}

// alertAsks are the same for n alerts.
func alertAsks(n int) []ask[models.AlertQuery] {
	type q = models.AlertQuery
	at := func(part float64) models.Micros { return models.Micros(rowsBegin + int(part*float64(n))/3*rowSpacing) }
	common, rare := one("10.0.0.7"), one("10.9.8.7")
	return []ask[q]{
		{"none", q{}},
		{"host", q{Host: common}},
		{"host rare", q{Host: rare}},
		{"prefix", q{Host: netip.MustParsePrefix("10.0.0.0/23")}},
		{"prefix rare", q{Host: netip.MustParsePrefix("10.9.0.0/16")}},
		{"prefix none", q{Host: netip.MustParsePrefix("2001:db8::/32")}},
		{"port", q{Port: 443}},
		{"port rare", q{Port: 4444}},
		{"port none", q{Port: 7}},
		{"proto", q{Proto: "UDP"}},
		{"proto rare", q{Proto: "SCTP"}},
		{"state", q{State: models.AlertClosed}},
		{"state rare", q{State: models.AlertOpen}},
		{"category", q{Categories: []models.Category{models.CategoryFlood}}},
		{"category rare", q{Categories: []models.Category{models.CategoryBeacon}}},
		{"categories rare", q{Categories: []models.Category{models.CategoryBeacon, models.CategoryTunnel, models.CategoryNewDevice}}},
		{"severity", q{Severities: []models.Severity{models.SeverityHigh}}},
		{"severity rare", q{Severities: []models.Severity{models.SeverityCritical}}},
		{"min_score", q{MinScore: 0.9}},
		{"min_score rare", q{MinScore: 0.99}},
		{"min_score none", q{MinScore: 1}},
		{"sensor rare", q{Sensor: "annex"}},
		{"sensor none", q{Sensor: "cellar"}},
		{"from late", q{From: at(0.999)}},
		{"to early", q{To: at(0.00001)}},
		{"community_id rare", q{CommunityID: communityOf(n / 3)}},
		{"text", q{Text: "TRIED 7"}},
		{"text rare", q{Text: "Needle"}},
		{"text none", q{Text: "haystack"}},
		{"triage hidden", q{Triage: models.TriageHidden}},
		{"triage acknowledged", q{Triage: models.TriageAcknowledged}},
		{"triage all", q{Triage: models.TriageAll}},
		{"triage+min_score", q{Triage: models.TriageNew, MinScore: 0.99}},
		{"triage+min_score none", q{Triage: models.TriageHidden, MinScore: 1}},
		{"proto+min_score", q{Proto: "UDP", MinScore: 0.94}},
		{"proto+min_score none", q{Proto: "UDP", MinScore: 0.99}},
		{"host+port none", q{Host: common, Port: 4444}},
		{"from+port", q{From: at(0.5), Port: 4444}},
		{"category+severity none", q{Categories: []models.Category{models.CategoryFlood}, Severities: []models.Severity{models.SeverityCritical}}},
		{"text+proto none", q{Text: "needle", Proto: "UDP"}},
		{"by score", q{Sort: models.SortScore}},
		{"by score, proto", q{Sort: models.SortScore, Proto: "UDP"}},
		{"by score, host rare", q{Sort: models.SortScore, Host: rare}},
		{"by severity", q{Sort: models.SortSeverity}},
		{"by severity, category", q{Sort: models.SortSeverity, Categories: []models.Category{models.CategoryFlood}}},
		{"by severity, port none", q{Sort: models.SortSeverity, Port: 7}},
		{"port 500", q{Port: 443, Limit: models.MaxPageLimit}},
	}
}

// fillRows writes the first connections and alerts of makeConnection and makeAlert.
func fillRows(t testing.TB, w *writer, connections, alerts int) {
	t.Helper()
	for i := 0; i < connections; i += flushRows {
		cs := make([]models.Connection, 0, flushRows)
		for j := i; j < min(connections, i+flushRows); j++ {
			cs = append(cs, makeConnection(j))
		}
		w.queue.sampleConnections = newSample[int64]() // no row is left out
		if n := w.OfferConnections(cs); n != len(cs) {
			t.Fatalf("%d of %d connections taken", n, len(cs))
		}
		if _, err := w.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < alerts; i += flushRows {
		as := make([]*models.Alert, 0, flushRows)
		for j := i; j < min(alerts, i+flushRows); j++ {
			as = append(as, makeAlert(j))
		}
		saved := make(chan error, 1)
		go func() { saved <- w.SaveAlerts(t.Context(), as) }()
		<-w.queue.wake
		if err := w.commitJobs(t.Context(), w.queue.takeJobs(1)); err != nil {
			t.Fatal(err)
		}
		if err := <-saved; err != nil {
			t.Fatal(err)
		}
	}
	if err := w.transact(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE alerts SET triage = CASE WHEN rowid % 11 = 0 THEN 'hidden' ELSE 'acknowledged' END WHERE rowid % 11 = 0 OR rowid % 50021 = 3`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for worked := true; worked; {
		var err error
		if worked, err = w.writeBlocks(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// pagesRead is how many pages of the database a read has looked at, in the cache or not. SQLite counts them for each connection.
func pagesRead(t *testing.T, s *Store, read func()) (n int) {
	t.Helper()
	db := s.readers.Load().db
	db.SetMaxOpenConns(1)
	sum := func() (n int) {
		c, err := db.Conn(t.Context())
		must(t, err)
		defer func() { must(t, c.Close()) }()
		must(t, c.Raw(func(dc any) error {
			for _, op := range []sqlite.DBStatusOp{sqlite.DBStatusCacheHit, sqlite.DBStatusCacheMiss} {
				v, _, err := dc.(sqlite.DBStatus).Status(op, false) //nolint:errcheck // the driver's connection has it
				if err != nil {
					return err
				}
				n += v
			}
			return nil
		}))
		return n
	}
	before := sum()
	read()
	return sum() - before
}

// TestNoFilterReadsTheTable: whatever is asked for, a page takes no more pages of the database than the blocks have, and a few for each row
// that it shows.
func TestNoFilterReadsTheTable(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 50,000 rows twice; run without -short")
	}
	const size, blocks, rest = 2046, 25, 60 // whole slots of alerts in a block, and a small rest, which does not grow with the table
	const n = size*blocks + rest
	s := open(t, Options{MaxBytes: 1 << 40})
	for _, b := range s.blocked {
		b.size, b.rest = size, rest
	}
	fillRows(t, newWriter(s), n, n)
	t.Run("connections", func(t *testing.T) { readsBlocks(t, s, "connections", connectionAsks(n), s.Connections) })
	t.Run("alerts", func(t *testing.T) { readsBlocks(t, s, "alerts", alertAsks(n), s.Alerts) })
}

func readsBlocks[Q, T any](t *testing.T, s *Store, table string, asks []ask[Q], read func(context.Context, Q) (models.Page[T], error)) {
	t.Helper()
	const (
		around = 1000 // the rest, what has changed, inner pages on the way to each column of each block
		each   = 6    // pages on the way to a row that is shown, and the row
	)
	sum := func(query string) func() {
		return func() {
			var n sql.NullInt64
			must(t, s.readers.Load().db.QueryRowContext(t.Context(), query).Scan(&n))
		}
	}
	scan := pagesRead(t, s, sum("SELECT sum(length(dst_ip)) FROM "+table+" NOT INDEXED"))
	blocks := pagesRead(t, s, sum("SELECT sum(length(hex(data))) FROM "+s.blocked[table].columns))
	t.Logf("all rows are on %d pages, blocks on %d", scan, blocks)
	if blocks+around+each*models.DefaultPageLimit > scan*2/3 {
		t.Errorf("blocks are on %d pages, all rows on %d: the bound says nothing", blocks, scan)
	}
	for _, a := range asks {
		t.Run(a.name, func(t *testing.T) {
			rows := 0
			got := pagesRead(t, s, func() {
				p, err := read(t.Context(), a.query)
				must(t, err)
				rows = len(p.Items)
			})
			if got > blocks+around+each*rows {
				t.Errorf("%d pages for %d rows, the blocks are on %d", got, rows, blocks)
			}
		})
	}
}
