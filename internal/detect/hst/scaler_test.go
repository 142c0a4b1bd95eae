package hst

import (
	"math"
	"math/rand/v2"
	"testing"
)

func scalerOf(t testing.TB, o ScalerOptions) *Scaler {
	t.Helper()
	s, err := NewScaler(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// scale is Scale of one feature.
func scale(s *Scaler, v float64) float64 {
	scaled := []float64{math.NaN()}
	s.Scale([]float64{v}, scaled)
	return scaled[0]
}

func TestUsualFillsTheLowerHalf(t *testing.T) {
	s := scalerOf(t, ScalerOptions{Features: 1})
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		s.Learn([]float64{10 + 90*rng.Float64()})
	}
	for _, tc := range []struct{ value, want float64 }{
		{14.5, 0.05},                              // the 5th percentile
		{99.55, 0.55},                             // the 99.5th
		{57, 0.3},                                 // half way
		{99.55 + 85.05, 1 - 0.45*math.Exp(-2)},    // a width above
		{14.5 - 8.505, 0.05 * math.Exp(-1)},       // a tenth of a width below
		{1e12, 1}, {-1e12, 0}, {math.Inf(1), 1}, { // far out
			math.Inf(-1), 0,
		},
	} {
		if got := scale(s, tc.value); math.Abs(got-tc.want) > 0.01 {
			t.Errorf("%v becomes %v, want %v", tc.value, got, tc.want)
		}
	}
	if got := scale(s, math.NaN()); got < 0 || got > 1 {
		t.Errorf("what is no number becomes %v", got)
	}
	if low, high := s.Usual(0); math.Abs(low-14.5) > 2 || math.Abs(high-99.55) > 1 {
		t.Errorf("usual is %v to %v, want 14.5 to 99.55", low, high)
	}
	before := -1.0
	for v := -50.; v < 400; v += 0.37 {
		got := scale(s, v)
		if got < before || got < 0 || got > 1 || got*grid != math.Trunc(got*grid) {
			t.Fatalf("%v becomes %v, after %v", v, got, before)
		}
		before = got
	}
}

func TestExtremesMoveNothing(t *testing.T) {
	calm, shaken := scalerOf(t, ScalerOptions{Features: 1}), scalerOf(t, ScalerOptions{Features: 1})
	rng := rand.New(rand.NewPCG(2, 2))
	for i := range 5000 {
		v := rng.NormFloat64()
		calm.Learn([]float64{v})
		if i%1000 == 500 {
			v = math.Pow(10, float64(i%7))
		}
		shaken.Learn([]float64{v})
	}
	for _, v := range []float64{-2, 0, 1, 2.5} {
		if a, b := scale(calm, v), scale(shaken, v); math.Abs(a-b) > 0.02 {
			t.Errorf("%v becomes %v, %v without five extremes in 5000", v, b, a)
		}
	}
}

func TestConstantsDoNotExplode(t *testing.T) {
	for _, tc := range []struct {
		name        string
		floor       float64
		usual, near float64
		most        float64
	}{
		{"a share of the constant", 0, 1000, 1010, 0.2},
		{"a floor", 8, 0, 1, 0.2},
		{"a negative constant", 0, -1000, -990, 0.2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := scalerOf(t, ScalerOptions{Features: 1, Floors: []float64{tc.floor}})
			for range 500 {
				s.Learn([]float64{tc.usual})
			}
			if got := scale(s, tc.usual); got != math.Round(lowMark*grid)/grid {
				t.Errorf("the constant becomes %v, want %v", got, lowMark)
			}
			if got := scale(s, tc.near); got > tc.most {
				t.Errorf("%v, near the constant, becomes %v, want at most %v", tc.near, got, tc.most)
			}
			if got := scale(s, tc.usual+1e6); got < 0.99 {
				t.Errorf("what is far from the constant becomes %v", got)
			}
		})
	}
}

func TestLogsAreOfBothSigns(t *testing.T) {
	s := scalerOf(t, ScalerOptions{Features: 1, Logs: []bool{true}})
	rng := rand.New(rand.NewPCG(3, 3))
	for range 5000 {
		s.Learn([]float64{math.Copysign(math.Expm1(5*rng.Float64()), rng.Float64()-.5)})
	}
	// The logarithms are spread evenly from -5 to 5, so the range goes from -4.5 to 4.95.
	if low, high := s.Usual(0); math.Abs(low+math.Expm1(4.5)) > 10 || math.Abs(high-math.Expm1(4.95)) > 10 {
		t.Errorf("usual is %v to %v, want %v to %v", low, high, -math.Expm1(4.5), math.Expm1(4.95))
	}
	if a, b := scale(s, 0)-scale(s, -math.Expm1(2)), scale(s, math.Expm1(2))-scale(s, 0); math.Abs(a-b) > 1e-4 {
		t.Errorf("the same factor is %v below zero, %v above", a, b)
	}
}

