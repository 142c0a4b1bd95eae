package livetable

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"netlyra/internal/models"
)

func conn(id int64, last models.Micros, end models.ConnEnd) models.Connection {
	return models.Connection{ID: id, LastTS: last, End: end}
}

func TestWhatHasChangedIsTold(t *testing.T) {
	l := New()
	l.Update([]models.Connection{conn(1, 10, ""), conn(2, 20, "")}, 20)
	all := l.Since(0)
	if !all.Full || len(all.Rows) != 2 || all.Rows[0].ID != 2 {
		t.Fatalf("%+v", all)
	}
	l.Update([]models.Connection{conn(1, 30, models.ConnDone), conn(3, 30, "")}, 30)
	got := l.Since(all.Generation)
	want := models.ConnectionChanges{Generation: all.Generation + 1, Rows: []*models.Connection{{ID: 3, LastTS: 30}}, Gone: []int64{1}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if again := l.Since(got.Generation); len(again.Rows)+len(again.Gone) != 0 || again.Full {
		t.Errorf("%+v", again)
	}
	if c, ok := l.Find(3); !ok || c.LastTS != 30 {
		t.Errorf("found %+v, %v", c, ok)
	}
	if _, ok := l.Find(1); ok {
		t.Error("one that has ended is found")
	}
}

func TestThereIsRoomForTheLatest(t *testing.T) {
	l := New()
	known := l.Since(0).Generation
	for i := range int64(2 * Rows) {
		l.Update([]models.Connection{conn(i, models.Micros(100+i), "")}, 100+i)
	}
	if all := l.Since(0).Rows; len(all) > Rows || len(all) < Rows/2 || all[0].ID != 2*Rows-1 {
		t.Errorf("%d rows, at most %d, the first is %d", len(all), Rows, all[0].ID)
	}
	// Who knew less than the departures that are remembered is told all.
	for i := range int64(4 * maxGone) {
		l.Update([]models.Connection{conn(1e6+i, models.Micros(1e6+i), "")}, 1e6+i)
	}
	if c := l.Since(known); !c.Full || len(c.Gone) != 0 {
		t.Errorf("full %v, %d gone", c.Full, len(c.Gone))
	}
}

func TestSinglePacketsGiveWayToTalkers(t *testing.T) {
	l := New()
	talker := models.Connection{ID: 1, LastTS: 1, PacketsUp: 2, PacketsDown: 1}
	l.Update([]models.Connection{talker}, 1)
	for i := range int64(3 * Rows) {
		l.Update([]models.Connection{{ID: 10 + i, LastTS: models.Micros(2 + i), PacketsUp: 1}}, 2+i)
	}
	if _, ok := l.Find(1); !ok {
		t.Error("the flood has pushed out the talker")
	}
}

func TestWhatMustHaveEndedLeaves(t *testing.T) {
	l := New()
	l.Update([]models.Connection{
		{ID: 1, Proto: "UDP", LastTS: 1000 * second},
		{ID: 2, Proto: "TCP", State: "established", LastTS: 1000 * second},
		{ID: 3, Proto: "TCP", State: "established", LastTS: 9000 * second},
	}, 9000*second)
	l.Expire("other", 9000*second)
	l.Clear("other")
	if cs := l.Since(0).Rows; len(cs) != 3 {
		t.Errorf("another sensor's clock: %+v", cs)
	}
	l.Expire("", 1100*second)
	if cs := l.Since(0).Rows; len(cs) != 1 || cs[0].ID != 2 {
		t.Errorf("%+v", cs)
	}
	l.Clear("")
	if cs := l.Since(0).Rows; len(cs) != 0 {
		t.Errorf("%+v", cs)
	}
}

// Readers that ask at different times come to know what there is.
func TestSlowAndFastReadersEndUpWithTheSame(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		l, truth := New(), map[int64]uint64{}
		readers := []map[int64]uint64{{}, {}, {}}
		known := make([]uint64, len(readers))
		for step := uint64(1); step < 400; step++ {
			l.Update(randomUpdate(r, step, truth), int64(step))
			if r.IntN(100) == 0 {
				l.Clear("")
				clear(truth)
			}
			for i, m := range readers {
				if r.IntN(i*20+1) != 0 && step != 399 {
					continue
				}
				c := l.Since(known[i])
				if c.Full {
					clear(m)
				}
				for _, c := range c.Rows {
					m[c.ID] = c.BytesUp
				}
				for _, id := range c.Gone {
					delete(m, id)
				}
				known[i] = c.Generation
			}
		}
		for i, m := range readers {
			if d := cmp.Diff(truth, m); d != "" {
				t.Fatalf("seed %d, reader %d (-there is +it knows):\n%s", seed, i, d)
			}
		}
	}
}

