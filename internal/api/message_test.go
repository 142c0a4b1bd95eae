package api

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

func TestColumnsHoldTheRows(t *testing.T) {
	a, b := exampleConnection(math.MaxInt64), exampleConnection(-5)
	a.BytesUp, a.PacketsDown, a.SNI = maxExact, maxExact+1, "\u2028<script>\"\\\x00é\xff"
	b.Score, b.Proto, b.State, b.SNI = .8125, "47", "active", ""
	b.Alert, b.RateUp, b.RateDown = "0f3a", 1234.4, math.Inf(1)
	var got map[string]any
	if err := json.Unmarshal(rowBlock{gen: 9, omitted: 3, rows: []*models.Connection{&a, &b}, gone: []int64{7, math.MinInt64}}.columns(), &got); err != nil {
		t.Fatal(err)
	}
	list := func(v ...any) []any { return v }
	want := map[string]any{
		"gen": 9., "full": false, "omitted": 3.,
		"id": list("9223372036854775807", "-5"), "src_ip": list("192.0.2.7", "192.0.2.7"), "dst_ip": list("198.51.100.9", "198.51.100.9"),
		"src_port": list(50000., 50000.), "dst_port": list(443., 443.), "proto": list("TCP", "47"), "state": list("established", "active"),
		"sni": list("\u2028<script>\"\\\x00é\ufffd", ""), "first_ts_us": list(float64(t0), float64(t0)),
		"last_ts_us": list(float64(t0+minute), float64(t0+minute)), "packets_up": list(10., 10.), "packets_down": list("9007199254740993", 20.),
		"bytes_up": list(float64(maxExact), 1000.), "bytes_down": list(20000., 20000.), "score": list(0., .8125),
		"alert": list("", "0f3a"), "rate_up": list(0., 1234.), "rate_down": list(0., 0.),
		"gone": list("7", "-9223372036854775808"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzAppendText(f *testing.F) {
	for _, s := range []string{"", "example.org", "a\"b", "<b>", "\\", "\x00", "é", "\xff", "\u2028", "\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got := string(appendText(nil, s))
		var a, b string
		if json.Unmarshal([]byte(got), &a) != nil || json.Unmarshal(want, &b) != nil || a != b || plain(s) && got != string(want) {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	})
}

func TestAMessageFitsIntoAClientsQueue(t *testing.T) {
	m := newMirror()
	var ch ConnectionChanges
	ch.Generation, ch.Full = 1, true
	for i := range int64(mirrorRows) {
		c := exampleConnection(math.MaxInt64 - i)
		c.SrcIP, c.DstIP = "2001:db8:1234:5678:9abc:def0:1234:5678", "2001:db8:1234:5678:9abc:def0:1234:5679"
		c.PacketsUp, c.PacketsDown, c.BytesUp, c.BytesDown, c.Score = math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64, .123456
		c.SNI = fmt.Sprintf("%0253d", i)
		if i%2 == 0 {
			c.SNI = c.SNI[:200] + "\x01\x02<>"
		}
		ch.Rows = append(ch.Rows, c)
	}
	m.apply(ch)
	for i := range int64(mirrorGone) {
		m.apply(ConnectionChanges{Generation: uint64(i) + 2, Gone: []int64{math.MinInt64 + i}})
	}
	for _, known := range []uint64{0, mirrorGone + 1 - maxGone, mirrorGone + 1 - maxGone - 1} {
		b := m.since(known)
		size := len(b.columns())
		if size+maxWaiting > maxQueue-8<<10 { // 8 KiB for stats
			t.Errorf("%d rows and %d gone take %d bytes", len(b.rows), len(b.gone), size)
		}
		if known == 0 && b.omitted+uint64(len(b.rows)) != mirrorRows {
			t.Errorf("%d rows and %d omitted", len(b.rows), b.omitted)
		}
	}
}

// TestTalkersComeBeforeAFlood holds a message full of single unanswered packets, which are newer, to have the connections that talk.
func TestTalkersComeBeforeAFlood(t *testing.T) {
	m := newMirror()
	ch := ConnectionChanges{Generation: 1, Full: true}
	for i := range int64(2 * maxRows) {
		ch.Rows = append(ch.Rows, models.Connection{ID: i, PacketsUp: 1})
	}
	talkers := map[int64]bool{}
	for i := range int64(20) {
		c := models.Connection{ID: 1e6 + i, PacketsUp: 2}
		if i%2 == 0 {
			c = models.Connection{ID: 1e6 + i, PacketsUp: 1, PacketsDown: 1}
		}
		talkers[c.ID] = true
		ch.Rows = append(ch.Rows, c) // the latest stand first
	}
	m.apply(ch)
	b := m.since(0)
	for _, r := range b.rows {
		delete(talkers, r.ID)
	}
	if len(talkers) > 0 {
		t.Errorf("of 20 talkers %d are missing", len(talkers))
	}
	if all := uint64(2*maxRows + 20); uint64(len(b.rows))+b.omitted != all {
		t.Errorf("%d rows and %d omitted, of %d", len(b.rows), b.omitted, all)
	}
}

// TestTheLatestAreTold holds the mirror to the order of what it takes: the latest stand first.
func TestTheLatestAreTold(t *testing.T) {
	m := newMirror()
	ch := ConnectionChanges{Generation: 1, Full: true}
	for i := range int64(2 * maxRows) {
		ch.Rows = append(ch.Rows, models.Connection{ID: i, PacketsUp: 9})
	}
	m.apply(ch)
	for i, r := range m.since(0).rows {
		if r.ID != int64(i) {
			t.Fatalf("row %d is connection %d", i, r.ID)
		}
	}
}

// table is what a client of connection messages knows, or what there is.
type table map[int64]uint64

func (c table) take(b rowBlock) {
	if b.full {
		clear(c)
	}
	for _, r := range b.rows {
		c[r.ID] = r.BytesUp
	}
	for _, id := range b.gone {
		delete(c, id)
	}
}

// TestSlowAndFastClientsEndUpWithTheSame lets clients ask at different times, and compares what they know with what there is.
func TestSlowAndFastClientsEndUpWithTheSame(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		m, truth := newMirror(), table{}
		clients := []table{{}, {}, {}}
		known := make([]uint64, len(clients))
		for gen := uint64(1); gen < 400; gen++ {
			m.apply(randomChanges(r, gen, truth))
			for i := range clients {
				if r.IntN(i*20+1) == 0 || gen == 399 {
					b := m.since(known[i])
					if m.news(known[i]) != (len(b.rows)+len(b.gone) > 0 || b.full) {
						t.Fatalf("news(%d) is wrong", known[i])
					}
					clients[i].take(b)
					known[i] = b.gen
				}
			}
		}
		for i, c := range clients {
			if diff := cmp.Diff(truth, c); diff != "" {
				t.Fatalf("seed %d, client %d (-there is +it knows):\n%s", seed, i, diff)
			}
		}
	}
}

// randomChanges makes some of 600 connections come, change and go.
func randomChanges(r *rand.Rand, gen uint64, truth table) ConnectionChanges {
	ch := ConnectionChanges{Generation: gen}
	if gen == 1 || r.IntN(100) == 0 {
		ch.Full = true
		clear(truth)
	}
	touched := map[int64]bool{}
	for range r.IntN(60) {
		id := r.Int64N(600)
		if touched[id] {
			continue
		}
		touched[id] = true
		if _, there := truth[id]; there && r.IntN(3) == 0 {
			ch.Gone = append(ch.Gone, id)
			delete(truth, id)
			continue
		}
		truth[id] = gen
		ch.Rows = append(ch.Rows, models.Connection{ID: id, BytesUp: gen})
	}
	return ch
}

func TestWhatIsLeftOutIsCounted(t *testing.T) {
	m := newMirror()
	m.apply(ConnectionChanges{Generation: 1, Full: true, Rows: []models.Connection{{ID: 1}}, Omitted: 5})
	m.apply(ConnectionChanges{Generation: 2, Omitted: 7})
	m.apply(ConnectionChanges{Generation: 3, Rows: []models.Connection{{ID: 2}}})
	for known, want := range map[uint64]uint64{0: 12, 1: 7, 2: 0} {
		if got := m.since(known).omitted; got != want {
			t.Errorf("since %d: %d omitted, want %d", known, got, want)
		}
	}
	for gen := uint64(4); gen < 3*mirrorCuts; gen++ {
		m.apply(ConnectionChanges{Generation: gen, Omitted: 1})
	}
	if len(m.cuts) != mirrorCuts {
		t.Errorf("%d cuts are kept", len(m.cuts))
	}
}

func BenchmarkColumns(b *testing.B) {
	var block rowBlock
	for i := range int64(500) {
		c := exampleConnection(1<<62 + i)
		block.rows = append(block.rows, &c)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(block.columns())))
	}
}
