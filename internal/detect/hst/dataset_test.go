package hst_test

import (
	"path/filepath"
	"testing"

	"netlyra/internal/bench"
	"netlyra/internal/nettest"
)

// In the order of the rows, with one configuration for both and ranges learned on the way. With -short one seed of the small one has to
// do, and come near.
func TestLabelledTablesInStreamOrder(t *testing.T) {
	dir := nettest.Shared(t, "datasets")
	for _, tc := range []struct {
		table string
		floor float64
		rows  int
	}{{"http", 0.99, 567_498}, {"shuttle", 0.98, 49_097}} {
		t.Run(tc.table, func(t *testing.T) {
			if testing.Short() && tc.rows > 100_000 {
				t.Skip("takes some seconds, with the race detector a minute: run without -short")
			}
			o, floor := bench.TreesOptions{Path: filepath.Join(dir, tc.table+".csv.gz")}, tc.floor
			if testing.Short() {
				o.Seeds, floor = 1, tc.floor-0.01
			}
			r, err := bench.Trees(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", r)
			if r.Rows != tc.rows {
				t.Errorf("%d rows, want %d", r.Rows, tc.rows)
			}
			if r.Surprise < floor {
				t.Errorf("AUC %.4f, want at least %v", r.Surprise, floor)
			}
		})
	}
}
