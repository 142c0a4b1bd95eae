package kafka

import (
	"context"
	"sync"
	"time"
)

// room bounds the bytes that one topic keeps for the broker.
type room struct {
	bound int

	mu    sync.Mutex
	used  int
	moves uint64        // rises when the broker takes something, and when there is something to take again
	seen  uint64        // moves when waiting was asked last that found it changed
	since time.Time     // when that was
	full  time.Time     // something was refused
	freed chan struct{} // closed when bytes are given back; nil: nobody waits
}

// take takes n bytes if they fit; whatever its size, one record fits where there is none.
func (r *room) take(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fits(n) {
		r.full = time.Now()
		return false
	}
	r.add(n)
	return true
}

func (r *room) fits(n int) bool { return r.used == 0 || r.used+n <= r.bound }

func (r *room) add(n int) {
	if r.used == 0 {
		r.moves++
	}
	r.used += n
}

// wait takes n bytes as soon as they fit. The error is that of ctx.
func (r *room) wait(ctx context.Context, n int) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.mu.Lock()
		if r.fits(n) {
			r.add(n)
			r.mu.Unlock()
			return nil
		}
		if r.freed == nil {
			r.freed = make(chan struct{})
		}
		freed := r.freed
		r.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
		}
	}
}

// give gives n bytes back; taken says whether the broker has taken them.
func (r *room) give(n int, taken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	if taken {
		r.moves++
	}
	if r.freed != nil {
		close(r.freed)
		r.freed = nil
	}
}

// waiting is for how long the broker is known to have taken nothing of what there is for it, and whether something was refused lately for want of room. It is to
// be asked again and again: nobody looks at a clock for each record.
func (r *room) waiting(now time.Time) (d time.Duration, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.moves != r.seen {
		r.seen, r.since = r.moves, now
	}
	if r.used > 0 {
		d = now.Sub(r.since)
	}
	return d, !r.full.IsZero() && now.Sub(r.full) < lately
}
