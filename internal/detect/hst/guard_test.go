package hst

import (
	"math"
	"math/rand/v2"
	"testing"
)

// guarded is what a guard did with a stretch of a stream.
type guarded struct {
	refused  int
	released []int64
}

// admit gives n scores to g, one a time unit from now on.
func admit(g *Guard, now *int64, n int, score func() float64) (r guarded) {
	for range n {
		learn, released := g.Admit(score(), *now)
		if !learn {
			r.refused++
		}
		if released {
			r.released = append(r.released, *now)
		}
		*now++
	}
	return r
}

func guardOf(t testing.TB, o GuardOptions) *Guard {
	t.Helper()
	g, err := NewGuard(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func normal(seed uint64) func() float64 {
	rng := rand.New(rand.NewPCG(seed, seed))
	return rng.NormFloat64
}

func above(base float64, score func() float64) func() float64 {
	return func() float64 { return base + score() }
}

func TestGuard(t *testing.T) {
	const epoch = 1000
	usual := normal(1)
	strange := above(10, normal(2))
	mixed := func(share float64) func() float64 {
		rng := rand.New(rand.NewPCG(3, 3))
		return func() float64 {
			if rng.Float64() < share {
				return strange()
			}
			return usual()
		}
	}
	for _, tc := range []struct {
		name       string
		o          GuardOptions
		warm       int // usual scores before
		n          int
		score      func() float64
		most       int // refused
		least      int
		released   int
		settles    bool // afterwards refuses about as much as it is asked to
		afterwards func() float64
	}{
		{"admits all before the first epoch is over", GuardOptions{Epoch: epoch}, 0, epoch, mixed(.3), 0, 0, 0, false, nil},
		{"admits all before its least age", GuardOptions{Epoch: epoch, MinAge: 5 * epoch}, 0, 5 * epoch, mixed(.3), 0, 0, 0, false, nil},
		{"refuses a hundredth of what is usual", GuardOptions{Epoch: epoch}, 2 * epoch, 100 * epoch, usual, 2000, 500, 0, true, usual},
		{"refuses as much as it is asked to", GuardOptions{Epoch: epoch, Accept: .9}, 2 * epoch, 100 * epoch, usual, 15000, 6000, 0, true, usual},
		{"refuses a burst", GuardOptions{Epoch: epoch}, 5 * epoch, epoch / 3, strange, epoch / 3, epoch / 3, 0, true, usual},
		{"refuses few of many for a while", GuardOptions{Epoch: epoch}, 5 * epoch, 3 * epoch, mixed(.25), 3 * epoch * 28 / 100, 3 * epoch * 22 / 100, 0, true, usual},
		{"gives in to what stays", GuardOptions{Epoch: epoch}, 5 * epoch, 20 * epoch, strange, 2*epoch + 500, epoch, 1, true, strange},
		{"gives in to a quarter that stays", GuardOptions{Epoch: epoch}, 5 * epoch, 40 * epoch, mixed(.25), 2500, 800, 1, true, mixed(.25)},
		{"gives in to a narrow beginning", GuardOptions{Epoch: epoch}, 0, 40 * epoch, func() func() float64 {
			i := 0
			return func() float64 {
				if i++; i < 3*epoch {
					return usual() / 10
				}
				return usual()
			}
		}(), 2500, 400, 1, true, usual},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := guardOf(t, tc.o)
			now := int64(1_700_000_000_000_000)
			if r := admit(g, &now, tc.warm, usual); len(r.released) > 0 {
				t.Fatalf("released at %v while all was usual", r.released)
			}
			r := admit(g, &now, tc.n, tc.score)
			if r.refused < tc.least || r.refused > tc.most || len(r.released) != tc.released {
				t.Errorf("%d refused, want %d to %d; released %d times, want %d", r.refused, tc.least, tc.most, len(r.released), tc.released)
			}
			if tc.settles {
				admit(g, &now, 4*epoch, tc.afterwards)
				r := admit(g, &now, 20*epoch, tc.afterwards)
				if share := float64(r.refused) / (20 * epoch); share > 2*(1-g.options.Accept) || len(r.released) > 0 {
					t.Errorf("afterwards %v of the scores are refused, want about %v; released %v", share, 1-g.options.Accept, r.released)
				}
			}
		})
	}
}

// A steady rise is not a reason to stop learning for good: whatever the pace, no eight epochs in a row refuse most of what comes.
func TestGuardNeverLocksIn(t *testing.T) {
	for _, pace := range []float64{1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1} {
		g := guardOf(t, GuardOptions{Epoch: 500})
		rise, usual, now := 0.0, normal(9), int64(0)
		row := 0
		for range 200 {
			r := admit(g, &now, 500, func() float64 { rise += pace; return rise + usual() })
			if row++; r.refused < 250 {
				row = 0
			}
			if row == 8 {
				t.Fatalf("pace %v: most was refused for %d epochs", pace, row)
			}
		}
	}
}

func TestGuardWaitsForEnoughScores(t *testing.T) {
	g := guardOf(t, GuardOptions{Epoch: 10})
	usual := normal(4)
	for i := range int64(leastScores) {
		if learn, _ := g.Admit(usual(), i*1000); !learn {
			t.Fatalf("score %d refused: an epoch needs %d", i, leastScores)
		}
	}
	if learn, _ := g.Admit(100, leastScores*1000); learn {
		t.Error("a strange score is admitted after an epoch with enough scores")
	}
}

func TestGuardSurvivesTheClockAndWhatIsNoNumber(t *testing.T) {
	g := guardOf(t, GuardOptions{Epoch: 1000, MinAge: 3000})
	usual, now := normal(5), int64(5_000_000)
	admit(g, &now, 4000, usual)
	now -= 4_000_000 // older than MinAge all the same
	if r := admit(g, &now, 50, func() float64 { return 100 }); r.refused != 50 {
		t.Errorf("after the clock was set back %d of 50 are refused", r.refused)
	}
	if r := admit(g, &now, 5000, usual); r.refused > 150 || len(r.released) > 0 {
		t.Errorf("then %d usual ones are refused, released at %v", r.refused, r.released)
	}
	for _, score := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if learn, released := g.Admit(score, now); learn || released {
			t.Errorf("%v: learn %v, released %v", score, learn, released)
		}
	}
	now += 1 << 40 // a gap is no reason either
	if r := admit(g, &now, 5000, usual); r.refused > 150 || len(r.released) > 0 {
		t.Errorf("after a gap %d are refused, released at %v", r.refused, r.released)
	}
}

func TestGuardAllocatesNothing(t *testing.T) {
	g := guardOf(t, GuardOptions{Epoch: 100})
	usual, now := normal(6), int64(0)
	if n := testing.AllocsPerRun(5000, func() { g.Admit(usual(), now); now++ }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestGuardOptionsAreChecked(t *testing.T) {
	for _, o := range []GuardOptions{{}, {Epoch: -1}, {Epoch: 1, MinAge: -1}, {Epoch: 1, Accept: 1}, {Epoch: 1, Accept: .4}, {Epoch: 1, Accept: math.NaN()}} {
		if _, err := NewGuard(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	g := guardOf(b, GuardOptions{Epoch: 4096})
	usual, now := normal(7), int64(0)
	scores := make([]float64, 4096)
	for i := range scores {
		scores[i] = usual()
	}
	b.ReportAllocs()
	for b.Loop() {
		g.Admit(scores[now&4095], now)
		now++
	}
}
