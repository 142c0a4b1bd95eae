package hst

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type vector struct {
	Trees, Height, Window, Features int
	Seed                            int64
	Limits                          [][2]float64
	Points                          [][]int
	Scores                          []float64
}

// The scores are River's own: testdata/vectors.py wrote them.
func TestScoresAreRiversToTheLastBit(t *testing.T) {
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, v := range file.Vectors {
		trees, err := New(Options{Trees: v.Trees, Height: v.Height, Window: v.Window, Features: v.Features, Seed: v.Seed, Limits: v.Limits})
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float64, v.Features)
		for i, point := range v.Points {
			for j, n := range point {
				x[j] = float64(n) / 65536
			}
			if got := trees.Score(x); got != v.Scores[i] {
				t.Fatalf("seed %d, point %d: %v, River says %v", v.Seed, i, got, v.Scores[i])
			}
			trees.Learn(x)
			compared++
		}
	}
	if compared < 2000 {
		t.Fatalf("only %d scores were compared", compared)
	}
}

// Python's random.Random(42) begins with these.
func TestRandomIsCPythons(t *testing.T) {
	m := newMersenneTwister(42)
	for _, want := range []float64{0.6394267984578837, 0.025010755222666936, 0.27502931836911926} {
		if got := m.random(); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{}, {Features: 300}, {Features: 2, Height: 30}, {Features: 2, Trees: -1}, {Features: 2, Window: -5}, {Features: 2, Window: 1 << 25}, {Features: 2, Trees: 1024, Height: 20}, {Features: 2, Limits: [][2]float64{{0, 1}}}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// plain is the same forest without any of the tricks: it keeps the points of the reference window, and counts anew for every
// node of every walk.
type plain struct {
	trees  *Trees
	window [][]float64
}

// walk returns, for one tree, River's sum, the surprise and each feature's credit, in bits.
func (p *plain) walk(tree int, x, credit []float64) (raw, surprise float64) {
	w := float64(p.trees.options.Window)
	inside, q := p.window, tree
	bits := func(depth int) float64 { return -math.Log2((float64(len(inside))+.5)/(w+1)) - float64(depth) }
	for depth := 0; ; depth++ {
		r := float64(len(inside))
		raw += r * math.Pow(2, float64(depth))
		here := bits(depth)
		if depth == p.trees.options.Height || r < .1*w {
			return raw, here
		}
		n := p.trees.level(depth) + q
		on, at := p.trees.feature[n], unorder(p.trees.threshold[n])
		left := x[on] < at
		q = 2 * q
		if !left {
			q++
		}
		var child [][]float64
		for _, y := range inside {
			if (y[on] < at) == left {
				child = append(child, y)
			}
		}
		inside = child
		credit[on] += bits(depth+1) - here
	}
}

// unorder is the inverse of order.
func unorder(k uint64) float64 {
	if k>>63 == 1 {
		return math.Float64frombits(k ^ 1<<63)
	}
	return math.Float64frombits(^k)
}

// Scores, surprise and credits are those of a forest that counts its points one by one, in the first window, a later one, and
// for points where there are none.
func TestScoresAreThoseOfAPlainForest(t *testing.T) {
	const features, window = 3, 64
	rng := rand.New(rand.NewPCG(1, 2))
	trees, err := New(Options{Trees: 7, Height: 6, Window: window, Features: features, Seed: -5, Limits: [][2]float64{{-1, 1}, {0, 1}, {0, 3}}})
	if err != nil {
		t.Fatal(err)
	}
	p := &plain{trees: trees}
	var points [][]float64
	for i := range 4*window + 10 {
		x := []float64{math.Round(rng.NormFloat64()*4) / 8, rng.Float64() * rng.Float64(), rng.Float64() * 3}
		if i%50 == 0 {
			x = []float64{1, 1, 3}
		}
		if i%window == 0 && i > 0 {
			p.window = points[i-window : i]
		}
		got := make([]float64, features)
		score, surprise := trees.See(x)
		trees.Explain(x, got)
		if i < window {
			if score != 0 || surprise != 0 || cmp.Diff(got, make([]float64, features)) != "" || trees.Progress() != float64(i)/window {
				t.Fatalf("point %d of the first window: score %v, surprise %v, credits %v, progress %v", i, score, surprise, got, trees.Progress())
			}
		} else {
			want := make([]float64, features)
			var raws, bits float64
			for tree := range 7 {
				raw, b := p.walk(tree, x, want)
				raws, bits = raws+raw, bits+b
			}
			for f := range want {
				want[f] /= 7
			}
			if want := 1 - raws/(7*window*127); score != want {
				t.Fatalf("point %d: score %v, want %v", i, score, want)
			}
			const rounding = 2. / bit
			if want := bits / 7; math.Abs(surprise-want) > rounding {
				t.Fatalf("point %d: surprise %v, want %v", i, surprise, want)
			}
			sum := 0.0
			for f := range want {
				if math.Abs(got[f]-want[f]) > 6*rounding {
					t.Fatalf("point %d, feature %d: credit %v, want %v", i, f, got[f], want[f])
				}
				sum += got[f]
			}
			if root := surprise - sum; root < 0 || root > 1.5/(window+1) {
				t.Fatalf("point %d: credits sum to %v of %v", i, sum, surprise)
			}
		}
		points = append(points, x)
		trees.Learn(x)
	}
}

// Where all points lie in one cell of every tree, and where there are none: the ends of the documented range.
func TestRangeOfSurprise(t *testing.T) {
	trees, err := New(Options{Trees: 3, Height: 5, Window: 1000, Features: 2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		trees.Learn([]float64{0, 0})
	}
	if got := trees.Surprise([]float64{0, 0}); got < -5 || got > -4.99 {
		t.Errorf("where all points are: %v bits, want -5", got)
	}
	highest := 0.0
	for i := range 100 {
		highest = max(highest, trees.Surprise([]float64{float64(i%10) / 10, float64(i) / 100}))
	}
	if most := math.Log2(1001); highest > most || highest < most-2 {
		t.Errorf("at most %v bits, want nearly %v", highest, most)
	}
}

func TestOrderIsThatOfFloats(t *testing.T) {
	floats := []float64{math.Inf(-1), -math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, math.Copysign(0, -1), 0, math.SmallestNonzeroFloat64, 0.5, 1, math.Nextafter(1, 2), math.MaxFloat64, math.Inf(1), math.NaN()}
	for _, a := range floats {
		for _, b := range floats[:len(floats)-1] { // a threshold is a number
			if got, want := order(a) < order(b), a < b; got != want {
				t.Errorf("order(%v) < order(%v) is %v, want %v", a, b, got, want)
			}
		}
	}
}

func TestLog2(t *testing.T) {
	for n := uint64(1); n < 1<<26; n += 1 + n/1000 {
		if got, want := float64(log2(n))/bit, math.Log2(float64(n)); got > want+1e-12 || got < want-1./bit {
			t.Fatalf("log2(%d): %v, want %v", n, got, want)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	trees, err := New(Options{Trees: 25, Features: 4, Window: 16})
	if err != nil {
		t.Fatal(err)
	}
	x, credit := []float64{.1, .2, .3, .4}, make([]float64, 4)
	if n := testing.AllocsPerRun(100, func() { trees.See(x); trees.LearnSeen(); trees.Explain(x, credit) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// points are random ones.
func points(n, features int) [][]float64 {
	rng := rand.New(rand.NewPCG(1, 1))
	xs := make([][]float64, n)
	for i := range xs {
		xs[i] = make([]float64, features)
		for j := range xs[i] {
			xs[i][j] = rng.Float64()
		}
	}
	return xs
}

// BenchmarkScoreLearn includes the turn of the window.
func BenchmarkScoreLearn(b *testing.B) {
	trees, err := New(Options{Trees: 25, Height: 8, Window: 2048, Features: 8})
	if err != nil {
		b.Fatal(err)
	}
	xs := points(256, 8)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		trees.See(xs[i&255])
		trees.LearnSeen()
		i++
	}
}

func BenchmarkExplain(b *testing.B) {
	trees, err := New(Options{Trees: 25, Height: 8, Window: 2048, Features: 8})
	if err != nil {
		b.Fatal(err)
	}
	xs, credit := points(2048, 8), make([]float64, 8)
	for _, x := range xs {
		trees.Learn(x)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		trees.Explain(xs[i&255], credit)
		i++
	}
}
