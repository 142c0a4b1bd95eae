package pipeline

import (
	"math"
	"sync"
	"time"

	"netlyra/internal/models"
)

// Latency is the distribution of the time from a packet's stamp to a stage, over the last one to two half-minutes, in
// buckets that grow by a tenth: read to 5 %.
type Latency struct {
	now    func() time.Time
	mu     sync.Mutex // taken once per batch, never per packet
	halves [2][latencyBuckets]uint32
	since  int64            // start of the half that runs, seconds of the wall clock
	total  models.Latencies // since the start
}

// NewLatency makes an empty one; now is the wall clock.
func NewLatency(now func() time.Time) *Latency { return &Latency{now: now} }

const (
	latencyBuckets = 160 // from 10 µs to about 38 s
	latencyFirst   = 10  // µs
	latencyHalf    = 30  // seconds
)

// Observe adds the time from a packet's stamp to now.
func (l *Latency) Observe(ts int64) {
	now := l.now()
	d := float64(now.UnixMicro() - ts)
	b := 0
	if d > latencyFirst {
		b = min(int(math.Log(d/latencyFirst)/math.Log(1.1)), latencyBuckets-1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := now.Unix(); s-l.since >= latencyHalf {
		l.halves[1] = l.halves[0]
		l.halves[0] = [latencyBuckets]uint32{}
		l.since = s
	}
	l.halves[0][b]++
	l.total.Add(d / 1e6)
}

// Stage reads the distribution.
func (l *Latency) Stage(name string, others ...*Latency) models.StageLatency {
	s := models.StageLatency{Stage: name}
	var sum [latencyBuckets]uint64
	total := uint64(0)
	for _, one := range append(others, l) {
		one.mu.Lock()
		for b := range sum {
			n := uint64(one.halves[0][b]) + uint64(one.halves[1][b])
			sum[b] += n
			total += n
		}
		s.Total.Join(&one.total)
		one.mu.Unlock()
	}
	seen := uint64(0)
	for b, n := range sum {
		upper := latencyFirst * math.Pow(1.1, float64(b+1)) / 1000
		if n > 0 && seen < (total+1)/2 {
			s.P50 = upper
		}
		if n > 0 && float64(seen) < 0.99*float64(total) {
			s.P99 = upper
		}
		seen += n
	}
	s.P50, s.P99 = math.Round(s.P50*1000)/1000, math.Round(s.P99*1000)/1000
	return s
}
