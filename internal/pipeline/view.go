package pipeline

import (
	"slices"
	"sync"

	"netlyra/internal/models"
)

// view is the live picture of the connections for a page: the ones that moved most, up to viewRows, each in its present state. Every
// update has a generation, so that a reader can ask what has changed since it last looked.
type view struct {
	mu         sync.Mutex
	rows       map[int64]*viewRow
	gone       []goneRow
	generation uint64
	forgotten  uint64 // the newest generation whose departures are no longer listed
}

type viewRow struct {
	conn       models.Connection
	generation uint64
}

type goneRow struct {
	id         int64
	generation uint64
}

const (
	viewRows = 4096
	viewGone = 8192
)

// Changes is what happened to the view after a generation.
type Changes struct {
	Generation uint64
	Full       bool // the rows are all there is: what was known before is void
	Rows       []models.Connection
	Gone       []int64
	Omitted    uint64 // rows left out because of the limit
}

func (v *view) init() { v.rows = map[int64]*viewRow{} }

// update takes the present state of some connections; those that have ended leave.
func (v *view) update(cs []models.Connection) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.generation++
	for i := range cs {
		c := &cs[i]
		row := v.rows[c.ID]
		if c.End != models.ConnOpen {
			if row != nil {
				v.remove(c.ID)
			}
			continue
		}
		if row == nil {
			if len(v.rows) >= viewRows {
				v.makeRoom()
			}
			row = &viewRow{}
			v.rows[c.ID] = row
		}
		row.conn, row.generation = *c, v.generation
	}
}

func (v *view) remove(id int64) {
	delete(v.rows, id)
	if len(v.gone) >= viewGone {
		half := len(v.gone) / 2
		v.forgotten = v.gone[half-1].generation
		v.gone = slices.Delete(v.gone, 0, half)
	}
	v.gone = append(v.gone, goneRow{id, v.generation})
}

// expire takes out the connections that must have ended by now, for those whose end was not reported because there were too many. now is
// capture time, microseconds.
func (v *view) expire(now int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.generation++
	for id, r := range v.rows {
		if silent := now - int64(r.conn.LastTS); silent > longestSilence(&r.conn) || silent < -viewAhead {
			v.remove(id)
		}
	}
}

// longestSilence is the time-out of a connection's state (package flow), and some seconds.
func longestSilence(c *models.Connection) int64 {
	const second = 1_000_000
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

// viewAhead is how far a connection may lie ahead of the present: further, and the clock has been set back. Microseconds.
const viewAhead = jumpSlots * models.SlotMicros

// clear takes out everything: the capture is over.
func (v *view) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.generation++
	for id := range v.rows {
		v.remove(id)
	}
}

// makeRoom takes out the quarter that has been silent for longest.
func (v *view) makeRoom() {
	last := make([]models.Micros, 0, len(v.rows))
	for _, r := range v.rows {
		last = append(last, r.conn.LastTS)
	}
	slices.Sort(last)
	line := last[len(last)/4]
	for id, r := range v.rows {
		if r.conn.LastTS <= line {
			v.remove(id)
		}
	}
}

func (v *view) connections() []models.Connection {
	v.mu.Lock()
	defer v.mu.Unlock()
	cs := make([]models.Connection, 0, len(v.rows))
	for _, r := range v.rows {
		cs = append(cs, r.conn)
	}
	return cs
}

// since lists what has changed after a generation, the latest first, at most limit rows.
func (v *view) since(generation uint64, limit int) Changes {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := Changes{Generation: v.generation, Full: generation == 0 || generation < v.forgotten}
	if c.Full {
		generation = 0
	} else {
		for i := len(v.gone) - 1; i >= 0 && v.gone[i].generation > generation; i-- {
			c.Gone = append(c.Gone, v.gone[i].id)
		}
	}
	for _, r := range v.rows {
		if r.generation > generation {
			c.Rows = append(c.Rows, r.conn)
		}
	}
	slices.SortFunc(c.Rows, func(a, b models.Connection) int { return int(b.LastTS - a.LastTS) })
	if len(c.Rows) > limit {
		c.Omitted = uint64(len(c.Rows) - limit)
		c.Rows = c.Rows[:limit]
	}
	return c
}
