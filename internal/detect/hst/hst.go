// Package hst is Half-Space Trees (Tan, Ting and Liu, IJCAI 2011), an anomaly detector over streams of points, and what stands
// around them: a scaler that learns where a feature usually lies, and a guard that keeps what looks odd from being learned as normal.
//
// Trees gives two scores of the same masses. The raw one is that of River 0.26's anomaly.HalfSpaceTrees, bit for bit, for the same
// seed and input: 0, usual, to 1, strange. Surprise is the logarithm of the density: in bits, larger is stranger, and it is the sum
// of what the single features contribute. Before the first window is full both are 0. Features lie in [0, 1] unless
// limits say otherwise.
//
// Some things are done otherwise than in River, none of which changes a score. The reference masses are frozen within a window,
// so what a walk to a leaf adds up to is a constant of that window: it is computed once per leaf when the window
// turns, and scoring is one descent and one load. Learning counts in the leaf alone; the inner masses are its sums, taken when
// the window turns. Sums of masses times powers of two stay below 2^53, so the order of addition does not matter.
//
// River gives a point that lacks a feature to the heavier child; here every point must have all its features.
package hst

import (
	"fmt"
	"math"
	"math/bits"
)

// Options are those of River's constructor. Zero fields take River's defaults.
type Options struct {
	Trees    int          // number of trees, at most 1024; 0 means 10
	Height   int          // levels below the root, at most 20; 0 means 8
	Window   int          // points per window, at most 2^24; 0 means 250
	Features int          // per point, 1 to 255, in the order of their names in River
	Limits   [][2]float64 // range of each feature; nil means [0, 1] for all
	Seed     int64
}

// padding keeps a split off the edges of its range, as a share of it; limitShare is the share of the window below which a
// node's mass ends the walk. Both are River's constants.
const (
	padding    = 0.15
	limitShare = 0.1

	maxHeight = 20
	maxTrees  = 1 << 10
	maxWindow = 1 << 24
	maxLeaves = 1 << 24 // of all trees
)

// bit is the unit of surprise inside: sums of whole 65536ths are the same on every machine and in every order.
const bit = 1 << 16

// Trees is a forest. It is not for concurrent use.
//
// Nodes are kept level by level, and in a level tree by tree: the children of node q of a level are 2q and 2q+1 of the next. So all
// trees descend a level at a time, each step waiting for no other tree's.
type Trees struct {
	options Options
	count   int  // points in the window that is being learned
	ready   bool // a window has been learned in whole

	feature   []uint8  // of the inner nodes
	threshold []uint64 // of the inner nodes, the order of its float
	mass      []uint32 // of all nodes, in the reference window
	leaves    []leaf

	at      []uint32    // per tree, the leaf that the last point fell into
	keys    [256]uint64 // scratch: order of the point's features
	largest float64     // River's _max_score
	full    int32       // surprise of mass 1/2 at the root, 65536ths of a bit
}

// leaf is what a descent finds: in one place, so that it costs one cache miss.
type leaf struct {
	raw      float64 // what River adds up on a walk to this leaf
	surprise int32   // of the walk to this leaf, 65536ths of a bit
	latest   uint32  // mass of the window that is being learned
}

// goesOn marks a node at which a walk does not end; no surprise is as low.
const goesOn = math.MinInt32

