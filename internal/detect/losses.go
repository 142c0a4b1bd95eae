package detect

// lossLog remembers what the capture had received and lost at the end of each of the last seconds, so that an incident's confidence can
// cover the time before it crossed a limit.
type lossLog [lossSeconds]lossEntry

type lossEntry struct {
	end            int64 // of the second, capture time
	received, lost uint64
}

// lossSeconds is longer than the window of any limit that counts packets.
const lossSeconds = 128

// note takes the counts at the end of a second.
func (l *lossLog) note(end int64, received, lost uint64) {
	second := end / secondMicros
	l[uint64(second)%lossSeconds] = lossEntry{end, received, lost}
}

// before gives the counts at a time, capture time; those of the start where it is not known that far back.
func (l *lossLog) before(at int64) (received, lost uint64) {
	var best lossEntry
	for _, e := range l {
		if e.end <= at && e.end > best.end {
			best = e
		}
	}
	if best.end == 0 || at-best.end > lossSeconds*secondMicros {
		return l.oldest(at)
	}
	return best.received, best.lost
}

// oldest gives the earliest counts that are known after a time; 0 where nothing is.
func (l *lossLog) oldest(at int64) (received, lost uint64) {
	var best lossEntry
	full := true
	for _, e := range l {
		full = full && e.end != 0
		if e.end > at && (best.end == 0 || e.end < best.end) {
			best = e
		}
	}
	if !full { // the program has not run for longer
		return 0, 0
	}
	return best.received, best.lost
}
