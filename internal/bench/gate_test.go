package bench

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// The alerts of what is learned keep to the budget within a factor of three, in offices that nothing was tuned on.
func TestTheBudgetIsMet(t *testing.T) {
	if testing.Short() {
		t.Skip("watches offices for a day in all: run without -short")
	}
	const factor = 3
	for _, budget := range []float64{240, 2400} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			t.Parallel()
			r, err := Budget(context.Background(), BudgetOptions{Seed: 9001, Duration: 8 * time.Hour, Budget: budget})
			if err != nil {
				t.Fatal(err)
			}
			if r.Ratio > factor || r.Ratio < 1.0/factor {
				t.Errorf("%d alerts in %.0f h: %.2f of the budget", r.Learned, r.Hours, r.Ratio)
			}
		})
	}
}

// Every family that is not held out, once: most attacks are found, hardly one twice, look-alikes and what else goes on stay quiet. (bench detect has the table.)
func TestFamiliesAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute: run without -short")
	}
	rows, err := Detect(context.Background(), DetectOptions{Families: []string{"tuning"}, Seed: 301, Seeds: 1, Jobs: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	attacks, found, onLookalikes, beside := 0, 0, 0, 0
	for i := range rows {
		r := &rows[i]
		beside += r.False
		if !r.Attack {
			onLookalikes += r.Detected
			continue
		}
		attacks++
		found += r.Detected
		if r.MostAlerts > 3 {
			t.Errorf("%s: %d alerts on one attack", r.Family, r.MostAlerts)
		}
	}
	if attacks < 25 || 100*found < 85*attacks || onLookalikes > 2 || beside > 2 {
		t.Errorf("%d of %d attacks found, %d look-alikes taken for one, %d alerts beside", found, attacks, onLookalikes, beside)
	}
}
