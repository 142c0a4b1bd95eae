package detect

import (
	"math"
	"math/bits"
	"slices"
)

// A sketch counts distinct values, given as hashes: exactly up to exactValues, then by linear counting (Whang, Vander-Zanden and Taylor,
// 1990) in sketchBits bits, good to 2 % up to some ten thousand. Union is commutative.
type sketch struct {
	few   [fewValues]uint32
	n     uint8 // values in few; beyond fewValues they are in a block
	exact uint8 // values in the block while it is a set; 0: it is a bitmap
	block uint32
}

const (
	fewValues   = 8
	blockWords  = 256
	exactValues = 192 // in a block as a set: three quarters of its words
	sketchBits  = blockWords * 32
	maxSketch   = 1 << 15 // blocks at the same time: 32 MiB; an entity without one counts no further than fewValues
)

// block is a set of hashes (open addressing, 0 is free) or, when it has become full, a bitmap.
type block [blockWords]uint32

// insert adds v to the set; false if it was there.
func (b *block) insert(v uint32) bool {
	for i := v % blockWords; ; i = (i + 1) % blockWords {
		switch b[i] {
		case 0:
			b[i] = v
			return true
		case v:
			return false
		}
	}
}

func (b *block) set(v uint32) {
	v %= sketchBits
	b[v/32] |= 1 << (v % 32)
}

func (b *block) has(v uint32) bool {
	v %= sketchBits
	return b[v/32]>>(v%32)&1 == 1
}

// fill is the share of the bitmap's bits that are set.
func (b *block) fill() float64 {
	ones := 0
	for _, w := range b {
		ones += bits.OnesCount32(w)
	}
	return float64(ones) / sketchBits
}

// toBitmap turns the set into a bitmap.
func (b *block) toBitmap() {
	set := *b
	*b = block{}
	for _, v := range set {
		if v != 0 {
			b.set(v)
		}
	}
}

// estimate says how many values were hashed into a bitmap.
func (b *block) estimate() int {
	zero := 0
	for _, w := range b {
		zero += bits.OnesCount32(^w)
	}
	return int(math.Round(sketchBits * math.Log(sketchBits/math.Max(float64(zero), 1))))
}

// blocks is the pool that sketches take their blocks from.
type blocks struct {
	all  []block
	free []uint32
	full uint64 // sketches that found none
}

func (p *blocks) take() uint32 {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		p.all[b-1] = block{}
		return b
	}
	if len(p.all) >= maxSketch {
		p.full++
		return 0
	}
	p.all = append(p.all, block{})
	return uint32(len(p.all))
}

// add takes a hash.
func (s *sketch) add(p *blocks, v uint32) {
	v = max(v, 1) // 0 means free
	if s.block != 0 {
		s.addToBlock(&p.all[s.block-1], v)
		return
	}
	if slices.Contains(s.few[:s.n], v) {
		return
	}
	if s.n < fewValues {
		s.few[s.n] = v
		s.n++
		return
	}
	if s.block = p.take(); s.block == 0 {
		return
	}
	b := &p.all[s.block-1]
	for _, known := range s.few {
		b.insert(known)
	}
	s.exact = fewValues
	s.addToBlock(b, v)
}

func (s *sketch) addToBlock(b *block, v uint32) {
	switch {
	case s.exact == 0:
		b.set(v)
	case b.insert(v):
		if s.exact++; s.exact == exactValues {
			b.toBitmap()
			s.exact = 0
		}
	}
}

// has says whether a hash has been added; where there are very many, it may say so of one that was not.
func (s *sketch) has(p *blocks, v uint32) bool {
	v = max(v, 1)
	switch {
	case s.block == 0:
		return slices.Contains(s.few[:s.n], v)
	case s.exact > 0:
		return slices.Contains(p.all[s.block-1][:], v)
	}
	return p.all[s.block-1].has(v)
}

// reset empties the sketch and gives its block back.
func (s *sketch) reset(p *blocks) {
	if s.block != 0 {
		p.free = append(p.free, s.block)
	}
	*s = sketch{}
}

// values gives the hashes, with zeros between them, as long as they are known one by one.
func (s *sketch) values(p *blocks) (vs []uint32, exact bool) {
	switch {
	case s.block == 0:
		return s.few[:s.n], true
	case s.exact == 0:
		return nil, false
	}
	return p.all[s.block-1][:], true
}

// union counts the distinct values of both.
func (s *sketch) union(o *sketch, p *blocks) int {
	mine, exact := s.values(p)
	theirs, alsoExact := o.values(p)
	if exact && alsoExact {
		var b [2 * blockWords]uint32 // a set with room for both
		return insertAll(&b, mine) + insertAll(&b, theirs)
	}
	return s.bitmap(o, p).estimate()
}

// bitmap is the union as a bitmap.
func (s *sketch) bitmap(o *sketch, p *blocks) *block {
	b := new(block)
	for _, part := range [2]*sketch{s, o} {
		if vs, known := part.values(p); known {
			for _, v := range vs {
				if v != 0 {
					b.set(v)
				}
			}
			continue
		}
		for i, w := range p.all[part.block-1] {
			b[i] |= w
		}
	}
	return b
}

// insertAll adds values to a set and counts those that are new to it.
func insertAll(b *[2 * blockWords]uint32, vs []uint32) (n int) {
	for _, v := range vs {
		if v == 0 {
			continue
		}
		i := v % uint32(len(b))
		for b[i] != 0 && b[i] != v {
			i = (i + 1) % uint32(len(b))
		}
		if b[i] == 0 {
			b[i] = v
			n++
		}
	}
	return n
}
