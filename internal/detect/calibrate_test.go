package detect

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestCalibrated(t *testing.T) {
	for _, tc := range []struct{ tail, line, want float64 }{
		{1e-3, 1e-3, 0.8}, {1, 1e-3, 0}, {1e-4, 1e-3, 1}, {1e-9, 1e-3, 1}, {0.0316228, 1e-3, 0.4}, {0.5, 0, 0}, {0.5, 1, 0}, {0.5, -1, 0}, {1.5, 1e-3, 0},
	} {
		if got := calibrated(tc.tail, tc.line); math.Abs(got-tc.want) > 1e-4 {
			t.Errorf("a tail of %v at a line of %v scores %v, want %v", tc.tail, tc.line, got, tc.want)
		}
	}
	for tail := 1.0; tail > 1e-9; tail /= 1.1 {
		if low, high := calibrated(tail, 1e-4), calibrated(tail/1.1, 1e-4); low > high || low < 0 || high > 1 || (low >= 0.8) != (tail <= 1e-4*(1+1e-4)) && math.Abs(tail-1e-4) > 1e-6 {
			t.Errorf("a tail of %v scores %v, a rarer one %v", tail, low, high)
		}
	}
}

// What is ranked is the highest of each entity's blocks, and nothing twice.
func TestRanksArePeaks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var r ranks
	var peaks []float64
	for range 500 {
		before, first := 0.0, true
		for range 1 + rng.IntN(40) {
			bits := 60*rng.Float64() - 14
			r.peak(bits, before, first)
			if first || bits > before {
				before = bits
			}
			first = false
		}
		peaks = append(peaks, before)
	}
	if r.n != 500 {
		t.Fatalf("%d ranks of 500 peaks", r.n)
	}
	var all uint64
	for _, c := range r.counts {
		all += uint64(c)
	}
	if all != 500 {
		t.Errorf("the histogram has %d of 500 peaks", all)
	}
	for _, bits := range []float64{-100, -14, 0, 10, 30, 45, 46, 100} {
		above := 1
		for _, p := range peaks {
			if evidenceBin(p) >= evidenceBin(bits) {
				above++
			}
		}
		if got, want := r.tail(bits), float64(above)/501; math.Abs(got-want) > 1e-12 {
			t.Errorf("the tail at %v bits is %v, want %v", bits, got, want)
		}
	}
	if r.tail(1e9) < 1/501.0 || r.tail(math.Inf(1)) < 1/501.0 {
		t.Error("a tail is less than one in all")
	}
}

func TestEvidenceBins(t *testing.T) {
	last := -1
	for bits := -20.0; bits < 60; bits += 1.0 / 128 {
		b := evidenceBin(bits)
		if b < last || b < 0 || b >= evidenceBins {
			t.Fatalf("%v bits are in bin %d, after %d", bits, b, last)
		}
		last = b
	}
	if evidenceBin(leastBits) != 0 || evidenceBin(leastBits+1) != binsPerBit || evidenceBin(1e300) != evidenceBins-1 || evidenceBin(-1e300) != 0 {
		t.Error("the bins are elsewhere")
	}
}
