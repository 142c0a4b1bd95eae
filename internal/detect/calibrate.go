package detect

import "math"

// ranks turns a raw score into a calibrated one by its rank among all scores so far. Scores are rounded to 1e-4, so the
// ranks are a histogram: the same whatever the order within a second was.
type ranks struct {
	counts [scoreBins]uint64
	n      uint64
}

const scoreBins = 10_001

func scoreBin(raw float64) int { return int(math.Round(min(max(raw, 0), 1) * (scoreBins - 1))) }

func (r *ranks) add(raw float64) {
	r.counts[scoreBin(raw)]++
	r.n++
}

// tail is the share of the scores that are at least raw, the judged one included: at least 1/(n+1).
func (r *ranks) tail(raw float64) float64 {
	var above uint64
	for _, c := range r.counts[scoreBin(raw):] {
		above += c
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
