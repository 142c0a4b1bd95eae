package capture

import (
	"slices"
	"sync/atomic"

	"netlyra/internal/models"
)

// A file's times may be wrong: a packet of the year 2100 among those of today, a clock that was set back while capturing, captures
// joined one behind the other. What holds is the order in which the packets were written. The timeline follows it: it tells a single
// packet whose time is wrong from a step of the clock by the packets behind it, gives the former the time of its neighbours, and lets
// time go on where the clock was set back. So times never go back by more than packets that are out of order; fileTime says what the
// file says.
const (
	// timeAhead is how far a packet may be ahead of the one before without a question, µs. A gap is usual, but a packet that is
	// ahead and followed by others that are not would hold up the time of all of them.
	timeAhead = 2_000_000
	// timeBehind is how far a packet may be behind, µs: captures of several queues or interfaces are out of order by less. It is
	// also the distance at which the analysis takes the clock for set back.
	timeBehind = 10_000_000
	// timeAlone is how far ahead the last packets of a file, which nothing confirms, may be, µs.
	timeAlone = 24 * 3600 * 1_000_000
	// lookAhead is how many packets behind one in question are asked. More than half as many wrong ones in a row are a step.
	lookAhead = 64
)

// timeline knows the time of a file's packets in the order of the file.
type timeline struct {
	now      int64 // of the latest packet whose time is believed, µs, as the file says
	offset   int64 // to be added to what the file says
	started  bool
	outliers uint64
	steps    atomic.Pointer[[]timeStep] // read by other goroutines
}

// timeStep says by how much times from one on differ from the file's.
type timeStep struct{ from, offset int64 }

// watermark is the time that has been reached; 0: none yet.
func (t *timeline) watermark() int64 { return t.now + t.offset }

// fileTime is the time in the file of a time that was given to a packet.
func (t *timeline) fileTime(ts int64) int64 {
	if steps := t.steps.Load(); steps != nil {
		for _, s := range slices.Backward(*steps) {
			if ts >= s.from {
				return ts - s.offset
			}
		}
	}
	return ts
}

// setBacks counts how often the clock was set back.
func (t *timeline) setBacks() uint64 {
	if steps := t.steps.Load(); steps != nil {
		return uint64(len(*steps))
	}
	return 0
}

// setBack lets time go on from now, while the file's does from ts.
func (t *timeline) setBack(ts int64) {
	from := t.watermark() + 1
	t.offset = from - ts
	var steps []timeStep
	if old := t.steps.Load(); old != nil {
		steps = slices.Clone(*old)
	}
	steps = append(steps, timeStep{from, t.offset})
	t.steps.Store(&steps)
}

// settle believes or corrects the times of frames, in order, and returns for how many of them. It stops short of all where the frames
// behind one in question are too few to decide and final does not say that no more will come. few is how many are enough.
func (t *timeline) settle(frames []models.Frame, few int, final bool) int {
	for i := range frames {
		f := &frames[i]
		behind := frames[i+1:]
		if t.started && f.TS <= t.now+timeAhead && f.TS >= t.now-timeBehind {
			t.now = max(t.now, f.TS)
			f.TS += t.offset
			continue
		}
		if len(behind) < few && !final {
			return i
		}
		behind = behind[:min(len(behind), lookAhead)]
		switch now, lone := t.neighbours(f.TS, behind); {
		case lone:
			t.outliers++
			f.TS, t.now = now, now
		default:
			if t.started && f.TS < t.now {
				t.setBack(f.TS)
			}
			t.now = f.TS
		}
		f.TS += t.offset
		t.started = true
	}
	return len(frames)
}

// neighbours says whether a time is that of a lone packet, which those behind it do not confirm, and which time it should have.
func (t *timeline) neighbours(ts int64, behind []models.Frame) (now int64, lone bool) {
	now = t.now
	if !t.started { // the packets behind the first are its only neighbours
		if len(behind) == 0 {
			return ts, false
		}
		if now = behind[0].TS; within(ts, now) || ts < now && now-ts < timeAlone {
			return ts, false // a gap behind the first packet is nothing unusual
		}
	}
	before, here := 0, 0
	for i, old := 0, now; i < len(behind); i++ {
		switch at := behind[i].TS; {
		case at >= old-timeBehind && at <= old+timeAhead: // goes on with the time before
			old = max(old, at)
			before++
		case within(at, ts): // goes on with this one
			ts = max(ts, at)
			here++
		}
	}
	switch {
	case before > 0:
		return now, before >= here
	case len(behind) == 0: // the end of the file
		return now, ts < now || ts-now > timeAlone
	}
	return now, false
}

// within says whether two times are as near to each other as packets of one capture are that is out of order.
func within(a, b int64) bool { return a-b <= timeBehind && b-a <= timeBehind }