// New builds the trees, which takes 2*Trees*(2^Height-1) random numbers.
func New(o Options) (*Trees, error) {
	if o.Trees == 0 {
		o.Trees = 10
	}
	if o.Height == 0 {
		o.Height = 8
	}
	if o.Window == 0 {
		o.Window = 250
	}
	if o.Limits == nil {
		o.Limits = make([][2]float64, max(o.Features, 0))
		for i := range o.Limits {
			o.Limits[i] = [2]float64{0, 1}
		}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	leaves := o.Trees << o.Height
	inner := leaves - o.Trees
	t := &Trees{
		options: o, feature: make([]uint8, inner), threshold: make([]uint64, inner), mass: make([]uint32, inner+leaves),
		leaves: make([]leaf, leaves), at: make([]uint32, o.Trees),
		largest: float64(inner+leaves) * float64(o.Window), full: int32(log2(2*uint64(o.Window) + 2)),
	}
	rng := newMersenneTwister(o.Seed)
	limits := append([][2]float64(nil), o.Limits...)
	for tree := range o.Trees {
		t.grow(tree, 0, limits, rng)
	}
	return t, nil
}

func (o *Options) check() error {
	switch {
	case o.Trees < 1 || o.Trees > maxTrees:
		return fmt.Errorf("hst: %d trees: must be 1 to %d", o.Trees, maxTrees)
	case o.Window < 1 || o.Window > maxWindow:
		return fmt.Errorf("hst: a window of %d points: must be 1 to %d", o.Window, maxWindow)
	case o.Height < 1 || o.Height > maxHeight:
		return fmt.Errorf("hst: height %d: must be 1 to %d", o.Height, maxHeight)
	case o.Trees<<o.Height > maxLeaves:
		return fmt.Errorf("hst: %d trees of height %d have more than %d leaves: take fewer or lower ones", o.Trees, o.Height, maxLeaves)
	case o.Features < 1 || o.Features > math.MaxUint8:
		return fmt.Errorf("hst: %d features: must be 1 to %d", o.Features, math.MaxUint8)
	case len(o.Limits) != o.Features:
		return fmt.Errorf("hst: limits of %d features where there are %d", len(o.Limits), o.Features)
	}
	return nil
}

// level is the index of the first node of a level.
func (t *Trees) level(depth int) int { return t.options.Trees<<depth - t.options.Trees }

// grow fills in node q of a level and all below it, in preorder, left before right: the order in which River's
// make_padded_tree draws its random numbers.
func (t *Trees) grow(q, depth int, limits [][2]float64, rng *mersenneTwister) {
	if depth == t.options.Height {
		return
	}
	on := rng.choice(limits)
	a, b := limits[on][0], limits[on][1]
	pad := float64(padding * (b - a)) // the conversion keeps Go from fusing the product into the sum
	lo, hi := a+pad, b-pad
	at := lo + float64((hi-lo)*rng.random())
	n := t.level(depth) + q
	t.feature[n] = uint8(on)
	t.threshold[n] = order(at)
	limits[on] = [2]float64{a, at}
	t.grow(2*q, depth+1, limits, rng)
	limits[on] = [2]float64{at, b}
	t.grow(2*q+1, depth+1, limits, rng)
	limits[on] = [2]float64{a, b}
}

// order maps floats to integers that compare as they do. What is not a number comes last, so that it goes right, as in River.
func order(x float64) uint64 {
	if x != x {
		return math.MaxUint64
	}
	b := math.Float64bits(x + 0) // -0 becomes 0
	return b ^ (uint64(int64(b)>>63) | 1<<63)
}

// descend finds the leaves that x falls into. The step has no branch, which nobody could predict: the borrow of x-threshold
// is 1 where x goes left. 25 trees of height 8: 0.25 µs; 0.6 µs tree by tree; 1 µs tree by tree with branches.
func (t *Trees) descend(x []float64) {
	for i, v := range x[:t.options.Features] {
		t.keys[i] = order(v)
	}
	at := t.at
	for tree := range at {
		at[tree] = uint32(tree)
	}
	for depth := range t.options.Height {
		feature := t.feature[t.level(depth):t.level(depth+1)]
		threshold := t.threshold[t.level(depth):t.level(depth+1)]
		threshold = threshold[:len(feature)]
		for i, q := range at {
			_, left := bits.Sub64(t.keys[feature[q]], threshold[q], 0)
			at[i] = 2*q + 1 - uint32(left)
		}
	}
}

// See scores x and remembers where it fell, for LearnSeen. It learns nothing. x must have all features.
//
// score is River's, 0 to 1; of uniformly spread points it is near 1 (0.98 at height 8), so it ranks points but has no meaning by itself.
//
// surprise is the mean over the trees of log2 of the number of times that the cell where the walk ends is emptier than it were
// if the window's points were spread evenly: -log2((r+1/2)/(W+1)) - depth. It is in bits, from -Height (all points in this cell) to
// log2(W+1) (none), about 0 for even spread. Both are 0 before the first window is full.
func (t *Trees) See(x []float64) (score, surprise float64) {
	t.descend(x)
	if !t.ready {
		return 0, 0
	}
	raw, sum := 0.0, int64(0)
	for _, at := range t.at {
		l := &t.leaves[at]
		raw += l.raw
		sum += int64(l.surprise)
	}
	return 1 - raw/t.largest, float64(sum) / float64(bit*len(t.at))
}

// LearnSeen learns the point that See saw last.
func (t *Trees) LearnSeen() {
	for _, at := range t.at {
		t.leaves[at].latest++
	}
	t.count++
	if t.count == t.options.Window {
		t.turn()
	}
}

// Score is River's score of x: see See.
func (t *Trees) Score(x []float64) float64 {
	score, _ := t.See(x)
	return score
}

// Surprise says in bits how much emptier than even the place of x is: see See.
func (t *Trees) Surprise(x []float64) float64 {
	_, surprise := t.See(x)
	return surprise
}

// Learn adds x to the window, and turns the window when it is full.
func (t *Trees) Learn(x []float64) {
	t.descend(x)
	t.LearnSeen()
}

// Progress is how much of the first window has been learned, 0 to 1.
func (t *Trees) Progress() float64 {
	if t.ready {
		return 1
	}
	return float64(t.count) / float64(t.options.Window)
}

// Explain splits the surprise of x among its features: credit, which has one element for each, receives the bits that the splits on it
// contributed, negative where x lies in the fuller half. Their sum is the surprise less that of the root, which is the same for
// every x and at most 1.5/(W+1) bits. All are 0 before the first window is full.
func (t *Trees) Explain(x, credit []float64) {
	clear(credit)
	if !t.ready {
		return
	}
	t.descend(x)
	for tree, at := range t.at {
		q := uint32(tree)
		here := t.surpriseOf(t.mass[q], 0)
		for depth := 0; depth < t.options.Height && !t.ends(t.mass[t.level(depth)+int(q)]); depth++ {
			on := t.feature[t.level(depth)+int(q)]
			q = at >> (t.options.Height - depth - 1)
			there := t.surpriseOf(t.mass[t.level(depth+1)+int(q)], depth+1)
			credit[on] += float64(there - here)
			here = there
		}
	}
	for i := range credit {
		credit[i] /= float64(bit * len(t.at))
	}
}

// ends says whether a walk ends at a node of mass r, even if it is no leaf.
func (t *Trees) ends(r uint32) bool { return float64(r) < limitShare*float64(t.options.Window) }

// surpriseOf is the surprise of a walk that ends with mass r at depth.
func (t *Trees) surpriseOf(r uint32, depth int) int32 {
	return t.full - int32(log2(2*uint64(r)+1)) - int32(depth*bit)
}

// turn makes the window's masses the reference.
func (t *Trees) turn() {
	mass := t.mass[t.level(t.options.Height):]
	for i := range t.leaves {
		mass[i] = t.leaves[i].latest
		t.leaves[i].latest = 0
	}
	t.refer()
	t.count = 0
	t.ready = true
}

// refer gives every leaf what a walk to it adds up to, from the reference masses of the leaves. As in River, the node whose mass falls
// below the limit is the last that counts.
func (t *Trees) refer() {
	height := t.options.Height
	for depth := height - 1; depth >= 0; depth-- {
		here, below := t.mass[t.level(depth):t.level(depth+1)], t.mass[t.level(depth+1):t.level(depth+2)]
		for q := range here {
			here[q] = below[2*q] + below[2*q+1]
		}
	}
	// From the root on, the first nodes of leaves stand for a level, and grow into the next from the back.
	for tree := range t.options.Trees {
		t.leaves[tree].raw, t.leaves[tree].surprise = float64(t.mass[tree]), goesOn
	}
	for depth := 1; depth <= height; depth++ {
		scale := float64(int64(1) << depth)
		mass := t.mass[t.level(depth):t.level(depth+1)]
		for q := len(mass) - 1; q >= 0; q-- {
			raw, surprise := t.leaves[q/2].raw, t.leaves[q/2].surprise
			if surprise == goesOn {
				raw += float64(mass[q]) * scale
				if depth == height || t.ends(mass[q]) {
					surprise = t.surpriseOf(mass[q], depth)
				}
			}
			t.leaves[q].raw, t.leaves[q].surprise = raw, surprise
		}
	}
}

// log2 is the logarithm of n, at least 1, in 65536ths, rounded down: the same on every machine, which math.Log2 is not.
func log2(n uint64) uint64 {
	whole := uint64(bits.Len64(n) - 1)
	m := n << (63 - whole) // mantissa, 1 <= m < 2 in units of 2^-63
	fraction := uint64(0)
	for range 16 {
		hi, _ := bits.Mul64(m, m)
		fraction <<= 1
		if hi>>63 != 0 {
			fraction++
			m = hi
		} else {
			m = hi << 1
		}
	}
	return whole<<16 | fraction
}
