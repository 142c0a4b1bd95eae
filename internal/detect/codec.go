package detect

import (
	"encoding/binary"
	"math"

	"netlyra/internal/models"
)

// codec writes values to bytes or reads them back: one description of what is stored serves both ways, so that they cannot disagree.
// Numbers are varints, times are told from base, floats are little-endian. It reads what anybody may have written: where there are not
// enough bytes, or a value cannot be, bad is set and all that follows is zero. It never allocates more than a small multiple of what there
// is to read. Writing changes nothing.
type codec struct {
	b       []byte // written so far; or still to be read
	reading bool
	bad     bool
	base    int64
	whole   bool // sets have all of their members
}

const (
	maxTime  = 1 << 60 // microseconds, to either side: sums of a few do not overflow
	maxCount = 1 << 40 // of what is counted in an int
)

// check refuses what cannot be, in what is read.
func (c *codec) check(ok bool) { c.bad = c.bad || c.reading && !ok }

// take returns the next n bytes, nil where there are fewer.
func (c *codec) take(n int) []byte {
	if c.bad || len(c.b) < n {
		c.bad = true
		return nil
	}
	front := c.b[:n]
	c.b = c.b[n:]
	return front
}

func (c *codec) u64(v *uint64) {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, *v)
		return
	}
	n, size := binary.Uvarint(c.b)
	if c.bad || size <= 0 || size != len(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64), n)) {
		c.bad, n, size = true, 0, 0
	}
	*v, c.b = n, c.b[size:]
}

// unsigned is a smaller number.
func unsigned[T ~uint8 | ~uint16 | ~uint32](c *codec, v *T) {
	n := uint64(*v)
	c.u64(&n)
	if c.reading {
		c.check(uint64(T(n)) == n)
		*v = T(n)
	}
}

// count is a number of 0 to most.
func (c *codec) count(v *int, most int) {
	n := uint64(*v)
	c.u64(&n)
	if !c.reading {
		return
	}
	if c.check(n <= uint64(most)); c.bad {
		n = 0
	}
	*v = int(n)
}

// span is a length of time or a number that may be negative.
func (c *codec) span(v *int64) {
	n := uint64(*v)<<1 ^ uint64(*v>>63)
	c.u64(&n)
	if !c.reading {
		return
	}
	*v = int64(n>>1) ^ -int64(n&1)
	if c.check(*v <= maxTime && *v >= -maxTime); c.bad {
		*v = 0
	}
}

// time is a point in time; 0 stands for none, and so does what is too far away to be read back.
func (c *codec) time(v *int64) {
	from := *v - c.base
	set := *v != 0 && from <= maxTime && from >= -maxTime
	c.bool(&set)
	if !set {
		from = -c.base
	} else {
		c.span(&from)
		c.check(from != -c.base)
	}
	if c.reading {
		*v = c.base + from
	}
}

func (c *codec) bool(v *bool) {
	if !c.reading {
		n := byte(0)
		if *v {
			n = 1
		}
		c.b = append(c.b, n)
		return
	}
	n := c.take(1)
	*v = n != nil && n[0] == 1
	c.check(n != nil && n[0] <= 1)
}

// float is a finite number.
func (c *codec) float(v *float64) {
	if !c.reading {
		c.b = binary.LittleEndian.AppendUint64(c.b, math.Float64bits(*v))
		return
	}
	*v = 0
	if n := c.take(8); n != nil {
		*v = math.Float64frombits(binary.LittleEndian.Uint64(n))
	}
	if c.check(!math.IsNaN(*v) && !math.IsInf(*v, 0)); c.bad {
		*v = 0
	}
}

func (c *codec) float32(v *float32) {
	if !c.reading {
		c.b = binary.LittleEndian.AppendUint32(c.b, math.Float32bits(*v))
		return
	}
	*v = 0
	if n := c.take(4); n != nil {
		*v = math.Float32frombits(binary.LittleEndian.Uint32(n))
	}
	if c.check(!math.IsNaN(float64(*v)) && !math.IsInf(float64(*v), 0)); c.bad {
		*v = 0
	}
}

// text is at most most bytes long.
func (c *codec) text(v *string, most int) {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, uint64(min(len(*v), most)))
		c.b = append(c.b, (*v)[:min(len(*v), most)]...)
		return
	}
	n := 0
	c.count(&n, most)
	*v = string(c.take(n))
}

// raw is bytes of a fixed number.
func (c *codec) raw(v []byte) {
	if !c.reading {
		c.b = append(c.b, v...)
		return
	}
	clear(v)
	copy(v, c.take(len(v)))
}

func (c *codec) mac(v *models.MAC) { c.raw(v[:]) }

// The forms of an address: none, IPv4, IPv6.
const (
	noAddr = iota
	shortAddr
	longAddr
)

func (c *codec) addr(v *models.Addr) {
	form := uint8(longAddr)
	switch {
	case *v == (models.Addr{}):
		form = noAddr
	case v.Is4():
		form = shortAddr
	}
	unsigned(c, &form)
	c.check(form <= longAddr)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], v.Hi)
	binary.BigEndian.PutUint64(b[8:], v.Lo)
	var a models.Addr
	switch form {
	case shortAddr:
		c.raw(b[12:])
		a = models.AddrFrom4(b[12:])
	case longAddr:
		c.raw(b[:])
		a = models.AddrFrom16(b[:])
		c.check(!a.Is4() && a != (models.Addr{}))
	}
	if c.reading {
		*v = a
	}
}

// each is a list of at most most values; an empty one is read as nil.
func each[T any](c *codec, vs *[]T, most int, one func(*T)) {
	n := len(*vs)
	c.count(&n, most)
	if c.reading {
		*vs = nil
	}
	for i := range n {
		if c.bad {
			return
		}
		if c.reading {
			*vs = append(*vs, *new(T))
		}
		one(&(*vs)[i])
	}
}

// cells is a table, in the order of its cells: so the clock hand goes on where it was, and nothing needs to be sorted.
func cells[K comparable, V any](c *codec, t *table[K, V], key func(*K), value func(*V)) {
	stored := t.cells
	each(c, &stored, t.room, func(x *cell[K, V]) {
		key(&x.key)
		value(&x.value)
		c.bool(&x.recent)
		if c.reading {
			c.check(t.put(x))
		}
	})
	c.count(&t.hand, max(len(t.cells)-1, 0))
}
