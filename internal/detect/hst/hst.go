// Package hst is Half-Space Trees (Tan, Ting and Liu, IJCAI 2011), an anomaly detector over streams of points, with the same
// scores, bit for bit, as River 0.26's anomaly.HalfSpaceTrees for the same seed and input. Features lie in [0, 1]
// unless limits say otherwise; scores run from 0, usual, to 1, strange; before the first window is full they are 0.
//
// Two things are done otherwise than in River, neither of which changes a score. The reference masses are frozen within a window,
// so what a walk to a leaf adds up to is a constant of that window: it is computed once per leaf when the window
// turns, and scoring is one descent and one load. Learning counts in the leaf alone; the inner masses are its sums, taken when
// the window turns. Sums of masses times powers of two stay below 2^53, so the order of addition does not matter.
//
// River gives a point that lacks a feature to the heavier child; here every point must have all its features.
package hst

import (
	"fmt"
	"math"
)

// Options are those of River's constructor. Zero fields take River's defaults.
type Options struct {
	Trees    int          // number of trees; 0 means 10
	Height   int          // levels below the root, at most 20; 0 means 8
	Window   int          // points per window; 0 means 250
	Features int          // per point, 1 to 255, in the order of their names in River
	Limits   [][2]float64 // range of each feature; nil means [0, 1] for all
	Seed     int64
}

// padding keeps a split off the edges of its range, as a share of it; limitShare is the share of the window below which a
// node's mass ends the walk. Both are River's constants.
const (
	padding    = 0.15
	limitShare = 0.1
	maxHeight  = 20
)

// Trees is a forest. It is not for concurrent use.
type Trees struct {
	height   int
	window   int
	features int
	count    int // points in the window that is being learned
	windows  int // windows that have been learned in whole

	// Per tree, in heap order: the children of node i are 2i+1 and 2i+2. Node n of tree t is at t*inner+n.
	inner     int
	feature   []uint8
	threshold []float64
	// Per tree and leaf, from left to right.
	leaves  int
	latest  []uint32  // mass of the window that is being learned
	scores  []float64 // what a walk to this leaf adds up to
	sums    []float64 // scratch of one tree's inner masses
	trees   int
	largest float64 // River's _max_score
}

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
	switch {
	case o.Trees < 1 || o.Window < 1:
		return nil, fmt.Errorf("hst: %d trees and a window of %d points: both must be positive", o.Trees, o.Window)
	case o.Height < 1 || o.Height > maxHeight:
		return nil, fmt.Errorf("hst: height %d: must be 1 to %d", o.Height, maxHeight)
	case o.Features < 1 || o.Features > math.MaxUint8:
		return nil, fmt.Errorf("hst: %d features: must be 1 to %d", o.Features, math.MaxUint8)
	case len(o.Limits) != o.Features:
		return nil, fmt.Errorf("hst: limits of %d features where there are %d", len(o.Limits), o.Features)
	}
	leaves := 1 << o.Height
	t := &Trees{
		height: o.Height, window: o.Window, features: o.Features, trees: o.Trees,
		inner: leaves - 1, feature: make([]uint8, o.Trees*(leaves-1)), threshold: make([]float64, o.Trees*(leaves-1)),
		leaves: leaves, latest: make([]uint32, o.Trees*leaves), scores: make([]float64, o.Trees*leaves), sums: make([]float64, 2*leaves-1),
		largest: float64(o.Trees * o.Window * (2*leaves - 1)),
	}
	rng := newMersenneTwister(o.Seed)
	limits := append([][2]float64(nil), o.Limits...)
	for tree := range o.Trees {
		t.grow(tree*t.inner, 0, o.Height, limits, rng)
	}
	return t, nil
}

// grow fills in node n of the tree at base and all below it, in preorder, left before right: the order in which River's
// make_padded_tree draws its random numbers.
func (t *Trees) grow(base, n, height int, limits [][2]float64, rng *mersenneTwister) {
	if height == 0 {
		return
	}
	on := rng.choice(limits)
	a, b := limits[on][0], limits[on][1]
	pad := float64(padding * (b - a)) // the conversion keeps Go from fusing the product into the sum
	lo, hi := a+pad, b-pad
	at := lo + float64((hi-lo)*rng.random())
	t.feature[base+n] = uint8(on)
	t.threshold[base+n] = at
	limits[on] = [2]float64{a, at}
	t.grow(base, 2*n+1, height-1, limits, rng)
	limits[on] = [2]float64{at, b}
	t.grow(base, 2*n+2, height-1, limits, rng)
	limits[on] = [2]float64{a, b}
}

// leaf returns the number of the leaf of tree that x falls into.
func (t *Trees) leaf(tree int, x []float64) int {
	feature := t.feature[tree*t.inner : (tree+1)*t.inner]
	threshold := t.threshold[tree*t.inner : (tree+1)*t.inner]
	n := 0
	for n < len(feature) {
		n = 2*n + 1
		if x[feature[(n-1)/2]] >= threshold[(n-1)/2] {
			n++
		}
	}
	return n - t.inner
}

// Score says how strange x is, 0 to 1; 0 before the first window is full. It learns nothing. x must have all features.
func (t *Trees) Score(x []float64) float64 {
	if t.windows == 0 {
		return 0
	}
	sum := 0.0
	for tree := range t.trees {
		sum += t.scores[tree*t.leaves+t.leaf(tree, x)]
	}
	return 1 - sum/t.largest
}

// Learn adds x to the window, and turns the window when it is full.
func (t *Trees) Learn(x []float64) {
	for tree := range t.trees {
		t.latest[tree*t.leaves+t.leaf(tree, x)]++
	}
	t.count++
	if t.count == t.window {
		t.turn()
	}
}

// Progress is how much of the first window has been learned, 0 to 1.
func (t *Trees) Progress() float64 {
	if t.windows > 0 {
		return 1
	}
	return float64(t.count) / float64(t.window)
}

// turn makes the window's masses the reference, and from them every leaf's score.
func (t *Trees) turn() {
	for tree := range t.trees {
		latest := t.latest[tree*t.leaves : (tree+1)*t.leaves]
		mass := t.sums
		for i, m := range latest {
			mass[t.inner+i] = float64(m)
		}
		for n := t.inner - 1; n >= 0; n-- {
			mass[n] = mass[2*n+1] + mass[2*n+2]
		}
		t.addUp(t.scores[tree*t.leaves:(tree+1)*t.leaves], mass, 0, 0, 0)
		clear(latest)
	}
	t.count = 0
	t.windows++
}

// addUp gives every leaf below node n the sum of mass * 2^depth along its path. As in River, the node whose mass falls below
// the limit is the last that counts.
func (t *Trees) addUp(scores, mass []float64, n, depth int, above float64) {
	sum := above + mass[n]*float64(int64(1)<<depth)
	switch {
	case depth == t.height:
		scores[n-t.inner] = sum
	case mass[n] < limitShare*float64(t.window):
		first := (n+1)<<(t.height-depth) - 1 - t.inner
		for i := range 1 << (t.height - depth) {
			scores[first+i] = sum
		}
	default:
		t.addUp(scores, mass, 2*n+1, depth+1, sum)
		t.addUp(scores, mass, 2*n+2, depth+1, sum)
	}
}
