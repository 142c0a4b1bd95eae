package hst

import (
	"fmt"
	"math"
	"slices"
)

// GuardOptions say when a guard refuses, and when it gives in. Times are in the unit of Admit's now: microseconds of capture time, or
// row numbers.
type GuardOptions struct {
	Epoch  int64   // how long scores are collected before they are judged as a whole
	MinAge int64   // since the first score; before, all are learned; 0 means one epoch
	Accept float64 // share of scores that is usually learned; 0 means 0.99
}

const (
	defaultAccept = 0.99
	guardEpochs   = 8   // epochs whose quantiles are remembered
	guardSample   = 512 // scores that an epoch's quantile is taken from
	leastScores   = 64  // an epoch goes on until it has as many
	mostRefused   = 0.5 // share of an epoch above which it is the new normal
	oftenRefused  = 8   // times the usual share: an epoch with more is one in which something was kept out
)

// Guard keeps what scores high from being learned as normal, for a while. Its line is the median, over the latest epochs, of the
// quantile Accept of all scores of an epoch, refused ones too: a burst spoils the epochs that it touches, and the median
// does not follow; what goes on for most of eight epochs moves it. When most of one epoch was refused the guard gives in
// at once: it forgets its line, and the next epoch is learned whole. So it never refuses most of what comes for longer than two epochs. It
// is not for concurrent use.
type Guard struct {
	options GuardOptions
	started bool
	first   int64     // time of the first score
	began   int64     // time at which the epoch began
	seen    int64     // scores of this epoch
	refused int64     // of them
	line    float64   // median of lines; infinite where there are none
	random  uint64    // state of splitmix
	lines   []float64 // quantiles of the latest epochs, oldest first
	scores  []float64 // sample of this epoch's scores
	sorted  []float64 // scratch
}

// NewGuard makes a guard that admits everything until an epoch and MinAge have passed.
func NewGuard(o GuardOptions) (*Guard, error) {
	if o.Accept == 0 {
		o.Accept = defaultAccept
	}
	if o.MinAge == 0 {
		o.MinAge = o.Epoch
	}
	switch {
	case o.Epoch < 1:
		return nil, fmt.Errorf("hst: an epoch of %d: must be positive", o.Epoch)
	case o.MinAge < 0:
		return nil, fmt.Errorf("hst: a least age of %d: must not be negative", o.MinAge)
	case !(o.Accept >= 0.5 && o.Accept < 1):
		return nil, fmt.Errorf("hst: %v of the scores accepted: must be 0.5 to less than 1", o.Accept)
	}
	g := &Guard{
		options: o, lines: make([]float64, 0, guardEpochs),
		scores: make([]float64, 0, guardSample), sorted: make([]float64, 0, guardEpochs),
	}
	g.draw()
	return g, nil
}

// Admit says whether a point with this score, seen at now, is to be learned. released says that the guard has just given in: what it used to
// refuse is the new normal. A score that is no number is refused, and forgotten.
func (g *Guard) Admit(score float64, now int64) (learn, released bool) {
	switch {
	case math.IsNaN(score) || math.IsInf(score, 0):
		return false, false
	case !g.started:
		g.started, g.first, g.began = true, now, now
	case now < g.began: // the clock was set back: the age stays, the epoch starts anew
		g.first, g.began = g.first-g.began+now, now
	case now-g.began >= g.options.Epoch && g.seen >= leastScores:
		released = g.turn(now)
	}
	g.seen++
	g.keep(score)
	if score > g.line && now-g.first >= g.options.MinAge {
		g.refused++
		return false, released
	}
	return true, released
}

// keep takes the score into the epoch's sample, in which all of its scores are equally likely.
func (g *Guard) keep(score float64) {
	if len(g.scores) < guardSample {
		g.scores = append(g.scores, score)
		return
	}
	if at := splitmix(&g.random) % uint64(g.seen); at < guardSample {
		g.scores[at] = score
	}
}

// turn ends the epoch and draws the line anew. It has given in if something was kept out of the epoch that the new line lets pass.
func (g *Guard) turn(now int64) (released bool) {
	share := float64(g.refused) / float64(g.seen)
	often := min(mostRefused, oftenRefused*(1-g.options.Accept))
	slices.Sort(g.scores)
	if share > mostRefused {
		g.lines = g.lines[:0]
	} else {
		if len(g.lines) == guardEpochs {
			g.lines = append(g.lines[:0], g.lines[1:]...)
		}
		g.lines = append(g.lines, g.scores[int(g.options.Accept*float64(len(g.scores)))])
	}
	g.draw()
	released = share > often && g.line >= g.scores[int((1-often)*float64(len(g.scores)))]
	g.began, g.seen, g.refused, g.scores = now, 0, 0, g.scores[:0]
	return released
}

// draw puts the line at the median of lines; of two in the middle, at the lower.
func (g *Guard) draw() {
	if len(g.lines) == 0 {
		g.line = math.Inf(1)
		return
	}
	g.sorted = append(g.sorted[:0], g.lines...)
	slices.Sort(g.sorted)
	g.line = g.sorted[(len(g.sorted)-1)/2]
}

// splitmix is splitmix64 (Steele, Lea and Flood, 2014): 64 random bits, and the next state.
func splitmix(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
