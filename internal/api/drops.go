package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"netlyra/internal/models"
)

// dropWatch remembers how much had been lost, minute-deep, so that health can tell losses of now from old ones. A loss is what
// nothing has looked at or what the detector does not know of; a list that is cut off, or a row that is not stored, is none.
type dropWatch struct {
	mu      sync.Mutex
	samples [60]map[loss]uint64 // totals, one a second, oldest overwritten
	n       int                 // taken so far
}

// loss is a kind of loss.
type loss struct {
	effect models.DropEffect
	unit   models.DropUnit
}

// String says what n of them are.
func (l loss) String() string {
	if l.effect == models.DropUnjudged {
		return "s that the detector has not heard of"
	}
	return "s that nothing has looked at"
}

// run samples every second until ctx ends.
func (d *dropWatch) run(ctx context.Context, stats func() models.Stats) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		d.sample(losses(stats()))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (d *dropWatch) sample(totals map[loss]uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.samples[d.n%len(d.samples)] = totals
	d.n++
}

// recent says how much has been lost since the oldest sample, the worst first; "" for nothing.
func (d *dropWatch) recent(now models.Stats) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == 0 {
		return ""
	}
	oldest := d.samples[0]
	if d.n > len(d.samples) {
		oldest = d.samples[d.n%len(d.samples)]
	}
	var told []string
	for l, n := range losses(now) {
		if n > oldest[l] {
			told = append(told, fmt.Sprintf("%d %s%s", n-oldest[l], l.unit, l))
		}
	}
	slices.Sort(told)
	return strings.Join(told, ", ")
}

func losses(st models.Stats) map[loss]uint64 {
	sum := map[loss]uint64{}
	for _, d := range st.Drops {
		if d.Effect == models.DropUnseen || d.Effect == models.DropUnjudged {
			sum[loss{d.Effect, d.Unit}] += d.Count
		}
	}
	return sum
}
