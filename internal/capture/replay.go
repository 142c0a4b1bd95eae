package capture

import (
	"errors"
	"io"
	"sync"
	"time"

	"netlyra/internal/models"
)

// Speed is how fast a file is replayed.
type Speed uint8

// The speeds of a replay.
const (
	RealTime Speed = iota // a second of capture time takes a second
	MaxSpeed              // as fast as the file can be read
)

// replayStep is the longest that a frame waits when it is due, and that Read of a replay waits without a frame.
const replayStep = 4 * time.Millisecond

// ReplayOptions are the settings of NewReplay.
type ReplayOptions struct {
	Speed    Speed
	Loop     bool // begin again at the end, with a file that is opened anew
	KeepTime bool // leave the frames' times; else each loop's first frame is of now. With Loop, time goes back at every loop
}

// Replay is a source that plays a capture file as if it were live.
type Replay struct {
	open func() (*File, error)
	o    ReplayOptions

	in    models.Batch // what was read from the file
	pos   int          // frames of in that were delivered
	start time.Time    // when the loop began
	shift int64        // what its frames' times are moved by, µs
	first int64        // time of its first frame, moved
	high  int64        // highest time delivered
	began bool         // the loop has had a frame
	end   error

	mu   sync.Mutex // guards what follows
	file *File      // the open one, or the last
	past Stats      // of the loops before
	once sync.Once
	done chan struct{}
}

// NewReplay prepares a replay of the file that open opens, once for each loop. Nothing is opened before the first Read.
func NewReplay(open func() (*File, error), o ReplayOptions) *Replay {
	return &Replay{open: open, o: o, done: make(chan struct{})}
}

// Read brings the frames that are due, up to 256. If there is none, it returns after 4 ms at most without a frame, and
// with a watermark that follows the replayed clock. It ends as the file does, if there is no loop, and with io.EOF after
// Close or where a file to be looped has no frame.
func (r *Replay) Read(b *models.Batch) error {
	b.Frames = b.Frames[:0]
	for waited := false; ; waited = true {
		if r.closed() {
			return io.EOF
		}
		if r.pos == len(r.in.Frames) {
			if err := r.refill(); err != nil {
				return err
			}
		}
		now := r.now()
		n := r.due(now)
		if n > 0 {
			r.deliver(b, n)
			return nil
		}
		if waited {
			b.Watermark = max(now, r.high)
			return nil
		}
		r.wait(time.Duration(r.in.Frames[r.pos].TS-now) * time.Microsecond)
	}
}

// refill reads on in the file, and goes round at its end. There is a frame afterwards, or an error.
func (r *Replay) refill() error {
	for r.end == nil {
		if r.file == nil {
			r.end = r.begin()
			continue
		}
		err := r.file.Read(&r.in)
		r.pos = 0
		switch {
		case errors.Is(err, io.EOF) && r.o.Loop && r.began && !r.closed():
			r.end = r.finish()
		case err != nil:
			r.end = err
		case len(r.in.Frames) > 0:
			r.move()
			return nil
		}
	}
	return r.end
}

// begin opens the file for a loop.
func (r *Replay) begin() error {
	f, err := r.open()
	if err != nil {
		return err
	}
	r.began = false
	r.mu.Lock()
	defer r.mu.Unlock()
	r.file = f
	if r.closed() { // Close has not seen this file
		return errors.Join(f.Close(), io.EOF)
	}
	return nil
}

// finish ends a loop.
func (r *Replay) finish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.past = r.past.plus(r.file.Stats())
	err := r.file.Close()
	r.file = nil
	return err
}

func (s Stats) plus(o Stats) Stats {
	s.Received += o.Received
	s.Frames += o.Frames
	s.Bytes += o.Bytes
	s.Skipped += o.Skipped
	s.Outliers += o.Outliers
	s.SetBacks += o.SetBacks
	return s
}

// move takes what was read from the file's time to the replay's. The first frame of a loop sets the difference: it is of
// now, or follows the last frame of the loop before if that was replayed faster than time goes.
func (r *Replay) move() {
	if !r.began {
		r.began = true
		r.start = time.Now()
		r.first = r.in.Frames[0].TS
		if !r.o.KeepTime {
			r.shift = max(r.start.UnixMicro(), r.high+1) - r.first
			r.first += r.shift
		}
		r.high = r.first
	}
	for i := range r.in.Frames {
		r.in.Frames[i].TS += r.shift
	}
}

// now is the replayed clock.
func (r *Replay) now() int64 { return r.first + time.Since(r.start).Microseconds() }

// due counts the frames whose time has come.
func (r *Replay) due(now int64) int {
	rest := r.in.Frames[r.pos:]
	if r.o.Speed == MaxSpeed {
		return len(rest)
	}
	for i := range rest {
		if rest[i].TS > now {
			return i
		}
	}
	return len(rest)
}

func (r *Replay) deliver(b *models.Batch, n int) {
	b.Frames = append(b.Frames, r.in.Frames[r.pos:r.pos+n]...)
	r.pos += n
	for i := range b.Frames {
		r.high = max(r.high, b.Frames[i].TS)
	}
	b.Watermark = r.high
}

func (r *Replay) wait(d time.Duration) {
	t := time.NewTimer(min(d, replayStep))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.done:
	}
}

func (r *Replay) closed() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Stats sums what was read from the file in all loops; up to 256 frames of it may not be due yet.
func (r *Replay) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return r.past
	}
	return r.past.plus(r.file.Stats())
}

// Progress is the file's, in the current loop.
func (r *Replay) Progress() (read, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return 0, 0
	}
	return r.file.Progress()
}

// FileTime is the time in the file of a time that Read gave to a packet, where times are kept; else they are the replay's own.
func (r *Replay) FileTime(ts int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil || !r.o.KeepTime {
		return ts
	}
	return r.file.FileTime(ts)
}

// Close ends the replay: Read returns io.EOF at once, also one that waits. It may be called from any goroutine and more
// than once.
func (r *Replay) Close() error {
	r.once.Do(func() { close(r.done) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
