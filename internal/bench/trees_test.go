package bench

import (
	"compress/gzip"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAUCIsTheShareOfPairs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, levels := range []int{1, 2, 5, 1000} {
		scores := make([]scored, 300)
		for i := range scores {
			anomaly := rng.IntN(10) == 0
			score := float64(rng.IntN(levels))
			if anomaly {
				score += float64(rng.IntN(levels)) / 2
			}
			scores[i] = scored{score, anomaly}
		}
		won, pairs := 0.0, 0.0
		for _, a := range scores {
			for _, b := range scores {
				if !a.anomaly || b.anomaly {
					continue
				}
				pairs++
				switch {
				case a.score > b.score:
					won++
				case a.score == b.score:
					won += 0.5
				}
			}
		}
		if got, want := auc(scores), won/pairs; math.Abs(got-want) > 1e-15 {
			t.Errorf("%d levels: %v, want %v", levels, got, want)
		}
	}
}

// writeTable writes a table of n rows of which some are far from the rest.
func writeTable(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made.csv.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	rng := rand.New(rand.NewPCG(2, 2))
	text.WriteString("a,b,anomaly\n")
	for i := range n {
		if i > 5000 && i%50 == 0 {
			fmt.Fprintf(&text, "%v,%v,1\n", 8+rng.NormFloat64(), -8+rng.NormFloat64())
		} else {
			fmt.Fprintf(&text, "%v,%v,0\n", rng.NormFloat64(), rng.NormFloat64())
		}
	}
	z := gzip.NewWriter(f)
	if _, err := z.Write([]byte(text.String())); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTreesOnATableThatIsEasy(t *testing.T) {
	path := writeTable(t, 12_000)
	r, err := Trees(t.Context(), TreesOptions{Path: path, Seeds: 2})
	if err != nil {
		t.Fatal(err)
	}
	if r.Table != "made" || r.Rows != 12_000 || r.Anomalies != 139 || r.Seeds != 2 {
		t.Errorf("%+v", r)
	}
	for name, auc := range map[string]float64{"surprise": r.Surprise, "least": r.Least, "raw": r.Raw, "unguarded": r.Unguarded, "unguarded raw": r.UnguardedRaw, "River": r.River} {
		if !(auc > 0.97 && auc <= 1) {
			t.Errorf("%s: %v", name, auc)
		}
	}
	if r.Refused < 0.002 || r.Refused > 0.02 || r.Released > 0 {
		t.Errorf("refused %v, released %v", r.Refused, r.Released)
	}
	again, err := Trees(t.Context(), TreesOptions{Path: path, Seeds: 2})
	if err != nil || again != r {
		t.Errorf("%+v, %v: not the same again", again, err)
	}
}

func TestTablesAreChecked(t *testing.T) {
	for _, tc := range []struct{ name, text, says string }{
		{"empty", "", "EOF"},
		{"no features", "anomaly\n1\n", "1 to 255 features"},
		{"no label", "a,b\n1,2\n", `"b"`},
		{"not a number", "a,anomaly\nx,0\n", `"x"`},
		{"infinite", "a,anomaly\nInf,0\n", `"Inf"`},
		{"label", "a,anomaly\n1,2\n", "anomaly is"},
		{"columns", "a,anomaly\n1,0\n1,2,0\n", "fields"},
		{"short", "a,anomaly\n1,0\n", "1 rows"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := parseTable(strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want an error that says %s", err, tc.says)
			}
		})
	}
	if _, err := Trees(t.Context(), TreesOptions{Path: "trees.go"}); err == nil {
		t.Error("no error for what is not compressed")
	}
}
