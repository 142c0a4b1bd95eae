package api

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/livetable"
	"netlyra/internal/models"
)

func TestColumnsHoldTheRows(t *testing.T) {
	a, b := exampleConnection(math.MaxInt64), exampleConnection(-5)
	a.Sensor = "hall\u202e<b>"
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
		"id": list("9223372036854775807", "-5"), "sensor": list("hall\u202e<b>", "s1"), "src_ip": list("192.0.2.7", "192.0.2.7"), "dst_ip": list("198.51.100.9", "198.51.100.9"),
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
	const all = 4 * maxRows
	ch := models.ConnectionChanges{Generation: 1, Full: true}
	for i := range int64(all) {
		c := exampleConnection(math.MaxInt64 - i)
		c.SrcIP, c.DstIP = "2001:db8:1234:5678:9abc:def0:1234:5678", "2001:db8:1234:5678:9abc:def0:1234:5679"
		c.PacketsUp, c.PacketsDown, c.BytesUp, c.BytesDown, c.Score = math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64, .123456
		c.SNI = fmt.Sprintf("%0253d", i)
		if i%2 == 0 {
			c.SNI, c.Sensor = c.SNI[:200]+"\x01\x02<>", strings.Repeat("<", 64)
		}
		ch.Rows = append(ch.Rows, &c)
	}
	for _, gone := range []int64{0, maxGone} {
		ch.Full, ch.Gone = gone == 0, nil
		for i := range gone {
			ch.Gone = append(ch.Gone, math.MinInt64+i)
		}
		b := newRowBlock(&ch)
		size := len(b.columns())
		if size+maxWaiting > maxQueue-8<<10 { // 8 KiB for stats
			t.Errorf("%d rows and %d gone take %d bytes", len(b.rows), len(b.gone), size)
		}
		if b.omitted+uint64(len(b.rows)) != all || len(b.gone) != int(gone) {
			t.Errorf("%d rows, %d omitted, %d gone", len(b.rows), b.omitted, len(b.gone))
		}
	}
}

// More departures than a message holds: the client is told all that there is.
func TestManyDeparturesAreNotListed(t *testing.T) {
	live := newLive()
	h := newHub(hubOptions{live: live})
	live.gen = 3
	for i := range int64(maxGone) + 1 {
		live.gone[i] = 3
	}
	live.conns[-1], live.gens[-1] = exampleConnection(-1), 1
	if b := h.since(2); !b.full || len(b.rows) != 1 || len(b.gone) != 0 {
		t.Errorf("full %v, %d rows, %d gone", b.full, len(b.rows), len(b.gone))
	}
	delete(live.gone, 0)
	if b := h.since(2); b.full || len(b.rows) != 0 || len(b.gone) != maxGone {
		t.Errorf("full %v, %d rows, %d gone", b.full, len(b.rows), len(b.gone))
	}
}

// Clients that ask between two refreshes come to know the same generation, and so can share the next message.
func TestClientsComeToKnowTheSame(t *testing.T) {
	live := newLive()
	h := newHub(hubOptions{live: live})
	now := time.Now()
	h.refresh(1, now)
	first := h.since(0)
	live.gen = 7
	live.conns[5], live.gens[5] = exampleConnection(5), 7
	second := h.since(0)
	if first.gen != 1 || second.gen != 1 || len(second.rows) != 1 {
		t.Errorf("generations %d and %d, %d rows", first.gen, second.gen, len(second.rows))
	}
	h.refresh(7, now.Add(connectionsEvery))
	if b := h.since(1); b.gen != 7 || len(b.rows) != 1 {
		t.Errorf("generation %d, %d rows", b.gen, len(b.rows))
	}
}

