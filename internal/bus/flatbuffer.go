package bus

import "encoding/binary"

// flatbuffer is a FlatBuffers message (flatbuffers.dev, "Internals") of somebody who may mean harm: every access is checked, and what is not
// there or lies outside is absent. Nothing of it is followed in a loop or recursively, so that reading takes time in proportion to what is asked for.
type flatbuffer []byte

// fbTable is a table in a flatbuffer; the zero value has no fields.
type fbTable struct {
	b      flatbuffer
	at     int // of the table
	vtable flatbuffer
}

func (b flatbuffer) uint16(at int) (uint16, bool) {
	if at < 0 || at > len(b)-2 {
		return 0, false
	}
	return binary.LittleEndian.Uint16(b[at:]), true
}

func (b flatbuffer) uint32(at int) (uint32, bool) {
	if at < 0 || at > len(b)-4 {
		return 0, false
	}
	return binary.LittleEndian.Uint32(b[at:]), true
}

func (b flatbuffer) int64(at int) (int64, bool) {
	if at < 0 || at > len(b)-8 {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(b[at:])), true
}

// root is the outermost table.
func (b flatbuffer) root() (fbTable, bool) { return b.behind(0) }

// behind is the table that the offset at a place leads to.
func (b flatbuffer) behind(at int) (fbTable, bool) {
	off, ok := b.uint32(at)
	if !ok {
		return fbTable{}, false
	}
	t := fbTable{b: b, at: at + int(off)}
	back, ok := b.uint32(t.at)
	if !ok {
		return fbTable{}, false
	}
	v := t.at - int(int32(back))
	size, ok := b.uint16(v)
	if !ok || size < 4 || v+int(size) > len(b) {
		return fbTable{}, false
	}
	t.vtable = b[v : v+int(size)]
	return t, true
}

// field is the place of field i, false where it is absent.
func (t fbTable) field(i int) (int, bool) {
	off, ok := t.vtable.uint16(4 + 2*i)
	if !ok || off == 0 {
		return 0, false
	}
	return t.at + int(off), true
}

// int reads a number of 1, 2, 4 or 8 bytes; absent is 0.
func (t fbTable) int(i, size int) int64 {
	at, ok := t.field(i)
	if !ok || at > len(t.b)-size {
		return 0
	}
	switch size {
	case 1:
		return int64(t.b[at])
	case 2:
		v, _ := t.b.uint16(at)
		return int64(int16(v))
	case 4:
		v, _ := t.b.uint32(at)
		return int64(int32(v))
	default:
		v, _ := t.b.int64(at)
		return v
	}
}

func (t fbTable) has(i int) bool {
	_, ok := t.field(i)
	return ok
}

// table reads a table; absent or damaged is one without fields.
func (t fbTable) table(i int) fbTable {
	at, ok := t.field(i)
	if !ok {
		return fbTable{}
	}
	in, _ := t.b.behind(at)
	return in
}

// vector is the place of a vector's first element and their number, all of which are there; absent or damaged is empty.
func (t fbTable) vector(i, size int) (first, n int) {
	at, ok := t.field(i)
	if !ok {
		return 0, 0
	}
	off, ok := t.b.uint32(at)
	if !ok {
		return 0, 0
	}
	count, ok := t.b.uint32(at + int(off))
	if first = at + int(off) + 4; !ok || int64(count)*int64(size) > int64(len(t.b)-first) {
		return 0, 0
	}
	return first, int(count)
}

// text reads a string; absent or damaged is empty. It shares the buffer.
func (t fbTable) text(i int) []byte {
	first, n := t.vector(i, 1)
	return t.b[first : first+n]
}
