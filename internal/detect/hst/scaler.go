package hst

import (
	"fmt"
	"math"
	"slices"
)

// ScalerOptions say what a Scaler keeps.
type ScalerOptions struct {
	Features int       // per point, 1 to 255
	Sample   int       // points that the quantiles are taken from, 64 to 65536; 0 means 2048
	Memory   int       // points back to which the sample reaches, about, at least Sample; 0 means 64 times Sample
	Logs     []bool    // features that are taken as sign(v)*ln(1+|v|); nil means none
	Floors   []float64 // least width of each feature's usual range, after Logs; nil means 0 for all
	Seed     int64
}

const (
	lowQuantile  = 0.05
	highQuantile = 0.995
	lowMark      = 0.05 // what the low quantile is mapped to
	highMark     = 0.55 // what the high one is mapped to
	grid         = 1 << 16

	minSample  = 64
	maxSample  = 1 << 16
	floorShare = 1.0 / 16 // of a range's larger end: it is at least as wide
	leastFloor = 1e-6
	minRefit   = 64
	refitShare = 8 // ranges are fitted anew when an eighth more has been seen
)

// Scaler maps features to [0, 1] by ranges that it learns from the stream: what usually occurs fills the lower half, so that what lies
// beyond has half the space to be told apart in. The ranges are quantiles of a random sample of the latest Memory points, not
// extremes: a single point, however far out, moves nothing. It is not for concurrent use.
type Scaler struct {
	options ScalerOptions
	count   int64     // points learned
	refit   int64     // the count at which ranges are next fitted
	random  uint64    // state of splitmix64
	held    int       // points in the sample
	sample  []float32 // feature f of point i is at f*Sample+i
	ranges  []span
	sorted  []float32 // scratch
}

// span is where a feature usually lies, after Logs.
type span struct{ low, high float64 }

// NewScaler makes a scaler that knows nothing.
func NewScaler(o ScalerOptions) (*Scaler, error) {
	if o.Sample == 0 {
		o.Sample = 2048
	}
	if o.Memory == 0 {
		o.Memory = 64 * o.Sample
	}
	switch {
	case o.Features < 1 || o.Features > math.MaxUint8:
		return nil, fmt.Errorf("hst: %d features: must be 1 to %d", o.Features, math.MaxUint8)
	case o.Sample < minSample || o.Sample > maxSample:
		return nil, fmt.Errorf("hst: a sample of %d points: must be %d to %d", o.Sample, minSample, maxSample)
	case o.Memory < o.Sample:
		return nil, fmt.Errorf("hst: a memory of %d points, less than the sample of %d", o.Memory, o.Sample)
	case o.Logs != nil && len(o.Logs) != o.Features:
		return nil, fmt.Errorf("hst: logs of %d features where there are %d", len(o.Logs), o.Features)
	case o.Floors != nil && len(o.Floors) != o.Features:
		return nil, fmt.Errorf("hst: floors of %d features where there are %d", len(o.Floors), o.Features)
	}
	for f, floor := range o.Floors {
		if !(floor >= 0 && floor <= math.MaxFloat32) {
			return nil, fmt.Errorf("hst: a floor of %v for feature %d: must be 0 or more", floor, f)
		}
	}
	if o.Logs == nil {
		o.Logs = make([]bool, o.Features)
	}
	if o.Floors == nil {
		o.Floors = make([]float64, o.Features)
	}
	return &Scaler{
		options: o, refit: 1, random: uint64(o.Seed),
		sample: make([]float32, o.Features*o.Sample), ranges: make([]span, o.Features), sorted: make([]float32, o.Sample),
	}, nil
}

// Learn takes the point x into account. Ranges are fitted anew at the 1st, 2nd, 4th ... 64th point, then whenever an eighth more
// has been seen, at most every Memory/8 points.
func (s *Scaler) Learn(x []float64) {
	s.count++
	if at, ok := s.place(); ok {
		for f, v := range x[:s.options.Features] {
			s.sample[f*s.options.Sample+at] = float32(s.transform(f, v))
		}
	}
	if s.count >= s.refit {
		s.fit()
		s.refit = s.count + min(s.count, max(minRefit, min(s.count, int64(s.options.Memory))/refitShare))
	}
}

// longestRefit is the largest number of points between two fits.
func (o *ScalerOptions) longestRefit() int64 { return int64(max(minRefit, o.Memory/refitShare)) }

// place says where in the sample the new point goes, if anywhere: every one of the latest Memory points or so is equally likely
// to be in it.
func (s *Scaler) place() (at int, ok bool) {
	if s.held < s.options.Sample {
		s.held++
		return s.held - 1, true
	}
	at = int(splitmix(&s.random) % uint64(min(s.count, int64(s.options.Memory))))
	return at, at < s.options.Sample
}

// transform is the value that a range is about. What is not finite becomes the nearest that is; what is no number, 0.
func (s *Scaler) transform(f int, v float64) float64 {
	if s.options.Logs[f] {
		v = math.Copysign(math.Log1p(math.Abs(v)), v)
	}
	if v != v {
		return 0
	}
	return max(-math.MaxFloat32, min(math.MaxFloat32, v))
}

// fit takes the quantiles of the sample.
func (s *Scaler) fit() {
	for f := range s.ranges {
		sorted := s.sorted[:s.held]
		copy(sorted, s.sample[f*s.options.Sample:])
		slices.Sort(sorted)
		low, high := quantile(sorted, lowQuantile), quantile(sorted, highQuantile)
		width := max(high-low, s.options.Floors[f], leastFloor, floorShare*max(math.Abs(low), math.Abs(high)))
		s.ranges[f] = span{low, low + width}
	}
}

// quantile is the value below which the share q of the sorted values lies.
func quantile(sorted []float32, q float64) float64 {
	return float64(sorted[int(q*float64(len(sorted)))])
}

// Scale writes to scaled, which may be x itself, where the features of x lie: 0.05 to 0.55 in the usual range, and on towards 0 and 1
// outside it, in steps of 2^-16. Before the first point is learned all is 0.
func (s *Scaler) Scale(x, scaled []float64) {
	if s.count == 0 {
		clear(scaled)
		return
	}
	for f, r := range s.ranges {
		z := (s.transform(f, x[f]) - r.low) / (r.high - r.low)
		switch {
		case z < 0:
			z = lowMark * math.Exp(z*(highMark-lowMark)/lowMark)
		case z <= 1:
			z = lowMark + float64((highMark-lowMark)*z)
		default:
			z = 1 - float64((1-highMark)*math.Exp(2-2*z))
		}
		scaled[f] = math.Round(z*grid) / grid
	}
}

// Usual is the range in which feature f usually lies, in its own unit: all but the lowest twentieth and the highest two hundredth.
func (s *Scaler) Usual(f int) (low, high float64) {
	r := s.ranges[f]
	if s.options.Logs[f] {
		return math.Copysign(math.Expm1(math.Abs(r.low)), r.low), math.Copysign(math.Expm1(math.Abs(r.high)), r.high)
	}
	return r.low, r.high
}
