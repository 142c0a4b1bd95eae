package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"
)

// DetachedOptions configure a Detached writer. Output is required.
type DetachedOptions struct {
	Output io.Writer
	Bytes  int                       // that may wait; 0 means 1 MiB
	Drain  time.Duration             // for what waits when Run is to end; 0 means 500 ms
	Lost   func(lines uint64) []byte // the line that says how many lines were lost; nil: none is written
	Gone   func()                    // called once when the reader of a pipe has ended; nil: nothing is done
}

const (
	detachedBytes = 1 << 20
	detachedDrain = 500 * time.Millisecond
	detachedChunk = 32 << 10 // a write; the kernel's pipe holds 64 KiB
	unreadAfter   = time.Second
)

// Detached is a writer that never waits for its reader: a log that nobody reads (a pipe, a terminal stopped by Ctrl-S) must hold up nothing.
// Lines wait in a bounded queue. What does not fit is dropped and counted, and the log says so as soon as it is read again.
type Detached struct {
	opts DetachedOptions

	mu      sync.Mutex
	wake    chan struct{} // of capacity 1
	lines   [][]byte
	waiting int // bytes of lines
	lost    uint64
	said    uint64    // of lost, in the log
	since   time.Time // when the write under way began; zero: there is none
	err     error     // of the last write
	gone    bool      // the reader has ended
	closed  bool
}

// NewDetached makes a writer. What is written before Run waits.
func NewDetached(o DetachedOptions) *Detached {
	if o.Bytes == 0 {
		o.Bytes = detachedBytes
	}
	if o.Drain == 0 {
		o.Drain = detachedDrain
	}
	return &Detached{opts: o, wake: make(chan struct{}, 1)}
}

// Write takes lines: a whole number of them. It fails never and waits for nobody.
func (d *Detached) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone || d.waiting+len(p) > d.opts.Bytes {
		d.lost += lineCount(p)
		return len(p), nil
	}
	d.lines = append(d.lines, bytes.Clone(p))
	d.waiting += len(p)
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return len(p), nil
}

func lineCount(p []byte) uint64 { return uint64(max(1, bytes.Count(p, []byte("\n")))) }

// Run writes to the output until ctx ends, and then what still waits, for Drain at most. A write that does not return by then is left
// behind: nothing can end it but its reader, or the end of the process.
func (d *Detached) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.pump()
	}()
	<-ctx.Done()
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
	limit := time.NewTimer(d.opts.Drain)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
	}
	return nil
}

// pump writes what waits until the writer is closed and nothing waits.
func (d *Detached) pump() {
	for {
		chunk, lines, closed := d.take()
		if chunk == nil {
			if closed {
				return
			}
			<-d.wake
			continue
		}
		_, err := d.opts.Output.Write(chunk)
		if d.wrote(lines, err) {
			return
		}
	}
}

// take is the next chunk, and how many of its lines count as lost if it cannot be written.
func (d *Detached) take() (chunk []byte, lines uint64, closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for n < len(d.lines) && (n == 0 || len(chunk)+len(d.lines[n]) <= detachedChunk) {
		chunk = append(chunk, d.lines[n]...)
		n++
	}
	d.lines = d.lines[n:]
	d.waiting -= len(chunk)
	lines = lineCount(chunk)
	if chunk == nil && d.lost > d.said && d.err == nil && d.opts.Lost != nil {
		chunk, lines = d.opts.Lost(d.lost-d.said), 0
		d.said = d.lost
	}
	if chunk != nil {
		d.since = time.Now()
	}
	return chunk, lines, d.closed
}

// wrote notes how a write went, and says whether there is no reader any more.
func (d *Detached) wrote(lines uint64, err error) bool {
	d.mu.Lock()
	d.since = time.Time{}
	d.err = err
	if err != nil {
		d.lost += lines
	}
	if !errors.Is(err, syscall.EPIPE) {
		d.mu.Unlock()
		return false
	}
	d.gone = true
	for _, l := range d.lines {
		d.lost += lineCount(l)
	}
	d.lines, d.waiting = nil, 0
	d.mu.Unlock()
	if d.opts.Gone != nil {
		d.opts.Gone()
	}
	return true
}

// Lost is how many lines have been lost since the beginning.
func (d *Detached) Lost() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost
}

// Problem says why lines do not arrive; "" means that they do.
func (d *Detached) Problem() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.gone:
		return "the reader of the log has ended"
	case d.err != nil:
		return "the log cannot be written: " + d.err.Error()
	case !d.since.IsZero() && time.Since(d.since) > unreadAfter:
		return "nobody reads the log"
	}
	return ""
}
