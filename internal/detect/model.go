package detect

import (
	"fmt"
	"math"

	"netlyra/internal/detect/hst"
)

// model is what has been learned of the entity-seconds of one role: where each feature usually lies (the scaler, and the tails of its
// distribution), which combinations are usual (the trees), and how rare the evidence is that the two give together (the ranks).
// A guard keeps from the trees, for a while, what has not been seen before.
type model struct {
	trees    *hst.Trees
	scaler   *hst.Scaler
	guard    *hst.Guard
	usual    usual
	ranks    ranks
	began    int64  // time judged when the ranks began, microseconds
	releases uint64 // times that what was kept out has become the new normal
}

const (
	guardEpoch  = 300 * secondMicros // more than twice as long as a burst that is to be kept out
	guardMinAge = learnSeconds * secondMicros
)

func newModel(window int, seed int64) (m model, err error) {
	n := int(numFeatures)
	if m.trees, err = hst.New(hst.Options{Trees: treeCount, Height: treeHeight, Window: window, Features: n, Seed: seed}); err != nil {
		return m, fmt.Errorf("detect: %w", err)
	}
	logs := make([]bool, n)
	for f := range numFeatures {
		logs[f] = f.info().log
	}
	if m.scaler, err = hst.NewScaler(hst.ScalerOptions{Features: n, Logs: logs, Seed: seed}); err != nil {
		return m, fmt.Errorf("detect: %w", err)
	}
	m.guard, err = hst.NewGuard(hst.GuardOptions{Epoch: guardEpoch, MinAge: guardMinAge})
	return m, err
}

// ready says whether the trees have seen their first window: before, they know nothing.
func (m *model) ready() bool { return m.trees.Progress() >= 1 }

// sight is how a model sees one entity-second.
type sight struct {
	point    [numFeatures]float64 // as the trees take it
	at       [numFeatures]float64 // on the fixed scales of the tails
	river    float64              // the trees' score as River has it, 0 to 1
	surprise float64              // of the trees, bits
	tails    [numFeatures]float64 // how rare each value is, or a higher one: bits
	rarest   feature
}

// evidence is how strange an entity-second is, in bits: the surprise of the trees and the rarest of the tails. Without a part (for the
// ablation) it is that of the other.
func (s *sight) evidence(without Part) float64 {
	e := 0.0
	if without&Trees == 0 {
		e += s.surprise
	}
	if without&Tails == 0 {
		e += s.tails[s.rarest]
	}
	return e
}

// look scores a vector; learn, if it is called at all, must come next.
func (m *model) look(v *vector, s *sight) {
	m.scaler.Scale(v[:], s.point[:])
	s.at = v.point()
	s.river, s.surprise = m.trees.See(s.point[:])
	s.river = round(s.river)
	s.rarest = 0
	for f := range numFeatures {
		s.tails[f] = m.usual.rarity(f, s.at[f])
		if s.tails[f] > s.tails[s.rarest] {
			s.rarest = f
		}
	}
}

// river is the trees' score of a vector as River has it, 0 to 1.
func (m *model) river(v *vector) float64 {
	var x [numFeatures]float64
	m.scaler.Scale(v[:], x[:])
	return round(m.trees.Score(x[:]))
}

// learn takes for usual what look has just seen; the trees do so if the guard admits it. released says that the guard has given in to what
// it had kept out.
func (m *model) learn(v *vector, s *sight, now int64, without Part) (released bool) {
	admitted := true
	if m.ready() && without&Guard == 0 {
		if admitted, released = m.guard.Admit(s.surprise, now); released {
			m.releases++
		}
	}
	if admitted {
		m.trees.LearnSeen()
	}
	m.scaler.Learn(v[:])
	m.usual.add(&s.at)
	return released
}

// credits says what part each feature has in the evidence, as shares of all that speak for it.
func (m *model) credits(s *sight, without Part) (share [numFeatures]float64) {
	if without&Trees == 0 {
		m.trees.Explain(s.point[:], share[:])
	}
	sum := 0.0
	for f := range numFeatures {
		share[f] = math.Max(share[f], 0)
		if f == s.rarest && without&Tails == 0 {
			share[f] += s.tails[f]
		}
		sum += share[f]
	}
	for f := range numFeatures {
		if sum > 0 {
			share[f] = round(share[f] / sum)
		}
	}
	return share
}

// Part is a part of the detector that can be left out, to see what it is worth (docs/detection.md).
type Part uint8

// The parts.
const (
	Trees Part = 1 << iota
	Tails
	Absolute // limits, of the window and of what clients do with services
	Guard
	Hardware // habits by hardware address; without it, by IP address, and values are held against the range of the network
)

// NotInCore are the parts that the core profile leaves out: what is learned remains, and no more.
const NotInCore = Absolute | Guard | Hardware

// ParseParts reads the names of parts: trees, tails, limits, guard, hardware.
func ParseParts(names []string) (all Part, err error) {
	parts := map[string]Part{"trees": Trees, "tails": Tails, "limits": Absolute, "guard": Guard, "hardware": Hardware}
	for _, n := range names {
		p, ok := parts[n]
		if !ok {
			return 0, fmt.Errorf("detect: no part %q: there are trees, tails, limits, guard and hardware", n)
		}
		all |= p
	}
	return all, nil
}

// own is what one entity usually does: running means and mean deviations of its features.
type own struct {
	n         uint32
	mean, dev [numFeatures]float32
}

const (
	ownMemory = 1000 // entity-seconds, about, that an entity is remembered by
	ownAfter  = 300  // before which nothing is said about it
	ownWidth  = 4    // mean deviations to either side that are usual
)

func (o *own) add(v *vector) {
	o.n = min(o.n+1, ownMemory)
	for f := range numFeatures {
		d := float32(v[f]) - o.mean[f]
		o.mean[f] += d / float32(o.n)
		if d < 0 {
			d = -d
		}
		o.dev[f] += (d - o.dev[f]) / float32(o.n)
	}
}

// usual is the range that the entity usually keeps to; ok is false where it is not known.
func (o *own) usual(f feature) (low, high float64, ok bool) {
	if o.n < ownAfter {
		return 0, 0, false
	}
	mean, width := float64(o.mean[f]), ownWidth*float64(o.dev[f])
	return readable(math.Max(mean-width, 0)), readable(math.Min(mean+width, f.info().top)), true
}
