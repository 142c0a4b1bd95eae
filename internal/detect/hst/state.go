package hst

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
)

// A state begins with what it is of, its version, and a checksum of what it was learned with; all numbers are little-endian. It
// holds what has been learned and nothing that follows from the options: it can be loaded only by what was made with the same ones.
// That the bytes are those that were written is for the file around it to check; here, whatever they are, nothing worse than
// other scores comes of them.
const (
	stateTrees  = 'T'
	stateScaler = 'S'
	stateGuard  = 'G'

	stateVersion = 1
	maxCount     = 1 << 62 // counters in a state; beyond, they could overflow
)

// ErrState says that bytes are not a state, or not one of an object with these options. What was to load it is as before: it can
// go on, or start learning anew.
var ErrState = errors.New("hst: not a saved state of this configuration")

// AppendState appends what the trees have learned to b: 15 bytes, and 8 for each leaf.
func (t *Trees) AppendState(b []byte) []byte {
	b = appendHeader(b, stateTrees, t.fingerprint())
	b = appendBool(b, t.ready)
	b = binary.LittleEndian.AppendUint32(b, uint32(t.count))
	reference := t.mass[t.level(t.options.Height):]
	for i, m := range reference {
		b = binary.LittleEndian.AppendUint32(b, m)
		b = binary.LittleEndian.AppendUint32(b, t.leaves[i].latest)
	}
	return b
}

// LoadState replaces what the trees have learned by the state at the beginning of b and returns what follows it. The trees go on as if
// they had never stopped, to the last bit. A point seen before must be seen again before it is learned. The error is an ErrState.
func (t *Trees) LoadState(b []byte) (rest []byte, err error) {
	r := reader{b: b}
	r.header(stateTrees, t.fingerprint())
	ready, count := r.bool(), r.uint32()
	masses := r.take(8 * len(t.leaves))
	if r.bad || count >= uint32(t.options.Window) {
		return nil, fmt.Errorf("%w: trees", ErrState)
	}
	whole := uint64(0)
	if ready {
		whole = uint64(t.options.Window)
	}
	for tree := range t.options.Trees {
		var reference, latest uint64
		for i := tree << t.options.Height; i < (tree+1)<<t.options.Height; i++ {
			reference += uint64(binary.LittleEndian.Uint32(masses[8*i:]))
			latest += uint64(binary.LittleEndian.Uint32(masses[8*i+4:]))
		}
		if reference != whole || latest != uint64(count) {
			return nil, fmt.Errorf("%w: the masses of tree %d do not add up", ErrState, tree)
		}
	}
	reference := t.mass[t.level(t.options.Height):]
	for i := range reference {
		reference[i] = binary.LittleEndian.Uint32(masses[8*i:])
		t.leaves[i].latest = binary.LittleEndian.Uint32(masses[8*i+4:])
	}
	t.refer()
	t.ready, t.count = ready, int(count)
	return r.b, nil
}

// fingerprint is of all that the masses depend on: the shape, the window and every split.
func (t *Trees) fingerprint() uint64 {
	b := make([]byte, 0, 16+9*len(t.feature))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.options.Trees))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.options.Height))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.options.Window))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.options.Features))
	b = append(b, t.feature...)
	for _, at := range t.threshold {
		b = binary.LittleEndian.AppendUint64(b, at)
	}
	return checksum(b)
}

// AppendState appends what the scaler has learned to b: 38 bytes, 16 for each feature, and 4 for each of the sample's values.
func (s *Scaler) AppendState(b []byte) []byte {
	b = appendHeader(b, stateScaler, s.fingerprint())
	b = binary.LittleEndian.AppendUint64(b, uint64(s.count))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.refit))
	b = binary.LittleEndian.AppendUint64(b, s.random)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.held))
	for _, r := range s.ranges {
		b = appendFloat(appendFloat(b, r.low), r.high)
	}
	for f := range s.ranges {
		for _, v := range s.sample[f*s.options.Sample:][:s.held] {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	}
	return b
}

