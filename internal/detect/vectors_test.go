package detect

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// evaluation is one entity-second as the model sees it. The Python engine's tests read the same file.
type evaluation struct {
	Vector   [numFeatures]float64 `json:"vector"`   // physical units
	Point    [numFeatures]int     `json:"point"`    // scaled, 2^-16
	River    float64              `json:"river"`    // rounded to 1e-4
	Surprise int                  `json:"surprise"` // sum over the trees, 2^-16 bit
	Tail     float64              `json:"tail"`     // the rarest, bits, rounded to 1e-4
}

// vectorsWindow is that of the trees in the file, shorter than usual.
const vectorsWindow = 256

// TestModelVectors holds the model to testdata/vectors.json: scaler, trees, tails, each looking before it learns.
func TestModelVectors(t *testing.T) {
	m, err := newModel(vectorsWindow, 7)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var got []evaluation
	for i := range vectorsWindow + 150 {
		v := madeVector(rng, i%50 == 49)
		var s sight
		m.look(&v, &s)
		e := evaluation{Vector: v, River: s.river, Surprise: int(math.Round(s.surprise * treeCount * 65_536)), Tail: round(s.tails[s.rarest])}
		for f, x := range s.point {
			e.Point[f] = int(x * 65_536)
		}
		got = append(got, e)
		m.learn(&v, &s, 0, Guard)
	}
	var b bytes.Buffer
	b.WriteString(`{"window":256,"seed":7,"evaluations":[` + "\n")
	for i := range got {
		line, err := json.Marshal(got[i])
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			b.WriteString(",\n")
		}
		b.Write(line)
	}
	b.WriteString("\n]}\n")
	file := filepath.Join("testdata", "vectors.json")
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the model gives other values than %s", file)
	}
}

// madeVector is a second of an ordinary host, or an odd one.
func madeVector(rng *rand.Rand, odd bool) (v vector) {
	rate := math.Round(math.Exp(rng.NormFloat64() + 3))
	opened := float64(rng.IntN(4))
	v = vector{
		byteRate: rate * float64(80+rng.IntN(1000)), entropy: float64(rng.IntN(80_000)) / 1e4, failedShare: float64(rng.IntN(3)) / 4,
		openRate: opened, packetRate: rate, peers: opened + float64(rng.IntN(6)), ports: 1 + float64(rng.IntN(3)), replyShare: float64(rng.IntN(8)) / 8,
	}
	if odd {
		v[openRate], v[peers], v[ports], v[failedShare] = float64(200+rng.IntN(300)), float64(rng.IntN(250)), float64(rng.IntN(1000)), 1
	}
	return v
}
