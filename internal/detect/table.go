package detect

import (
	"hash/maphash"
	"slices"
)

// table is a bounded map: cells under an open-addressing index. When it is full, a clock hand frees an entry that has not been used since
// the hand last came by; what goes and what stays follows from the order of use alone, so that the same capture gives the same table,
// though every table hashes its keys in a way of its own, which nobody can foresee.
type table[K comparable, V any] struct {
	room    int
	seed    maphash.Seed
	index   []uint64 // hash << 32 | cell+1; 0 is free. Linear probing, deletion by backward shift
	cells   []cell[K, V]
	hand    int
	evicted uint64
}

type cell[K comparable, V any] struct {
	key    K
	recent bool
	value  V
}

const minTable = 64 // places in an index

func newTable[K comparable, V any](room int) table[K, V] {
	return table[K, V]{room: room, seed: maphash.MakeSeed()}
}

func (t *table[K, V]) hash(k K) uint32 { return uint32(maphash.Comparable(t.seed, k)) }

// at is k's cell, or -1, and the place in the index that names it.
func (t *table[K, V]) at(k K, hash uint32) (i int, place uint32) {
	if len(t.index) == 0 {
		return -1, 0
	}
	mask := uint32(len(t.index) - 1)
	for place = hash & mask; t.index[place] != 0; place = (place + 1) & mask {
		if s := t.index[place]; uint32(s>>32) == hash {
			if i := int(uint32(s)) - 1; t.cells[i].key == k {
				return i, place
			}
		}
	}
	return -1, place
}

// find returns the value of k, nil if there is none. It does not count as use.
func (t *table[K, V]) find(k K) *V {
	if i, _ := t.at(k, t.hash(k)); i >= 0 {
		return &t.cells[i].value
	}
	return nil
}

// get finds or makes the value of k; fresh says that it was made, zero. The pointer is valid until the next get.
func (t *table[K, V]) get(k K) (v *V, fresh bool) { return t.getHashed(k, t.hash(k)) }

// getHashed is get for who knows the hash of k.
func (t *table[K, V]) getHashed(k K, hash uint32) (v *V, fresh bool) {
	if i, _ := t.at(k, hash); i >= 0 {
		c := &t.cells[i]
		c.recent = true
		return &c.value, false
	}
	var c *cell[K, V]
	if len(t.cells) < t.room {
		c = t.grow(hash)
	} else {
		i := t.evict()
		t.link(hash, i)
		c = &t.cells[i]
	}
	*c = cell[K, V]{key: k, recent: true}
	return &c.value, true
}

// ahead is the cell that the index's first place for a hash names, if any: what get will find, more often than not. To load it before it is
// needed lets cache misses overlap.
func (t *table[K, V]) ahead(hash uint32) *cell[K, V] {
	if len(t.index) == 0 {
		return nil
	}
	if s := uint32(t.index[hash&uint32(len(t.index)-1)]); s != 0 {
		return &t.cells[s-1]
	}
	return nil
}

// grow appends a cell under a hash. When there is no room, there will be for four times as many: a cell is copied seldom, and what is not
// used yet costs no more than address space.
func (t *table[K, V]) grow(hash uint32) *cell[K, V] {
	if n := len(t.cells); n == cap(t.cells) {
		t.cells = slices.Grow(t.cells, min(max(3*n, minTable/2), t.room-n))
	}
	t.cells = t.cells[:len(t.cells)+1]
	if 2*len(t.cells) > len(t.index) {
		old := t.index
		t.index = make([]uint64, max(minTable, 2*len(old)))
		for _, s := range old {
			if s != 0 {
				t.link(uint32(s>>32), uint32(s)-1)
			}
		}
	}
	t.link(hash, uint32(len(t.cells)-1))
	return &t.cells[len(t.cells)-1]
}

// link enters cell i, whose hash is not in the index for it.
func (t *table[K, V]) link(hash, i uint32) {
	mask := uint32(len(t.index) - 1)
	place := hash & mask
	for t.index[place] != 0 {
		place = (place + 1) & mask
	}
	t.index[place] = uint64(hash)<<32 | uint64(i+1)
}

// unlink frees a place of the index and closes the gap.
func (t *table[K, V]) unlink(place uint32) {
	mask := uint32(len(t.index) - 1)
	for j := place; ; {
		j = (j + 1) & mask
		s := t.index[j]
		if s == 0 {
			break
		}
		if home := uint32(s>>32) & mask; (j-home)&mask >= (j-place)&mask { // it may stand at place: its home is not between the two
			t.index[place] = s
			place = j
		}
	}
	t.index[place] = 0
}

func (t *table[K, V]) evict() uint32 {
	for {
		t.hand = (t.hand + 1) % len(t.cells)
		c := &t.cells[t.hand]
		if c.recent {
			c.recent = false
			continue
		}
		_, place := t.at(c.key, t.hash(c.key))
		t.unlink(place)
		t.evicted++
		return uint32(t.hand)
	}
}

// drop removes k. The last entry takes its place, so pointers to values become invalid.
func (t *table[K, V]) drop(k K) {
	i, place := t.at(k, t.hash(k))
	if i < 0 {
		return
	}
	t.unlink(place)
	if last := len(t.cells) - 1; i != last {
		_, moved := t.at(t.cells[last].key, t.hash(t.cells[last].key))
		t.index[moved] = t.index[moved]>>32<<32 | uint64(i+1)
		t.cells[i] = t.cells[last]
	}
	t.cells = t.cells[:len(t.cells)-1]
	if t.hand >= len(t.cells) {
		t.hand = 0
	}
}

// put appends a cell as it is; false if its key is there already.
func (t *table[K, V]) put(c *cell[K, V]) bool {
	hash := t.hash(c.key)
	if i, _ := t.at(c.key, hash); i >= 0 {
		return false
	}
	*t.grow(hash) = *c
	return true
}

// clear empties the table.
func (t *table[K, V]) clear() {
	clear(t.index)
	t.cells, t.hand = t.cells[:0], 0
}