// LoadState replaces what the scaler has learned by the state at the beginning of b and returns what follows it. The scaler goes on as
// if it had never stopped. The error is an ErrState.
func (s *Scaler) LoadState(b []byte) (rest []byte, err error) {
	r := reader{b: b}
	r.header(stateScaler, s.fingerprint())
	count, refit, random, held := int64(r.count()), int64(r.count()), r.uint64(), int64(r.uint32())
	if r.bad || held != min(count, int64(s.options.Sample)) || refit <= count || refit-count > s.options.longestRefit() {
		return nil, fmt.Errorf("%w: scaler", ErrState)
	}
	ranges := make([]span, s.options.Features)
	for f := range ranges {
		low, high := r.float(), r.float()
		if width := high - low; count > 0 && (width <= 0 || math.IsInf(width, 0)) {
			return nil, fmt.Errorf("%w: feature %d lies from %v to %v", ErrState, f, low, high)
		}
		ranges[f] = span{low, high}
	}
	sample := make([]float32, len(s.sample))
	for f := range ranges {
		for i := range held {
			v := math.Float32frombits(r.uint32())
			if v != v || math.IsInf(float64(v), 0) {
				return nil, fmt.Errorf("%w: value %d of feature %d is not finite", ErrState, i, f)
			}
			sample[f*s.options.Sample+int(i)] = v
		}
	}
	if r.bad {
		return nil, fmt.Errorf("%w: scaler", ErrState)
	}
	s.count, s.refit, s.random, s.held, s.ranges, s.sample = count, refit, random, int(held), ranges, sample
	return r.b, nil
}

func (s *Scaler) fingerprint() uint64 {
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, uint32(s.options.Features))
	b = binary.LittleEndian.AppendUint32(b, uint32(s.options.Sample))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.options.Memory))
	for f := range s.options.Features {
		b = appendFloat(appendBool(b, s.options.Logs[f]), s.options.Floors[f])
	}
	return checksum(b)
}

// AppendState appends what the guard knows to b, at most 4.3 kB.
func (g *Guard) AppendState(b []byte) []byte {
	b = appendHeader(b, stateGuard, g.fingerprint())
	for _, n := range []int64{g.first, g.began, g.seen, g.refused} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	b = binary.LittleEndian.AppendUint64(b, g.random)
	b = append(appendBool(b, g.started), byte(len(g.lines)))
	for _, s := range slices.Concat(g.lines, g.scores) {
		b = appendFloat(b, s)
	}
	return b
}

// LoadState replaces what the guard knows by the state at the beginning of b and returns what follows it. The guard goes on as if
// it had never stopped. The error is an ErrState.
func (g *Guard) LoadState(b []byte) (rest []byte, err error) {
	r := reader{b: b}
	r.header(stateGuard, g.fingerprint())
	first, began, seen, refused, random := int64(r.uint64()), int64(r.uint64()), int64(r.count()), int64(r.count()), r.uint64()
	started, lines := r.bool(), int(r.byte())
	if r.bad || refused > seen || lines > guardEpochs || !started && seen > 0 {
		return nil, fmt.Errorf("%w: guard", ErrState)
	}
	scores := make([]float64, 0, guardEpochs+guardSample)
	for range lines + int(min(seen, guardSample)) {
		scores = append(scores, r.float())
	}
	if r.bad {
		return nil, fmt.Errorf("%w: guard", ErrState)
	}
	g.started, g.first, g.began, g.seen, g.refused, g.random = started, first, began, seen, refused, random
	g.lines = append(g.lines[:0], scores[:lines]...)
	g.scores = append(g.scores[:0], scores[lines:]...)
	g.draw()
	return r.b, nil
}

func (g *Guard) fingerprint() uint64 {
	var b []byte
	b = binary.LittleEndian.AppendUint64(b, uint64(g.options.Epoch))
	b = binary.LittleEndian.AppendUint64(b, uint64(g.options.MinAge))
	return checksum(appendFloat(b, g.options.Accept))
}

func appendHeader(b []byte, kind byte, fingerprint uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, kind, stateVersion), fingerprint)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendFloat(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

// checksum is FNV-1a: it tells configurations apart, and is no protection.
func checksum(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64()
}

// reader takes numbers from the front of b; where there is not enough, or a number cannot be, bad is set and all that follows is zero.
type reader struct {
	b   []byte
	bad bool
}

// take returns the next n bytes, nil where there are fewer.
func (r *reader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return nil
	}
	front := r.b[:n]
	r.b = r.b[n:]
	return front
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) bool() bool {
	b := r.byte()
	r.bad = r.bad || b > 1
	return b == 1
}

// count is a number of things.
func (r *reader) count() uint64 {
	n := r.uint64()
	r.bad = r.bad || n > maxCount
	return n
}

// float is a finite number.
func (r *reader) float() float64 {
	f := math.Float64frombits(r.uint64())
	r.bad = r.bad || math.IsInf(f, 0) || f != f
	return f
}

func (r *reader) header(kind byte, fingerprint uint64) {
	k, version, made := r.byte(), r.byte(), r.uint64()
	r.bad = r.bad || k != kind || version != stateVersion || made != fingerprint
}