// TestTalkersComeBeforeAFlood holds a message full of single unanswered packets, which are newer, to have the connections that talk.
func TestTalkersComeBeforeAFlood(t *testing.T) {
	ch := models.ConnectionChanges{Generation: 1, Full: true}
	for i := range int64(2 * maxRows) {
		ch.Rows = append(ch.Rows, &models.Connection{ID: i, PacketsUp: 1})
	}
	talkers := map[int64]bool{}
	for i := range int64(20) {
		c := models.Connection{ID: 1e6 + i, PacketsUp: 2}
		if i%2 == 0 {
			c = models.Connection{ID: 1e6 + i, PacketsUp: 1, PacketsDown: 1}
		}
		talkers[c.ID] = true
		ch.Rows = append(ch.Rows, &c) // the latest stand first
	}
	b := newRowBlock(&ch)
	for i, r := range b.rows {
		delete(talkers, r.ID)
		if i >= 20 && r.ID != int64(i-20) {
			t.Fatalf("row %d is connection %d", i, r.ID)
		}
	}
	if len(talkers) > 0 {
		t.Errorf("of 20 talkers %d are missing", len(talkers))
	}
	if all := uint64(2*maxRows + 20); uint64(len(b.rows))+b.omitted != all {
		t.Errorf("%d rows and %d omitted, of %d", len(b.rows), b.omitted, all)
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

// tabled is a fake whose connections are those of a table.
type tabled struct {
	*memoryLive
	table *livetable.Table
}

func (t tabled) ConnectionChanges(since uint64) models.ConnectionChanges { return t.table.Since(since) }

// Clients of any pace, who share messages where they can, end up with what there is.
func TestClientsOfAnyPaceEndUpWithTheSame(t *testing.T) {
	type known struct {
		gen, seq uint64
		rows     map[string]uint64
	}
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 1))
		live, truth := tabled{newLive(), livetable.New()}, map[string]uint64{}
		h := newHub(hubOptions{live: live})
		clients := make([]known, 4)
		for i := range clients {
			clients[i].rows = map[string]uint64{}
		}
		now, shared := time.Now(), 0
		serve := func(c *known) bool {
			m := h.rowsMessage(clientView{rowsGen: c.gen, lastSeq: c.seq}, live.Generation(), now)
			if m == nil {
				return false
			}
			if m.seq != h.seq.Load() {
				shared++
			}
			var got struct{ Data rowsData }
			if err := json.Unmarshal(m.b, &got); err != nil {
				t.Fatal(err)
			}
			if got.Data.Full {
				clear(c.rows)
			}
			for i, id := range got.Data.ID {
				c.rows[id] = got.Data.BytesUp[i]
			}
			for _, id := range got.Data.Gone {
				delete(c.rows, id)
			}
			c.gen, c.seq = m.gen, m.seq
			return true
		}
		for step := uint64(1); step < 400; step++ {
			var cs []models.Connection
			for range r.IntN(40) {
				c := models.Connection{ID: r.Int64N(600), BytesUp: step, LastTS: models.Micros(step)}
				id := strconv.FormatInt(c.ID, 10)
				if truth[id] = step; r.IntN(4) == 0 {
					c.End = models.ConnDone
					delete(truth, id)
				}
				cs = append(cs, c)
			}
			live.table.Update(cs, int64(step))
			live.count(1)
			now = now.Add(time.Duration(r.IntN(30)) * time.Millisecond)
			for i := range clients {
				if r.IntN(i*10+1) == 0 {
					serve(&clients[i])
				}
			}
		}
		live.count(1)
		now = now.Add(time.Second)
		for i := range clients {
			for n := 0; serve(&clients[i]); n++ {
				if n == 3 {
					t.Fatalf("seed %d, client %d is told the same again and again", seed, i)
				}
			}
			if d := cmp.Diff(truth, clients[i].rows); d != "" {
				t.Fatalf("seed %d, client %d (-there is +it knows):\n%s", seed, i, d)
			}
		}
		if shared == 0 {
			t.Errorf("seed %d: no message was shared", seed)
		}
	}
}
