package bench

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"netlyra/internal/detect/hst"
)

// The one configuration for every table. An epoch of the guard is a window: what fills less than half of one is kept out.
const (
	treesCount  = 25
	treesHeight = 8
	treesWindow = 4096 // rows

	defaultTreesSeeds = 5
	maxTableFeatures  = 255
	maxTableRows      = 1 << 24
)

// TreesOptions say which table the Half-Space Trees are tried on.
type TreesOptions struct {
	Path  string // a gzip-compressed CSV with a header; its last column, "anomaly", is 0 or 1
	Seeds int    // forests, numbered from 1; 0 means 5
}

// TreesResult are areas under the curve, means over the seeds unless said otherwise. The rows of the first window are learned but
// not counted, in all of them.
type TreesResult struct {
	Table     string `json:"table"`
	Rows      int    `json:"rows"`
	Anomalies int    `json:"anomalies"`
	Seeds     int    `json:"seeds"`

	Surprise     float64 `json:"surprise"`      // the detector's: log density, scaler, guard
	Least        float64 `json:"least"`         // of the seeds
	Raw          float64 `json:"raw"`           // River's score of the same trees, at the same time
	Unguarded    float64 `json:"unguarded"`     // surprise where everything is learned
	UnguardedRaw float64 `json:"unguarded_raw"` // River's score there
	River        float64 `json:"river"`         // River's defaults (10 trees, height 8, window 250) behind an online min-max
	Refused      float64 `json:"refused"`       // share of the rows that the guard kept from the trees
	Released     float64 `json:"released"`      // times that it gave in
}

// table is a data set in the order of its rows.
type table struct {
	features int
	values   []float64 // row after row
	anomaly  []bool
}

func (t *table) row(i int) []float64 { return t.values[i*t.features : (i+1)*t.features] }

// scored is a row's score.
type scored struct {
	score   float64
	anomaly bool
}

// Trees lets Half-Space Trees read a table once from top to bottom for each seed: each row is scaled by the ranges learned so far,
// scored, and then learned.
func Trees(ctx context.Context, o TreesOptions) (TreesResult, error) {
	if o.Seeds == 0 {
		o.Seeds = defaultTreesSeeds
	}
	r := TreesResult{Table: strings.TrimSuffix(filepath.Base(o.Path), ".csv.gz"), Seeds: o.Seeds, Least: 1}
	t, err := readTable(o.Path)
	if err != nil {
		return r, err
	}
	r.Rows = len(t.anomaly)
	for _, anomaly := range t.anomaly {
		if anomaly {
			r.Anomalies++
		}
	}
	n := float64(o.Seeds)
	for seed := int64(1); seed <= int64(o.Seeds); seed++ {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		guarded, err := t.watch(seed, true)
		if err != nil {
			return r, err
		}
		open, err := t.watch(seed, false)
		if err != nil {
			return r, err
		}
		river, err := t.river(seed)
		if err != nil {
			return r, err
		}
		surprise := auc(guarded.surprise)
		r.Least = min(r.Least, surprise)
		r.Surprise += surprise / n
		r.Raw += auc(guarded.raw) / n
		r.Unguarded += auc(open.surprise) / n
		r.UnguardedRaw += auc(open.raw) / n
		r.River += auc(river) / n
		r.Refused += float64(guarded.refused) / float64(r.Rows) / n
		r.Released += float64(guarded.released) / n
	}
	return r, nil
}

// watched is what one forest said of a table.
type watched struct {
	surprise, raw     []scored
	refused, released int
}

// watch is the detector's way: scaler, trees, guard.
func (t *table) watch(seed int64, guarded bool) (w watched, err error) {
	scaler, err := hst.NewScaler(hst.ScalerOptions{Features: t.features, Seed: seed})
	if err != nil {
		return w, err
	}
	trees, err := hst.New(hst.Options{Trees: treesCount, Height: treesHeight, Window: treesWindow, Features: t.features, Seed: seed})
	if err != nil {
		return w, err
	}
	guard, err := hst.NewGuard(hst.GuardOptions{Epoch: treesWindow})
	if err != nil {
		return w, err
	}
	x := make([]float64, t.features)
	for i, anomaly := range t.anomaly {
		scaler.Scale(t.row(i), x)
		raw, surprise := trees.See(x)
		learn := true
		if i >= treesWindow {
			w.surprise = append(w.surprise, scored{surprise, anomaly})
			w.raw = append(w.raw, scored{raw, anomaly})
			if guarded {
				var released bool
				if learn, released = guard.Admit(surprise, int64(i)); released {
					w.released++
				}
			}
		}
		if learn {
			trees.LearnSeen()
		} else {
			w.refused++
		}
		scaler.Learn(t.row(i))
	}
	return w, nil
}

