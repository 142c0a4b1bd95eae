// Package livetable holds the connections that moved last, each in its present state with its rates, for pages that are open. Every update
// has a generation: a reader says which one it knows, and gets what has changed since.
//
// It has room for Rows connections. When it is full, the quarter that has been silent for longest leaves, single packets without an answer,
// of which a flood consists, first. Times are capture time in microseconds, rates bytes/s over the last second of it.
package livetable

import (
	"container/list"
	"slices"
	"sync"

	"netlyra/internal/models"
)

const (
	// Rows is how many connections a table holds at most.
	Rows = 4096
	// maxGone bounds the memory of those that have left: who knows less is told all.
	maxGone = 2 * Rows

	second = 1_000_000
	// ratePeriod is the time over which a connection's rates are measured.
	ratePeriod = second
	// ahead is how far a connection may lie ahead of the present: further, and the clock has been set back.
	ahead = 10 * second
)

// Table is such a table. Its methods may be called by several goroutines.
type Table struct {
	mu         sync.Mutex
	byID       map[int64]*list.Element
	rows       *list.List // of *row, latest change first
	gone       []departure
	generation uint64
	forgotten  uint64 // the newest generation whose departures are no longer listed
}

type row struct {
	conn       *models.Connection // another one after each change: readers hold it
	generation uint64             // it changed in
	since      int64              // capture time from which its rates are measured, and what it had moved by then
	up, down   uint64
}

type departure struct {
	id         int64
	generation uint64
}

// New makes an empty table.
func New() *Table {
	return &Table{byID: map[int64]*list.Element{}, rows: list.New(), generation: 1}
}

// Update takes the state of some connections at capture time now; those that have ended leave.
func (t *Table) Update(cs []models.Connection, now int64) {
	if len(cs) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.generation++
	for i := range cs {
		c := &cs[i]
		e := t.byID[c.ID]
		if c.End != models.ConnOpen {
			if e != nil {
				t.remove(e)
			}
			continue
		}
		fresh := e == nil
		if fresh {
			if t.rows.Len() >= Rows {
				t.makeRoom()
			}
			e = t.rows.PushFront(&row{})
			t.byID[c.ID] = e
		}
		rowOf(e).measure(c, now, fresh)
		t.touch(e)
	}
}

// Expire takes out the connections of a sensor that must have ended by its capture time now: where there are too many at once, not every end is reported.
func (t *Table) Expire(sensor string, now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.generation++
	var next *list.Element
	for e := t.rows.Back(); e != nil; e = next {
		next = e.Prev()
		r := rowOf(e)
		if r.conn.Sensor != sensor {
			continue
		}
		if silent := now - int64(r.conn.LastTS); silent > longestSilence(r.conn) || silent < -ahead {
			t.remove(e)
		} else if silent > ratePeriod && r.conn.RateUp+r.conn.RateDown > 0 {
			still := *r.conn
			still.RateUp, still.RateDown = 0, 0
			r.conn = &still
			r.since, r.up, r.down = now, r.conn.BytesUp, r.conn.BytesDown
			if r.generation != t.generation { // one that was moved to the front is not met again
				t.touch(e)
			}
		}
	}
}

// Clear takes out all connections of a sensor: its capture is over, or it is not heard any more.
func (t *Table) Clear(sensor string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.generation++
	var next *list.Element
	for e := t.rows.Back(); e != nil; e = next {
		next = e.Prev()
		if rowOf(e).conn.Sensor == sensor {
			t.remove(e)
		}
	}
}

// Find gives a connection as the table knows it, with its rates. It is false for one that is not there.
func (t *Table) Find(id int64) (c models.Connection, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byID[id]; e != nil {
		return *rowOf(e).conn, true
	}
	return models.Connection{}, false
}

// Since lists what has changed after a generation, the latest change first. 0 asks for all.
func (t *Table) Since(generation uint64) models.ConnectionChanges {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := models.ConnectionChanges{Generation: t.generation, Full: generation == 0 || generation < t.forgotten}
	if c.Full {
		generation = 0
	}
	for e := t.rows.Front(); e != nil && rowOf(e).generation > generation; e = e.Next() {
		c.Rows = append(c.Rows, rowOf(e).conn)
	}
	for i := len(t.gone) - 1; !c.Full && i >= 0 && t.gone[i].generation > generation; i-- {
		if t.byID[t.gone[i].id] == nil { // it may have come back
			c.Gone = append(c.Gone, t.gone[i].id)
		}
	}
	return c
}

// touch notes that a row has changed now.
func (t *Table) touch(e *list.Element) {
	rowOf(e).generation = t.generation
	t.rows.MoveToFront(e)
}

func (t *Table) remove(e *list.Element) {
	id := rowOf(e).conn.ID
	delete(t.byID, id)
	t.rows.Remove(e)
	if len(t.gone) >= maxGone {
		half := len(t.gone) / 2
		t.forgotten = t.gone[half-1].generation
		t.gone = slices.Delete(t.gone, 0, half)
	}
	t.gone = append(t.gone, departure{id, t.generation})
}

// makeRoom takes out the quarter that has been silent for longest.
func (t *Table) makeRoom() {
	last := make([]models.Micros, 0, t.rows.Len())
	for e := t.rows.Front(); e != nil; e = e.Next() {
		last = append(last, rowOf(e).standing())
	}
	slices.Sort(last)
	line := last[len(last)/4]
	var next *list.Element
	for e := t.rows.Front(); e != nil; e = next {
		next = e.Next()
		if rowOf(e).standing() <= line {
			t.remove(e)
		}
	}
}

func rowOf(e *list.Element) *row {
	return e.Value.(*row) //nolint:errcheck // the list holds nothing else
}

// measure takes the connection's present state and brings the rates up to date. What it had moved before the table heard of it counts only
// if it is that young.
func (r *row) measure(c *models.Connection, now int64, fresh bool) {
	var rates [2]float64
	if !fresh {
		rates = [2]float64{r.conn.RateUp, r.conn.RateDown}
	}
	switch {
	case fresh && now-int64(c.FirstTS) <= ratePeriod:
		r.since = int64(c.FirstTS)
	case fresh:
		r.since, r.up, r.down = now, c.BytesUp, c.BytesDown
	}
	elapsed := now - r.since
	if r.up == 0 && r.down == 0 || elapsed >= ratePeriod { // of a young connection at once, else by the second
		seconds := float64(max(elapsed, ratePeriod)) / second
		rates = [2]float64{float64(c.BytesUp-min(r.up, c.BytesUp)) / seconds, float64(c.BytesDown-min(r.down, c.BytesDown)) / seconds}
	}
	if elapsed >= ratePeriod {
		r.since, r.up, r.down = now, c.BytesUp, c.BytesDown
	}
	present := *c
	present.RateUp, present.RateDown = rates[0], rates[1]
	r.conn = &present
}

// standing is the time of its last packet or, where nobody answers, one of before.
func (r *row) standing() models.Micros {
	if r.conn.Single() {
		return r.conn.LastTS - 60*second
	}
	return r.conn.LastTS
}

// longestSilence is the time-out of a connection's state (package flow), and some seconds.
func longestSilence(c *models.Connection) int64 {
	switch {
	case c.Proto != models.ProtoTCP.String():
		return 65 * second
	case c.State == models.ConnClosed.String(), c.State == models.ConnReset.String():
		return 15 * second
	case c.State == models.ConnSynSent.String(), c.State == models.ConnSynReceived.String():
		return 35 * second
	}
	return 305 * second
}
