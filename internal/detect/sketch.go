package detect

import (
	"math"
	"math/bits"
	"slices"
)

// A sketch counts distinct values: exactly while they are few, then by linear counting (Whang, Vander-Zanden and Taylor, 1990) in
// sketchBits bits, good to about 3 % up to some thousands, where it saturates near 7,000. Union is commutative.
type sketch struct {
	few  [fewValues]uint32
	n    uint8 // values in few; beyond fewValues they are in bits
	bits uint32
}

const (
	fewValues  = 8
	sketchBits = 1024
	maxSketch  = 1 << 15 // bitmaps at the same time: 4 MiB; an entity without one counts no further than fewValues
)

type bitmap [sketchBits / 64]uint64

func (b *bitmap) set(v uint32) {
	v &= sketchBits - 1
	b[v/64] |= 1 << (v % 64)
}

func (b *bitmap) estimate() int {
	return linearCount(b[:])
}

// linearCount estimates how many values were hashed into a bitmap.
func linearCount(words []uint64) int {
	zero := 0
	for _, w := range words {
		zero += bits.OnesCount64(^w)
	}
	m := float64(len(words) * 64)
	return int(math.Round(m * math.Log(m/math.Max(float64(zero), 1))))
}

// bitmaps is the pool that sketches take their bits from.
type bitmaps struct {
	all  []bitmap
	free []uint32
	full uint64 // sketches that found no bitmap
}

func (p *bitmaps) take() uint32 {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		p.all[b-1] = bitmap{}
		return b
	}
	if len(p.all) >= maxSketch {
		p.full++
		return 0
	}
	p.all = append(p.all, bitmap{})
	return uint32(len(p.all))
}

// add takes a hash.
func (s *sketch) add(p *bitmaps, v uint32) {
	if s.bits != 0 {
		p.all[s.bits-1].set(v)
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
	if s.bits = p.take(); s.bits == 0 {
		return
	}
	for _, known := range s.few {
		p.all[s.bits-1].set(known)
	}
	p.all[s.bits-1].set(v)
}

// reset empties the sketch and gives its bits back.
func (s *sketch) reset(p *bitmaps) {
	if s.bits != 0 {
		p.free = append(p.free, s.bits)
	}
	*s = sketch{}
}

// union estimates the distinct values of both.
func (s *sketch) union(o *sketch, p *bitmaps) int {
	if s.bits == 0 && o.bits == 0 {
		n := int(s.n)
		for _, v := range o.few[:o.n] {
			if !slices.Contains(s.few[:s.n], v) {
				n++
			}
		}
		return n
	}
	var b bitmap
	for _, part := range [2]*sketch{s, o} {
		if part.bits != 0 {
			for i, w := range p.all[part.bits-1] {
				b[i] |= w
			}
			continue
		}
		for _, v := range part.few[:part.n] {
			b.set(v)
		}
	}
	return b.estimate()
}
