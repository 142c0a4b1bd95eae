package hst

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"testing"
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
	for _, o := range []Options{{}, {Features: 300}, {Features: 2, Height: 30}, {Features: 2, Trees: -1}, {Features: 2, Window: -5}, {Features: 2, Limits: [][2]float64{{0, 1}}}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	trees, err := New(Options{Features: 4, Window: 16})
	if err != nil {
		t.Fatal(err)
	}
	x := []float64{.1, .2, .3, .4}
	if n := testing.AllocsPerRun(100, func() { trees.Score(x); trees.Learn(x) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkScoreLearn(b *testing.B) {
	trees, err := New(Options{Trees: 25, Height: 8, Window: 2048, Features: 8})
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	xs := make([][]float64, 256)
	for i := range xs {
		xs[i] = make([]float64, 8)
		for j := range xs[i] {
			xs[i][j] = rng.Float64()
		}
	}
	i := 0
	for b.Loop() {
		trees.Score(xs[i&255])
		trees.Learn(xs[i&255])
		i++
	}
}