// river is what River's MinMaxScaler and HalfSpaceTrees with their defaults do as a pipeline: a row is scored by the extremes of the
// rows before it, then moves them, then is learned.
func (t *table) river(seed int64) ([]scored, error) {
	trees, err := hst.New(hst.Options{Features: t.features, Seed: seed})
	if err != nil {
		return nil, err
	}
	low, high, x := make([]float64, t.features), make([]float64, t.features), make([]float64, t.features)
	for f := range low {
		low[f], high[f] = math.Inf(1), math.Inf(-1)
	}
	scale := func(row []float64) {
		for f, v := range row {
			x[f] = 0
			if width := high[f] - low[f]; width != 0 && !math.IsInf(width, 0) {
				x[f] = (v - low[f]) / width
			}
		}
	}
	var scores []scored
	for i, anomaly := range t.anomaly {
		row := t.row(i)
		if i >= treesWindow {
			scale(row)
			scores = append(scores, scored{trees.Score(x), anomaly})
		}
		for f, v := range row {
			low[f], high[f] = min(low[f], v), max(high[f], v)
		}
		scale(row)
		trees.Learn(x)
	}
	return scores, nil
}

// auc is the area under the receiver operating characteristic: the share of pairs of an anomaly and another row in which the anomaly
// has the higher score, equal scores counting half. It sorts scores. Without a pair it is not a number.
func auc(scores []scored) float64 {
	slices.SortFunc(scores, func(a, b scored) int { return cmp.Compare(a.score, b.score) })
	var normal, anomalies, halves int64 // halves: twice the pairs won
	for rest := scores; len(rest) > 0; {
		var equal [2]int64
		n := 0
		for ; n < len(rest) && rest[n].score == rest[0].score; n++ {
			if rest[n].anomaly {
				equal[1]++
			} else {
				equal[0]++
			}
		}
		halves += equal[1] * (2*normal + equal[0])
		normal += equal[0]
		anomalies += equal[1]
		rest = rest[n:]
	}
	return float64(halves) / float64(2*normal*anomalies)
}

// readTable reads a table whole.
func readTable(path string) (t *table, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	plain, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if t, err = parseTable(plain); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func parseTable(r io.Reader) (*table, error) {
	rows := csv.NewReader(r)
	rows.ReuseRecord = true
	header, err := rows.Read()
	if err != nil {
		return nil, err
	}
	t := &table{features: len(header) - 1}
	if last := header[len(header)-1]; last != "anomaly" || t.features < 1 || t.features > maxTableFeatures {
		return nil, fmt.Errorf("%d columns, the last is %q: 1 to %d features and then anomaly are needed", len(header), last, maxTableFeatures)
	}
	for {
		fields, err := rows.Read()
		switch {
		case errors.Is(err, io.EOF) && len(t.anomaly) > treesWindow:
			return t, nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%d rows: more than %d are needed, of which the first are only learned", len(t.anomaly), treesWindow)
		case err != nil:
			return nil, err
		case len(t.anomaly) == maxTableRows:
			return nil, fmt.Errorf("more than %d rows", maxTableRows)
		}
		for _, field := range fields[:t.features] {
			v, err := strconv.ParseFloat(field, 64)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, fmt.Errorf("row %d: %q is not a finite number", len(t.anomaly)+1, field)
			}
			t.values = append(t.values, v)
		}
		label := fields[t.features]
		if label != "0" && label != "1" {
			return nil, fmt.Errorf("row %d: anomaly is %q: 0 or 1 is needed", len(t.anomaly)+1, label)
		}
		t.anomaly = append(t.anomaly, label == "1")
	}
}