// What was usual long ago is forgotten, at the pace that Memory says; what has been usual all the time is not lost by chance.
func TestRangesFollowTheStream(t *testing.T) {
	s := scalerOf(t, ScalerOptions{Features: 2, Sample: 256, Memory: 2048})
	rng := rand.New(rand.NewPCG(4, 4))
	x, scaled := make([]float64, 2), make([]float64, 2)
	learn := func(n int, base float64) {
		for range n {
			x[0], x[1] = base+rng.Float64(), rng.Float64()
			s.Learn(x)
		}
	}
	learn(10_000, 0)
	learn(5, 1000)
	if s.Scale([]float64{1000.5, 0.5}, scaled); scaled[0] < 0.9 {
		t.Errorf("after five points the new values become %v, want more than 0.9", scaled[0])
	}
	learn(12_000, 1000)
	if s.Scale([]float64{1000.5, 0.5}, scaled); scaled[0] > 0.6 || math.Abs(scaled[1]-0.3) > 0.05 {
		t.Errorf("after six memories the new values become %v, the old ones %v, want 0.05 to 0.55 and 0.3", scaled[0], scaled[1])
	}
}

func TestYoungScalersFitOften(t *testing.T) {
	s := scalerOf(t, ScalerOptions{Features: 1, Sample: 64, Memory: 4096})
	if got := scale(s, 5); got != 0 {
		t.Errorf("before anything is known %v, want 0", got)
	}
	var fits []int64
	for i := range int64(20_000) {
		before := s.refit
		s.Learn([]float64{float64(i)})
		if s.refit != before {
			fits = append(fits, i+1)
		}
	}
	for i, n := range fits {
		most := max(64, min(n, 4096)/8)
		switch {
		case i < 7 && n != 1<<i:
			t.Errorf("fit %d at point %d, want %d", i, n, 1<<i)
		case i > 7 && n-fits[i-1] > most:
			t.Errorf("fitted at point %d, and then at %d: want at most %d later", fits[i-1], n, most)
		}
	}
	if len(fits) < 20 || len(fits) > 100 {
		t.Errorf("%d fits", len(fits))
	}
}

func TestScalerIsDeterministicAndAllocatesNothing(t *testing.T) {
	a, b := scalerOf(t, ScalerOptions{Features: 8, Seed: 5}), scalerOf(t, ScalerOptions{Features: 8, Seed: 5})
	xs := points(5000, 8)
	scaled := [2][]float64{make([]float64, 8), make([]float64, 8)}
	for _, x := range xs {
		a.Learn(x)
		b.Learn(x)
		a.Scale(x, scaled[0])
		b.Scale(x, scaled[1])
		for f := range x {
			if scaled[0][f] != scaled[1][f] {
				t.Fatalf("%v and %v", scaled[0], scaled[1])
			}
		}
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() { a.Learn(xs[i]); a.Scale(xs[i], scaled[0]); i++ }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestScalerOptionsAreChecked(t *testing.T) {
	for _, o := range []ScalerOptions{
		{},
		{Features: 256},
		{Features: 1, Sample: 63},
		{Features: 1, Sample: 1 << 17},
		{Features: 1, Memory: 100},
		{Features: 2, Logs: []bool{true}},
		{Features: 2, Floors: []float64{1}},
		{Features: 1, Floors: []float64{-1}},
		{Features: 1, Floors: []float64{math.NaN()}},
	} {
		if _, err := NewScaler(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func BenchmarkScaler(b *testing.B) {
	for _, bb := range []struct {
		name string
		logs bool
	}{{"plain", false}, {"logs", true}} {
		b.Run(bb.name, func(b *testing.B) {
			logs := make([]bool, 8)
			for f := range logs {
				logs[f] = bb.logs
			}
			s := scalerOf(b, ScalerOptions{Features: 8, Logs: logs})
			xs, scaled := points(256, 8), make([]float64, 8)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				s.Scale(xs[i&255], scaled)
				s.Learn(xs[i&255])
				i++
			}
		})
	}
}
