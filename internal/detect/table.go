package detect

// table is a bounded map. When it is full, a clock hand frees an entry that has not been used since the hand last came by; what
// goes and what stays follows from the order of use alone, so that the same capture gives the same table.
type table[K comparable, V any] struct {
	room    int
	index   map[K]uint32
	cells   []cell[K, V]
	hand    int
	evicted uint64
}

type cell[K comparable, V any] struct {
	key    K
	value  V
	recent bool
}

func newTable[K comparable, V any](room int) table[K, V] {
	return table[K, V]{room: room, index: map[K]uint32{}}
}

// find returns the value of k, nil if there is none. It does not count as use.
func (t *table[K, V]) find(k K) *V {
	if i, ok := t.index[k]; ok {
		return &t.cells[i].value
	}
	return nil
}

// get finds or makes the value of k; fresh says that it was made, zero. The pointer is valid until the next get.
func (t *table[K, V]) get(k K) (v *V, fresh bool) {
	if i, ok := t.index[k]; ok {
		c := &t.cells[i]
		c.recent = true
		return &c.value, false
	}
	i := uint32(len(t.cells))
	if len(t.cells) < t.room {
		t.cells = append(t.cells, cell[K, V]{})
	} else {
		i = t.evict()
	}
	c := &t.cells[i]
	*c = cell[K, V]{key: k, recent: true}
	t.index[k] = i
	return &c.value, true
}

func (t *table[K, V]) evict() uint32 {
	for {
		t.hand = (t.hand + 1) % len(t.cells)
		c := &t.cells[t.hand]
		if c.recent {
			c.recent = false
			continue
		}
		delete(t.index, c.key)
		t.evicted++
		return uint32(t.hand)
	}
}

// drop removes k. The last entry takes its place, so pointers to values become invalid.
func (t *table[K, V]) drop(k K) {
	i, ok := t.index[k]
	if !ok {
		return
	}
	last := uint32(len(t.cells) - 1)
	t.cells[i] = t.cells[last]
	t.index[t.cells[i].key] = i
	delete(t.index, k)
	t.cells = t.cells[:last]
	if t.hand >= len(t.cells) {
		t.hand = 0
	}
}

// clear empties the table.
func (t *table[K, V]) clear() {
	clear(t.index)
	t.cells, t.hand = t.cells[:0], 0
}
