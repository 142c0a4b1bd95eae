package pipeline

import (
	"testing"
	"time"
)

func TestLatenciesAreCountedSinceTheStart(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	a, b := NewLatency(clock), NewLatency(clock)
	for range 100 {
		a.Observe(now.Add(-2 * time.Millisecond).UnixMicro())
	}
	b.Observe(now.Add(-time.Minute).UnixMicro())
	b.Observe(now.Add(time.Second).UnixMicro()) // the clock was set back
	now = now.Add(time.Hour)                    // the quantiles forget, the totals do not
	a.Observe(now.Add(-20 * time.Millisecond).UnixMicro())
	now = now.Add(time.Hour)
	a.Observe(now.Add(-20 * time.Millisecond).UnixMicro())
	s := a.Stage("analysed", b)
	if s.P50 < 18 || s.P50 > 24 {
		t.Errorf("median %v ms of the last minute", s.P50)
	}
	total := s.Total
	if total.Count != 104 || total.Sum < 60.239 || total.Sum > 60.241 {
		t.Errorf("%d times, %v s", total.Count, total.Sum)
	}
	if w := total.Within; w[0] != 1 || w[6] != 100 || w[9] != 2 {
		t.Errorf("%v", w)
	}
}
