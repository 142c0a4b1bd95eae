package hst

import "sort"

// mersenneTwister is MT19937 (Matsumoto and Nishimura, 1998), seeded and read as CPython's random.Random does, so that
// a seed grows the same trees as in River.
type mersenneTwister struct {
	state [mtSize]uint32
	at    int
}

const (
	mtSize  = 624
	mtShift = 397
)

// newMersenneTwister seeds like random.Random(seed): the magnitude of the seed as an array of 32-bit words, low word first.
func newMersenneTwister(seed int64) *mersenneTwister {
	magnitude := uint64(seed)
	if seed < 0 {
		magnitude = -magnitude
	}
	key := []uint32{uint32(magnitude)}
	if high := uint32(magnitude >> 32); high != 0 {
		key = append(key, high)
	}
	m := &mersenneTwister{at: mtSize}
	m.seedArray(key)
	return m
}

// seedArray is the reference implementation's init_by_array.
func (m *mersenneTwister) seedArray(key []uint32) {
	s := &m.state
	s[0] = 19650218
	for i := uint32(1); i < mtSize; i++ {
		s[i] = 1812433253*(s[i-1]^s[i-1]>>30) + i
	}
	i, j := 1, 0
	wrap := func() {
		if i++; i == mtSize {
			s[0] = s[mtSize-1]
			i = 1
		}
	}
	for range max(mtSize, len(key)) {
		s[i] = s[i] ^ (s[i-1]^s[i-1]>>30)*1664525
		s[i] += key[j] + uint32(j)
		if j++; j == len(key) {
			j = 0
		}
		wrap()
	}
	for range mtSize - 1 {
		s[i] = s[i] ^ (s[i-1]^s[i-1]>>30)*1566083941
		s[i] -= uint32(i)
		wrap()
	}
	s[0] = 1 << 31
}

func (m *mersenneTwister) uint32() uint32 {
	if m.at == mtSize {
		m.twist()
	}
	y := m.state[m.at]
	m.at++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

func (m *mersenneTwister) twist() {
	s := &m.state
	for i := range mtSize {
		y := s[i]&(1<<31) | s[(i+1)%mtSize]&(1<<31-1)
		s[i] = s[(i+mtShift)%mtSize] ^ y>>1 ^ y&1*0x9908b0df
	}
	m.at = 0
}

// random is uniform in [0, 1) with 53 bits.
func (m *mersenneTwister) random() float64 {
	a, b := m.uint32()>>5, m.uint32()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}

// choice is random.choices over the features, weighted by the width of their ranges.
func (m *mersenneTwister) choice(limits [][2]float64) int {
	var cumulative [256]float64
	total := 0.0
	for i, l := range limits {
		total += l[1] - l[0]
		cumulative[i] = total
	}
	x := m.random() * total
	last := len(limits) - 1
	return sort.Search(last, func(i int) bool { return x < cumulative[i] })
}