// randomUpdate makes some of 600 connections come, change and go.
func randomUpdate(r *rand.Rand, step uint64, truth map[int64]uint64) (cs []models.Connection) {
	touched := map[int64]bool{}
	for range r.IntN(60) {
		id := r.Int64N(600)
		if touched[id] {
			continue
		}
		touched[id] = true
		c := models.Connection{ID: id, BytesUp: step, LastTS: models.Micros(step)}
		if _, there := truth[id]; there && r.IntN(3) == 0 {
			c.End = models.ConnDone
			delete(truth, id)
		} else {
			truth[id] = step
		}
		cs = append(cs, c)
	}
	return cs
}

func TestRatesAreThoseOfTheLastSecond(t *testing.T) {
	v := New()
	conn := func(id int64, first, last models.Micros, up, down uint64) models.Connection {
		return models.Connection{ID: id, Proto: "TCP", State: "established", FirstTS: first, LastTS: last, BytesUp: up, BytesDown: down, PacketsUp: 9, PacketsDown: 9}
	}
	rates := func(id int64) [2]float64 {
		c, ok := v.Find(id)
		if !ok {
			t.Fatalf("connection %d is not in the table", id)
		}
		return [2]float64{c.RateUp, c.RateDown}
	}
	at := int64(1000 * second)
	v.Update([]models.Connection{conn(1, 1, models.Micros(at), 1e9, 1e9), conn(2, models.Micros(at-second/2), models.Micros(at), 300, 700)}, at)
	if got := rates(1); got != [2]float64{} {
		t.Errorf("a connection that has just come in moves %v bytes/s", got)
	}
	if got := rates(2); got != [2]float64{300, 700} {
		t.Errorf("a connection half a second old moves %v bytes/s", got)
	}
	v.Update([]models.Connection{conn(1, 1, models.Micros(at+2*second), 1e9+4000, 1e9+2000)}, at+2*second)
	if got := rates(1); got != [2]float64{2000, 1000} {
		t.Errorf("4,000 and 2,000 bytes within two seconds are %v bytes/s", got)
	}
	generation := v.Since(0).Generation
	v.Expire("", at+4*second)
	if got := rates(1); got != [2]float64{} {
		t.Errorf("after two silent seconds it moves %v bytes/s", got)
	}
	if rows := v.Since(generation).Rows; len(rows) != 2 {
		t.Errorf("%d rows are known to have changed, want both that fell silent", len(rows))
	}
}

// BenchmarkSince: what a client that knows nothing costs, and one that is up to date.
func BenchmarkSince(b *testing.B) {
	l := New()
	for step := range int64(64) {
		cs := make([]models.Connection, Rows/16)
		for i := range cs {
			cs[i] = conn((step*int64(len(cs))+int64(i))%Rows, models.Micros(step*1000+int64(i)%7), "")
		}
		l.Update(cs, step*1000)
	}
	for name, known := range map[string]uint64{"all": 0, "nothing new": l.Since(0).Generation} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.Since(known)
			}
		})
	}
}
