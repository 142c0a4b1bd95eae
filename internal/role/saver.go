package role

import (
	"cmp"
	"sync/atomic"
	"time"

	"netlyra/internal/detect"
)

// Memory is where a detector's state is kept between runs.
type Memory interface {
	// Restore gives what was saved to load, and again something else if load refuses it. It is called once, by NewDetector.
	Restore(load func([]byte) error) error
	// Save keeps a state. It is called from one goroutine; what it fails to keep is tried again with what is known by then.
	Save(state []byte) error
}

const (
	saveEvery = 5 * time.Minute
	promptly  = 15 * time.Second // after an incident has opened or closed: what is not saved would alert again after a crash
	saveAgain = 30 * time.Second // after a failure
)

// saver takes copies of the detector's state between two slots and has them written by a goroutine of its own. There is one buffer: while
// it is being written, no further copy is made.
type saver struct {
	memory  Memory
	every   time.Duration
	now     func() time.Time
	last    time.Time // when a copy was last taken
	changes uint64    // of the detector, in that copy
	failed  atomic.Bool
	in      chan []byte
	free    chan []byte
}

// newSaver makes a saver that saves as often as every says; 0 means 5 minutes.
func newSaver(m Memory, every time.Duration, now func() time.Time) *saver {
	s := &saver{memory: m, every: cmp.Or(every, saveEvery), now: now, last: now(), in: make(chan []byte, 1), free: make(chan []byte, 1)}
	s.free <- nil
	return s
}

// run writes what it is given until there is no more.
func (s *saver) run() {
	for b := range s.in {
		s.failed.Store(s.memory.Save(b) != nil)
		s.free <- b
	}
}

// offer takes a copy if one is due and the one before is written.
func (s *saver) offer(d *detect.Judge) {
	if !s.due(d.Changes()) {
		return
	}
	select {
	case b := <-s.free:
		s.last, s.changes = s.now(), d.Changes()
		s.in <- d.AppendState(b[:0], false)
	default:
	}
}

func (s *saver) due(changes uint64) bool {
	wait := s.every
	if changes != s.changes {
		wait = min(wait, promptly)
	}
	if s.failed.Load() {
		wait = min(wait, saveAgain)
	}
	return s.now().Sub(s.last) >= wait
}

// finish takes the last copy: the detector judges nothing after it.
func (s *saver) finish(d *detect.Judge) {
	b := <-s.free
	s.in <- d.AppendState(b[:0], true)
	close(s.in)
}
