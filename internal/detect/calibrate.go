package detect

import "math"

// ranks turns evidence into a calibrated score by its rank among what went before. What is ranked is the most that an entity has shown in
// each blockMicros: an incident takes at least that long (its hold), so that the number of ranks above a line is the number of
// incidents that it would have made. Evidence is a histogram: the same whatever the order within a second was.
type ranks struct {
	counts [evidenceBins]uint32
	n      uint64
}

const (
	blockMicros  = 600 * secondMicros
	leastBits    = -16 // of evidence
	binsPerBit   = 64
	evidenceBins = 64 * binsPerBit
)

func evidenceBin(bits float64) int {
	return int(min(max((bits-leastBits)*binsPerBit, 0), evidenceBins-1))
}

// peak takes evidence of an entity, whose highest of this block so far was before; first says that the block is new.
func (r *ranks) peak(bits, before float64, first bool) {
	switch {
	case first:
		r.n++
	case bits <= before:
		return
	default:
		r.counts[evidenceBin(before)]--
	}
	r.counts[evidenceBin(bits)]++
}

// tail is the share of the peaks that are at least bits, the judged one included: at least 1/(n+1).
func (r *ranks) tail(bits float64) float64 {
	var above uint64
	for _, c := range r.counts[evidenceBin(bits):] {
		above += uint64(c)
	}
	return float64(above+1) / float64(r.n+1)
}

// calibrated maps a tail probability to a score: 1 is 0, lineTail is the alert line, log-linear between and beyond. Rounded to
// 1e-4, since it is held against the line.
func calibrated(tail, lineTail float64) float64 {
	if lineTail <= 0 || lineTail >= 1 || tail >= 1 {
		return 0
	}
	return round(min(1, 0.8*math.Log(tail)/math.Log(lineTail)))
}
