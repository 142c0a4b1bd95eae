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
	since      int64 // capture time from which its rates are measured
	up, down   uint64
}

// ratePeriod is the time over which a connection's rates are measured, capture time.
const ratePeriod = 1_000_000

// measure brings the rates up to date. What a connection had moved before the view heard of it counts only if it is that young.
func (r *viewRow) measure(c *models.Connection, now int64, fresh bool) {
	rates := [2]float64{r.conn.RateUp, r.conn.RateDown}
	switch {
	case fresh && now-int64(c.FirstTS) <= ratePeriod:
		r.since = int64(c.FirstTS)
	case fresh:
		r.since, r.up, r.down = now, c.BytesUp, c.BytesDown
	}
	elapsed := now - r.since
	if r.up == 0 && r.down == 0 || elapsed >= ratePeriod { // of a young connection at once, else by the second
		seconds := float64(max(elapsed, ratePeriod)) / 1e6
		rates = [2]float64{float64(c.BytesUp-min(r.up, c.BytesUp)) / seconds, float64(c.BytesDown-min(r.down, c.BytesDown)) / seconds}
	}
	if elapsed >= ratePeriod {
		r.since, r.up, r.down = now, c.BytesUp, c.BytesDown
	}
	r.conn = *c
	r.conn.RateUp, r.conn.RateDown = rates[0], rates[1]
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

// update takes the state of some connections at capture time now; those that have ended leave.
func (v *view) update(cs []models.Connection, now int64) {
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
		fresh := row == nil
		if fresh {
			if len(v.rows) >= viewRows {
				v.makeRoom()
			}
			row = &viewRow{}
			v.rows[c.ID] = row
		}
		row.measure(c, now, fresh)
		row.generation = v.generation
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
		} else if silent > ratePeriod && r.conn.RateUp+r.conn.RateDown > 0 {
			r.conn.RateUp, r.conn.RateDown, r.generation = 0, 0, v.generation
			r.since, r.up, r.down = now, r.conn.BytesUp, r.conn.BytesDown
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

// makeRoom takes out the quarter that has been silent for longest. A single packet without an answer, of which a flood consists, counts
// as silent for a minute more.
func (v *view) makeRoom() {
	last := make([]models.Micros, 0, len(v.rows))
	for _, r := range v.rows {
		last = append(last, r.standing())
	}
	slices.Sort(last)
	line := last[len(last)/4]
	for id, r := range v.rows {
		if r.standing() <= line {
			v.remove(id)
		}
	}
}

// standing is the time of its last packet or, where nobody answers, one of before.
func (r *viewRow) standing() models.Micros {
	const minute = 60_000_000
	if r.conn.PacketsDown == 0 && r.conn.PacketsUp <= 1 {
		return r.conn.LastTS - minute
	}
	return r.conn.LastTS
}

// find gives a connection as the view knows it, with its rates. It is false for one that is not in the view.
func (v *view) find(id int64) (c models.Connection, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r := v.rows[id]; r != nil {
		return r.conn, true
	}
	return models.Connection{}, false
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
