package api

import (
	"context"
	"sync"
	"time"

	"netlyra/internal/models"
)

// dropWatch remembers how much had been dropped, minute-deep, so that health can tell losses of now from old ones.
type dropWatch struct {
	mu      sync.Mutex
	samples [60]uint64 // totals, one a second, oldest overwritten
	n       int        // taken so far
}

// run samples every second until ctx ends.
func (d *dropWatch) run(ctx context.Context, stats func() models.Stats) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		d.sample(total(stats()))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (d *dropWatch) sample(total uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.samples[d.n%len(d.samples)] = total
	d.n++
}

// recent is how much has been dropped since the oldest sample.
func (d *dropWatch) recent(now models.Stats) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == 0 {
		return 0
	}
	oldest := d.samples[0]
	if d.n > len(d.samples) {
		oldest = d.samples[d.n%len(d.samples)]
	}
	if t := total(now); t > oldest {
		return t - oldest
	}
	return 0
}

func total(st models.Stats) uint64 {
	var sum uint64
	for _, d := range st.Drops {
		sum += d.Count
	}
	return sum
}
