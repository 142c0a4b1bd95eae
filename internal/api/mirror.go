package api

import (
	"container/list"
	"slices"

	"netlyra/internal/models"
)

const (
	// mirrorRows bounds the connections that are known to the WebSocket: those that changed last.
	mirrorRows = 4096
	// mirrorGone bounds the memory of those that have left.
	mirrorGone = 8192
	// mirrorCuts bounds the memory of how many rows were left out when.
	mirrorCuts = 1024
)

// mirror is the hub's copy of the connections that changed last, so that clients of different speed can each be told what
// is new to them, while the pipeline is asked once. It belongs to the hub's goroutine.
type mirror struct {
	gen   uint64
	floor uint64     // a client that knows less than this generation is told all
	rows  *list.List // of *mirrorRow, latest change first
	byID  map[int64]*list.Element
	gone  []goneRow // oldest first
	cuts  []cut     // oldest first
}

type mirrorRow struct {
	conn models.Connection
	gen  uint64 // it changed in
}

type goneRow struct {
	id  int64
	gen uint64
}

// cut counts the rows of a generation that were left out.
type cut struct{ n, gen uint64 }

func newMirror() *mirror {
	return &mirror{rows: list.New(), byID: map[int64]*list.Element{}}
}

// apply takes in what has changed.
func (m *mirror) apply(c ConnectionChanges) {
	if c.Full {
		m.rows.Init()
		clear(m.byID)
		m.gone = m.gone[:0]
		m.cuts = m.cuts[:0]
		m.floor = c.Generation
	}
	m.gen = c.Generation
	m.leaveOut(c.Omitted, m.gen)
	for i := range slices.Backward(c.Rows) { // the latest come first, and are to stand first
		m.put(c.Rows[i])
	}
	for _, id := range c.Gone {
		m.remove(id)
	}
	for m.rows.Len() > mirrorRows {
		oldest := m.rows.Back()
		m.leaveOut(1, row(oldest).gen)
		m.forget(oldest)
	}
	if n := len(m.gone) - mirrorGone; n > 0 {
		m.floor = max(m.floor, m.gone[n-1].gen)
		m.gone = append(m.gone[:0], m.gone[n:]...)
	}
}

func (m *mirror) leaveOut(n, gen uint64) {
	switch last := len(m.cuts) - 1; {
	case n == 0:
	case last >= 0 && m.cuts[last].gen == gen:
		m.cuts[last].n += n
	default:
		if len(m.cuts) == mirrorCuts {
			m.cuts = append(m.cuts[:0], m.cuts[1:]...)
		}
		m.cuts = append(m.cuts, cut{n, gen})
	}
}

func (m *mirror) put(c models.Connection) {
	if e, ok := m.byID[c.ID]; ok {
		e.Value = &mirrorRow{c, m.gen}
		m.rows.MoveToFront(e)
		return
	}
	m.byID[c.ID] = m.rows.PushFront(&mirrorRow{c, m.gen})
}

func (m *mirror) remove(id int64) {
	if e, ok := m.byID[id]; ok {
		m.forget(e)
	}
	m.gone = append(m.gone, goneRow{id, m.gen})
}

func (m *mirror) forget(e *list.Element) {
	delete(m.byID, row(e).conn.ID)
	m.rows.Remove(e)
}

func row(e *list.Element) *mirrorRow {
	return e.Value.(*mirrorRow) //nolint:errcheck // the list holds nothing else
}

// since is what a client that knows generation gen has to be told; all of it for 0 and for one that knows too little.
// More changes than a message holds: the latest are told, single packets without an answer last, and the others counted in omitted.
func (m *mirror) since(gen uint64) rowBlock {
	gone := m.goneSince(gen)
	d := rowBlock{gen: m.gen, full: gen < m.floor || gen == 0 || len(gone) > maxGone}
	if d.full {
		gen = 0
	}
	for _, c := range m.cuts {
		if c.gen > gen {
			d.omitted += c.n
		}
	}
	size := 0
	for _, single := range []bool{false, true} {
		for e := m.rows.Front(); e != nil && row(e).gen > gen; e = e.Next() {
			c := &row(e).conn
			if isSingle(c) != single {
				continue
			}
			size += rowSize(c)
			if len(d.rows) == maxRows || size > maxRowBytes {
				d.omitted++
				continue
			}
			d.rows = append(d.rows, c)
		}
	}
	if !d.full {
		d.gone = gone
	}
	return d
}

// isSingle says that c is one packet that nobody has answered. A flood is made of these, and of a list with a bound they are what can
// be missing.
func isSingle(c *models.Connection) bool { return c.PacketsDown == 0 && c.PacketsUp <= 1 }

// goneSince leaves out those that have come back.
func (m *mirror) goneSince(gen uint64) []int64 {
	var ids []int64
	for i := len(m.gone) - 1; i >= 0 && m.gone[i].gen > gen; i-- {
		if _, back := m.byID[m.gone[i].id]; !back {
			ids = append(ids, m.gone[i].id)
		}
	}
	return ids
}

// news says whether since(gen) would tell anything.
func (m *mirror) news(gen uint64) bool {
	if gen < m.floor || gen == 0 {
		return true
	}
	if e := m.rows.Front(); e != nil && row(e).gen > gen {
		return true
	}
	return len(m.goneSince(gen)) > 0
}
